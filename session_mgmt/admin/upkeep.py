"""Admin pages that maintain a document: labels, compaction, and a check of every stored row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from session_mgmt.actions import access, audit
from session_mgmt.actions.keys import verification
from session_mgmt.actions.state import compaction, history, lookup, stored_rows
from session_mgmt.admin.content import ContentAdmin
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models import StateDocument

_FINDINGS = 500
# A check decodes every row and replays the whole log; above this many bytes it would slow down other requests.
_HEAVY_LOG = 16 * stored_rows.HEAVY_BYTES


class UpkeepPages(ContentAdmin):
    """Maintenance pages of the documents' admin."""

    def upkeep_views(self) -> dict[str, Callable[[HttpRequest, Any], HttpResponse]]:
        return {"act": self.act_on_document, "verify": self.verify_page}

    def act_on_document(self, request: HttpRequest, row: StateDocument) -> HttpResponse:
        """Handle the buttons of a document's page: ``do`` is persist, forget or compact."""
        self.check_allowed(request, access.MAINTAIN_STATE)
        verbs = {"persist": self._persist_version, "forget": self._forget_label, "compact": self._compact_log}
        verb = verbs.get(request.POST.get("do", ""))
        if verb is None:
            raise PermissionDenied
        try:
            return self.redirect_back(request, row, verb(request, row))
        except SessionMgmtError as error:
            return self.redirect_back(request, row, f"{error} ({error.name})", messages.ERROR)

    def _persist_version(self, request: HttpRequest, row: StateDocument) -> str:
        kept = history.keep_checkpoint(
            row.pk, request.POST.get("label", "").strip() or None, run=bridge().run_in_worker
        )
        self.note_action(request, audit.PERSIST_STATE, row.session_id, document=row.name, **kept)
        return _("Version %(version)d is kept as %(label)s.") % kept

    def _forget_label(self, request: HttpRequest, row: StateDocument) -> str:
        label = request.POST.get("label", "")
        if not history.forget_checkpoint(row.pk, label):
            return _("There is no such label.")
        self.note_action(request, audit.FORGET_STATE, row.session_id, document=row.name, label=label)
        return _("The label was given up.")

    def _compact_log(self, request: HttpRequest, row: StateDocument) -> str:
        gone = compaction.compact_document(row.pk, run=bridge().run_in_worker)
        self.note_action(request, audit.COMPACT_STATE, row.session_id, document=row.name, revisions=gone)
        return _("Compacted. %d old versions were deleted.") % gone

    def verify_page(self, request: HttpRequest, row: StateDocument) -> HttpResponse:
        """List every damaged row. POST only, because the check reads all rows."""
        self.check_allowed(request, access.MAINTAIN_STATE)
        if _is_heavy(row):
            text = _("This document is too large to verify in a page. Run manage.py verify_state --document %d.")
            return self.redirect_back(request, row, text % row.pk, messages.WARNING)
        found = verification.verify_document(row.pk)
        self.note_action(request, "verify_state", row.session_id, document=row.name, findings=len(found))
        context = {
            "title": _("Check of %s") % row.name,
            "findings": found[:_FINDINGS],
            "count": len(found),
            "held": row.version - row.oldest_revision + 1,
        }
        return self.render_page(request, "verified", context, row)


def _is_heavy(row: StateDocument) -> bool:
    sizes = lookup.read_sizes(row)
    return max(sizes["size"], sizes["stored"]) > stored_rows.HEAVY_BYTES or sizes["log"] > _HEAVY_LOG
