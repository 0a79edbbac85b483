"""Walk: a backup is put back under clients that have written since, and S4 holds for what they send then."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions.state import bodies, compaction
from session_mgmt.bridge import bridge
from session_mgmt.documents import replaced
from session_mgmt.models import Receipt, StateDocument, StateRevision, StateSnapshot

MAIN = "state:main"
Backup = list[tuple[type, list[Any]]]
TABLES = (StateDocument, StateRevision, StateSnapshot)


def back_up() -> Backup:
    return [(model, list(model.objects.all())) for model in TABLES]


def put_back(backup: Backup) -> None:
    Receipt.objects.all().delete()
    for model, rows in reversed(backup):
        model.objects.exclude(pk__in=[row.pk for row in rows]).delete()
    for _, rows in backup:
        for row in rows:
            row.save()


async def write(peer: Any, *changes: Any, start: int = 1, **terms: Any) -> dict[str, Any]:
    """Write each change as one version; return the last receipt."""
    for seq, change in enumerate(changes, start):
        await peer.say(type="update", seq=seq, ops=[change], **terms)
    receipt: dict[str, Any] = await peer.receipt(start + len(changes) - 1)
    return receipt


def load(session: Any) -> Any:
    return bodies.load_body("default", StateDocument.objects.get(session=session, name="main").pk).data


@pytest.fixture
async def restored(peers: Any, created: Any) -> tuple[Any, list[Any]]:
    """A document of one version is backed up, reaches 6, is put back, and reaches 10 another way.

    Returns the writer and the position at 6 of the lost history.
    """
    one = peers()
    await one.open(created.token.secret)
    await write(one, ["set", "/a", "old"])
    backup = await bridge().call(back_up)
    lost = (await write(one, *(["set", "/n", number] for number in range(5)), start=2))["position"]
    await bridge().call(put_back, backup)
    other = peers()
    await other.open(created.token.secret)
    await write(other, ["set", "/a", "theirs"], *(["set", "/m", number] for number in range(8)))
    return other, lost


async def test_a_base_of_the_lost_history_is_no_base_of_the_new_one(
    peers: Any, created: Any, restored: tuple[Any, list[Any]]
) -> None:
    epoch, offset, tag = restored[1]
    away = peers()
    connected = await away.open(created.token.secret, logs={MAIN: restored[1]})
    assert connected["logs"][MAIN]["reason"] == "history_lost"
    mine = {"type": "update", "seq": 1, "ops": [["set", "/a", "mine"]], "base": offset, "epoch": epoch, "tag": tag}
    await away.say(**mine)
    refused = (await away.receipt(1))["error"]
    assert (refused["name"], refused["temporary"]) == ("unknown_version", True)
    at = refused["position"]
    digests = replaced.digest_replaced({"a": "old"}, mine["ops"])
    await away.say(**mine | {"base": at[1], "tag": at[2], "replaced": digests})
    assert (await away.receipt(1))["conflicts"] == [
        {"path": "/a", "kept": "server", "server": "theirs", "client": "mine"}
    ]
    assert (await bridge().read(load, created.session.pk))["a"] == "theirs"


@pytest.mark.parametrize("strategy", ["merge", "server_wins", "client_wins", "reject", "manual"])
async def test_no_strategy_takes_a_base_that_is_not_proved(
    peers: Any, created: Any, restored: tuple[Any, list[Any]], strategy: str
) -> None:
    epoch, offset, tag = restored[1]
    away = peers()
    await away.open(created.token.secret)
    mine = {"ops": [["set", "/z", 1]], "base": offset, "epoch": epoch, "tag": tag, "strategy": strategy}
    await away.say(type="update", seq=1, **mine)
    assert (await away.receipt(1))["error"]["name"] == "unknown_version"


async def test_a_patch_is_not_judged_by_a_lost_history_either(
    peers: Any, created: Any, restored: tuple[Any, list[Any]]
) -> None:
    epoch, offset, tag = restored[1]
    away = peers()
    await away.open(created.token.secret)
    patch = [{"op": "add", "path": "/z", "value": 1}]
    await away.say(type="update", seq=1, patch=patch, base=offset, epoch=epoch, tag=tag)
    assert (await away.receipt(1))["error"]["name"] == "unknown_version"


async def test_every_version_of_the_log_proves_itself(peers: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"MAX_REVISIONS": 4}
    one = peers()
    await one.open(created.token.secret, logs={MAIN: None})
    places = {0: ("", "")}
    for seq in range(1, 9):
        epoch, offset, tag = (await write(one, ["set", "/n", seq], start=seq))["position"]
        places[offset] = (epoch, tag)
    row = await bridge().read(lambda: StateDocument.objects.get().pk)
    await bridge().call(compaction.compact_document, row)
    oldest = await bridge().read(lambda: StateDocument.objects.get().oldest_revision)
    assert oldest > 1
    two = peers()
    await two.open(created.token.secret)
    for seq, offset in enumerate(range(oldest - 1, 9), 1):
        epoch, tag = places[offset]
        receipt = await write(two, ["set", f"/own/{seq}", 1], start=seq, base=offset, epoch=epoch, tag=tag)
        assert receipt["ok"], (offset, receipt)
        wrong = await write(one, ["set", "/x", 1], start=8 + seq, base=offset, epoch=epoch, tag="0" * 16)
        assert wrong["error"]["name"] == "unknown_version"
        # The number is still open.
        assert (await write(one, ["inc", "/x", 1], start=8 + seq))["ok"]


async def test_a_tag_comes_with_its_base_and_looks_like_one(peers: Any, created: Any) -> None:
    one = peers()
    await one.open(created.token.secret)
    for seq, terms in enumerate(({"tag": "0" * 16}, {"base": 1, "tag": "short"}, {"base": 1, "tag": ""}), 1):
        await one.say(type="update", seq=seq, ops=[["set", "/a", 1]], **terms)
        error = (await one.receipt(seq))["error"]
        assert (error["name"], error["field"]) == ("invalid_field", "tag")
    assert (await write(one, ["set", "/a", 1], start=4, base=0, tag=""))["ok"]
