"""What the display shows of a run, and that the run does not depend on it."""

import io
import json
import os
import pty
import subprocess
import threading

import pytest
from rich.console import Console

from pipelines import runs
from pipelines.checks import findings
from pipelines.cli import progress
from pipelines.cli.display import Bars, Lines, View, open_display, to_bars, to_end, to_line
from pipelines.cli.progress import Follower, follow_run
from pipelines.runs import materialise
from tests.support.command import FANFOLD
from tests.support.pipeline import DAY, event
from workers import steps
from workers.batch import Worker
from workers.errors import Unavailable
from workers.ledger.claims import Claims
from workers.ledger.mongo import open_database
from workers.ledger.records import PlanState
from workers.progress import Figures
from workers.settings import Settings

NEXT = "1998-04-02"
TITLE = "user_profiles 1997-09-20...1998-04-22"
WORKING = Figures(
    stage="working",
    is_planned=True,
    partitions=213,
    batches=213,
    finished=120,
    reused=31,
    items=100_000,
    items_done=52_011,
    work_done=60.0,
    work_left=40.0,
)


def view(figures=WORKING, seconds=14.0, remaining=None, trouble=""):
    return View(TITLE, figures, seconds, remaining, trouble)


def changed(**values):
    return WORKING.of(WORKING.to_json() | values)


class Recorder:
    """A display that keeps what it is shown; others can wait for a stage to be shown."""

    def __init__(self):
        self.views = []
        self.ended = []
        self.changes = threading.Condition()

    def show(self, view):
        with self.changes:
            self.views.append(view)
            self.changes.notify_all()

    def end(self, view):
        self.ended.append(view)

    def stages(self):
        seen = [view.figures.stage for view in self.views]
        return [stage for n, stage in enumerate(seen) if n == 0 or seen[n - 1] != stage]

    def wait_for(self, stage):
        with self.changes:
            assert self.changes.wait_for(lambda: stage in self.stages(), 60), self.stages()


def after(monkeypatch, owner, name, recorder, stage):
    """Let a function of an owner do its work only once a stage is shown."""
    real = getattr(owner, name)

    def waiting(*args, **more):
        recorder.wait_for(stage)
        return real(*args, **more)

    monkeypatch.setattr(owner, name, waiting)


def test_a_line_has_all_that_is_known():
    assert to_line(view()) == (
        f"{TITLE}  working     partitions 0/213  batches 120/213 (31 reused)  "
        "items 52,011/100,000  dead letters 0  00:14"
    )
    failing = changed(failed=2, dead=1_234, stage="publishing", folded=7)
    assert to_line(view(failing, seconds=3_700.4, trouble="MongoDB is away")) == (
        f"{TITLE}  publishing  partitions 7/213  batches 120/213 (31 reused, 2 failed)  "
        "items 52,011/100,000  dead letters 1,234  1:01:40  (MongoDB is away)"
    )


def test_before_there_is_a_plan_only_the_partitions_are_known():
    assert to_line(view(Figures(partitions=213))) == (
        f"{TITLE}  listing     partitions 0/213  00:14"
    )


def test_a_line_ends_with_the_time_left_where_it_is_known():
    assert to_line(view(remaining=75.2)).endswith("  00:14, about 01:15 of work left")


def test_a_terminal_shows_bars_over_partitions_batches_and_items():
    console = Console(record=True, width=90, file=io.StringIO(), highlight=False)
    console.print(to_bars(view(changed(dead=3, failed=1), remaining=9, trouble="[it] is away")))
    assert [text.rstrip() for text in console.export_text().splitlines()] == [
        f"{TITLE}  working  00:14, about 00:09 of work left",
        "  partitions                                            0/213",
        "  batches     ━━━━━━━━━━━━━━━━╸                       120/213  31 reused, 1 failed",
        "  items       ━━━━━━━━━━━━━━━╸                 52,011/100,000  3 dead letters",
        "  [it] is away",
    ]
    console.print(to_bars(view(Figures(partitions=213))))
    assert len(console.export_text().splitlines()) == 2


def test_a_fold_that_takes_a_while_has_a_bar_of_its_own():
    console = Console(record=True, width=80, file=io.StringIO(), highlight=False)
    folding = changed(stage="folding", profiles=133_681, profiles_folded=40_000)
    console.print(to_bars(view(folding)))
    *_, bar = console.export_text().splitlines()
    assert bar.split()[0] == "profiles"
    assert bar.rstrip().endswith("40,000/133,681  folded")
    assert "  profiles 40,000/133,681  00:14" in to_line(view(folding))


def test_the_end_of_a_run_is_a_line_that_fits():
    ended = view(changed(stage="done"))
    assert to_end(ended, 80) == f"{TITLE}  done  00:14"
    assert to_end(ended, 200) == to_line(ended)


def test_bars_give_way_to_one_line_of_each_run():
    screen = io.StringIO()
    console = Console(file=screen, width=200, force_terminal=True, highlight=False)
    display = Bars(console)
    for title in ("1/2 a", "2/2 b"):
        display.show(view()._replace(title=title))
        display.end(view(changed(stage="done"))._replace(title=title))
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h") == 2
    kept = [text for text in screen.getvalue().splitlines() if "done" in text]
    assert [text.rpartition("\x1b[2K")[2] for text in kept] == [
        to_line(view(changed(stage="done"))._replace(title=title)) for title in ("1/2 a", "2/2 b")
    ]


def test_lines_come_at_changes_of_stage_and_now_and_then():
    written = []
    display = Lines(written.append)
    listing = Figures(partitions=213)
    for seconds in range(4):
        display.show(view(listing, seconds))
    for seconds in range(4, 30):
        display.show(view(WORKING, seconds))
    display.show(view(WORKING, 30, trouble="away"))
    display.show(view(WORKING, 31, trouble="still away"))
    display.show(view(WORKING, 32))
    done = view(changed(stage="done", folded=213, finished=213, items_done=100_000), 33)
    display.end(done)
    at_work = "batches 120/213 (31 reused)  items 52,011/100,000  dead letters 0"
    at_the_end = "batches 213/213 (31 reused)  items 100,000/100,000  dead letters 0"
    assert written == [
        f"{TITLE}  listing     partitions 0/213  00:00",
        f"{TITLE}  working     partitions 0/213  {at_work}  00:04",
        f"{TITLE}  working     partitions 0/213  {at_work}  00:14",
        f"{TITLE}  working     partitions 0/213  {at_work}  00:24",
        f"{TITLE}  working     partitions 0/213  {at_work}  00:30  (away)",
        f"{TITLE}  working     partitions 0/213  {at_work}  00:32",
        f"{TITLE}  done        partitions 213/213  {at_the_end}  00:33",
    ]
    assert all(text.isprintable() for text in written)


def test_a_run_of_hours_gets_a_line_a_minute():
    written = []
    display = Lines(written.append)
    for seconds in range(0, 4 * 3600, 5):
        display.show(view(seconds=seconds))
    assert 4 * 60 < len(written) < 4 * 60 + 30


def test_a_variable_that_forces_colours_makes_no_terminal_of_a_log(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with open_display(as_json=False) as display:
        display.show(view())
    assert capsys.readouterr().err == f"{to_line(view())}\n"


def test_a_program_that_reads_json_hears_nothing_on_stderr(pipeline, fanfold):
    pipeline.put([event("ann")])
    code, out, err = fanfold("run", "user_profiles", "--partition", DAY, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["items"] == 1


def test_a_log_gets_whole_lines_from_listing_to_the_end(pipeline, fanfold):
    pipeline.put([event("ann"), b"bad"])
    code, _, err = fanfold("run", "user_profiles", "--partition", DAY)
    assert code == 0
    first, *_, last = err.splitlines()
    assert first == f"user_profiles {DAY}  listing     partitions 0/1  00:00"
    assert last.startswith(
        f"user_profiles {DAY}  done        partitions 1/1  batches 1/1 (0 reused)  items 2/2  "
        "dead letters 1  00:"
    )
    assert err.replace("\n", "").isprintable()


def test_a_real_run_shows_its_stages_in_order(pipeline, monkeypatch):
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)
    for day in (DAY, NEXT):
        pipeline.put([event("ann"), event("bo")], day)
    seen = Recorder()
    real = Claims.mark_folded
    after(monkeypatch, steps, "list_partitions", seen, "listing")
    after(monkeypatch, Worker, "read", seen, "working")
    after(monkeypatch, steps, "fold_profiles", seen, "folding")
    after(monkeypatch, findings, "spot_check", seen, "checking")

    monkeypatch.setattr("workers.folding.publish.MARKED_AT_ONCE", 1)

    def mark_folded(*args):
        if pipeline.ledger.plans.count_documents({"state": PlanState.FOLDED}):
            seen.wait_for("publishing")
        return real(*args)

    monkeypatch.setattr(Claims, "mark_folded", mark_folded)
    summary = materialise(pipeline.asset, [DAY, NEXT], display=seen, label="1/2 ")
    assert summary["success"], summary
    assert seen.stages() == ["listing", "working", "folding", "publishing", "checking"]
    (end,) = seen.ended
    assert end.title == f"1/2 user_profiles {DAY}...{NEXT}"
    assert end.figures == Figures(
        stage="done",
        is_planned=True,
        partitions=2,
        folded=2,
        batches=2,
        finished=2,
        items=4,
        items_done=4,
        work_done=end.figures.work_done,
    )


def test_a_run_that_fails_or_breaks_off_ends_its_thread_and_says_so(pipeline, monkeypatch):
    pipeline.put([event("ann")] + [b"bad"] * 50)
    seen = Recorder()
    assert not materialise(pipeline.asset, [DAY], display=seen)["success"]
    assert seen.ended[0].figures.stage == "failed"

    def broken(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_execute", broken)
    with pytest.raises(KeyboardInterrupt):
        materialise(pipeline.asset, [DAY], display=seen)
    assert seen.ended[1].figures.stage == "stopped"
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_a_run_goes_on_where_progress_cannot_reach_mongodb(pipeline, monkeypatch):
    """The display has a client of its own; only that one is cut off."""
    nowhere = Settings(
        mongodb_uri="mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=100",
        database="none",
        bucket="none",
        s3={},
    )
    monkeypatch.setattr(
        progress, "open_database", lambda settings, patient: open_database(nowhere, patient)
    )
    pipeline.put([event("ann")])
    seen = Recorder()
    assert materialise(pipeline.asset, [DAY], display=seen)["success"]
    assert seen.ended[0].figures.stage == "done"
    assert "MongoDB cannot be reached" in seen.ended[0].trouble
    assert pipeline.verify().match


def test_progress_shows_its_troubles_and_then_goes_on(servers, monkeypatch):
    """What an unknown error says is not repeated: it may hold an address with a password."""
    answers = [Unavailable("MongoDB is away"), ValueError("a secret"), WORKING]
    seen = Recorder()
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.01)

    def figures(ledger, run, partitions):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(progress, "figures", figures)
    with follow_run(TITLE, 213, lambda: "a run", servers, seen):
        seen.wait_for("working")
    assert [view.trouble for view in seen.views[:3]] == ["MongoDB is away", "ValueError", ""]
    assert seen.ended[0].figures == changed(stage="stopped")


def test_the_time_left_waits_for_enough_batches_and_work_of_this_run():
    follower = Follower(TITLE, 213, lambda: "a run", Recorder())

    def remaining(seconds, **values):
        follower._now = changed(**values)
        follower._first = (WORKING, progress.time.monotonic() - seconds)
        return follower._remaining()

    assert remaining(10) is None
    assert remaining(10, finished=127, work_done=80.0, work_left=20.0) is None
    assert remaining(10, finished=128, work_done=60.1, work_left=39.9) is None
    assert remaining(10, finished=128, work_done=80.0, work_left=20.0) == pytest.approx(10, abs=0.5)
    assert remaining(10, finished=213, work_done=90.0, work_left=10.0, stage="folding") is None


def test_a_terminal_gets_bars_even_beside_json_and_ops_logs_stay_clean(pipeline, home):
    """A real terminal, and ops in the process of the command, whose output Dagster captures."""
    pipeline.put([event("ann")])
    command = [*FANFOLD, "run", "user_profiles", "--json"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, "--partition", DAY],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "90"},
    ) as started:
        os.close(theirs)
        reader = threading.Thread(target=drain, args=(ours, screen := []))
        reader.start()
        summary = json.loads(started.stdout.read())
        reader.join()
    os.close(ours)
    drawn = b"".join(screen).decode()
    assert summary["items"] == 1
    assert "━" in drawn
    assert f"user_profiles {DAY}  done " in drawn
    logs = list((home / "dagster" / "logs" / summary["run_id"]).rglob("*.err"))
    assert logs
    assert not any("━" in log.read_text() for log in logs)


def drain(terminal, into):
    """Read a terminal until nobody writes to it any more."""
    while True:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:  # what Linux says of a terminal that everybody closed
            return
        into.append(chunk)
