"""A browser and a world for the whole session: Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.ui.world import WAIT_SECONDS, World, world

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


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Servers, webserver and daemon."""
    with world(tmp_path_factory.mktemp("ui"), "raising") as live:
        yield live


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    path = shutil.which("chromium")
    assert path, "Chromium is not on the path: `make test-ui` says how to install it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(live: World, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of the UI; what it showed last is kept in .fanfold/ui, for who looks at a failure."""
    context = browser.new_context(
        base_url=live.dagster.address, viewport={"width": 1440, "height": 900}
    )
    context.set_default_timeout(WAIT_SECONDS * 1_000)
    page = context.new_page()
    yield page
    pictures = Path(".fanfold/ui")
    pictures.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=pictures / f"{request.node.name}.png")
    context.close()
