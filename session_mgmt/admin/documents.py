"""Admin of documents: their content, one piece at a time, and facts about them."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from session_mgmt.actions import access, audit
from session_mgmt.actions.state import conflicts, history, inspection, lookup
from session_mgmt.admin import content, show, tree
from session_mgmt.admin.past import PastPages
from session_mgmt.admin.upkeep import UpkeepPages
from session_mgmt.bridge import bridge
from session_mgmt.documents.outline import NodePlace
from session_mgmt.exceptions import NotFound, StateUnreadable
from session_mgmt.models import StateConflict, StateDocument

_DEEPEST = 64
_LARGE = 64 * 1024
_LONGEST_SEARCH = 200


@admin.register(StateDocument)
class StateDocumentAdmin(PastPages, UpkeepPages):
    """List and pages of documents."""

    tenant_path = "session__tenant"
    session_path = "session"
    folder = "statedocument"
    list_display = (
        "name",
        "of_session",
        "version_number",
        "size_text",
        "open_count",
        "is_encrypted",
        "modified_at",
    )
    list_filter = ("encrypted", "compressed")
    list_select_related = ("session__user",)
    list_per_page = 50
    ordering = ("-id",)
    search_fields = ("name",)
    search_help_text = _("A document's name or a session's id.")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perms([access.SEE, access.SEE_STATE])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        waits = StateConflict.objects.filter(document=OuterRef("pk"), resolved_at=None).order_by()
        # Count in a subquery: a join would repeat each document for each of its conflicts.
        count = waits.values("document").annotate(count=Count("pk")).values("count")
        rows = super().get_queryset(request).select_related("session__user").defer("secret")
        return rows.annotate(open_conflicts=Coalesce(Subquery(count), 0))

    def get_shared_context(self, request: HttpRequest, row: StateDocument) -> dict[str, Any]:
        return {
            "owner": show.name_owner(row.session),
            "session_id": row.session_id,
            "may_maintain": request.user.has_perm(access.MAINTAIN_STATE),
        }

    # -- the list

    @admin.display(description=_("session"), ordering="session")
    def of_session(self, row: StateDocument) -> str:
        return show.link_session(row.session)

    @admin.display(description=_("version"), ordering="version")
    def version_number(self, row: StateDocument) -> str:
        return show.label_cell(_("version"), row.version)

    @admin.display(description=_("size"), ordering="size")
    def size_text(self, row: StateDocument) -> str:
        is_exact = row.snapshot_version == row.version
        remark = "" if is_exact else gettext("The document's own page shows the exact size.")
        return format_html('<span title="{}">{}</span>', remark, show.format_bound(row.size, is_exact=is_exact))

    @admin.display(description=_("open conflicts"), ordering="open_conflicts")
    def open_count(self, row: Any) -> str:
        return show.label_cell(_("open conflicts"), row.open_conflicts) if row.open_conflicts else ""

    @admin.display(description=_("encrypted"), ordering="encrypted")
    def is_encrypted(self, row: StateDocument) -> str:
        return gettext("encrypted") if row.encrypted else gettext("plain")

    @admin.display(description=_("last modified"), ordering="last_modified")
    def modified_at(self, row: StateDocument) -> datetime:
        return row.last_modified

    # -- one document

    def get_urls(self) -> list[URLPattern]:
        own = {"find": self.find_page, "download": self.download_version, **self.past_views(), **self.upkeep_views()}
        return [*(self.view_url(name, name, view) for name, view in own.items()), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self.render_about(request, object_id, self.look_page)

    def look_page(self, request: HttpRequest, row: StateDocument) -> HttpResponse:
        """Show a piece of the document: ``version``, ``at`` (a place), ``skip``; by default the root of the head."""
        version, place = content.parse_number(request.GET.get("version")), _parse_place(request.GET.get("at"))
        skip = content.parse_number(request.GET.get("skip")) or 0
        self.note_action(
            request,
            audit.READ_STATE,
            row.session_id,
            document=row.name,
            version=row.version if version is None else version,
        )
        size = None
        try:
            look = inspection.look_at_place(row.pk, version, place=place, skip=skip, run=bridge().run_in_worker)
            seen = {**self._draw_outline(request, row, look), "waiting": _list_waiting(row)}
            size = lookup.measure_document(row, run=bridge().run_in_worker)
        except StateUnreadable as error:
            seen = {**content.describe_problem(error), "version": row.version if version is None else version}
        facts = {"facts": _list_facts(row, size), "checkpoints": history.list_checkpoints(row.pk)}
        titled = {"title": gettext("Document %s") % row.name, "tab": "content"}
        return self.render_page(request, "page", {**facts, **seen, **titled}, row)

    def _draw_outline(self, request: HttpRequest, row: StateDocument, look: inspection.Look) -> dict[str, Any]:
        node = look.outline.node
        if node is None:
            raise NotFound("There is no such place in this version.")
        opens_all = request.GET.get("open") == "all"
        link = partial(tree.place_link, self.build_url("change", row), look.version)
        trail = [(above.name, link(above.place, 0)) for above in look.outline.trail]
        return {
            "tree": tree.render_tree(node, tree.Look(link, opens_all=opens_all)),
            "node": node,
            "large": show.format_size(row.size) if row.size > _LARGE else "",
            "trail": trail,
            "version": look.version,
            "head": look.head.offset,
            "is_head": look.version == look.head.offset,
            "open_all": None if opens_all else f"{link(node.place, node.skipped)}&open=all",
        }

    def find_page(self, request: HttpRequest, row: StateDocument) -> HttpResponse:
        """Search a version for a text. POST only, because search terms must not end up in access logs."""
        if request.method != "POST":
            raise PermissionDenied
        text = request.POST.get("text", "")[:_LONGEST_SEARCH]
        version = content.parse_number(request.POST.get("version"))
        version = row.version if version is None else version
        self.note_action(request, audit.READ_STATE, row.session_id, document=row.name, version=version)
        hits = inspection.find_text(row.pk, version, text, run=bridge().run_in_worker)
        link = partial(tree.place_link, self.build_url("change", row), version)
        lines = [
            (node, show.format_place(node.path), link(node.place if node.is_container else node.place[:-1], 0))
            for node in hits.nodes
        ]
        context = {"title": gettext("Found in %s") % row.name, "text": text, "lines": lines, "more": hits.more}
        return self.render_page(request, "found", {**context, "version": version}, row)

    def download_version(self, request: HttpRequest, row: StateDocument) -> HttpResponse:
        """Send a whole version as a file."""
        version = content.parse_number(request.GET.get("version"))
        version = row.version if version is None else version
        self.note_action(request, audit.READ_STATE, row.session_id, document=row.name, version=version, whole=True)
        _, raw = history.read_raw(row.pk, version, run=bridge().run_in_worker)
        # Send it as a file and never as a page: text of a client must not run as a script in the admin's origin.
        headers = {"Content-Disposition": "attachment; filename=document.json", "Cache-Control": "no-store"}
        return HttpResponse(raw, content_type="application/json", headers=headers)


def _parse_place(text: str | None) -> NodePlace:
    found = [content.parse_number(step) for step in text.split(".")[: _DEEPEST + 1]] if text else []
    if None in found:
        raise NotFound("There is no such place in this version.")
    return tuple(step for step in found if step is not None)


def _list_waiting(row: StateDocument) -> list[tuple[dict[str, Any], str]]:
    """Return open conflicts and their places."""
    return [
        (found, show.format_place(found["path"]))
        for found in conflicts.list_conflicts(row.pk, run=bridge().run_in_worker)
    ]


def _list_facts(row: Any, size: int | None) -> list[tuple[str, Any]]:
    """Return pairs of label and value, without content. ``size`` is the exact size, if the document can be read."""
    sizes = lookup.read_sizes(row)
    log = {"bytes": show.format_size(row.log_bytes), "count": row.version - row.oldest_revision + 1}
    stored = show.format_size(sizes["stored"])
    return [
        (gettext("Version"), row.version),
        (gettext("Last modified"), row.last_modified),
        (gettext("Last writer"), row.last_writer or "-"),
        (gettext("Size"), show.format_bound(row.size if size is None else size, is_exact=size is not None)),
        (gettext("Stored"), f"{stored}, {gettext('compressed')}" if row.compressed else stored),
        (
            gettext("Log"),
            gettext("%(bytes)s in %(count)d versions") % log,
        ),
        (gettext("Readable from"), gettext("version %d") % (row.oldest_revision - 1)),
        (gettext("Encrypted"), gettext("yes, under key %s") % row.key_id if row.encrypted else gettext("no")),
        (gettext("Checksum"), _describe_checksum(row)),
        (gettext("Epoch"), row.epoch),
    ]


def _describe_checksum(row: StateDocument) -> str:
    if not row.checksum:
        return gettext("none yet")
    if row.checksum_version == row.version:
        return row.checksum
    return gettext("%(sum)s of version %(version)d") % {"sum": row.checksum, "version": row.checksum_version}
