"""Process that starts, takes or stops the counting of rows; run it with a benchmark's environment."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import django
from django.db import connection

from tests import rows

TABLES = (rows.APP, "baseline_")


def main(verb: str) -> None:
    django.setup()
    if verb == "take":
        print(json.dumps(asdict(rows.Counter(connection).take())))
    elif verb == "start":
        rows.start(connection, *TABLES)
    else:
        rows.stop(connection, *TABLES)


if __name__ == "__main__":
    main(sys.argv[1])
