"""Kills while the tabs of a browser exchange tokens that live 5 s: nothing lost or doubled, one family of tokens."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.faults.check import INVALID, UNKNOWN, VALID, Demands, check
from tests.faults.run import Options, execute, report
from tests.faults.stories import SESSION, TOPIC, Record, Story
from tests.settings import DATABASE

SEED = int(os.environ.get("SESSION_MGMT_SEED", "1"))
KILL = Options(
    database=DATABASE, clients=6, kills=5, seed=SEED, unanswered=20, calm=0.5, pause=0.5, tokens=5.0, transport="any"
)


@pytest.mark.faults
@pytest.mark.slow(30)
@pytest.mark.timeout(600)
def test_s52_nothing_is_lost_and_one_family_stays_where_kills_interrupt_the_refresh_of_three_tabs(
    database_url: str,
) -> None:
    outcome = execute(KILL, database_url)
    print(report(KILL, outcome))
    assert outcome.verdict.code == VALID, report(KILL, outcome)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.sqlite
@pytest.mark.timeout(600)
def test_the_checker_catches_a_server_that_gives_a_token_two_successors(database_url: str) -> None:
    options = replace(KILL, database="sqlite", kills=1, broken="second_chain", sought=frozenset({"L6"}))
    outcome = execute(options, database_url)
    print(report(options, outcome))
    assert outcome.verdict.code == INVALID, report(options, outcome)
    assert "L6" in {violation.promise for violation in outcome.verdict.violations}, report(options, outcome)


class Browser(Story):
    """Story in which tab `a` exchanges the tokens of its browser, which live a microsecond: three records."""

    def __init__(self) -> None:
        super().__init__()
        self.start("a")
        self.connect("a")
        self.add("browser", "pair", session=SESSION, access="a0", refresh="r0", life=3e-6)
        self.open("a0")
        self._make(0)
        self.refresh("n1", "r0", 1)

    def open(self, access: str) -> None:
        self.add("a", "opens", access=access)

    def refresh(self, nonce: str, token: str, pair: int) -> None:
        """Let the database take an exchange, and its answer come."""
        self.ask(nonce, token)
        self.take(nonce, token, pair)
        self.answer(nonce, token, pair)

    def ask(self, nonce: str, token: str) -> None:
        self.add("a", "refresh", nonce=nonce, token=token, over="socket", again=False)

    def take(self, nonce: str, token: str, pair: int) -> None:
        for row in self.tokens:
            if row["digest"] == token:
                row |= {"nonce": nonce, "used": True}
        self._make(pair)

    def answer(self, nonce: str, token: str, pair: int, over: str = "socket") -> None:
        told = {"access": f"a{pair}", "refresh": f"r{pair}", "life": 3e-6}
        self.add("a", "refreshed", nonce=nonce, token=token, over=over, **told)

    def _make(self, pair: int, family: str = "f") -> None:
        for kind in ("access", "refresh"):
            row = {"session": SESSION, "family": family, "kind": kind, "digest": f"{kind[0]}{pair}", "nonce": None}
            self.tokens.append({**row, "used": False, "counts": True})

    def serve(self, seq: int) -> None:
        self.publish("a", f"a-{seq}", seq)
        place = self.append(f"a-{seq}")
        self.see("a", f"topic:{TOPIC}", seq, seq)
        self.ok("a", f"a-{seq}", seq, place)

    def cut_off(self) -> Record:
        return self.add("a", "bye", gen=1, frame={"type": "bye", "name": "token_expired", "reconnect": True})

    def lose_answer(self) -> None:
        """Kill the server after it has taken an exchange."""
        self.ask("n2", "r1")
        self.take("n2", "r1", 2)
        self.add("nemesis", "kill", unanswered=1, ops=[])
        self.add("nemesis", "spent", nonces=["n2"])
        self.add("a", "unanswered", nonce="n2", why="closed")
        self.add("nemesis", "ready")


def judge(story: Story) -> list[str]:
    violations = check(story.records, story.dump()).violations
    assert {violation.promise for violation in violations} <= {"L6"}
    return [violation.text for violation in violations]


def test_a_pair_that_is_told_again_after_a_kill_is_in_order() -> None:
    story = Browser()
    story.lose_answer()
    story.answer("n2", "r1", 2, over="rest")
    assert judge(story) == []


def test_a_repeated_refresh_that_is_refused_is_found() -> None:
    story = Browser()
    story.lose_answer()
    story.add("a", "refused", nonce="n2", name="invalid_token")
    story.reuses.append(SESSION)
    assert {text.split(" ", 1)[1] for text in judge(story)} >= {
        "was refused a refresh by invalid_token",
        "a token was taken for a copied one",
    }


def test_a_repeated_refresh_with_another_answer_is_found() -> None:
    story = Browser()
    story.lose_answer()
    story.answer("n2", "r1", 2)
    story.take("n2", "r1", 3)
    story.answer("n2", "r1", 3)
    assert "a was given another pair by the same nonce" in judge(story)


def test_a_second_successor_that_nobody_was_given_is_found() -> None:
    story = Browser()
    story.lose_answer()
    story.take("n2", "r1", 3)
    story.answer("n2", "r1", 3)
    assert judge(story) == [
        f"{SESSION}: 2 live refresh tokens, or not the one that was given",
        f"{SESSION}: a token that no tab was given",
    ]


def test_one_token_exchanged_twice_is_a_second_chain() -> None:
    story = Browser()
    story.refresh("n2", "r1", 2)
    story.refresh("n3", "r1", 3)
    assert "a was given a pair beside the chain of its browser" in judge(story)


def test_a_second_family_is_found() -> None:
    story = Browser()
    story._make(7, family="g")
    assert f"{SESSION}: 2 families of tokens" in judge(story)


def test_a_family_that_counts_no_more_is_found() -> None:
    story = Browser()
    for row in story.tokens:
        row["counts"] = False
    assert judge(story) == [f"{SESSION}: 0 live refresh tokens, or not the one that was given"]


def test_a_connection_that_is_cut_off_before_its_newest_token_ended_is_found() -> None:
    for late, found in ((0, ["a was cut off before its token had ended"]), (10, [])):
        story = Browser()
        story.cut_off()["t"] += late * 1000
        assert judge(story) == found


def test_a_run_in_which_no_token_ended_is_unknown() -> None:
    demands = Demands(outlived=2, cut_off=1, told_again=1)
    story = Browser()
    story.serve(1)
    assert check(story.records, story.dump(), demands=demands).code == UNKNOWN
    story.lose_answer()
    story.answer("n2", "r1", 2)
    for seq in (2, 3):
        story.serve(seq)
    story.cut_off()
    verdict = check(story.records, story.dump(), demands=demands)
    assert (verdict.code, verdict.doubts) == (VALID, [])
