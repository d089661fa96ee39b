"""What `make dev` runs, as processes: webserver, daemon and code, asked as the UI asks them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from resources.servers import HOST, free_ports
from tests.support.declared import PROJECT

WAIT_SECONDS = 1_800
LOOK_SECONDS = 0.5
STOP_SECONDS = 20
LAUNCH = """mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
BACKFILL = """query($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } }
}"""
RUN = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
SENSORS = """{
  repositoriesOrError {
    ... on RepositoryConnection {
      nodes { sensors { name sensorState { id status } } }
    }
  }
}"""
STOP_SENSOR = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"


class Dagster:
    """The webserver of `make dev`."""

    def __init__(self, port: int) -> None:
        self.address = f"http://{HOST}:{port}"

    def ask(self, query: str, **variables: Any) -> Any:
        """Return what a GraphQL query answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"{self.address}/graphql"
        request = Request(url, body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def backfill(self, asset: str, partitions: list[str]) -> str:
        """Start a backfill of an asset's partitions as the catalogue does; return its id."""
        key = {"path": [asset]}
        params = {"assetSelection": [key], "partitionNames": partitions, "fromFailure": False}
        answer = self.ask(LAUNCH, params=params)["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise SystemExit(f"no backfill was started: {answer}")
        backfill: str = answer["backfillId"]
        return backfill

    def is_backfill_over(self, backfill: str) -> bool:
        """Tell whether a backfill has ended well; one that has failed ends the program."""
        status = self.ask(BACKFILL, id=backfill)["partitionBackfillOrError"]["status"]
        if "FAIL" in status or "CANCEL" in status:
            raise SystemExit(f"the backfill is {status}")
        return "SUCCESS" in status or status == "COMPLETED"

    def run_status(self, run: str) -> str:
        """Return what a run is at, in Dagster's words."""
        status: str = self.ask(RUN, id=run)["runOrError"]["status"]
        return status

    def sensor_status(self, name: str) -> str:
        """Return whether a sensor is RUNNING or STOPPED."""
        status: str = self._sensor_state(name)["status"]
        return status

    def stop_sensor(self, name: str) -> None:
        """Turn a sensor off, as its switch does."""
        self.ask(STOP_SENSOR, id=self._sensor_state(name)["id"])

    def _sensor_state(self, name: str) -> Any:
        (repository,) = self.ask(SENSORS)["repositoriesOrError"]["nodes"]
        return next(each["sensorState"] for each in repository["sensors"] if each["name"] == name)


@contextmanager
def dagster_dev(environ: dict[str, str]) -> Iterator[Dagster]:
    """Run what `make dev` runs."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "dagster", "dev", "--host", HOST, "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--log-level", "warning"],
        cwd=PROJECT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    dagster = Dagster(port)
    try:
        until(lambda: answers(dagster))
        yield dagster
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop it as Ctrl-C does; in the background of a shell, where it hears none, by force."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(dagster: Dagster) -> bool:
    """Tell whether the webserver answers, and has loaded the code."""
    try:
        return bool(dagster.ask("{ repositoriesOrError { __typename } }"))
    except OSError:
        return False


def until(is_so: Callable[[], bool], wait_seconds: float = WAIT_SECONDS) -> float:
    """Wait until something is so; return the seconds that it took."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > wait_seconds:
            raise SystemExit("it takes too long")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began
