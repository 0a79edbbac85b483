"""Process that publishes so many times from Python in one transaction, hence into the outbox."""

from __future__ import annotations

import sys

import django
from django.db import transaction

django.setup()

from session_mgmt.bridge import bridge  # noqa: E402
from session_mgmt.shortcuts import publish  # noqa: E402


def main(count: int) -> None:
    with transaction.atomic():
        for number in range(count):
            publish("room:outbox", {"n": number})
    bridge().close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
