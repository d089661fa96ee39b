"""Which launcher an asset has, and what is refused before anything runs."""

import logging

import msgspec
import pytest

from pipelines.definitions import definitions
from pipelines.launchers.choice import check_launchers, launcher_of, with_few_workers
from pipelines.launchers.ecs_task import launch_ecs
from pipelines.launchers.inline import launch_inline
from pipelines.launchers.launch import WorkerLog
from pipelines.launchers.process import launch_process
from tests.support.pipeline import USER_PROFILES
from workers.errors import Refused


def test_a_share_runs_in_its_op_unless_settings_say_otherwise(monkeypatch):
    assert launcher_of("user_profiles").launch is launch_inline
    monkeypatch.setenv("FANFOLD_LAUNCHER", "subprocess")
    assert launcher_of("user_profiles").launch is launch_process


def test_an_asset_can_have_a_launcher_of_its_own(monkeypatch):
    monkeypatch.setenv("FANFOLD_LAUNCHER", "subprocess, page_profiles=ecs")
    assert launcher_of("user_profiles").launch is launch_process
    assert launcher_of("page_profiles").launch is launch_ecs


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("lamda", "'lamda'; it can be inline, subprocess, lambda, ecs"),
        ("inline,page_profils=ecs", "'page_profils', which is no asset"),
        ("lambda", "FANFOLD_LAMBDA_FUNCTION is not set"),
        ("ecs", "FANFOLD_ECS_CLUSTER is not set"),
        ("subprocess", "FANFOLD_WORKER_PYTHON is '/no/python'"),
    ],
)
def test_settings_that_are_wrong_are_refused_when_the_code_location_loads(monkeypatch, said, why):
    monkeypatch.setenv("FANFOLD_WORKER_PYTHON", "/no/python")
    monkeypatch.setenv("FANFOLD_LAUNCHER", said)
    with pytest.raises(Refused, match=why.replace("(", r"\(")):
        definitions()


def test_batches_that_are_too_long_for_a_function_are_refused_with_the_way_out(monkeypatch):
    monkeypatch.setenv("FANFOLD_LAUNCHER", "lambda")
    monkeypatch.setenv("FANFOLD_LAMBDA_FUNCTION", "worker")
    sizes = msgspec.structs.replace(USER_PROFILES.sizes, target_seconds=601)
    long = msgspec.structs.replace(USER_PROFILES, sizes=sizes)
    check_launchers([USER_PROFILES])
    with pytest.raises(Refused, match=r"set sizes.target_seconds to 600 or less"):
        check_launchers([long])
    monkeypatch.setenv("FANFOLD_LAUNCHER", "lambda,user_profiles=inline")
    check_launchers([long])


@pytest.mark.parametrize(
    ("name", "value"), [("FANFOLD_LAUNCHER", "subprocess"), ("FANFOLD_EXECUTOR", "k8s")]
)
def test_where_starting_is_dear_there_is_a_worker_for_each_slot_and_no_more(
    monkeypatch, name, value
):
    assert with_few_workers(USER_PROFILES, 2) is USER_PROFILES
    monkeypatch.setenv(name, value)
    assert with_few_workers(USER_PROFILES, 2).sizes.max_workers == 2


def test_lines_of_a_worker_have_the_level_that_they_name():
    heard = []

    class Log(logging.Logger):
        def log(self, level, message):
            heard.append((logging.getLevelName(level), message))

    said = WorkerLog(Log("run"))
    for line in [
        "INFO a share\n",
        "WARNING a traceback\n",
        "  File x\n",
        "\n",
        "[INFO]\t2026-11-28T02:00:00.000Z\trequest-id\ta share of Lambda's\n",
        "INFORMATION is no level\n",
    ]:
        said.add(line)
    assert heard == [
        ("INFO", "a share"),
        ("WARNING", "a traceback"),
        ("WARNING", "  File x"),
        ("INFO", "a share of Lambda's"),
        ("INFO", "INFORMATION is no level"),
    ]
    assert said.last == "INFORMATION is no level"
