"""Admin pages of a document's history: list its versions, compare two, and restore one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
from django.conf import settings as project
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from session_mgmt.actions import access, audit
from session_mgmt.actions.state import history, inspection
from session_mgmt.admin import content, show, tree
from session_mgmt.admin.content import ContentAdmin
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.documents.comparison import Line
from session_mgmt.exceptions import InvalidField, PreconditionFailed, SessionMgmtError
from session_mgmt.models import AuditEntry, StateDocument, StateRevision
from session_mgmt.protocol import position as positions
from session_mgmt.protocol.position import Position
from session_mgmt.writes import restore

_PATHS = 4
_MOST_PATHS = 100
# Limit of the audit entries that are searched for the authors of one page of versions.
_MOST_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version in the list: the paths in ``first`` are shown, those in ``others`` on demand, ``more`` is the number
    of the rest.
    """

    version: int
    at: datetime
    kind: str
    who: str
    seq: int | None
    first: list[str]
    others: list[str]
    more: int
    bytes: int
    labels: list[str]


class PastPages(ContentAdmin):
    """History pages of the documents' admin."""

    def past_views(self) -> dict[str, Callable[[HttpRequest, Any], HttpResponse]]:
        return {"versions": self.versions_page, "compare": self.compare_page, "restore": self.restore_version}

    def versions_page(self, request: HttpRequest, row: StateDocument) -> HttpResponse:
        """List the versions, newest first, below the version ``before`` if it is given."""
        self.note_action(request, audit.READ_HISTORY, row.session_id, document=row.name)
        before = content.parse_number(request.GET.get("before"))
        found = history.list_versions(row.pk, before=before)
        people = _find_authors(row)
        lines = [_build_line(entry, people) for entry in found["results"]]
        context = {
            "title": _("Versions of %s") % row.name,
            "tab": "versions",
            "lines": lines,
            "oldest": found["oldest"],
            "next": found["next"],
            "is_paged": before is not None,
        }
        return self.render_page(request, "versions", context, row)

    def compare_page(self, request: HttpRequest, row: StateDocument) -> HttpResponse:
        """Compare version ``from`` (or the one at ``moment``) with version ``to``, by default with the head."""
        then, now = _choose_first(request, row), content.parse_number(request.GET.get("to"))
        self.note_action(request, audit.COMPARE_STATE, row.session_id, document=row.name, versions=[then, now])
        pair = inspection.compare_versions(row.pk, then, now, run=bridge().run_in_worker)
        is_head = pair.second == pair.head.offset
        context = {
            "title": _("Compare versions of %s") % row.name,
            "tab": "compare",
            "pair": pair,
            "lines": [(line, _format_place(line)) for line in pair.comparison.lines],
            "more": pair.comparison.total - len(pair.comparison.lines),
            "trees": self._draw_trees(row, pair),
            "times": _find_times(row, pair.first, pair.second),
            "is_head": is_head,
            # Sent back with the form: the restore applies only if the document is still at this position.
            "seen": pair.head.as_bytes().decode(),
            "may_restore": is_head and pair.first != pair.second and request.user.has_perm(access.RESTORE_STATE),
            "zone": _name_zone(),
        }
        return self.render_page(request, "compare", context, row)

    def _draw_trees(self, row: StateDocument, pair: inspection.Pair) -> list[Any]:
        found, address = pair.comparison, self.build_url("change", row)
        sides = (
            (pair.first, found.then, {line.was for line in found.lines if line.then is not None}),
            (pair.second, found.now, {line.path for line in found.lines if line.now is not None}),
        )
        return [
            tree.render_tree(outline.node, tree.Look.with_marks(partial(tree.place_link, address, version), marks))
            for version, outline, marks in sides
            if outline.node is not None
        ]

    def restore_version(self, request: HttpRequest, row: StateDocument) -> HttpResponse:
        """Restore version ``to`` as a new version, if the document is still at the position ``seen`` on the page."""
        self.check_allowed(request, access.RESTORE_STATE)
        to, seen = content.parse_number(request.POST.get("to")), _parse_position(request.POST.get("seen", ""))
        if to is None or seen is None:
            raise InvalidField("Choose a version on the page that compares it.", field="to")
        try:
            made = _restore_version(row, to, seen)
        # Return to the comparison, which now shows the writes that came in between.
        except PreconditionFailed:
            text = _(
                "The document has changed since you opened the page. Nothing was restored. This is its present state."
            )
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self.build_url("compare", row, f"from={to}"))
        except SessionMgmtError as error:
            return self.redirect_back(request, row, f"{error} ({error.name})", messages.ERROR)
        self.note_action(request, audit.RESTORE_STATE, row.session_id, document=row.name, to=to, version=made.offset)
        text = _("Version %(old)d was restored, as version %(new)d.") % {"old": to, "new": made.offset}
        return self.redirect_back(request, row, text)


def _format_place(line: Line) -> str:
    """Return the place of a change, and for a moved array item its earlier place too."""
    if line.op == "replace" and line.was != line.path:
        return f"{show.format_place(line.was)} → {show.format_place(line.path)}"
    return show.format_place(line.path if line.op == "add" else line.was)


def _restore_version(row: StateDocument, to: int, seen: Position) -> Position:
    return restore.restore_now(row.session_id, row.name, to, expected=seen, run=bridge().run_in_worker).require()


def _choose_first(request: HttpRequest, row: StateDocument) -> int:
    given = request.GET.get("moment")
    if given:
        return history.find_version_at(row.pk, _parse_moment(given))
    version = content.parse_number(request.GET.get("from"))
    return max(row.version - 1, row.oldest_revision - 1) if version is None else version


def _parse_moment(text: str) -> datetime:
    """Parse a typed moment in the time zone of the pages.

    Return the end of that second, because the pages show no fractions of seconds.
    """
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        raise InvalidField("A date and a time, such as 2026-11-23T14:02.", field="moment")
    if timezone.is_naive(found):
        found = timezone.make_aware(found) if project.USE_TZ else found.replace(tzinfo=UTC)
    return found.replace(microsecond=0) + timedelta(seconds=1, microseconds=-1)


def _name_zone() -> str:
    return timezone.get_current_timezone_name() if project.USE_TZ else "UTC"


def _parse_position(text: str) -> Position | None:
    try:
        return positions.parse(orjson.loads(text))
    except orjson.JSONDecodeError:
        return None


def _find_times(row: StateDocument, *versions: int) -> list[datetime | None]:
    rows = StateRevision.objects.using(settings().database).filter(document=row.pk, version__in=versions)
    found = dict(rows.values_list("version", "at"))
    return [found.get(version) for version in versions]


def _find_authors(row: StateDocument) -> dict[int, str]:
    """Return the staff member who made each version, according to the audit trail."""
    # A revision names only its client; the audit trail knows which person in the admin wrote it.
    mine = AuditEntry.objects.using(settings().database).filter(session=row.session_id, action__in=audit.WRITES)
    found = mine.select_related("actor").order_by("-id")[:_MOST_ENTRIES]
    return {
        entry.data["version"]: entry.actor.get_username()
        for entry in found
        if entry.actor is not None and entry.data.get("document") == row.name and "version" in entry.data
    }


def _build_line(entry: dict[str, Any], people: dict[int, str]) -> VersionLine:
    touched = entry["paths"]
    paths = [show.format_place(path) for path in touched[:_MOST_PATHS]]
    return VersionLine(
        version=entry["version"],
        at=datetime.fromisoformat(entry["at"]),
        kind=entry["kind"],
        who=people.get(entry["version"]) or entry["client_id"] or _("server"),
        seq=entry["seq"],
        first=paths[:_PATHS],
        others=paths[_PATHS:],
        more=len(touched) - len(paths),
        bytes=entry["bytes"],
        labels=entry["labels"],
    )
