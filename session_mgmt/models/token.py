"""Tokens that authenticate a session; the secret itself is never stored."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.models.moments import MomentField
from session_mgmt.models.portable_json import PortableJSONField
from session_mgmt.models.session import ClientSession


class Token(models.Model):
    """Token of a session. ``digest`` is its SHA-256, ``family`` joins a refresh token to its successors.

    It is valid only while its ``auth_version`` equals that of its session. Raising that one number revokes all tokens
    of a session, even those that are being created at the same time. A refresh token and the access token of the same
    pair share ``parent`` and ``salt``, from which both can be derived again. Tokens without a salt belong to no pair,
    and live as long as their session can. ``nonce`` is the SHA-256 of the request that used the token.
    """

    class Kind(models.TextChoices):
        ACCESS = "access", _("access")
        REFRESH = "refresh", _("refresh")
        COOKIE = "cookie", _("cookie")

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    # Only the digest is stored, so that a leaked table contains no working token.
    digest = models.BinaryField(max_length=32, unique=True)
    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="tokens")
    family = models.UUIDField(default=uuid.uuid4)
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="children", db_index=False)
    # The database has the default too: during a deploy, old code inserts rows without this column.
    auth_version = models.PositiveIntegerField(default=1, db_default=1)
    salt = models.BinaryField(max_length=16, null=True)
    nonce = models.BinaryField(max_length=32, null=True)
    # A subset of the session's scopes; null means all of them.
    scopes = PortableJSONField(null=True, blank=True)
    created_at = MomentField()
    expires_at = MomentField()
    used_at = MomentField(null=True)
    revoked_at = MomentField(null=True)

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")
        indexes = [
            models.Index(fields=["expires_at"], name="sm_token_expiry"),
            models.Index(fields=["family"], name="sm_token_family", condition=models.Q(kind="refresh")),
            models.Index(fields=["parent"], name="sm_token_parent", condition=models.Q(parent__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"
