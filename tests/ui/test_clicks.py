"""What a person does with the mouse in Dagster's UI, and what comes of it in MongoDB."""

import re

from playwright.sync_api import Page, expect

from tests.support.dagster_dev import until
from tests.ui.world import ASSET, ITEMS, SENSOR, USERS, WAIT_SECONDS, World, day, events

OLD = [day(back) for back in range(34, 29, -1)]  # days that no sensor looks at


def materialise(page: Page, partitions: str) -> None:
    """Materialise partitions by the dialog of the catalogue, and go where it leads."""
    page.goto(f"/assets/{ASSET}?view=partitions")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    box = dialog.get_by_role("textbox").first
    box.fill(partitions)
    box.press("Enter")
    dialog.get_by_role("button", name=re.compile(r"^Launch (1 run|backfill)$")).click()
    page.get_by_text("View", exact=True).last.click()


def is_materialised(world: World, partition: str) -> bool:
    """Tell whether profiles hold a day."""
    with world.database() as database:
        return bool(database.plans.count_documents({"partition": partition, "state": "folded"}))


def test_a_person_materialises_a_day_and_its_page_says_what_mongodb_holds(
    page: Page, live: World
) -> None:
    live.put(OLD[0], events(OLD[0]))
    materialise(page, OLD[0])
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()

    page.goto(f"/assets/{ASSET}?view=partitions&partition={OLD[0]}")
    row = page.get_by_role("row")
    expect(row.filter(has_text=re.compile(r"^items\s*300"))).to_be_visible()
    expect(row.filter(has_text=re.compile(r"^profiles\s*40"))).to_be_visible()
    with live.database() as database:
        profiles = list(database[ASSET].find({}, {"events": 1}))
    assert (len(profiles), sum(each["events"] for each in profiles)) == (USERS, ITEMS)


def test_a_person_launches_a_backfill_of_three_days(page: Page, live: World) -> None:
    for each in OLD[1:4]:
        live.put(each, events(each))
    materialise(page, f"[{OLD[1]}...{OLD[3]}]")
    expect(page.get_by_text("100% completed")).to_be_visible()
    assert all(is_materialised(live, each) for each in OLD[1:4])


def test_a_sensor_that_a_person_turns_on_runs_the_day_that_landed(page: Page, live: World) -> None:
    today = day(0)
    live.put(today, events(today))
    page.goto("/automation")
    # A row has two boxes: it is chosen by the first, and turned on by the second.
    name = page.get_by_role("link", name=SENSOR)
    switch = name.locator("xpath=ancestor::*[count(.//label)=2][1]").locator("label").last
    switch.click()
    until(lambda: is_materialised(live, today), WAIT_SECONDS)
    assert live.dagster.sensor_status(SENSOR) == "RUNNING"

    switch.click()
    until(lambda: live.dagster.sensor_status(SENSOR) == "STOPPED", WAIT_SECONDS)
