"""JSONTestSuite: texts that every parser accepts (y), that every parser refuses (n), and that are up to it (i)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

# The package holds the texts decoded, so that bytes which are no UTF-8 are lost. These are the bytes of those files.
BYTES = {
    "i_string_UTF-16LE_with_BOM.json": '\ufeff["\xe9"]'.encode("utf-16-le"),
    "i_string_UTF-8_invalid_sequence.json": '["\u65e5\u0448'.encode() + b'\xfa"]',
    "i_string_UTF8_surrogate_U+D800.json": b'["\xed\xa0\x80"]',
    "i_string_invalid_utf-8.json": b'["\xff"]',
    "i_string_iso_latin_1.json": b'["\xe9"]',
    "i_string_lone_utf8_continuation_byte.json": b'["\x81"]',
    "i_string_not_in_unicode_range.json": b'["\xf4\xbf\xbf\xbf"]',
    "i_string_overlong_sequence_2_bytes.json": b'["\xc0\xaf"]',
    "i_string_overlong_sequence_6_bytes.json": b'["\xfc\x83\xbf\xbf\xbf\xbf"]',
    "i_string_overlong_sequence_6_bytes_null.json": b'["\xfc\x80\x80\x80\x80\x80"]',
    "i_string_truncated-utf-8.json": b'["\xe0\xff"]',
    "i_string_utf16BE_no_BOM.json": '["\xe9"]'.encode("utf-16-be"),
    "i_string_utf16LE_no_BOM.json": '["\xe9"]'.encode("utf-16-le"),
    "n_array_a_invalid_utf8.json": b"[a\xe5]",
    "n_array_invalid_utf8.json": b"[\xff]",
    "n_number_invalid-utf-8-in-bigger-int.json": b"[123\xe5]",
    "n_number_invalid-utf-8-in-exponent.json": b"[1e1\xe5]",
    "n_number_invalid-utf-8-in-int.json": b"[0\xe5]\n",
    "n_number_real_with_invalid_utf8_after_e.json": b"[1e\xe5]",
    "n_object_lone_continuation_byte_in_key_and_trailing_comma.json": b'{"\xb9":"0",}',
    "n_string_invalid-utf-8-in-escape.json": b'["\\u\xe5"]',
    "n_string_invalid_utf8_after_escape.json": b'["\\\xe5"]',
    "n_structure_incomplete_UTF8_BOM.json": b"\xef\xbb{}",
    "n_structure_lone-invalid-utf-8.json": b"\xe5",
    "n_structure_single_eacute.json": b"\xe9",
}

# RFC 8259 lets a parser set limits (section 9) and calls repeated keys unpredictable (section 4).
REFUSED_ON_PURPOSE = {
    "y_object_duplicated_key.json": "two values of one key: nobody could say which of them was acknowledged",
    "y_object_duplicated_key_and_value.json": "the same",
    "y_object_escaped_null_in_key.json": "PostgreSQL stores U+0000 in no text",
    "y_string_null_escape.json": "the same",
}

# What is up to the parser is refused, but for numbers so small that the nearest double is 0.
ACCEPTED_OF_I = {"i_number_double_huge_neg_exp.json", "i_number_real_underflow.json"}


@dataclass(frozen=True)
class Text:
    """One file of the suite; `decoded` is what the package holds of it."""

    name: str
    raw: bytes
    decoded: str

    @property
    def accepted(self) -> bool:
        """Our verdict."""
        return (self.name[0] == "y" and self.name not in REFUSED_ON_PURPOSE) or self.name in ACCEPTED_OF_I


def texts(packages: Path) -> list[Text]:
    """The files of `test_parsing`."""
    return [
        Text(row["name"], BYTES.get(row["name"], row["input"].encode()), row["input"])
        for row in _literal(packages / "json-test-suite" / "data" / "parsing.js")
    ]


def _literal(module: Path) -> list[dict[str, str]]:
    # The module is one list in JSON behind `export default`.
    found: list[dict[str, str]] = json.loads(module.read_text(encoding="utf-8").split("export default", 1)[1])
    return found
