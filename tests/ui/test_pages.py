"""How the page of a day looks: its picture is drawn, and nothing of ours is cut off or raw."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.ui.browser import open_day


@pytest.fixture
def day(bad: dict[str, str]) -> str:
    """A day with a dead letter."""
    return bad["an item was dead"]


def test_the_picture_of_a_day_is_drawn_and_says_in_text_what_it_shows(page: Page, day: str) -> None:
    open_day(page, day)
    picture = page.get_by_role("img", name=re.compile("batch"))
    expect(picture).to_have_attribute("alt", re.compile(r"1 batch of .* s, target"))
    assert picture.evaluate("picture => picture.complete && picture.naturalWidth") >= 250


@pytest.mark.parametrize("width", [1440, 1024])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_of_a_day_is_cut_off_or_overlaps(
    page: Page, day: str, width: int, theme: str
) -> None:
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 1_600})
    open_day(page, day)
    metadata = page.get_by_role("table").filter(has_text="work_seconds").first
    edge = right_edge(metadata)
    inner = [*metadata.get_by_role("img").all(), *metadata.get_by_role("table").all()]
    assert inner
    assert [box for box in map(right_edge, inner) if box > edge] == []
    expect(metadata).not_to_contain_text("Show JSON")
    expect(metadata).not_to_contain_text("Show Markdown")


def test_at_twice_the_size_a_day_can_be_read_without_the_navigation(page: Page, day: str) -> None:
    page.set_viewport_size({"width": 720, "height": 1_600})
    open_day(page, day)
    page.get_by_text("Hide navigation").click()
    picture = page.get_by_role("img", name=re.compile("batch"))
    assert right_edge(picture) <= 720


def right_edge(element) -> float:
    """Return where an element ends, in pixels from the left."""
    box = element.bounding_box()
    return box["x"] + box["width"]
