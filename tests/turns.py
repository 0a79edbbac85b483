"""Turns of the event loop, for tests in which others must run first."""

from __future__ import annotations

import asyncio


async def pass_turn() -> None:
    """Wait for what was called soon."""
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn
