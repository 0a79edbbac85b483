"""Building blocks for the components of the OpenAPI document, as JSON Schema 2020-12."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
MOST = 2**53 - 1

DIGEST = "^[0-9a-f]*$"
LABEL = "^[!-~]+( [!-~]+)*$"


def refer(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def build_object(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required), **more}


def build_body(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    """Return the schema of a request, in which unlisted fields are refused."""
    return build_object(required, optional, additionalProperties=False, **more)


def build_list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def build_tuple(*items: Schema) -> Schema:
    return {"type": "array", "prefixItems": list(items), "minItems": len(items), "maxItems": len(items)}


def allow_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def build_enum(*values: Any) -> Schema:
    return {"enum": list(values)}


TEXT: Schema = {"type": "string"}
# Database columns accept no NUL character.
INPUT: Schema = {"type": "string", "pattern": r"^[^\u0000]*$"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": MOST}
NUMBER: Schema = {"type": "number"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
UUID: Schema = {"type": "string", "format": "uuid"}
COUNTS: Schema = {"type": "object", "additionalProperties": COUNT}
# Figures of one connection, or of all connections of a session.
FIGURES: Schema = {
    "latency": build_object({name: allow_null(NUMBER) for name in ("last_ms", "average_ms", "p95_ms", "jitter_ms")}),
    "beats": build_object({"sent": COUNT, "missed": COUNT}),
    "messages": build_object({"in": COUNT, "out": COUNT}),
    "bytes": build_object({"in": COUNT, "out": COUNT}),
}
KEY: Schema = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[!-~]+$"}
ANY = refer("JSON")
OBJECT: Schema = {
    "type": "object",
    "additionalProperties": ANY,
    "propertyNames": {**INPUT, "not": {"const": "__proto__"}},
}
# Stored documents may be older than the current limits.
STORED: Schema = {}
POINTER = refer("Pointer")
POSITION = refer("Position")
TERMS: Schema = {
    "base": allow_null({**COUNT, "description": "The version on which the change is based."}),
    "epoch": allow_null({**INPUT, "minLength": 1, "maxLength": 64}),
    "tag": allow_null({"type": "string", "pattern": "^([0-9a-f]{16})?$", "description": "Tag of the base version."}),
    "atomic": allow_null({**FLAG, "description": "Apply all operations or none."}),
    "strategy": allow_null(build_enum("merge", "server_wins", "client_wins", "reject", "manual")),
    "replaced": allow_null(
        {
            "type": "object",
            "description": "Digests of the replaced values, by path.",
            "propertyNames": POINTER,
            "additionalProperties": allow_null({"type": "string", "pattern": "^[0-9a-f]{16}$"}),
            "maxProperties": 500,
        }
    ),
    "key": allow_null(KEY),
}
# A tag proves its base, so both are given together; version 0 has the empty tag.
PROOFS: list[Schema] = [
    {"properties": {"tag": {"type": "null"}}},
    {"properties": {"tag": {"pattern": "^[0-9a-f]{16}$"}, "base": {"type": "integer"}}, "required": ["tag", "base"]},
    {"properties": {"tag": {"const": ""}, "base": {"const": 0}}, "required": ["tag", "base"]},
]
ROW: Schema = {
    "name": TEXT,
    "version": COUNT,
    "position": POSITION,
    "last_modified": MOMENT,
    "last_writer": allow_null(TEXT),
    "checksum": allow_null({"type": "string", "pattern": DIGEST}),
    "checksum_version": COUNT,
    "compressed": FLAG,
    "encrypted": FLAG,
    "size": COUNT,
}
PLACED: Schema = {
    "session": refer("SessionInfo"),
    "positions": build_object({"session": POSITION}),
    "endpoints": build_object({"websocket": TEXT, "session": TEXT}),
}
CREATED: Schema = {**PLACED, "token": TEXT}
PAIR: Schema = {"access": TEXT, "refresh": TEXT, "expires_in": NUMBER}
OLD: Schema = {"version": COUNT, "position": POSITION, "data": STORED}
WRITTEN: Schema = {"position": POSITION, "unchanged": FLAG}
ENTRY: Schema = build_tuple(COUNT, TEXT, {"type": "object"})

# Members of an RFC 6902 operation besides `op` and `path`.
PATCHES = {
    **{op: {"value": ANY} for op in ("add", "replace", "test")},
    **{op: {"from": POINTER} for op in ("move", "copy")},
    "remove": {},
}
CHANGES = {
    "ops": build_list(refer("Operation"), maxItems=500),
    "merge": OBJECT,
    "patch": build_list(refer("PatchOperation"), maxItems=500),
    "data": ANY,
}
