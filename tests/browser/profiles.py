"""Profiles of the browser, whose limits of time are for tests that hang."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, BrowserContext

# A page loads in a second, and in many of them on a machine that has much else to do.
PATIENCE_MS = 90_000


def open_context(browser: Browser, **options: Any) -> BrowserContext:
    """Open a profile of its own, in which every wait is a long one."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    return context
