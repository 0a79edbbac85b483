"""Describe recovery receipts in words: which entries a client received when it reconnected, and which were lost."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from session_mgmt.protocol.logs import STATE

_HEADS = {
    "full": gettext_lazy("Everything came back."),
    "state_only": gettext_lazy("The state came back, some messages did not."),
    "none": gettext_lazy("Nothing came back."),
}
_NAMES = {
    "full": gettext_lazy("whole"),
    "state_only": gettext_lazy("with the state alone"),
    "none": gettext_lazy("of nothing"),
}


def name_verdict(verdict: str) -> str:
    """Return the verdict in one or two words, for a count of recoveries."""
    return str(_NAMES.get(verdict, verdict))


def describe_receipt(receipt: dict[str, Any]) -> str:
    """Return the sentences of one receipt: the verdict, the replayed and the lost entries, and the time it took."""
    replayed, lost = _ranges(receipt.get("replayed")), _ranges(receipt.get("lost"))
    parts = [str(_HEADS.get(receipt.get("verdict", ""), ""))]
    if not replayed and not lost:
        parts.append(_("Nothing was missed."))
    parts += [_("Replayed: %s.") % ", ".join(_describe_log(*one) for one in replayed)] if replayed else []
    parts += [_("Lost for good: %s.") % ", ".join(_describe_log(*one) for one in lost)] if lost else []
    took = receipt.get("duration_ms")
    parts += [_("It took %.0f ms.") % took] if isinstance(took, int | float) else []
    return " ".join(part for part in parts if part)


def _ranges(given: Any) -> list[tuple[str, int | None, int | None]]:
    if not isinstance(given, dict):
        return []
    return [(name, *ends) for name, ends in sorted(given.items()) if isinstance(ends, list) and len(ends) == 2]


def _describe_log(name: str, first: int | None, last: int | None) -> str:
    kind, _colon, rest = name.partition(":")
    shown = rest or kind
    if first is None or last is None:
        return _("an unknown part of %s") % shown
    count = max(last - first + 1, 0)
    facts = {"name": shown, "count": count, "last": last}
    if name.startswith(STATE):
        return (
            ngettext(
                "%(count)d change of %(name)s, up to version %(last)d",
                "%(count)d changes of %(name)s, up to version %(last)d",
                count,
            )
            % facts
        )
    return ngettext("%(count)d entry of %(name)s", "%(count)d entries of %(name)s", count) % facts
