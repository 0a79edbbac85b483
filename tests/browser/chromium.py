"""Chromium as tests start it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserType

from tests.browser.waiting import MILLISECONDS

# Playwright's list, whose place ours takes, and last what is drawn around a page by pages of the browser's own: those
# are a third of what a new page costs.
SWITCHED_OFF = (
    "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
    "LensOverlay,MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints,NetworkTimeServiceQuerying,AimEnabled,PreconnectToSearch",
    "InitialWebUI,PreloadTopChromeWebUI,WebUIReloadButton,WebUIToolbar,WebUILocationBar,WebUIOmniboxPopup",
)


def launch(browsers: BrowserType, program: Path, *options: str, **more: Any) -> Browser:
    """Start Chromium with command line options, and with those of Playwright."""
    switches = ["--no-sandbox", f"--disable-features={','.join(SWITCHED_OFF)}", *options]
    return browsers.launch(executable_path=program, args=switches, timeout=MILLISECONDS, **more)
