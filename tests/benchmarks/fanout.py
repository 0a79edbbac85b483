"""Fan-out from one publisher to 1,000 subscribers: ours, ephemeral and durable, against ``group_send``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests import programs
from tests.benchmarks import databases, machine, sides
from tests.benchmarks.databases import Database
from tests.benchmarks.report import Row, Table, measured
from tests.benchmarks.scale import Scale

TOPIC = "room:1"
MARK = "#fan#"
TEXT = MARK + "t" * (200 - len(MARK))
DATA = f'{{"text":"{TEXT}"}}'
PLAIN = f'{{"data":{DATA}}}'
EPHEMERAL = f'{{"type":"publish","topic":"{TOPIC}","data":{DATA},"ephemeral":true}}'
DURABLE = f'{{"type":"publish","seq":$seq,"topic":"{TOPIC}","data":{DATA}}}'

PUBSUB, MEMORY = "plain Channels, channels_redis.pubsub", "plain Channels, in-memory layer"
OURS = {"session_mgmt, ephemeral": EPHEMERAL, "session_mgmt, durable": DURABLE}


def run(scale: Scale) -> Iterator[Table]:
    """Return one table, with the durable publications in SQLite."""
    with databases.sqlite() as database, contextlib.ExitStack() as stack:
        yield _table(stack, database, scale)


def _table(stack: contextlib.ExitStack, database: Database, scale: Scale) -> Table:
    loads = _loads(stack, database, scale)
    frames = {**dict.fromkeys(loads, PLAIN), **OURS}
    ours = loads.pop("ours")
    loads |= dict.fromkeys(OURS, ours)
    rounds: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for window in (scale.publications, 1):
        for _ in range(scale.rounds):
            for case, load in loads.items():
                result = load.run(window=window, warm=scale.warm, seconds=scale.seconds, frame=frames[case])
                rounds.setdefault((case, window), []).append(result)
    table = Table("fanout", "deliveries", _settings(database, scale))
    for window in (scale.publications, 1):
        table.rows += _rows(rounds, loads, window)
    return table


def _rows(
    rounds: dict[tuple[str, int], list[dict[str, Any]]], cases: dict[str, sides.Load], window: int
) -> Iterator[Row]:
    """Choose the base of the ratios: the pub/sub layer if there is a Redis, otherwise the layer in memory."""
    base: Row | None = None
    for case in cases:
        row = measured(f"{case}, {window} in flight", rounds[case, window], base)
        base = base or row
        yield row


def _loads(stack: contextlib.ExitStack, database: Database, scale: Scale) -> dict[str, sides.Load]:
    tokens = sides.prepared(database.variables, scale.listeners)

    def load(variables: dict[str, str], path: str, tokens: list[str], **plan: Any) -> sides.Load:
        server = stack.enter_context(sides.serving(variables))
        made = sides.Load(server, "fanout", path, scale.listeners, tokens, mark=MARK, **plan)
        stack.callback(made.close)
        return made

    found = {}
    with contextlib.suppress(programs.Unavailable):
        url = stack.enter_context(databases.redis())
        found[PUBSUB] = load(database.variables | {"REDIS_URL": url}, sides.ROOM, [], logs=[])
    found[MEMORY] = load(database.variables, sides.ROOM, [], logs=[])
    found["ours"] = load(database.variables, sides.SESSION, tokens, logs=[f"topic:{TOPIC}"])
    return found


def _settings(database: Database, scale: Scale) -> dict[str, str]:
    pairs = zip(("server", "load"), machine.cores(), strict=True)
    return {
        "machine": machine.described(),
        "cores": ", ".join(f"{name} on {sorted(core)}" for name, core in pairs) + "; Redis where it likes",
        "database": database.settings,
        "server": "one uvicorn process for each side, " + " ".join(sides.options() + sides.QUIET[:2]),
        "load": f"1 publisher, {scale.listeners} subscribers (it is one of them), {len(TEXT)} bytes of text;"
        " a new publication for each that reached all",
        "rounds": f"{scale.rounds}, interleaved, {scale.warm} s to warm up, {scale.seconds} s measured; medians",
        "latency": "from publishing to the last receiver",
    }
