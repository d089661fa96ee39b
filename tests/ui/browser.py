"""Debian's headless Chromium, driven by Playwright, and how a person gets to a page."""

import os
import re
import shutil

from playwright.sync_api import Browser, Page, Playwright, expect

from tests.ui.world import ASSET, WAIT_SECONDS

# As root Chromium has no sandbox; and it is to ask nobody outside for anything.
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]
expect.set_options(timeout=WAIT_SECONDS * 1_000)


def launch(playwright: Playwright) -> Browser:
    """Start the browser."""
    path = shutil.which("chromium")
    assert path, "Chromium is not on the path: `make test-ui` says how to install it"
    return playwright.chromium.launch(executable_path=path, args=FLAGS)


def open_day(page: Page, partition: str) -> None:
    """Go to the page of a materialised day, and wait for its picture."""
    page.goto(f"/assets/{ASSET}?view=partitions&partition={partition}")
    expect(page.get_by_role("img", name=re.compile("batch")).first).to_be_visible()
