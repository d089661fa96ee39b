"""A browser and a world for the whole session: Debian's Chromium, driven by Playwright."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.ui.browser import launch
from tests.ui.world import WAIT_SECONDS, World, bad_days, world


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Servers, webserver and daemon."""
    with world(tmp_path_factory.mktemp("ui"), "raising") as live:
        yield live


@pytest.fixture(scope="session")
def bad(live: World) -> dict[str, str]:
    """The days on which something went wrong, by what it was."""
    return bad_days(live)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


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
