"""Walk: clients that disagree, through the real consumer, with writes on their way."""

from __future__ import annotations

from typing import Any

from session_mgmt.actions.state import bodies, snapshots
from session_mgmt.bridge import bridge
from session_mgmt.documents import replaced
from session_mgmt.models import StateDocument, StateRevision

MAIN = "state:main"


async def test_a_merge_reaches_both_clients_as_one_version(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret, logs={MAIN: None})
    await two.open(created.token.secret, logs={MAIN: None})
    await one.say(type="update", seq=1, ops=[["set", "/a", 1]], base=0)
    await one.receipt(1)
    await two.say(type="update", seq=1, ops=[["set", "/a", 2], ["set", "/b", 2], ["inc", "/n", 1]], base=0)
    receipt = await two.receipt(1)
    assert receipt["conflicts"] == [{"path": "/a", "kept": "server", "server": 1, "client": 2}]
    ((version, _, body),) = await one.entry(MAIN) if receipt["position"][1] == 1 else await _entry_of(one, 2)
    assert (version, body["seq"]) == (2, 1)
    # What was not in conflict is in the log as it was asked for.
    assert body["ops"] == [["set", "/b", 2], ["inc", "/n", 1]]
    assert await bridge().read(_document, created) == {"a": 1, "b": 2, "n": 1}


async def test_what_is_sent_behind_a_merge_keeps_its_place_and_needs_no_repetition(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret)
    await two.open(created.token.secret, logs={MAIN: None})
    await one.say(type="update", seq=1, ops=[["set", "/a", 0]], base=0)
    await one.receipt(1)
    for seq in range(1, 31):
        await two.say(type="update", seq=seq, ops=[["set", "/a", seq], ["inc", "/n", 1]], base=0)
    await two.receipt(30)
    receipts = [frame for frame in two.seen if frame["type"] == "receipt"]
    assert [frame["seq"] for frame in receipts] == list(range(1, 31))
    assert all(frame["ok"] for frame in receipts)
    assert await bridge().read(_document, created) == {"a": 0, "n": 30}


async def test_own_earlier_writes_are_no_conflict_even_if_they_were_merged(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret)
    await two.open(created.token.secret)
    await one.say(type="update", seq=1, ops=[["set", "/o", {"z": 1}]], base=0)
    await one.receipt(1)
    await two.say(type="update", seq=1, ops=[["set", "/o", {"x": 1, "y": 1}]], base=0)
    await two.say(type="update", seq=2, ops=[["set", "/o", {"x": 1, "y": 2}]], base=0)
    assert "conflicts" not in await two.receipt(1)
    assert "conflicts" not in await two.receipt(2)
    assert await bridge().read(_document, created) == {"o": {"x": 1, "y": 2, "z": 1}}


async def test_a_repeated_merge_has_one_effect_and_the_same_answer(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret)
    await two.open(created.token.secret)
    await one.say(type="update", seq=1, ops=[["set", "/a", 1]], base=0)
    await one.receipt(1)
    frame = {"type": "update", "seq": 1, "ops": [["set", "/a", 2], ["inc", "/n", 1]], "base": 0}
    await two.say(**frame)
    await two.say(**frame)
    first, again = await two.receipt(1), await two.receipt(1)
    assert again.pop("replayed") is True
    assert again == first
    assert await bridge().read(_document, created) == {"a": 1, "n": 1}


async def test_changes_from_before_the_log_are_sent_again_with_digests(peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    await one.open(created.token.secret)
    await one.say(type="update", seq=1, ops=[["set", "", {"a": 1, "b": 1}]], base=0)
    for seq in range(2, 6):
        await one.say(type="update", seq=seq, ops=[["set", "/a", seq]])
    await one.receipt(5)
    await bridge().call(_forget_the_log)
    await two.open(created.token.secret, logs={MAIN: None})
    position = (await two.until_type("snapshot"))["position"]
    ops = [["set", "/a", 9], ["set", "/b", 9]]
    await two.say(type="update", seq=1, ops=ops, base=1)
    assert (await two.receipt(1))["error"]["name"] == "too_old"
    digests = replaced.digest_replaced({"a": 1, "b": 1}, ops)
    await two.say(type="update", seq=1, ops=ops, base=position[1], epoch=position[0], replaced=digests)
    assert (await two.receipt(1))["conflicts"] == [{"path": "/a", "kept": "server", "server": 5, "client": 9}]
    assert await bridge().read(_document, created) == {"a": 5, "b": 9}


async def _entry_of(peer: Any, version: int) -> list[Any]:
    frame = await peer.until(lambda f: f["type"] == "entries" and f["entries"][-1][0] == version)
    entries: list[Any] = frame["entries"]
    return entries


def _document(created: Any) -> Any:
    row = StateDocument.objects.get(session=created.session, name="main")
    return bodies.load_body("default", row.pk).data


def _forget_the_log() -> None:
    row = StateDocument.objects.get()
    snapshots.keep_snapshot("default", row.pk, at=row.last_modified)
    StateDocument.objects.update(oldest_revision=row.version)
    StateRevision.objects.filter(version__lt=row.version).delete()
