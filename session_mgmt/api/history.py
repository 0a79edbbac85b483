"""History of a document over HTTP: list and read versions, compare two, keep checkpoints, restore."""

from __future__ import annotations

from typing import Any

import orjson
from django.urls import URLPattern, path
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions.state import history
from session_mgmt.actions.state.updates import Terms
from session_mgmt.api import rights
from session_mgmt.api.conditions import read_expected_position
from session_mgmt.api.documents import answer_write, find_document
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.forms import Form, Text, Whole
from session_mgmt.api.queries import Number, is_number
from session_mgmt.api.refusals import DOCUMENT_ERRORS, PAST_ERRORS, WRITE_ERRORS
from session_mgmt.api.views import ApiViewSet
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import Conflict, DocumentLimit, InvalidField, NotFound
from session_mgmt.writes import restore

BEFORE = Number("before", "Only versions before this one.")
LIMIT = Number("limit", "Versions on a page.", least=1, most=history.MOST_PAGE, default=history.PAGE)
FROM = Number("from", "The version to compare.", required=True)
TO = Number("to", "The version to compare with. The default is the newest.")


class LabelForm(Form):
    label = Text(required=False, allow_blank=False, max_length=100)  # type: ignore[assignment] # as in forms


class RestoreForm(Form):
    """Exactly one of ``version`` and ``label``."""

    version = Whole(required=False)
    label = Text(required=False, allow_blank=False, max_length=100)  # type: ignore[assignment] # as in forms

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise InvalidField("Exactly one of version and label.", field="version")
        return attrs


class HistoryViewSet(ApiViewSet):
    """Views of ``history/``, ``diff/``, ``persist/`` and ``restore/`` below a document."""

    @endpoint(
        "List the versions in the log, newest first: ?before= and ?limit=",
        description="`results`: version, tag, kind, at, client_id, seq, paths, bytes, labels; `oldest`, `next`.",
        query=(BEFORE, LIMIT),
        right=rights.READ_HISTORY,
        answer="VersionPage",
        errors=DOCUMENT_ERRORS,
    )
    def versions(self, request: Request, pk: str, name: str) -> Response:
        row = find_document(self.find_live_session(pk), name)
        before, limit = BEFORE.read(request), LIMIT.read_or_default(request)
        return Response(history.list_versions(row.pk, before=before, limit=limit))

    @endpoint(
        "Read an earlier version of a document",
        description="`version`, `position`, `data`.",
        right=rights.READ_STATE,
        answer="OldVersion",
        errors=PAST_ERRORS,
    )
    def version(self, request: Request, pk: str, name: str, version: str) -> Response:
        row = find_document(self.find_live_session(pk), name)
        position, raw = history.read_raw(row.pk, _parse_version(version), run=bridge().run_in_worker)
        body = {"version": position.offset, "position": position.as_json(), "data": orjson.Fragment(raw)}
        return Response(body)

    @endpoint(
        "Compare two versions: ?from= and ?to=",
        description="`from`, `to`, `patch` (RFC 6902).",
        query=(FROM, TO),
        right=rights.COMPARE_STATE,
        answer="Difference",
        errors=PAST_ERRORS,
    )
    def diff(self, request: Request, pk: str, name: str) -> Response:
        row = find_document(self.find_live_session(pk), name)
        first, second = FROM.read_or_default(request), TO.read(request)
        to = row.version if second is None else second
        return Response(
            {"from": first, "to": to, "patch": history.diff_versions(row.pk, first, to, run=bridge().run_in_worker)}
        )

    @endpoint(
        "List the checkpoints of a document",
        description="`results`: label, version, at.",
        right=rights.READ_HISTORY,
        answer="CheckpointList",
        errors=DOCUMENT_ERRORS,
    )
    def checkpoints(self, request: Request, pk: str, name: str) -> Response:
        return Response({"results": history.list_checkpoints(find_document(self.find_live_session(pk), name).pk)})

    @endpoint(
        "Keep the present version as a checkpoint",
        description="`label`, `version`.",
        right=rights.PERSIST_STATE,
        is_activity=True,
        body="LabelBody",
        answer="Checkpoint",
        errors=(*DOCUMENT_ERRORS, Conflict, DocumentLimit),
    )
    def persist(self, request: Request, pk: str, name: str) -> Response:
        found = self.find_live_session(pk)
        label = self.read_form(LabelForm).get("label")
        row, run = find_document(found, name), bridge().worker_for(found.pk)
        return Response(history.keep_checkpoint(row.pk, label, proof=self.actor.proof, run=run))

    @endpoint(
        "Read a checkpoint",
        description="`label`, `version`, `position`, `data`.",
        right=rights.READ_STATE,
        answer="LabelledVersion",
        errors=PAST_ERRORS,
    )
    def labelled(self, request: Request, pk: str, name: str, label: str) -> Response:
        row = find_document(self.find_live_session(pk), name)
        position, raw = history.read_raw(
            row.pk, history.find_labelled_version(row.pk, label), run=bridge().run_in_worker
        )
        body = {"version": position.offset, "position": position.as_json(), "data": orjson.Fragment(raw)}
        return Response({"label": label, **body})

    @endpoint(
        "Remove a checkpoint",
        status=204,
        right=rights.FORGET_STATE,
        is_activity=True,
        errors=PAST_ERRORS,
    )
    def forget(self, request: Request, pk: str, name: str, label: str) -> Response:
        row = find_document(self.find_live_session(pk), name)
        if not history.forget_checkpoint(row.pk, label, proof=self.actor.proof):
            raise NotFound("There is no checkpoint of this label.")
        return Response(status=204)

    @endpoint(
        "Write an earlier version or a checkpoint again, as the newest version",
        description="As for PATCH. `If-Match` works as well.",
        right=rights.RESTORE_STATE,
        is_activity=True,
        body="RestoreBody",
        answer="Written",
        headers=("If-Match",),
        has_etag=True,
        errors=(*WRITE_ERRORS, NotFound),
    )
    def restore(self, request: Request, pk: str, name: str) -> Response:
        found = self.find_live_session(pk)
        asked = self.read_form(RestoreForm)
        row = find_document(found, name)
        to = asked["label"] if "label" in asked else asked["version"]
        expected = read_expected_position(request)
        terms = Terms(proof=self.actor.proof)
        return answer_write(
            restore.restore_now(found.pk, row.name, to, terms, expected=expected, run=bridge().worker_for(found.pk))
        )


def _parse_version(given: str) -> int:
    if not is_number(given):
        raise NotFound("There is no such version.")
    return int(given)


def _make_path(end: str, name: str, **actions: str) -> URLPattern:
    return path(f"sessions/<str:pk>/state/<str:name>/{end}", HistoryViewSet.as_view(actions), name=f"document-{name}")


urlpatterns = [
    _make_path("history/", "history", get="versions"),
    _make_path("history/<str:version>/", "version", get="version"),
    _make_path("diff/", "diff", get="diff"),
    _make_path("persist/", "persist", get="checkpoints", post="persist"),
    # A label is any printable text, with slashes too.
    _make_path("persist/<path:label>/", "checkpoint", get="labelled", delete="forget"),
    _make_path("restore/", "restore", post="restore"),
]
