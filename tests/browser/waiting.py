"""How long tests in a browser wait for what must come: until it hangs, for a busy machine may take its time."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, BrowserContext, expect

PATIENCE = 90
MILLISECONDS = PATIENCE * 1000


def build_clock(patience: str) -> str:
    """Return a clock, as JavaScript, that takes the milliseconds of this expression for those asked for, ``wait``."""
    return f"""{{
      now: () => Date.now(),
      setTimeout: (act, wait) => setTimeout(act, {patience}),
      clearTimeout: (timer) => clearTimeout(timer),
    }}"""


# A busy machine keeps a client waiting: for a lock and its holder, for a socket, beside which it tries HTTP, and when
# it starts also for its store and for the parts that it loads, without which it would begin.
BUSY = "[150, 500, ...(window.session ? [] : [1_000, 2_000])].includes(wait) ? 5 * wait : wait"
BUSY_CLOCK = build_clock(BUSY)
# For the bytes of a stream as well.
STREAM_CLOCK = build_clock(f"wait >= 2_000 && Number.isInteger(wait) ? 20 * wait : {BUSY}")
# For the tab that leads as well.
LEADER_CLOCK = build_clock(f"wait >= 3_000 && wait <= 12_000 ? 20 * wait : {BUSY}")

expect.set_options(timeout=MILLISECONDS)


def open_context(browser: Browser, **options: Any) -> BrowserContext:
    """Open a browser profile of its own, whose pages are waited for with patience."""
    context = browser.new_context(**options)
    context.set_default_timeout(MILLISECONDS)
    return context
