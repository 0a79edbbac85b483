"""Topics over HTTP: publish, and read publications, values and members."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions import access
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.sessions import following
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.forms import PublicationForm
from session_mgmt.api.queries import Number, Place
from session_mgmt.api.refusals import PUBLICATION_ERRORS
from session_mgmt.api.views import ApiView, proven_session
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import (
    Busy,
    HandlerFailed,
    InvalidField,
    NotFound,
    PublishDenied,
    ReauthRequired,
    TopicDenied,
    UnknownPosition,
)
from session_mgmt.protocol.frames import HISTORY_LIMIT, HISTORY_PAGE
from session_mgmt.protocol.logs import PRESENCE, TOPIC
from session_mgmt.writes import verbs

BEFORE = Place("before", "Only entries before this position, as epoch.offset.tag.")
LIMIT = Number("limit", "Entries on a page.", least=1, most=HISTORY_LIMIT, default=HISTORY_PAGE)


class PublicationView(ApiView):
    """View of ``topics/{topic}/publications/``."""

    @endpoint(
        "Read earlier publications of a topic: ?before= and ?limit=",
        description="`epoch`, `entries` (offset, tag, data, at; newest last), `more`. Needs the token of a session.",
        query=(BEFORE, LIMIT),
        answer="PastPage",
        errors=(NotFound, TopicDenied, ReauthRequired, UnknownPosition),
    )
    def get(self, request: Request, topic: str) -> Response:
        before, limit = BEFORE.read(request), LIMIT.read_or_default(request)
        session = proven_session(request)
        # Only sessions can be judged by the topic's function. Staff can read publications in the admin.
        if session is None:
            raise TopicDenied()
        access.check_follow(session, topic)
        return Response(following.read_allowed_past(session, topic, before, limit).as_json())

    @endpoint(
        "Publish to a topic",
        status=201,
        description="`position`, or null for an ephemeral publication, which is not in the log.",
        body="PublicationBody",
        answer="Placed",
        errors=(NotFound, PublishDenied, *PUBLICATION_ERRORS),
    )
    def post(self, request: Request, topic: str) -> Response:
        self._check_rights(topic)
        wanted = self.read_form(PublicationForm)
        position = verbs.publish(
            topic,
            wanted["data"],
            key=wanted.get("key"),
            ephemeral=bool(wanted.get("ephemeral")),
            proof=self.actor.proof,
        )
        place = None if position is None or isinstance(position, Ticket) else position.as_json()
        return Response({"position": place}, status=201)

    def _check_rights(self, topic: str) -> None:
        """Let the topic's function judge a session. Any other caller needs the permission, and a declared topic."""
        session = proven_session(self.request)
        if session is not None:
            access.check_publish(session, topic)
        # Staff too: a publication to an undeclared topic would be stored, and nobody could ever read it.
        elif not self.actor.may(access.PUBLISH) or not access.is_declared(topic, self.actor.tenant):
            raise PublishDenied()


class ValueView(ApiView):
    """View of ``topics/{topic}/value/``."""

    @endpoint(
        "Read the value of a topic that declares one",
        description="`data`, and the `position` after which publications change it. Needs the token of a session.",
        answer="TopicValue",
        errors=(NotFound, TopicDenied, ReauthRequired, InvalidField, HandlerFailed, Busy),
    )
    def get(self, request: Request, topic: str) -> Response:
        session = proven_session(request)
        # As for publications: the value is computed for a session.
        if session is None:
            raise TopicDenied()
        value = following.read_value(session, TOPIC + topic, self.actor.restriction, bridge().drain)
        return Response(value.as_json())


class MembersView(ApiView):
    """View of ``topics/{topic}/members/``."""

    @endpoint(
        "Read the members of a topic",
        description="`position` in its presence log, `count`, `members` by id (null above `members_shown`).",
        answer="Members",
        errors=(NotFound, TopicDenied, ReauthRequired),
    )
    def get(self, request: Request, topic: str) -> Response:
        session = proven_session(request)
        # As for publications: the function that decides takes a session.
        if session is None:
            raise TopicDenied()
        access.check_follow(session, PRESENCE + topic)
        return Response(following.read_members(session.pk, topic).as_json())
