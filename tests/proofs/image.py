"""The steps of deploy/Dockerfile in a plain folder, and a run whose pods are what came of them.

    python -m tests.proofs.image [--folder FOLDER]

There is no Docker here: a stage is a folder, its RUN steps are run by this machine's shell and
Python with the paths of the image moved below that folder, and only what .dockerignore lets through
can be copied. Neither the base image nor its user is tried. Then the image's own commands load the
code and run three days in the stand-in for a cluster, with no other Python than the image's.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from resources.embedded import running_settings
from tests.support.cluster import open_cluster
from tests.support.cluster_runs import secret_of, started_run
from tests.support.pipeline import Pipeline, event
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.store import open_store

PROJECT = Path(__file__).parent.parent.parent
DAYS = ("1998-04-01", "1998-04-02", "1998-04-03")
IMAGE_PATH = re.compile(r"(?<![\w/.])/(?:opt|build)\b")  # what of the image's paths is moved
CAPITAL = re.compile(r"[A-Z]+")


class Image:
    """A folder that stands for an image, and what the Dockerfile says of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.stage = ""
        self.workdir = "/"
        self.environ: dict[str, str] = {}
        self.user = ""

    def build(self, dockerfile: str) -> None:
        """Carry out each step, in order."""
        for instruction, rest in steps(dockerfile):
            print(f"{instruction} {rest}", flush=True)
            getattr(self, f"step_{instruction.lower()}")(rest)

    def step_from(self, rest: str) -> None:
        """Keep the stage before under its name, so that this one has its paths."""
        if self.root.exists():
            self.root.rename(self.folder / self.stage)
        self.root.mkdir()
        self.stage = rest.partition(" AS ")[2]
        self.workdir, self.environ = "/", {}

    def step_workdir(self, rest: str) -> None:
        self.workdir = rest
        self.moved(rest).mkdir(parents=True, exist_ok=True)

    def step_run(self, rest: str) -> None:
        command = IMAGE_PATH.sub(lambda match: f"{self.root}{match[0]}", rest)
        command = command.replace("python -m venv", f"{sys.executable} -m venv", 1)
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder)} | self.environ
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        subprocess.run(
            ["sh", "-ec", command], cwd=self.moved(self.workdir), env=pip | environ, check=True
        )

    def step_copy(self, rest: str) -> None:
        *sources, target = [word for word in shlex.split(rest) if not word.startswith("--")]
        stage = re.match(r"--from=(\w+) ", rest)
        to = self.moved(target) if target.startswith("/") else self.moved(self.workdir) / target
        for source in sources:
            if stage:
                shutil.copytree(self.folder / stage[1] / source.lstrip("/"), to, symlinks=True)
            elif (PROJECT / source).is_dir():
                assert source in allowed(), f".dockerignore keeps {source} out"
                shutil.copytree(PROJECT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                assert source in allowed(), f".dockerignore keeps {source} out"
                shutil.copy(PROJECT / source, to)

    def step_env(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self.environ[name] = IMAGE_PATH.sub(lambda match: f"{self.root}{match[0]}", value)

    def step_user(self, rest: str) -> None:
        self.user = rest

    def step_cmd(self, rest: str) -> None:
        assert json.loads(rest), "a list in JSON"

    def moved(self, path: str) -> Path:
        """Return where a path of the image lies."""
        return self.root / path.lstrip("/")

    def run(self, *command: str, **more: str) -> str:
        """Run a command as the image would; return what it prints."""
        environ = self.environ | {"FANFOLD_EXECUTOR": "k8s", "FANFOLD_SLOTS": "2"} | more
        result = subprocess.run(
            command,
            cwd=self.moved(self.workdir),
            env=environ,
            check=False,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout + result.stderr


def steps(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile, each with what it says."""
    for line in dockerfile.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.partition(" ")
        if CAPITAL.fullmatch(instruction):
            yield instruction, rest.strip()


def allowed() -> set[str]:
    """Return what .dockerignore lets through."""
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    return {line.removeprefix("!") for line in lines if line.startswith("!")}


def run_days(image: Image, folder: Path) -> None:
    """Run three days by pods that have the image's commands, and verify them."""
    number = uuid.uuid4().hex[:8]
    settings = running_settings()
    settings = msgspec.structs.replace(settings, bucket=f"i-{number}", database=f"i_{number}")
    store = open_store(settings)
    store.ensure()
    database = open_database(settings)
    pipeline = Pipeline(store, database, Ledger(database))
    for day in DAYS:
        pipeline.put([event(f"user{n}", item=day) for n in range(20)], day)

    secrets = {"fanfold": secret_of(settings)}
    given = {"secrets": secrets, "environ": image.environ, "path": image.environ["PATH"]}
    with open_cluster(folder, **given) as cluster, database.client:
        with started_run(cluster, "user_profiles", f"{DAYS[0]}...{DAYS[-1]}") as run:
            out, err = run.communicate()
        assert run.returncode == 0, out + err
        verdict = pipeline.verify()
        assert verdict.match
        print(f"{len(cluster.started)} pods ran {verdict.items} items; digest {verdict.digest}")


def main() -> None:
    """Build the image in a folder and try it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="an empty one; without it one that is removed")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given or Path(temporary)).absolute()
        image = Image(folder)
        image.build((PROJECT / "deploy/Dockerfile").read_text())
        assert image.user.split(":")[0] not in ("", "0", "root")

        bin_ = image.moved("/opt/fanfold/bin")
        validate = (str(bin_ / "dagster"), "definitions", "validate", "-m", "pipelines.definitions")
        assert "Validation successful" in image.run(*validate)
        where = image.run(str(bin_ / "python"), "-c", "import workers; print(workers.__file__)")
        print(f"`dagster definitions validate` passes, with {where.strip()}")
        files = (file.stat().st_size for file in image.root.rglob("*") if file.is_file())
        print(f"{sum(files) >> 20} MB beside the base image")

        (folder / "cluster").mkdir()
        run_days(image, folder / "cluster")


if __name__ == "__main__":
    main()
