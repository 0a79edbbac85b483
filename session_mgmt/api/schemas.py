"""Components of the OpenAPI document: bodies of requests and of answers, as JSON Schema 2020-12."""

from __future__ import annotations

from typing import Any

from session_mgmt.exceptions import list_errors
from session_mgmt.protocol.scopes import MOST as MOST_SCOPES
from session_mgmt.protocol.scopes import SCOPE_PATTERN

Schema = dict[str, Any]
MOST = 2**53 - 1

_DIGEST = "^[0-9a-f]*$"
_LABEL = "^[!-~]+( [!-~]+)*$"


def refer(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required), **more}


def _body(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    """Return the schema of a request, in which unlisted fields are refused."""
    return _object(required, optional, additionalProperties=False, **more)


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _tuple(*items: Schema) -> Schema:
    return {"type": "array", "prefixItems": list(items), "minItems": len(items), "maxItems": len(items)}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _enum(*values: Any) -> Schema:
    return {"enum": list(values)}


_TEXT: Schema = {"type": "string"}
# No database column takes a NUL character.
_INPUT: Schema = {"type": "string", "pattern": r"^[^\u0000]*$"}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": MOST}
_NUMBER: Schema = {"type": "number"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_UUID: Schema = {"type": "string", "format": "uuid"}
_COUNTS: Schema = {"type": "object", "additionalProperties": _COUNT}
_KEY: Schema = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[!-~]+$"}
_ANY = refer("JSON")
_OBJECT: Schema = {
    "type": "object",
    "additionalProperties": _ANY,
    "propertyNames": {**_INPUT, "not": {"const": "__proto__"}},
}
# Content of documents may be older than the limits of today.
_STORED: Schema = {}
_POINTER = refer("Pointer")
_POSITION = refer("Position")
_TERMS: Schema = {
    "base": _or_null({**_COUNT, "description": "The version that the change was made on."}),
    "epoch": _or_null({**_INPUT, "minLength": 1, "maxLength": 64}),
    "tag": _or_null({"type": "string", "pattern": "^([0-9a-f]{16})?$", "description": "Proves the base."}),
    "atomic": _or_null({**_FLAG, "description": "All operations or none."}),
    "strategy": _or_null(_enum("merge", "server_wins", "client_wins", "reject", "manual")),
    "replaced": _or_null(
        {
            "type": "object",
            "description": "Digests of the replaced values, by path.",
            "propertyNames": _POINTER,
            "additionalProperties": _or_null({"type": "string", "pattern": "^[0-9a-f]{16}$"}),
            "maxProperties": 500,
        }
    ),
    "key": _or_null(_KEY),
}
# A tag proves a base, so it comes with one; the empty tag is that of version 0.
_PROOFS: list[Schema] = [
    {"properties": {"tag": {"type": "null"}}},
    {"properties": {"tag": {"pattern": "^[0-9a-f]{16}$"}, "base": {"type": "integer"}}, "required": ["tag", "base"]},
    {"properties": {"tag": {"const": ""}, "base": {"const": 0}}, "required": ["tag", "base"]},
]
_ROW: Schema = {
    "name": _TEXT,
    "version": _COUNT,
    "position": _POSITION,
    "last_modified": _MOMENT,
    "last_writer": _or_null(_TEXT),
    "checksum": _or_null({"type": "string", "pattern": _DIGEST}),
    "checksum_version": _COUNT,
    "compressed": _FLAG,
    "encrypted": _FLAG,
    "size": _COUNT,
}
_PLACED: Schema = {
    "session": refer("SessionInfo"),
    "positions": _object({"session": _POSITION}),
    "endpoints": _object({"websocket": _TEXT, "session": _TEXT}),
}
_CREATED: Schema = {**_PLACED, "token": _TEXT}
_PAIR: Schema = {"access": _TEXT, "refresh": _TEXT, "expires_in": _NUMBER}
_OLD: Schema = {"version": _COUNT, "position": _POSITION, "data": _STORED}
_WRITTEN: Schema = {"position": _POSITION, "unchanged": _FLAG}
_ENTRY: Schema = _tuple(_COUNT, _TEXT, {"type": "object"})

# Members of an operation of RFC 6902 besides `op` and `path`.
_PATCHES = {
    **{op: {"value": _ANY} for op in ("add", "replace", "test")},
    **{op: {"from": _POINTER} for op in ("move", "copy")},
    "remove": {},
}
_CHANGES = {
    "ops": _list(refer("Operation"), maxItems=500),
    "merge": _OBJECT,
    "patch": _list(refer("PatchOperation"), maxItems=500),
    "data": _ANY,
}

_COMPONENTS: dict[str, Schema] = {
    # -- values
    "JSON": {
        "description": "Any value within the limits of documents; no integer beyond 2^53-1, NUL or key `__proto__`.",
        "anyOf": [
            {"type": "null"},
            _FLAG,
            {"type": "number", "minimum": -MOST, "maximum": MOST},
            _INPUT,
            _list(_ANY),
            _OBJECT,
        ],
    },
    "Pointer": {
        "type": "string",
        "description": "RFC 6901.",
        "pattern": r"^(/([^~/\u0000]|~[01]){0,50}){0,40}$",
        "examples": ["/cart/0"],
    },
    "Position": {
        "description": "Epoch, offset and tag: a place in a log.",
        **_tuple(_TEXT, _COUNT, _TEXT),
        "examples": [["6dc1e0a4", 57, "a1b2c3d4e5f60718"]],
    },
    "Operation": {
        "description": "One total operation (PROTOCOL section 6).",
        "anyOf": [
            _tuple(_enum("set", "ins"), _POINTER, _ANY),
            _tuple(_enum("del", "obj"), _POINTER),
            _tuple(_enum("inc"), _POINTER, {"type": "number", "minimum": -MOST, "maximum": MOST}),
        ],
        "examples": [["set", "/cart/0", "apple"]],
    },
    "PatchOperation": {
        "description": "One operation of RFC 6902.",
        # Further members are ignored, as RFC 6902 has it, but they are read.
        "allOf": [_OBJECT],
        "anyOf": [_object({"op": {"const": op}, "path": _POINTER, **more}) for op, more in _PATCHES.items()],
        "examples": [{"op": "add", "path": "/cart/0", "value": "apple"}],
    },
    # -- requests
    "SessionBody": _body(
        {},
        {
            "metadata": refer("Facts"),
            "config": refer("Config"),
            "label": refer("Label"),
            "nonce": refer("Nonce"),
            "scopes": refer("Scopes"),
        },
    ),
    "NarrowBody": _body({"scopes": refer("Scopes")}, {"expires_in": {**_COUNT, "minimum": 1}}),
    "Scopes": _list(
        {"type": "string", "pattern": SCOPE_PATTERN},
        minItems=1,
        maxItems=MOST_SCOPES,
        description="What a session or a token may do, never more than its maker may.",
    ),
    "RefreshBody": _body({"token": {**_INPUT, "minLength": 1, "maxLength": 200}, "nonce": refer("Nonce")}),
    "EnterBody": _body(
        {"nonce": refer("Nonce")},
        {
            "kept": _or_null(_body({"session": {**_INPUT, "maxLength": 36}, "token": {**_INPUT, "maxLength": 200}})),
            "previous": _or_null({**_INPUT, "minLength": 1, "maxLength": 36}),
            "user": _or_null({**_INPUT, "maxLength": 200}),
            "name": _or_null({**_INPUT, "maxLength": 200}),
            "choice": _enum("claim", "fresh", None),
            "create": _or_null(
                _body(
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
        "description": "32 random bytes of this request as base64url: sent again, it gets the same answer.",
        "pattern": "^[A-Za-z0-9_-]{43}$",
    },
    "SessionChange": _body(
        {},
        {"metadata": refer("Facts"), "config": refer("Config"), "label": refer("Label")},
        minProperties=1,
    ),
    "Facts": _OBJECT,
    "Label": {**_INPUT, "maxLength": 200},
    "ValidationBody": _body({}, {"permission": {**_INPUT, "maxLength": 200}}),
    "RecoveryBody": _body(
        {},
        {
            "state": _FLAG,
            "subscriptions": _FLAG,
            "maximum_age": {**_COUNT, "description": "Seconds since the session ended."},
        },
    ),
    "MessageBody": _body({"data": _ANY}, {"key": _KEY}),
    "PublicationBody": _body({"data": _ANY}, {"key": _KEY, "ephemeral": _FLAG}),
    "ChangeBody": {
        "oneOf": [_body({kind: change}, _TERMS) for kind, change in _CHANGES.items()],
        "anyOf": _PROOFS,
        "examples": [{"merge": {"cart": ["apple"]}}],
    },
    "PendingChange": {
        "oneOf": [_body({kind: change, "key": _KEY}, {**_TERMS, "key": _KEY}) for kind, change in _CHANGES.items()],
        "anyOf": _PROOFS,
        "examples": [{"merge": {"cart": ["apple"]}, "key": "first-try"}],
    },
    "SyncBody": _body({}, {"position": _or_null(_POSITION), "pending": _list(refer("PendingChange"), maxItems=100)}),
    "DecisionBody": {
        "oneOf": [
            _body({"keep": _enum("server", "client")}),
            _body({"keep": {"const": "value"}}, {"value": _ANY}),
        ]
    },
    "LabelBody": _body({}, {"label": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": _LABEL}}),
    "RestoreBody": {
        "oneOf": [
            _body({"version": _COUNT}),
            _body({"label": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": _LABEL}}),
        ]
    },
    "NothingBody": _body({}),
    # -- answers
    "Error": _object(
        {
            "code": {"type": "integer"},
            "name": _enum(*(error.name for error in list_errors())),
            "temporary": _FLAG,
            "retry_after": _or_null(_NUMBER),
            "message": _TEXT,
        },
        {"field": _or_null(_TEXT), "position": _POSITION, "limit": _COUNT, "paths": _list(_POINTER), "scope": _TEXT},
    ),
    "SessionInfo": _object(
        {
            "session_id": _UUID,
            "user_id": _or_null(_TEXT),
            "state": _enum("active", "expired", "terminated"),
            "created_at": _MOMENT,
            "last_active_at": _MOMENT,
            "expires_at": _MOMENT,
            "connection_state": _enum("connected", "reconnecting", "disconnected"),
            "label": _TEXT,
            "metadata": {"type": "object"},
        },
        {"acting": _TEXT},
    ),
    "SessionList": _object({"results": _list(refer("SessionInfo")), "next": _or_null(_UUID)}),
    "Device": _object(
        {
            "session_id": _UUID,
            "label": _TEXT,
            "browser": _TEXT,
            "system": _TEXT,
            "place": _TEXT,
            "first_seen": _MOMENT,
            "last_seen": _MOMENT,
            "connection_state": _enum("connected", "reconnecting", "disconnected"),
            "is_current": _FLAG,
        }
    ),
    "DeviceList": _object({"results": _list(refer("Device"))}),
    "EndedDevices": _object({"ended": _COUNT}),
    "CreatedSession": {"oneOf": [_object(_CREATED), _object({**_PLACED, **_PAIR})]},
    "NarrowedToken": _object({"access": _TEXT, "expires_in": _NUMBER, "scopes": _list(_TEXT)}),
    "TokenPair": _object({**_PAIR, "login_due_in": _or_null(_NUMBER), "login_changed": _FLAG}),
    "PageLogin": _object({"user_id": _or_null(_TEXT), "csrf": _or_null(_TEXT)}),
    "EnteredSession": _object(
        {
            "verdict": _enum("created", "continued", "recovered", "claimed", "ask"),
            "reason": _TEXT,
            "user_id": _or_null(_TEXT),
            "session": refer("SessionInfo"),
            "token_mode": _enum("bearer", "cookie"),
            "access": _or_null(_TEXT),
            "refresh": _or_null(_TEXT),
            "expires_in": _or_null(_NUMBER),
            "login_due_in": _or_null(_NUMBER),
            "positions": _object({}, {"session": _POSITION}),
            "endpoints": _object({"websocket": _TEXT, "session": _TEXT}),
            "receipt": _or_null({"type": "object"}),
            "documents": _or_null(_list(_object({"name": _TEXT, "version": _COUNT}))),
            "on_logout": _enum("end", "anonymous"),
        }
    ),
    "RecoveredSession": _object({**_CREATED, "receipt": {"type": "object"}}),
    "Validity": _object({"valid": _FLAG, "reason": _or_null(_TEXT)}),
    "SessionMetrics": _object(
        {
            "session_id": _UUID,
            "state": _TEXT,
            "uptime": _NUMBER,
            "connections": _COUNT,
            "open_connections": _COUNT,
            "reconnects": _COUNT,
            "connected_time": _NUMBER,
            "latency": _object({"last_ms": _or_null(_NUMBER), "average_ms": _or_null(_NUMBER)}),
            "beats": _object({"sent": _COUNT, "missed": _COUNT}),
            "messages": _object({"in": _COUNT, "out": _COUNT}),
            "bytes": _object({"in": _COUNT, "out": _COUNT}),
            "recoveries": _COUNTS,
            "closes": _COUNTS,
            "state_documents": _object(
                {"count": _COUNT, "size": _COUNT, "exact": _FLAG, "updates": _COUNT, "version": _COUNT}
            ),
            "events": _COUNTS,
            "errors": _COUNTS,
            "conflicts": _COUNT,
        }
    ),
    "EventPage": _object(
        {"results": _list(_ENTRY), "epoch": _TEXT, "oldest": _COUNT, "head": _POSITION, "next": _or_null(_COUNT)}
    ),
    "Placed": _object({"position": _or_null(_POSITION)}),
    "DocumentList": _object({"results": _list(_object(_ROW))}),
    "ClientState": _object({**_ROW, "data": _STORED}),
    "Written": _object(
        {**_WRITTEN, "dropped": _list({}), "overwrote": _list({}), "conflicts": _list({"type": "object"})}
    ),
    "Sizes": _object(
        {
            "name": _TEXT,
            "version": _COUNT,
            "size": _COUNT,
            "exact": _FLAG,
            "stored": _COUNT,
            "log": _COUNT,
            "compressed": _FLAG,
        }
    ),
    "Synchronised": _object(
        {"mode": _enum("up_to_date", "entries", "snapshot"), "position": _POSITION},
        {
            "reason": _TEXT,
            "from": _COUNT,
            "to": _COUNT,
            "entries": _list(_ENTRY),
            "data": _STORED,
            "encrypted": _FLAG,
            "results": _list(_object({"ok": _FLAG}, {"error": refer("Error"), "position": _or_null(_POSITION)})),
        },
    ),
    "VersionPage": _object(
        {
            "results": _list(
                _object(
                    {
                        "version": _COUNT,
                        "tag": _TEXT,
                        "kind": _TEXT,
                        "at": _MOMENT,
                        "client_id": _or_null(_TEXT),
                        "seq": _or_null(_COUNT),
                        "paths": _list(_TEXT),
                        "bytes": _COUNT,
                        "labels": _list(_TEXT),
                    }
                )
            ),
            "oldest": {"type": "integer"},
            "next": _or_null(_COUNT),
        }
    ),
    "OldVersion": _object(_OLD),
    "Difference": _object({"from": _COUNT, "to": _COUNT, "patch": _list({"type": "object"})}),
    "CheckpointList": _object({"results": _list(_object({"label": _TEXT, "version": _COUNT, "at": _MOMENT}))}),
    "Checkpoint": _object({"label": _TEXT, "version": _COUNT}),
    "LabelledVersion": _object({"label": _TEXT, **_OLD}),
    "ConflictList": _object(
        {
            "results": _list(
                _object(
                    {
                        "id": _UUID,
                        "path": _TEXT,
                        "version": _COUNT,
                        "client_id": _or_null(_TEXT),
                        "at": _MOMENT,
                        "resolved_at": _or_null(_MOMENT),
                        "resolution": _or_null(_TEXT),
                    },
                    {"base": _STORED, "server": _STORED, "client": _STORED},
                )
            )
        }
    ),
    "Decided": _object(_WRITTEN),
    "Health": _object(
        {"status": _enum("ok", "degraded", "unavailable")}, {"problems": _list(_TEXT), "server_time": _MOMENT}
    ),
    "Description": {"type": "object"},
}


def build_components(*, idle_timeout: float, absolute_timeout: float) -> dict[str, Schema]:
    """Return all components; the arguments are the longest timeouts that a session may have, in seconds."""
    return {**_COMPONENTS, "Config": _config(idle_timeout=idle_timeout, absolute_timeout=absolute_timeout)}


def _config(**longest: float) -> Schema:
    timeout = {"type": ["number", "null"], "minimum": 60, "description": "Seconds."}
    return {
        **_OBJECT,
        "properties": {name: {**timeout, "maximum": most} for name, most in longest.items()},
    }
