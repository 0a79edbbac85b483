"""The worked examples of docs/topics/merging.md come out as the page says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.state.updates import Terms
from session_mgmt.documents import replaced
from session_mgmt.models import ClientSession
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from tests.docs.pages import ROOT, Block, blocks

EXAMPLES = blocks("json", [ROOT / "docs" / "topics" / "merging.md"])


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
@pytest.mark.django_db(transaction=True)
def test_an_example_comes_out_as_the_page_says(block: Block, settings: Any) -> None:
    example = orjson.loads(block.text)
    settings.SESSION_MGMT = {"DOCUMENTS": {"main": example.get("settings", {})}}
    session = lifecycle.create_session().session
    state.replace(session, example["base"])
    verbs.update_now(session.pk, "main", "ops", example["server"], Terms(base=1))
    told = change(session, example)
    assert state.get(session) == example["document"]
    if "error" in example:
        assert told["error"]["name"] == example["error"]
    elif "kept" in example:
        names = ("path", "base", "server", "client")
        kept = [{name: found[name] for name in names if name in found} for found in state.conflicts(session)]
        assert kept == example["kept"]
    else:
        report = {name: told[name] for name in ("conflicts", "dropped", "overwrote") if name in told}
        assert report == example["receipt"]


def change(session: ClientSession, example: Any) -> Any:
    terms = {name: example[name] for name in ("strategy", "atomic") if name in example}
    if "digests_of" in example:
        terms["replaced"] = replaced.digest_replaced(example["digests_of"], example["client"])
    outcome = verbs.update_now(session.pk, "main", "ops", example["client"], Terms(base=1, **terms))
    return orjson.loads(outcome.body)
