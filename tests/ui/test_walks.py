"""From the home page to what went wrong in three clicks: a run, a step, and why."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.ui.world import ASSET


def open_run(page: Page, partition: str) -> None:
    """Click from the home page on Runs, and there on the run of a day."""
    page.goto("/")
    page.get_by_role("link", name=re.compile(r"Runs$")).first.click()
    tag = page.get_by_text(f"partition: {partition}").first
    run = "xpath=ancestor::*[.//a[contains(@href, '/runs/')]][1]//a[contains(@href, '/runs/')]"
    tag.locator(run).first.click()


def step(page: Page, name: str) -> Locator:
    """Return a step in the chart of a run; who clicks on it has the log of that step alone."""
    return page.locator(f"[data-tooltip^='{ASSET}.{name}']").first


def worker(partition: str) -> str:
    """Return how the step of a day's worker is called, but for its number."""
    return f"run_batch[{partition.replace('-', '_')}"


def test_a_batch_that_raised_is_named_with_its_block_and_the_error(
    page: Page, bad: dict[str, str]
) -> None:
    day = bad["a batch raised"]
    open_run(page, day)
    failed = step(page, worker(day))
    expect(failed).to_have_attribute("style", re.compile("accent-red"))
    failed.click()
    expect(page.get_by_text("no such film: boom").first).to_be_visible()
    expect(page.get_by_text(f"events/dt={day}/bad.jsonl").first).to_be_visible()


def test_an_item_that_was_dead_is_shown_with_its_place_and_its_reason(
    page: Page, bad: dict[str, str]
) -> None:
    day = bad["an item was dead"]
    open_run(page, day)
    step(page, worker(day)).click()
    expect(page.get_by_text("missing required field").first).to_be_visible()


def test_a_day_beyond_tolerance_says_why_and_what_mends_it(page: Page, bad: dict[str, str]) -> None:
    day = bad["too many were dead"]
    open_run(page, day)
    step(page, "reconcile").click()
    expect(page.get_by_text("missing required field").first).to_be_visible()
    expect(page.get_by_text(f"fanfold redrive {ASSET} --partition {day}").first).to_be_visible()


def test_a_run_that_was_killed_says_which_batches_it_was_at(
    page: Page, bad: dict[str, str]
) -> None:
    day = bad["a run was killed"]
    open_run(page, day)
    expect(page.get_by_text(f"fanfold run {ASSET} --partition {day}").first).to_be_visible()
