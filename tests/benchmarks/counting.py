"""Process that counts rows as each line of its input says; run it with a benchmark's environment."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import django
from django.db import connection

from tests import rows

TABLES = (rows.APP, "baseline_")


def main() -> None:
    django.setup()
    for line in sys.stdin:
        print(json.dumps(carry_out(line.strip())), flush=True)


def carry_out(verb: str) -> dict[str, Any]:
    """Start or stop counting, or take what was counted."""
    if verb == "take":
        return asdict(rows.Counter(connection).take())
    if verb == "start":
        rows.start(connection, *TABLES)
    else:
        rows.stop(connection, *TABLES)
    return {}


if __name__ == "__main__":
    main()
