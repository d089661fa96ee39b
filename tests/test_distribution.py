"""What is installed as `fanfold`: its base is a worker, and all else is an extra."""

import subprocess
import sys
import zipfile
from email import message_from_string

import pytest
from packaging.requirements import Requirement

from tests.conftest import PROJECT
from tests.support.base_environment import hide_all_but_base
from tests.test_rooms import MODULES
from workers import __version__

WORKER = {
    "aiohttp",
    "boto3",
    "cramjam",
    "fastavro",
    "msgspec",
    "numpy",
    "pandas",
    "protego",
    "pyarrow",
    "pymongo",
    "tzdata",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The distribution, as it is built of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


@pytest.fixture
def in_base(tmp_path):
    """Run a Python that has only what the base of the distribution needs."""
    variables = hide_all_but_base(tmp_path)

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )

    return run


def test_the_wheel_holds_the_three_rooms_and_the_command(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    info = f"fanfold-{__version__}.dist-info"
    assert top == {"workers", "resources", "pipelines", "fanfold.py", info}


def test_the_wheel_holds_each_module_and_no_settings_of_lint(wheel):
    files = {name for name in wheel.namelist() if "dist-info" not in name}
    assert all(name.endswith(".py") for name in files)
    modules = {name.removesuffix(".py").replace("/", ".") for name in files}
    assert {name.removesuffix(".__init__") for name in modules} == MODULES | {"fanfold"}


def test_without_extras_the_distribution_needs_what_a_worker_needs(wheel):
    info = f"fanfold-{__version__}.dist-info"
    text = wheel.read(f"{info}/METADATA").decode()
    needs = [Requirement(line) for line in message_from_string(text).get_all("Requires-Dist")]
    assert {need.name for need in needs if not need.marker} == WORKER


def test_each_module_of_workers_can_be_imported_in_the_base(in_base):
    modules = sorted(name for name in MODULES if name.split(".")[0] == "workers")
    done = in_base("-c", f"import {', '.join(modules)}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("room", ["resources", "pipelines", "pipelines.definitions"])
def test_the_other_rooms_say_in_the_base_what_to_install(in_base, room):
    done = in_base("-c", f"import {room}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: ")
    assert "pip install 'fanfold[dagster]'" in last


def test_the_command_line_ends_in_the_base_with_one_sentence(in_base):
    done = in_base("-m", "fanfold", "status")
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert "pip install 'fanfold[dagster]'" in sentence


def test_a_worker_says_its_options_in_the_base(in_base):
    done = in_base("-m", "workers", "--help")
    assert done.returncode == 0, done.stderr
    assert "--batch" in done.stdout


def test_a_worker_imports_nothing_for_pages_where_its_asset_visits_none(in_base):
    code = "import sys, workers.__main__, workers.on_lambda\n"
    code += "from workers.assets import declared_asset\n"
    code += "print(declared_asset('user_profiles').name, {'aiohttp', 'protego'} & set(sys.modules))"
    done = in_base("-c", code)
    assert done.stdout == "user_profiles set()\n", done.stderr
