"""Documents: the narrow head, the bodies, the log, and the receipts of numbered writes."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from session_mgmt.documents.values import BEYOND
from session_mgmt.models.client import Client
from session_mgmt.models.identifiers import new_epoch
from session_mgmt.models.moments import MomentField
from session_mgmt.models.session import ClientSession

# Value of the hash chain before version 1.
_GENESIS = bytes(32)


class StateDocument(models.Model):
    """Head of a document; its body is in snapshots and revisions.

    ``size`` is an upper bound in bytes of compact JSON, exact after each snapshot. ``keys`` is an upper bound of the
    members of all objects, exact after a snapshot that no write overtook; ``number_bound`` is an upper bound of the
    magnitude of all numbers, rounded up.
    """

    id = models.BigAutoField(primary_key=True)
    # No separate index: the unique constraint below begins with the session.
    session = models.ForeignKey(ClientSession, on_delete=models.CASCADE, related_name="documents", db_index=False)
    name = models.CharField(max_length=100, default="main")
    epoch = models.CharField(max_length=32, default=new_epoch)
    version = models.BigIntegerField(default=0)
    snapshot_version = models.BigIntegerField(default=0)
    oldest_revision = models.BigIntegerField(default=1)
    oldest_chain = models.BinaryField(max_length=32, default=_GENESIS)
    size = models.BigIntegerField(default=2)
    # The database has the default too: during a deploy, code that does not know this column may insert rows.
    keys = models.BigIntegerField(default=0, db_default=0)
    # The database's default means unknown: documents from before this column may hold any number.
    number_bound = models.BigIntegerField(default=0, db_default=BEYOND)
    log_bytes = models.BigIntegerField(default=0)
    chain = models.BinaryField(max_length=32)
    checksum = models.CharField(max_length=64, blank=True)
    checksum_version = models.BigIntegerField(default=0)
    compressed = models.BooleanField(default=False)
    encrypted = models.BooleanField(default=False)
    key_id = models.CharField(max_length=40, blank=True, default="")
    secret = models.BinaryField(max_length=80, default=b"")
    last_modified = MomentField()
    last_writer = models.CharField(max_length=40, blank=True)

    class Meta:
        verbose_name = _("state document")
        verbose_name_plural = _("state documents")
        permissions = [
            ("restore_statedocument", "Can restore earlier versions of state documents"),
            ("maintain_statedocument", "Can label, compact and verify state documents"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["session", "name"], name="sm_document"),
            models.CheckConstraint(
                name="sm_document_versions",
                condition=models.Q(version__gte=models.F("snapshot_version"))
                & models.Q(snapshot_version__gte=models.F("oldest_revision") - 1)
                & models.Q(oldest_revision__gte=1),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class StateSnapshot(models.Model):
    """Whole document at one version.

    Unless the log reaches back to version 0, there is always a snapshot at or before ``oldest_revision`` - 1.
    """

    id = models.BigAutoField(primary_key=True)
    document = models.ForeignKey(StateDocument, on_delete=models.CASCADE, related_name="snapshots")
    version = models.BigIntegerField()
    codec = models.PositiveSmallIntegerField(default=0)
    key_id = models.CharField(max_length=40, blank=True)
    nonce = models.BinaryField(max_length=12, default=b"")
    body = models.BinaryField()
    digest = models.BinaryField(max_length=32)
    label = models.CharField(max_length=100, null=True, blank=True)
    created_at = MomentField()

    class Meta:
        verbose_name = _("state snapshot")
        verbose_name_plural = _("state snapshots")
        constraints = [
            models.UniqueConstraint(
                fields=["document", "version"], name="sm_snapshot", condition=models.Q(label__isnull=True)
            ),
            models.UniqueConstraint(
                fields=["document", "label"], name="sm_checkpoint", condition=models.Q(label__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.document_id}@{self.version}"


class StateRevision(models.Model):
    """Log entry of a version: total operations and the paths they touch, both compact JSON.

    ``asked`` is the client's original request if a merge changed it. ``request`` is the hash that a repetition under
    the same ``key`` must equal; it is keyed if the document is encrypted.
    """

    class Kind(models.TextChoices):
        PATCH = "patch", _("patch")
        REPLACE = "replace", _("replace")
        CLEAR = "clear", _("clear")
        RESTORE = "restore", _("restore")
        MERGE = "merge", _("merge")

    id = models.BigAutoField(primary_key=True)
    document = models.ForeignKey(StateDocument, on_delete=models.CASCADE, related_name="revisions", db_index=False)
    version = models.BigIntegerField()
    client = models.ForeignKey(Client, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)
    seq = models.BigIntegerField(null=True)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.PATCH)
    ops = models.BinaryField()
    paths = models.BinaryField()
    chain = models.BinaryField(max_length=32)
    asked = models.BinaryField(null=True)
    key = models.CharField(max_length=100, null=True)
    request = models.BinaryField(max_length=32, null=True)
    at = MomentField()

    class Meta:
        verbose_name = _("state revision")
        verbose_name_plural = _("state revisions")
        constraints = [
            # Promise S3 in the database: no version of a document exists twice.
            models.UniqueConstraint(fields=["document", "version"], name="sm_revision"),
            models.UniqueConstraint(
                fields=["document", "key"], name="sm_revision_key", condition=models.Q(key__isnull=False)
            ),
            models.CheckConstraint(name="sm_revision_version", condition=models.Q(version__gte=1)),
        ]
        indexes = [
            models.Index(fields=["client"], name="sm_revision_client", condition=models.Q(client__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.document_id}@{self.version}"


class Receipt(models.Model):
    """Answer to a numbered write, stored with its effect and kept until the client confirms it."""

    id = models.BigAutoField(primary_key=True)
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="receipts", db_index=False)
    seq = models.BigIntegerField()
    digest = models.BinaryField(max_length=32)
    outcome = models.BinaryField()
    at = MomentField()

    class Meta:
        verbose_name = _("receipt")
        verbose_name_plural = _("receipts")
        # Promise S6 in the database: a client's number has one answer only.
        constraints = [models.UniqueConstraint(fields=["client", "seq"], name="sm_receipt")]

    def __str__(self) -> str:
        return f"{self.client_id}#{self.seq}"
