"""The simulated scheduler: it runs each batch to its end, and its document shows what it prints."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scheduler import LOST_SECONDS, THOUSAND, Setting, Simulation, table
from tests.conftest import PROJECT

SLOW = replace(THOUSAND, stragglers=0.05)


def run(setting):
    return Simulation(setting).run()


@given(
    batches=st.integers(1, 300),
    slots=st.integers(1, 40),
    max_workers=st.integers(1, 60),
    deaths=st.sampled_from([0.0, 10.0, 300.0]),
    stragglers=st.sampled_from([0.0, 0.3]),
    takes_over=st.booleans(),
    seed=st.integers(0, 5),
)
@settings(deadline=None)
def test_each_batch_is_done_whatever_dies(
    batches, slots, max_workers, deaths, stragglers, takes_over, seed
):
    setting = Setting(
        name="any",
        batches=batches,
        batch_seconds=2,
        slots=slots,
        max_workers=max_workers,
        deaths_an_hour=deaths,
        stragglers=stragglers,
        takes_over=takes_over,
        seed=seed,
    )
    outcome = run(setting)  # it ends, and asserts that nothing is left
    assert outcome.steps == outcome.shares + outcome.deaths
    assert outcome.seconds >= outcome.work_seconds / slots
    assert outcome.shares <= max_workers


def test_the_same_seed_makes_the_same_run():
    assert run(SLOW) == run(SLOW)
    assert run(SLOW) != run(replace(SLOW, seed=2))


def test_taking_over_makes_up_for_slow_workers():
    alone = run(replace(SLOW, takes_over=False))
    assert alone.taken_over == 0
    assert run(SLOW).seconds < 0.8 * alone.seconds


def test_a_death_repeats_its_batch_and_costs_the_time_to_notice_it():
    calm = replace(THOUSAND, batches=20, batch_seconds=60, slots=2)
    outcome = run(replace(calm, deaths_an_hour=20))
    longest = max(Simulation(calm).seconds)
    assert 0 < outcome.repeated_seconds <= outcome.deaths * longest
    assert outcome.seconds >= run(calm).seconds + LOST_SECONDS


def test_the_document_shows_what_is_printed():
    assert table() in (PROJECT / "docs/scale.md").read_text()
