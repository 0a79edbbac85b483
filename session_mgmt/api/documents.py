"""Documents of a session over HTTP: read, change, and fetch missed changes (PROTOCOL sections 6 and 13)."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions import access, checking
from session_mgmt.actions.access import Proof
from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state import lookup, stored_rows, updates
from session_mgmt.actions.state.updates import Terms
from session_mgmt.actions.timeline.proofs import check_proof
from session_mgmt.api import rights
from session_mgmt.api.conditions import Conditions, format_etag, is_known, read_conditions
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.forms import ChangeForm, NothingForm, SyncForm
from session_mgmt.api.reading import read_body
from session_mgmt.api.refusals import DOCUMENT_ERRORS, WRITE_ERRORS
from session_mgmt.api.views import ApiViewSet
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.documents import whole
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.whole import Replacement
from session_mgmt.exceptions import DocumentNotFound, DocumentTooLarge, InvalidField, PreconditionFailed
from session_mgmt.models import ClientSession, StateDocument, StateRevision
from session_mgmt.writes import offline, verbs
from session_mgmt.writes.offline import Pending

# Bytes besides the document: the names of the other fields, and the white space of formatted JSON.
SLACK = 64 * 1024
# Bounded, because all changes of a call are written within its time limit.
MOST_PENDING = 100


class DocumentViewSet(ApiViewSet):
    """Views below ``sessions/{id}/state/``, except history and conflicts."""

    @endpoint(
        "List the documents of a session",
        description="`results`: documents without their data.",
        right=rights.READ_STATE,
        answer="DocumentList",
    )
    def list(self, request: Request, pk: str) -> Response:
        found = self.find_live_session(pk)
        return Response({"results": [lookup.describe_head(row) for row in lookup.list_documents(found.pk)]})

    @endpoint(
        "Read a document",
        description="ClientState. `ETag` is its position. `If-None-Match` with it gets 304.",
        right=rights.READ_STATE,
        answer="ClientState",
        headers=("If-None-Match",),
        has_etag=True,
        errors=DOCUMENT_ERRORS,
    )
    def retrieve(self, request: Request, pk: str, name: str) -> Response:
        row = find_document(self.find_live_session(pk), name)
        head = lookup.position_of(row)
        # Check before the body is built, so that a caller who already has this version costs one small query.
        if is_known(request, head):
            return Response(status=304, headers={"ETag": format_etag(head)})
        # Use the position of the body that was read, which may be newer than the head above.
        position, state = lookup.read_client_state(row, run=bridge().run_in_worker)
        return Response(state, headers={"ETag": format_etag(position)})

    @endpoint(
        "Change a document with one of ops, merge, patch, data",
        description="`position`, `unchanged`, `dropped`, `overwrote`, `conflicts`. `If-Match` requires this"
        " version, and `If-None-Match: *` a document without any (412). With `Idempotency-Key` it is applied once.",
        right=rights.WRITE_STATE,
        is_activity=True,
        body="ChangeBody",
        answer="Written",
        headers=("If-Match", "If-None-Match", "Idempotency-Key"),
        has_etag=True,
        errors=WRITE_ERRORS,
    )
    def partial_update(self, request: Request, pk: str, name: str) -> Response:
        found = self.find_live_session(pk)
        # Limited like a frame, since it is parsed here. Whole documents are sent by PUT, and parsed by the worker
        # process.
        change = self.read_form(ChangeForm)
        kind, value = change.pop("kind"), change.pop("change")
        wanted = read_conditions(request, change.pop("key", None))
        change["atomic"] = bool(change.get("atomic"))
        parts = name, kind, value, change.get("strategy")
        asked = updates.digest_request(*parts, atomic=change["atomic"]) if wanted.key else None
        terms = wanted.terms(asked)._replace(proof=self.actor.proof, **change)
        run = bridge().worker_for(found.pk)
        outcome = verbs.update_now(found.pk, _check_name(name), kind, value, terms, expected=wanted.expected, run=run)
        return answer_write(outcome, wanted)

    @endpoint(
        "Replace a document with the body",
        description="As for PATCH.",
        right=rights.WRITE_STATE,
        is_activity=True,
        body="JSON",
        answer="Written",
        headers=("If-Match", "If-None-Match", "Idempotency-Key"),
        has_etag=True,
        errors=WRITE_ERRORS,
    )
    def update(self, request: Request, pk: str, name: str) -> Response:
        found = self.find_live_session(pk)
        most = settings().max_document_bytes + SLACK
        wanted = read_conditions(request)
        fresh = _prepare_whole(read_body(request, most=most, too_large=DocumentTooLarge), most)
        terms = wanted.terms(_hash_parts(b"put", fresh.ops) if wanted.key else None)
        terms = terms._replace(proof=self.actor.proof)
        run = bridge().worker_for(found.pk)
        outcome = verbs.replace_now(found.pk, _check_name(name), fresh, terms, expected=wanted.expected, run=run)
        return answer_write(outcome, wanted)

    @endpoint(
        "Write a new version that is {}",
        description="As for PATCH.",
        right=rights.WRITE_STATE,
        is_activity=True,
        answer="Written",
        headers=("If-Match", "If-None-Match", "Idempotency-Key"),
        has_etag=True,
        errors=WRITE_ERRORS,
    )
    def destroy(self, request: Request, pk: str, name: str) -> Response:
        found = self.find_live_session(pk)
        row = find_document(found, name)
        wanted = read_conditions(request)
        terms = wanted.terms(_hash_parts(b"clear"))._replace(proof=self.actor.proof)
        nothing, kind = whole.make_replacement({}), StateRevision.Kind.CLEAR
        outcome = verbs.replace_now(found.pk, row.name, nothing, terms, expected=wanted.expected, kind=kind)
        return answer_write(outcome, wanted)

    @endpoint(
        "Apply pending changes, and return one verdict for a position",
        description="`mode`, `reason`, `position`, `entries` or `data`, and with `pending` also `results`.",
        right=rights.READ_STATE,
        body="SyncBody",
        answer="Synchronised",
        errors=WRITE_ERRORS,
    )
    def sync(self, request: Request, pk: str, name: str) -> Response:
        found, name = self.find_live_session(pk), _check_name(name)
        asked = self.read_form(SyncForm)
        changes = _read_pending(asked["pending"], self.actor.proof) if "pending" in asked else None
        if changes:
            # Needed only for changes: without them the call only reads, which a token for reading may do.
            self.require_scope("pending")
            self.require_right(found, rights.WRITE_STATE)
            self.is_activity = True
        # Write before the verdict, so that the response contains the effect of these changes.
        outcomes = offline.carry_out(found.pk, name, changes or (), run=bridge().worker_for(found.pk))
        # It may record an event, and tell the document as the next owner has it.
        check_proof(settings().database, self.actor.proof)
        answer = lookup.sync_document(found.pk, name, asked.get("position"), run=bridge().worker_for(found.pk))
        body = {} if changes is None else {"results": [orjson.Fragment(outcome.body) for outcome in outcomes]}
        return Response({**answer, **body})

    @endpoint(
        "Read the size of a document",
        description="Bytes: `size` (of compact JSON, or an upper bound unless `exact`), `stored`, `log`.",
        right=rights.READ_STATE,
        answer="Sizes",
        errors=DOCUMENT_ERRORS,
    )
    def size(self, request: Request, pk: str, name: str) -> Response:
        return Response(lookup.read_sizes(find_document(self.find_live_session(pk), name)))

    @endpoint(
        "Compress a document now",
        description="As from size.",
        right=rights.COMPACT_STATE,
        body="NothingBody",
        answer="Sizes",
        errors=DOCUMENT_ERRORS,
    )
    def compress(self, request: Request, pk: str, name: str) -> Response:
        found = self.find_live_session(pk)
        self.read_form(NothingForm)
        row = find_document(found, name)
        lookup.compress_document(row.pk, proof=self.actor.proof, run=bridge().worker_for(found.pk))
        return Response(lookup.read_sizes(find_document(found, name)))


def find_document(session: ClientSession, name: str) -> StateDocument:
    """Return the head of the document that an address names. Raises ``DocumentNotFound``."""
    row = lookup.list_documents(session.pk).filter(name=_check_name(name)).first()
    if row is None:
        raise DocumentNotFound()
    return row


def _check_name(name: str) -> str:
    # An impossible name is answered as an unknown one, so that there is only one error to handle.
    if not access.is_document(name):
        raise DocumentNotFound()
    return name


def _read_pending(given: Any, proof: Proof | None) -> list[Pending]:
    """Return the pending changes. Each needs a key, because clients repeat the whole call if its response is lost."""
    if not isinstance(given, list) or len(given) > MOST_PENDING:
        raise InvalidField(f"pending is a list of at most {MOST_PENDING} changes.", field="pending")
    changes = []
    for each in given:
        change = ChangeForm(data=each).read_fields()
        kind, value, key = change.pop("kind"), change.pop("change"), change.pop("key", None)
        if key is None:
            raise InvalidField("Each pending change has a key.", field="key")
        change["atomic"] = bool(change.get("atomic"))
        changes.append(Pending(kind, value, Terms(key=key, proof=proof, **change)))
    return changes


def _prepare_whole(raw: bytes, most: int) -> Replacement:
    """Prepare a whole document; a large one is prepared in the worker process."""
    try:
        # Parsing holds the interpreter lock, which stops all other requests and connections of this process.
        if len(raw) > stored_rows.HEAVY_BYTES:
            return bridge().run_in_worker(whole.parse_replacement, raw, checking.document_limits(), most)
        return whole.parse_replacement(raw, checking.document_limits(), most)
    except DocumentError as error:
        raise checking.translate_error(error) from error


def _hash_parts(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\0".join(parts)).digest()


def answer_write(outcome: Outcome, wanted: Conditions | None = None) -> Response:
    """Return the response to a write.

    Raises the error that refused it, or ``PreconditionFailed`` if ``wanted`` does not hold.
    """
    position = outcome.require()
    # The write returned the current position; over HTTP an unmet condition is 412 (RFC 9110 section 13.1.2).
    if wanted is not None and wanted.if_absent and outcome.unchanged and position.offset:
        raise PreconditionFailed(position=position.as_json())
    body = orjson.loads(outcome.body)
    answer = {
        "position": position.as_json(),
        "unchanged": outcome.unchanged,
        "dropped": body.get("dropped", []),
        "overwrote": body.get("overwrote", []),
        "conflicts": body.get("conflicts", []),
    }
    return Response(answer, headers={"ETag": format_etag(position)})
