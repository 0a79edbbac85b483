"""L6: honest tabs are never taken for thieves, and what they were given is one chain, whose end the database holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.evidence import Evidence, Record, Violation

EXPIRED = "token_expired"


def no_honest_refresh_is_refused(evidence: Evidence) -> Iterator[Violation]:
    """L6: neither lost answers nor races end a family."""
    for record in evidence.records:
        if record["type"] == "refused":
            yield Violation("L6", f"{record['p']} was refused a refresh by {record['name']}", (record["i"],))
    for session in evidence.dump.get("reuses", ()):
        yield Violation("L6", f"{session}: a token was taken for a copied one")


def one_request_has_one_answer(evidence: Evidence) -> Iterator[Violation]:
    """L6: whoever asks with the same nonce is given the same pair."""
    first: dict[str, Record] = {}
    for record in _list(evidence, "refreshed"):
        before = first.setdefault(record["nonce"], record)
        if _pair(record) != _pair(before):
            text = f"{record['p']} was given another pair by the same nonce"
            yield Violation("L6", text, (before["i"], record["i"]))


def pairs_make_one_chain(evidence: Evidence) -> Iterator[Violation]:
    """L6: each generation follows the one before: there are as many of them as nonces."""
    nonces = {record["nonce"] for record in _list(evidence, "refreshed")}
    linked = {record["nonce"] for chain in _chains(evidence).values() for record in chain[1:]}
    for record in _list(evidence, "refreshed"):
        if record["nonce"] in nonces - linked:
            nonces.remove(record["nonce"])
            yield Violation("L6", f"{record['p']} was given a pair beside the chain of its browser", (record["i"],))


def the_database_holds_the_end_of_the_chain(evidence: Evidence) -> Iterator[Violation]:
    """L6: one family for each session, one live refresh token in it, and nothing that no tab was given."""
    for session, chain in _chains(evidence).items():
        rows = [row for row in evidence.dump["tokens"] if row["session"] == session]
        families = {row["family"] for row in rows}
        live = [row["digest"] for row in rows if row["kind"] == "refresh" and row["counts"] and not row["used"]]
        given = {digest for record in chain for digest in _pair(record)}
        newest = (chain[-1]["i"],)
        if len(families) != 1:
            yield Violation("L6", f"{session}: {len(families)} families of tokens", newest)
        if live != [chain[-1]["refresh"]]:
            yield Violation("L6", f"{session}: {len(live)} live refresh tokens, or not the one that was given", newest)
        if any(row["digest"] not in given for row in rows):
            yield Violation("L6", f"{session}: a token that no tab was given", newest)
        yield from _judge_uses(session, rows, chain)


def _judge_uses(session: str, rows: list[Record], chain: list[Record]) -> Iterator[Violation]:
    uses = {record["token"]: record for record in chain[1:]}
    for row in rows:
        use = uses.get(row["digest"])
        if row["kind"] == "refresh" and use is not None and row["nonce"] != use["nonce"]:
            text = f"{session}: a token was exchanged by another request than the one that was answered"
            yield Violation("L6", text, (use["i"],))


def no_connection_ends_before_its_tokens(evidence: Evidence) -> Iterator[Violation]:
    """L6: a socket lives on with the token that it was told of, whichever it began with."""
    ends = {access: least for access, (least, _) in _find_ends(evidence.records).items()}
    held: dict[str, dict[str, int]] = {}
    for record in evidence.records:
        if record["type"] == "opens":
            held[record["p"]] = {record["access"]: record["i"]}
        elif record["type"] == "refreshed" and record["over"] == "socket":
            held.setdefault(record["p"], {})[record["access"]] = record["i"]
        elif _is_cut_off(record):
            for access, told in held.get(record["p"], {}).items():
                if record["t"] < ends[access]:
                    text = f"{record['p']} was cut off before its token had ended"
                    yield Violation("L6", text, (told, record["i"]))


def _list(evidence: Evidence, kind: str) -> list[Record]:
    return [record for record in evidence.records if record["type"] == kind]


def _pair(record: Record) -> tuple[str, str]:
    return record["access"], record["refresh"]


def _chains(evidence: Evidence) -> dict[str, list[Record]]:
    """By session, the pair that its browser began with, and the answers that follow it one by one."""
    by_token: dict[str, Record] = {}
    for record in _list(evidence, "refreshed"):
        by_token.setdefault(record["token"], record)
    found = {}
    for record in _list(evidence, "pair"):
        chain = found[record["session"]] = [record]
        while chain[-1]["refresh"] in by_token:
            # Taken out: a server that gives a token twice must not send the checker round in a circle.
            chain.append(by_token.pop(chain[-1]["refresh"]))
    return found


# How much has happened.


def list_shortages(records: list[Record], outlived: int, cut_off: int) -> Iterator[str]:
    """List what has happened too seldom so far."""
    served = count_outlived(records)
    few = sorted(tab for tab in {r["p"] for r in records if r["type"] == "invoke"} if served[tab] < outlived)
    cut = count_cut_off(records)
    if few and outlived:
        yield f"{', '.join(few)} outlived fewer than {outlived} tokens"
    if cut < cut_off:
        yield f"{cut} connections ended with their tokens, of {cut_off}"


def count_outlived(records: list[Record]) -> Counter[str]:
    """Count by tab the access tokens after whose end it was served: those it connected with, or told its socket of."""
    ends = _find_ends(records)
    held: dict[str, set[str]] = {}
    found: Counter[str] = Counter()
    for record in records:
        mine = held.setdefault(record["p"], set())
        if record["type"] == "opens" or (record["type"] == "refreshed" and record["over"] == "socket"):
            mine.add(record["access"])
        elif record["type"] == "ok":
            over = {access for access in mine if ends[access][1] < record["t"]}
            found[record["p"]] += len(over)
            mine -= over
    return found


def _find_ends(records: list[Record]) -> dict[str, tuple[float, float]]:
    """By access token, the moments before and after which it ended: its life was told between question and answer."""
    found: dict[str, tuple[float, float]] = {}
    asked: dict[tuple[str, str], float] = {}
    for record in records:
        if record["type"] == "refresh":
            asked[record["p"], record["nonce"]] = record["t"]
        elif record["type"] in {"pair", "refreshed"}:
            life = record["life"] * 1e9
            least, most = found.get(record["access"], (0.0, 0.0))
            began = asked.get((record["p"], record.get("nonce", "")), 0.0)
            found[record["access"]] = max(least, began + life), max(most, record["t"] + life)
    return found


def count_cut_off(records: list[Record]) -> int:
    """Count the connections that the server ended with their tokens."""
    return sum(map(_is_cut_off, records))


def _is_cut_off(record: Record) -> bool:
    return bool(record["type"] == "bye" and record["frame"]["name"] == EXPIRED)


def count_told_again(records: list[Record]) -> int:
    """Count the refreshes whose answer a kill took after the database had taken them, and that were answered later."""
    spent: set[str] = set()
    found = set()
    for record in records:
        if record["type"] == "spent":
            spent |= set(record["nonces"])
        elif record["type"] == "refreshed" and record["nonce"] in spent:
            found.add(record["nonce"])
    return len(found)


CHECKS = [
    no_honest_refresh_is_refused,
    one_request_has_one_answer,
    pairs_make_one_chain,
    the_database_holds_the_end_of_the_chain,
    no_connection_ends_before_its_tokens,
]
