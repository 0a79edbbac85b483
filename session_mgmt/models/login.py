"""Logins of Django on which sessions depend."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.moments import MomentField


class Login(models.Model):
    """Login of one browser. ``digest`` is the SHA-256 of a value stored inside the Django session, because the key of
    that session changes.

    A logout sets ``ended_at``, and creates the row if there was none: a request of this login that arrives later, or is
    replayed, finds that it has ended. ``cookie_digest`` finds the login by the browser's cookie.
    """

    id = models.BigAutoField(primary_key=True)
    digest = models.BinaryField(max_length=32, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    cookie_digest = models.BinaryField(max_length=32, null=True)
    created_at = MomentField()
    seen_at = MomentField()
    ended_at = MomentField(null=True)
    end_reason = models.CharField(max_length=60, blank=True)

    class Meta:
        verbose_name = _("login")
        verbose_name_plural = _("logins")
        indexes = [
            models.Index(fields=["seen_at"], name="sm_login_seen"),
            models.Index(
                fields=["cookie_digest"], name="sm_login_cookie", condition=models.Q(cookie_digest__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"login {self.pk}"
