"""What a person sees who takes steps of runs, or has nobody who does."""

import sys

import pytest

from pipelines.cli.worker import warn_without_workers
from pipelines.executors import executor
from workers.errors import Refused
from workers.planning.slots import SERVES


@pytest.fixture
def celery(monkeypatch):
    monkeypatch.setenv("FANFOLD_EXECUTOR", "celery")
    monkeypatch.setenv("FANFOLD_BROKER", "redis://elsewhere/")


@pytest.fixture
def without_celery(monkeypatch):
    for module in ("broker", "handler", "executor", "worker"):
        monkeypatch.delitem(sys.modules, f"pipelines.celery.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "celery", None)


def test_a_worker_without_the_extra_says_what_to_install(fanfold, celery, without_celery):
    code, _, err = fanfold("worker")
    assert code == 2
    assert "there is no celery: install fanfold[celery]" in err


def test_the_executor_without_the_extra_says_what_to_install(without_celery):
    with pytest.raises(Refused, match=r"there is no celery: install fanfold\[celery\]"):
        executor("celery")


def test_who_starts_a_run_that_nobody_takes_steps_of_is_told_what_to_type(pipeline, celery, capsys):
    warn_without_workers()
    assert "no worker is alive" in capsys.readouterr().err
    pipeline.ledger.workers.enter("worker", step=SERVES, slots=2)
    warn_without_workers()
    assert capsys.readouterr().err == ""


def test_who_starts_a_run_on_this_machine_is_told_nothing(pipeline, capsys):
    warn_without_workers()
    assert capsys.readouterr().err == ""


def test_the_exports_of_a_shell_name_the_broker_where_there_is_one(fanfold, celery):
    _, out, _ = fanfold("env")
    assert "export FANFOLD_BROKER=redis://elsewhere/" in out
