"""Names of browsers and systems from the header ``User-Agent``: only to show to people, and never to grant access.

``ua-parser`` (the extra ``devices``) knows thousands; without it the few that most people have are told apart.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

parser: Any = None
with suppress(ImportError):
    import ua_parser as parser

# In this order: most browsers also name those that they descend from.
_BROWSERS = (
    *(("Edge", r"\bEdg(e|A|iOS)?/"), ("Opera", r"\bOPR/|\bOpera\b"), ("Samsung Internet", r"\bSamsungBrowser/")),
    *(("Firefox", r"\bFirefox/|\bFxiOS/"), ("Chrome", r"\bChrome/|\bCriOS/"), ("Safari", r"\bVersion/.*\bSafari/")),
)
_SYSTEMS = (
    *(("iOS", r"\biPhone\b|\biPad\b|\biPod\b"), ("Android", r"\bAndroid\b"), ("Windows", r"\bWindows\b")),
    *(("Chrome OS", r"\bCrOS\b"), ("Mac OS X", r"\bMac OS X\b|\bMacintosh\b"), ("Linux", r"\bLinux\b")),
)


class Agent(NamedTuple):
    """Browser and system by their families, without versions, which change by themselves; empty if unknown."""

    browser: str = ""
    system: str = ""


@lru_cache(maxsize=1024)
def name_agent(user_agent: str) -> Agent:
    """Return the browser and the system of a user agent."""
    if not user_agent:
        return Agent()
    return _guess_agent(user_agent) if parser is None else _parse_agent(user_agent)


def _parse_agent(user_agent: str) -> Agent:
    browser, system = parser.parse_user_agent(user_agent), parser.parse_os(user_agent)
    return Agent(*("" if found is None or found.family == "Other" else found.family for found in (browser, system)))


def _guess_agent(user_agent: str) -> Agent:
    return Agent(_match_first(_BROWSERS, user_agent), _match_first(_SYSTEMS, user_agent))


def _match_first(known: tuple[tuple[str, str], ...], text: str) -> str:
    return next((name for name, pattern in known if re.search(pattern, text)), "")
