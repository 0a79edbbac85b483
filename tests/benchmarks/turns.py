"""Process that turns the pages of a large list by one of several views; run it with a benchmark's environment.

Its arguments are the number of rows and the token of a session. For each line of its input, the name of a view and
seconds, it turns pages for so long, from the first one to the last and again, and answers with what that took.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import django

django.setup()

from django.db import connection  # noqa: E402
from rest_framework import generics, serializers  # noqa: E402
from rest_framework.pagination import CursorPagination  # noqa: E402
from rest_framework.test import APIRequestFactory  # noqa: E402

from session_mgmt.api.authentication import SessionTokenAuthentication  # noqa: E402
from session_mgmt.pagination import LiveCursorPagination, LivePages  # noqa: E402
from session_mgmt.shortcuts import drain  # noqa: E402
from tests.benchmarks.baseline.models import Article  # noqa: E402

PAGE_SIZE = 50
# As many rows have one moment: keys are often equal.
TOGETHER = 3


class Titles(serializers.ModelSerializer[Article]):
    class Meta:
        model = Article
        fields = ("id", "title", "created")


class PlainPages(CursorPagination):
    page_size = PAGE_SIZE
    ordering = ("-created", "-id")


class OurPages(LiveCursorPagination):
    page_size = PAGE_SIZE
    ordering = ("-created", "-id")


class PlainList(generics.ListAPIView[Article]):
    authentication_classes = [SessionTokenAuthentication]
    queryset = Article.objects.filter(shelf=1)
    serializer_class = Titles
    pagination_class = PlainPages


class LiveList(PlainList):
    pagination_class = OurPages


class ExactList(LivePages, LiveList):
    pass


VIEWS = {"plain": PlainList.as_view(), "live": LiveList.as_view(), "exact": ExactList.as_view()}


def main(rows: int, token: str) -> None:
    fill(rows)
    headers = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    print(json.dumps({"filled": True}), flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        print(json.dumps(turn(VIEWS[name], headers, rows, float(seconds))), flush=True)


def fill(rows: int) -> None:
    """Make the list, and a publication for its topic."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    articles = [
        Article(shelf=1, title=f"Article {number}", created=begin + timedelta(minutes=number // TOGETHER))
        for number in range(rows)
    ]
    # Past the manager that publishes: nobody follows the list yet.
    super(type(Article.objects.all()), Article.objects.all()).bulk_create(articles, batch_size=500)
    Article.objects.create(shelf=1, title="The last one", created=begin)
    drain()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def turn(view: Any, headers: dict[str, str], rows: int, seconds: float) -> dict[str, float]:
    """Turn pages, from the first one on, for so many seconds."""
    requests = APIRequestFactory()
    waits: list[float] = []
    address, seen, lost = "/articles/", 0, 0
    cpu, began = time.process_time(), time.perf_counter()
    while (now := time.perf_counter()) - began < seconds or not waits:
        response = view(requests.get(address, **headers))
        response.render()
        waits.append(time.perf_counter() - now)
        seen += len(response.data["results"])
        address = response.data["next"]
        if address is None:
            lost, seen = lost + abs(rows + 1 - seen), 0
            address = "/articles/"
    took, used = time.perf_counter() - began, time.process_time() - cpu
    waits.sort()
    places = {"p50_ms": len(waits) // 2, "p99_ms": len(waits) * 99 // 100}
    times = {name: 1000 * waits[place] for name, place in places.items()}
    return {
        "done": len(waits),
        "seconds": took,
        "server_cpu": used,
        "load_cpu": 0.0,
        "refused": 0,
        "lost": lost,
    } | times


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
