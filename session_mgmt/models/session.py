"""Sessions: a wide row that rarely changes, and a narrow row that often does."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.identifiers import new_epoch, uuid7
from session_mgmt.models.login import Login
from session_mgmt.models.moments import MomentField
from session_mgmt.models.portable_json import PortableJSONField
from session_mgmt.models.together import DeletedInGroups, cascade_together


class ClientSession(models.Model):
    """Browser profile or app installation of one user. The name avoids a clash with ``contrib.sessions``."""

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        EXPIRED = "expired", _("expired")
        TERMINATED = "terminated", _("terminated")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=cascade_together,
        related_name="client_sessions",
        db_index=False,
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.ACTIVE)
    config = PortableJSONField(default=dict, blank=True)
    metadata = PortableJSONField(default=dict, blank=True)
    scopes = PortableJSONField(default=list, blank=True)
    label = models.CharField(max_length=200, blank=True)
    # Only shown to people and never used for decisions, because an address changes with the network.
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=400, blank=True)
    created_at = MomentField()
    auth_time = MomentField(null=True, blank=True)
    auth_version = models.PositiveIntegerField(default=1)
    # The first 16 bytes of the SHA-256 of the user's get_session_auth_hash(), as Django binds its own sessions.
    auth_fingerprint = models.BinaryField(max_length=16, null=True, editable=False)
    # Raised when the user's rights change, so that the permission for every topic is checked again.
    access_version = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    tenant = models.CharField(max_length=100, blank=True, default="", db_default="")
    # Whoever impersonates the user at the moment, if anyone does.
    acting = models.CharField(max_length=150, blank=True, default="", db_default="")
    claimed_at = MomentField(null=True, blank=True, editable=False)
    # SHA-256 of the request that created the session, so that a repetition gets the same session.
    nonce = models.BinaryField(max_length=32, null=True, unique=True, editable=False)
    login = models.ForeignKey(
        Login, null=True, blank=True, on_delete=models.SET_NULL, related_name="sessions", db_index=False
    )
    # When a request of its browser came without a login. Another response may just be changing the cookie, so only a
    # second such request counts.
    login_missing_at = MomentField(null=True, blank=True, editable=False)
    ended_at = MomentField(null=True, blank=True)
    end_reason = models.CharField(max_length=60, blank=True)
    # One to one, so that two tabs that recover an expired session at the same time get the same successor.
    recovered_from = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="successor"
    )

    objects = DeletedInGroups.as_manager()

    class Meta:
        verbose_name = _("client session")
        verbose_name_plural = _("client sessions")
        permissions = [
            ("terminate_clientsession", "Can end client sessions"),
            ("disconnect_clientsession", "Can disconnect client sessions"),
            ("message_clientsession", "Can send messages to client sessions"),
            ("clean_clientsession", "Can run the cleanup"),
            ("export_clientsession", "Can export all that concerns a user"),
            ("erase_clientsession", "Can erase all that concerns a user"),
        ]
        constraints = [
            models.CheckConstraint(
                name="sm_session_ended",
                condition=models.Q(state="active", ended_at__isnull=True)
                | models.Q(state__in=["expired", "terminated"], ended_at__isnull=False),
            ),
        ]
        indexes = [
            # Only rows with a user. If most sessions are visitors' and have none, ANALYZE tells SQLite that nearly all
            # entries are equal, and SQLite would read the whole table for each look-up.
            models.Index(fields=["user"], name="sm_session_user", condition=models.Q(user__isnull=False)),
            models.Index(fields=["login"], name="sm_session_login", condition=models.Q(login__isnull=False)),
            models.Index(
                fields=["recovered_from"], name="sm_session_successor", condition=models.Q(recovered_from__isnull=False)
            ),
            models.Index(
                fields=["user", "created_at"],
                name="sm_user_active",
                condition=models.Q(state="active", user__isnull=False),
            ),
            models.Index(fields=["created_at"], name="sm_created"),
            # Only ended sessions; the cleanup reads the oldest first.
            models.Index(fields=["ended_at"], name="sm_ended", condition=models.Q(ended_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return str(self.id)


class SessionActivity(models.Model):
    """Columns of a session that change often. A resume and an expiry that happen at once are decided by ``live`` in
    this row.

    ``expires_at`` is the earlier of the idle and the absolute deadline. ``event_seq`` numbers the session's own log.
    """

    session = models.OneToOneField(ClientSession, primary_key=True, on_delete=models.CASCADE, related_name="activity")
    live = models.BooleanField(default=True)
    last_active_at = MomentField()
    idle_seconds = models.PositiveIntegerField()
    absolute_deadline = MomentField()
    expires_at = MomentField()
    epoch = models.CharField(max_length=32, default=new_epoch)
    event_seq = models.BigIntegerField(default=0)
    event_tag = models.CharField(max_length=16, blank=True, default="")
    oldest_event = models.BigIntegerField(default=1)

    class Meta:
        verbose_name = _("session activity")
        verbose_name_plural = _("session activities")
        constraints = [
            models.CheckConstraint(name="sm_event_seq", condition=models.Q(event_seq__gte=0)),
        ]
        indexes = [
            # Only live sessions; the sweep reads the earliest deadlines first.
            models.Index(fields=["expires_at"], name="sm_deadline", condition=models.Q(live=True)),
        ]

    def __str__(self) -> str:
        return str(self.session_id)
