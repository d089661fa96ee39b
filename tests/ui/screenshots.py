"""The pictures of the documents, made anew: `make screenshots`.

A world of its own is started for them, with two weeks of events that are made up, so that nothing
of others is in a picture.
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.declared import PROJECT
from tests.ui.browser import launch, open_day
from tests.ui.world import ASSET, World, day, events, world

DAYS = [day(back) for back in range(14, 0, -1)]
SIZE = {"width": 1280, "height": 900}


def put_days(world: World) -> None:
    """Put two weeks of events, with two bad ones in the last day, and run them."""
    for number, each in enumerate(DAYS):
        items = events(each, 240 + 13 * (number * 5 % 9))
        world.put(each, items)
    world.put(DAYS[-1], [{"user": "ann", "action": "like"}] * 2, "b")
    for command in (f"{DAYS[0]}...{DAYS[-2]}", f"{DAYS[-1]}...{DAYS[-1]}"):
        world.start("run", ASSET, "--partitions", command).communicate()


def take(world: World, folder: Path) -> None:
    """Take the picture of the page of a day."""
    with sync_playwright() as playwright, launch(playwright) as browser:
        page = browser.new_page(base_url=world.dagster.address, viewport=SIZE)
        open_day(page, DAYS[-1])
        page.screenshot(path=folder / "materialisation.png")


def main() -> None:
    """Start a world, take the pictures, and stop it."""
    folder = Path(tempfile.mkdtemp(prefix="fanfold-pictures-"))
    try:
        with world(folder, "sliced") as live:
            put_days(live)
            take(live, PROJECT / "docs")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
