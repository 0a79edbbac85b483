"""Components of the OpenAPI document: bodies of requests and of answers, as JSON Schema 2020-12."""

from __future__ import annotations

from session_mgmt.api.shapes import (
    ANY,
    CHANGES,
    COUNT,
    COUNTS,
    CREATED,
    ENTRY,
    FIGURES,
    FLAG,
    INPUT,
    KEY,
    LABEL,
    MOMENT,
    MOST,
    NUMBER,
    OBJECT,
    OLD,
    PAIR,
    PATCHES,
    PLACED,
    POINTER,
    POSITION,
    PROOFS,
    ROW,
    STORED,
    TERMS,
    TEXT,
    UUID,
    WRITTEN,
    Schema,
    allow_null,
    build_body,
    build_enum,
    build_list,
    build_object,
    build_tuple,
    refer,
)
from session_mgmt.exceptions import list_errors
from session_mgmt.protocol.calls import MOST_FRAMES, MOST_HOLD, OF_SOCKETS, SERVER_FRAMES, TRANSPORTS
from session_mgmt.protocol.frames import FRAME_TYPES
from session_mgmt.protocol.scopes import MOST as MOST_SCOPES
from session_mgmt.protocol.scopes import SCOPE_PATTERN

NAMED_CLIENT: Schema = {"type": "string", "minLength": 1, "maxLength": 40}
CLAIM: Schema = {"client_id": NAMED_CLIENT, "generation": {**COUNT, "minimum": 1}}

_COMPONENTS: dict[str, Schema] = {
    # -- values
    "JSON": {
        "description": "Any value within the limits of documents. No integer beyond 2^53-1, NUL or key `__proto__`.",
        "anyOf": [
            {"type": "null"},
            FLAG,
            {"type": "number", "minimum": -MOST, "maximum": MOST},
            INPUT,
            build_list(ANY),
            OBJECT,
        ],
    },
    "Pointer": {
        "type": "string",
        "description": "RFC 6901.",
        "pattern": r"^(/([^~/\u0000]|~[01]){0,50}){0,40}$",
        "examples": ["/cart/0"],
    },
    "Position": {
        "description": "A place in a log: epoch, offset and tag.",
        **build_tuple(TEXT, COUNT, TEXT),
        "examples": [["6dc1e0a4", 57, "a1b2c3d4e5f60718"]],
    },
    "Operation": {
        "description": "One total operation (PROTOCOL section 6).",
        "anyOf": [
            build_tuple(build_enum("set", "ins"), POINTER, ANY),
            build_tuple(build_enum("del", "obj"), POINTER),
            build_tuple(build_enum("inc"), POINTER, {"type": "number", "minimum": -MOST, "maximum": MOST}),
        ],
        "examples": [["set", "/cart/0", "apple"]],
    },
    "PatchOperation": {
        "description": "One operation of RFC 6902.",
        # Additional members are ignored, as RFC 6902 demands, but they are parsed and so count against the limits.
        "allOf": [OBJECT],
        "anyOf": [build_object({"op": {"const": op}, "path": POINTER, **more}) for op, more in PATCHES.items()],
        "examples": [{"op": "add", "path": "/cart/0", "value": "apple"}],
    },
    # -- requests
    "SessionBody": build_body(
        {},
        {
            "metadata": refer("Facts"),
            "config": refer("Config"),
            "label": refer("Label"),
            "nonce": refer("Nonce"),
            "scopes": refer("Scopes"),
        },
    ),
    "NarrowBody": build_body({"scopes": refer("Scopes")}, {"expires_in": {**COUNT, "minimum": 1}}),
    "Scopes": build_list(
        {"type": "string", "pattern": SCOPE_PATTERN},
        minItems=1,
        maxItems=MOST_SCOPES,
        description="Rights of a session or a token. They cannot exceed those of its creator.",
    ),
    "RefreshBody": build_body({"token": {**INPUT, "minLength": 1, "maxLength": 200}, "nonce": refer("Nonce")}),
    "EnterBody": build_body(
        {"nonce": refer("Nonce")},
        {
            "kept": allow_null(
                build_body({"session": {**INPUT, "maxLength": 36}, "token": {**INPUT, "maxLength": 200}})
            ),
            "previous": allow_null({**INPUT, "minLength": 1, "maxLength": 36}),
            "user": allow_null({**INPUT, "maxLength": 200}),
            "name": allow_null({**INPUT, "maxLength": 200}),
            "choice": build_enum("claim", "fresh", None),
            "create": allow_null(
                build_body(
                    {},
                    {
                        "metadata": refer("Facts"),
                        "config": refer("Config"),
                        "label": refer("Label"),
                        "scopes": refer("Scopes"),
                    },
                )
            ),
        },
    ),
    "Nonce": {
        "type": "string",
        "description": "32 random bytes as base64url. A repetition with them gets the same answer.",
        "pattern": "^[A-Za-z0-9_-]{43}$",
    },
    "SessionChange": build_body(
        {},
        {"metadata": refer("Facts"), "config": refer("Config"), "label": refer("Label")},
        minProperties=1,
    ),
    "Facts": OBJECT,
    "Label": {**INPUT, "maxLength": 200},
    "ValidationBody": build_body({}, {"permission": {**INPUT, "maxLength": 200}}),
    "RecoveryBody": build_body(
        {},
        {
            "state": FLAG,
            "subscriptions": FLAG,
            "maximum_age": {**COUNT, "description": "Seconds since the session ended."},
        },
    ),
    "MessageBody": build_body({"data": ANY}, {"key": allow_null(KEY)}),
    "PublicationBody": build_body({"data": ANY}, {"key": allow_null(KEY), "ephemeral": allow_null(FLAG)}),
    "ChangeBody": {
        "oneOf": [build_body({kind: change}, TERMS) for kind, change in CHANGES.items()],
        "anyOf": PROOFS,
        "examples": [{"merge": {"cart": ["apple"]}}],
    },
    "PendingChange": {
        "oneOf": [build_body({kind: change, "key": KEY}, {**TERMS, "key": KEY}) for kind, change in CHANGES.items()],
        "anyOf": PROOFS,
        "examples": [{"merge": {"cart": ["apple"]}, "key": "first-try"}],
    },
    "SyncBody": build_body(
        {}, {"position": allow_null(POSITION), "pending": build_list(refer("PendingChange"), maxItems=100)}
    ),
    "DecisionBody": {
        "oneOf": [
            build_body({"keep": build_enum("server", "client")}),
            build_body({"keep": {"const": "value"}}, {"value": ANY}),
        ]
    },
    "LabelBody": build_body({}, {"label": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": LABEL}}),
    "RestoreBody": {
        "oneOf": [
            build_body({"version": COUNT}),
            build_body({"label": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": LABEL}}),
        ]
    },
    "NothingBody": build_body({}),
    # -- answers
    "Error": build_object(
        {
            "code": {"type": "integer"},
            "name": build_enum(*(error.name for error in list_errors())),
            "temporary": FLAG,
            "retry_after": allow_null(NUMBER),
            "message": TEXT,
        },
        {"field": allow_null(TEXT), "position": POSITION, "limit": COUNT, "paths": build_list(POINTER), "scope": TEXT},
    ),
    "SessionInfo": build_object(
        {
            "session_id": UUID,
            "user_id": allow_null(TEXT),
            "state": build_enum("active", "expired", "terminated"),
            "created_at": MOMENT,
            "last_active_at": MOMENT,
            "expires_at": MOMENT,
            "connection_state": build_enum("connected", "reconnecting", "disconnected"),
            "label": TEXT,
            "metadata": {"type": "object"},
        },
        {"acting": TEXT},
    ),
    "SessionList": build_object({"results": build_list(refer("SessionInfo")), "next": allow_null(UUID)}),
    "Device": build_object(
        {
            "session_id": UUID,
            "label": TEXT,
            "browser": TEXT,
            "system": TEXT,
            "place": TEXT,
            "first_seen": MOMENT,
            "last_seen": MOMENT,
            "connection_state": build_enum("connected", "reconnecting", "disconnected"),
            "is_current": FLAG,
        }
    ),
    "DeviceList": build_object({"results": build_list(refer("Device"))}),
    "EndedDevices": build_object({"ended": COUNT}),
    "CreatedSession": {"oneOf": [build_object(CREATED), build_object({**PLACED, **PAIR})]},
    "NarrowedToken": build_object({"access": TEXT, "expires_in": NUMBER, "scopes": build_list(TEXT)}),
    "TokenPair": build_object({**PAIR, "login_due_in": allow_null(NUMBER), "login_changed": FLAG}),
    "PageLogin": build_object({"user_id": allow_null(TEXT), "csrf": allow_null(TEXT)}),
    "EnteredSession": build_object(
        {
            "verdict": build_enum("created", "continued", "recovered", "claimed", "ask"),
            "reason": TEXT,
            "user_id": allow_null(TEXT),
            "session": refer("SessionInfo"),
            "token_mode": build_enum("bearer", "cookie"),
            "access": allow_null(TEXT),
            "refresh": allow_null(TEXT),
            "expires_in": allow_null(NUMBER),
            "login_due_in": allow_null(NUMBER),
            "positions": build_object({}, {"session": POSITION}),
            "endpoints": build_object({"websocket": TEXT, "session": TEXT}),
            "receipt": allow_null({"type": "object"}),
            "documents": allow_null(build_list(build_object({"name": TEXT, "version": COUNT}))),
            "on_logout": build_enum("end", "anonymous"),
        }
    ),
    "RecoveredSession": build_object({**CREATED, "receipt": {"type": "object"}}),
    "Validity": build_object({"valid": FLAG, "reason": allow_null(TEXT)}),
    "SessionMetrics": build_object(
        {
            "session_id": UUID,
            "state": TEXT,
            "uptime": NUMBER,
            "connections": COUNT,
            "open_connections": COUNT,
            "reconnects": COUNT,
            "connected_time": NUMBER,
            **FIGURES,
            "recoveries": COUNTS,
            "closes": COUNTS,
            "state_documents": build_object(
                {"count": COUNT, "size": COUNT, "exact": FLAG, "updates": COUNT, "version": COUNT}
            ),
            "events": COUNTS,
            "errors": COUNTS,
            "conflicts": COUNT,
        }
    ),
    "EventPage": build_object(
        {"results": build_list(ENTRY), "epoch": TEXT, "oldest": COUNT, "head": POSITION, "next": allow_null(COUNT)}
    ),
    "ConnectionList": build_object(
        {
            "results": build_list(
                build_object(
                    {
                        "client_id": TEXT,
                        "generation": COUNT,
                        "transport": build_enum("websocket", "sse", "longpoll"),
                        "state": build_enum("open", "lost", "closed"),
                        "opened_at": MOMENT,
                        "closed_at": allow_null(MOMENT),
                        "close_code": allow_null(COUNT),
                        "closed_by": TEXT,
                        **FIGURES,
                        "recovery": allow_null(TEXT),
                    }
                )
            )
        }
    ),
    "Stopped": build_object({"connections": COUNT}),
    "PastPage": build_object(
        {"epoch": TEXT, "entries": build_list(build_tuple(COUNT, TEXT, STORED, MOMENT)), "more": FLAG}
    ),
    "TopicValue": build_object({"position": POSITION, "data": STORED}),
    "Members": build_object(
        {
            "position": POSITION,
            "count": COUNT,
            "members": allow_null(
                {"type": "object", "additionalProperties": build_object({"data": STORED, "since": MOMENT})}
            ),
        }
    ),
    "Placed": build_object({"position": allow_null(POSITION)}),
    "DocumentList": build_object({"results": build_list(build_object(ROW))}),
    "ClientState": build_object({**ROW, "data": STORED}),
    "Written": build_object(
        {**WRITTEN, "dropped": build_list({}), "overwrote": build_list({}), "conflicts": build_list({"type": "object"})}
    ),
    "Sizes": build_object(
        {
            "name": TEXT,
            "version": COUNT,
            "size": COUNT,
            "exact": FLAG,
            "stored": COUNT,
            "log": COUNT,
            "compressed": FLAG,
        }
    ),
    "Synchronised": build_object(
        {"mode": build_enum("up_to_date", "entries", "snapshot"), "position": POSITION},
        {
            "reason": TEXT,
            "from": COUNT,
            "to": COUNT,
            "entries": build_list(ENTRY),
            "data": STORED,
            "encrypted": FLAG,
            "results": build_list(
                build_object({"ok": FLAG}, {"error": refer("Error"), "position": allow_null(POSITION)})
            ),
        },
    ),
    "VersionPage": build_object(
        {
            "results": build_list(
                build_object(
                    {
                        "version": COUNT,
                        "tag": TEXT,
                        "kind": TEXT,
                        "at": MOMENT,
                        "client_id": allow_null(TEXT),
                        "seq": allow_null(COUNT),
                        "paths": build_list(TEXT),
                        "bytes": COUNT,
                        "labels": build_list(TEXT),
                    }
                )
            ),
            "oldest": {"type": "integer"},
            "next": allow_null(COUNT),
        }
    ),
    "OldVersion": build_object(OLD),
    "Difference": build_object({"from": COUNT, "to": COUNT, "patch": build_list({"type": "object"})}),
    "CheckpointList": build_object(
        {"results": build_list(build_object({"label": TEXT, "version": COUNT, "at": MOMENT}))}
    ),
    "Checkpoint": build_object({"label": TEXT, "version": COUNT}),
    "LabelledVersion": build_object({"label": TEXT, **OLD}),
    "ConflictList": build_object(
        {
            "results": build_list(
                build_object(
                    {
                        "id": UUID,
                        "path": TEXT,
                        "version": COUNT,
                        "client_id": allow_null(TEXT),
                        "at": MOMENT,
                        "resolved_at": allow_null(MOMENT),
                        "resolution": allow_null(TEXT),
                    },
                    {"base": STORED, "server": STORED, "client": STORED},
                )
            )
        }
    ),
    "Decided": build_object(WRITTEN),
    "FollowedLog": build_object(
        {"position": allow_null(POSITION)},
        {"grant": {"type": "string", "maxLength": 100, "description": "Only for a topic."}},
    ),
    "AttachBody": build_object(
        {"transport": build_enum(*TRANSPORTS)},
        {
            "client_id": allow_null(NAMED_CLIENT),
            "acked": COUNT,
            "logs": {"type": "object", "additionalProperties": allow_null(POSITION)},
            "user": allow_null(TEXT),
            "agent": {"type": "string", "maxLength": 100},
        },
    ),
    "PollBody": build_object(
        CLAIM,
        {
            "acked": COUNT,
            "recovery": allow_null(TEXT),
            "hold": {"type": "number", "minimum": 0, "maximum": MOST_HOLD},
            "logs": {"type": "object", "additionalProperties": refer("FollowedLog")},
        },
    ),
    "FramesBody": build_object(
        {**CLAIM, "frames": {**build_list(refer("ClientFrame")), "maxItems": MOST_FRAMES}},
        {"acked": COUNT, "logs": {"type": "object", "additionalProperties": allow_null(POSITION)}},
    ),
    "LeaveBody": build_object(CLAIM),
    "ClientFrame": {
        "description": "A frame of PROTOCOL section 3, by its `type`.",
        "oneOf": [
            build_object({"type": {"const": name}}, {"seq": COUNT, "id": COUNT})
            for name in FRAME_TYPES
            if name not in OF_SOCKETS
        ],
    },
    "Frame": {
        "description": "A frame of PROTOCOL section 3, by its `type`.",
        "oneOf": [build_object({"type": {"const": name}}) for name in SERVER_FRAMES],
    },
    "Frames": build_object({"frames": build_list(refer("Frame"))}),
    "Polled": build_object({"frames": build_list(refer("Frame")), "next_in": NUMBER}),
    "Health": build_object(
        {"status": build_enum("ok", "degraded", "unavailable")}, {"problems": build_list(TEXT), "server_time": MOMENT}
    ),
    "Description": {"type": "object"},
}


def build_components(*, idle_timeout: float, absolute_timeout: float) -> dict[str, Schema]:
    """Return all components; the arguments are the longest timeouts that a session may have, in seconds."""
    return {**_COMPONENTS, "Config": _config(idle_timeout=idle_timeout, absolute_timeout=absolute_timeout)}


def _config(**longest: float) -> Schema:
    timeout = {"type": ["number", "null"], "minimum": 60, "description": "Seconds."}
    return {
        **OBJECT,
        "properties": {name: {**timeout, "maximum": most} for name, most in longest.items()},
    }
