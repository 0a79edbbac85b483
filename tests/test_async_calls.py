"""The async versions of the public functions, from a running event loop."""

from __future__ import annotations

import pytest

from session_mgmt.shortcuts import acreate_session, aget_session, apublish, asend, session_state, state

pytestmark = pytest.mark.django_db(transaction=True)


async def test_async_code_awaits_the_same_functions() -> None:
    session = (await acreate_session()).session
    assert (await asend(session, "hi")).offset == 2
    assert (await apublish("room:1", 1)).offset == 1
    assert (await state.aupdate(session, {"a": 1})).offset == 1
    assert await state.aget(session) == {"a": 1}
    assert await session_state(session).aget(path="/a") == 1
    assert (await aget_session(str(session.pk))).pk == session.pk
