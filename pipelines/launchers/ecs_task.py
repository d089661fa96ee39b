"""A worker as a task of AWS ECS, on Fargate or on instances of one's own.

By boto3, and not by dagster-aws's PipesECSClient: that one writes the container's log to the op's
stdout, where `--json` prints its document, and takes any exit code but 0 for a failure.
"""

import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from dagster._utils.interrupts import capture_interrupts

from pipelines.launchers.aws import aws_errors, open_client, setting
from pipelines.launchers.launch import Launch, WorkerLog, checked, describe_end
from workers.declare.asset import Asset
from workers.errors import FanfoldError, Refused, Unavailable
from workers.launched import SOME_OPEN
from workers.settings import YES

CLUSTER = "FANFOLD_ECS_CLUSTER"
TASK_DEFINITION = "FANFOLD_ECS_TASK_DEFINITION"
CONTAINER = "FANFOLD_ECS_CONTAINER"
LAUNCH_TYPE = "FANFOLD_ECS_LAUNCH_TYPE"
SUBNETS = "FANFOLD_ECS_SUBNETS"
SECURITY_GROUPS = "FANFOLD_ECS_SECURITY_GROUPS"
PUBLIC_IP = "FANFOLD_ECS_PUBLIC_IP"

POLL_SECONDS = 5.0
CLUSTERS_OWN = "cluster"  # the launch type that leaves it to the cluster's strategy


class Container(NamedTuple):
    """The container of a task definition that workers run in."""

    name: str
    # Where its log goes, as the task definition says.
    log: dict[str, Any]


def check_ecs(asset: Asset) -> None:
    """Refuse settings that lack something."""
    setting(CLUSTER, asset.name)
    setting(TASK_DEFINITION, asset.name)


def launch_ecs(launch: Launch) -> int:
    """Run a task to its end, with its log in the run's; it is stopped where this is interrupted."""
    ecs = open_client("ecs")
    cluster = setting(CLUSTER, launch.asset.name)
    container = _container(ecs, launch.asset.name)
    task = _start(ecs, cluster, container, launch)
    launch.log.info(f"ECS runs the share as task {task}")

    said = WorkerLog(launch.log)
    log = TaskLog(container, task, said)
    try:
        ended = _wait(ecs, cluster, task, log)
    except BaseException:
        with capture_interrupts(), aws_errors("ECS"):
            ecs.stop_task(cluster=cluster, task=task, reason="the op that launched it ended")
        raise

    code = _exit_code(ended, container)
    if code is None:
        raise Unavailable(f"ECS ended task {task}: {ended.get('stoppedReason', 'no reason')}")
    if why := describe_end(code):
        launch.log.warning(why)
    return checked(code, said.last)


def _container(ecs: Any, asset: str) -> Container:
    """Return the container to run in: the one that is set, or the only one."""
    name = setting(TASK_DEFINITION, asset)
    with aws_errors("ECS"):
        answer = ecs.describe_task_definition(taskDefinition=name)

    containers = {each["name"]: each for each in answer["taskDefinition"]["containerDefinitions"]}
    wanted = os.environ.get(CONTAINER) or (next(iter(containers)) if len(containers) == 1 else "")
    if wanted not in containers:
        raise Refused(f"{CONTAINER} has to name one of {name}: {', '.join(containers)}")
    return Container(wanted, containers[wanted].get("logConfiguration", {}))


def _start(ecs: Any, cluster: str, container: Container, launch: Launch) -> str:
    """Start a task for a share; return its ARN. Of two that start the same worker one does."""
    command = ["python", "-m", "workers", *launch.reference.arguments]
    with aws_errors("ECS"):
        answer = ecs.run_task(
            cluster=cluster,
            taskDefinition=setting(TASK_DEFINITION, launch.asset.name),
            count=1,
            clientToken=launch.reference.worker,
            startedBy="fanfold",
            overrides={"containerOverrides": [{"name": container.name, "command": command}]},
            **_placement(),
        )
    if answer.get("failures"):
        reasons = [failure.get("reason", "no reason") for failure in answer["failures"]]
        raise Unavailable(f"ECS has no place for a task: {', '.join(reasons)}")
    return str(answer["tasks"][0]["taskArn"])


def _placement() -> dict[str, Any]:
    """Return what settings say of the machine and the network of tasks."""
    launch_type = os.environ.get(LAUNCH_TYPE) or "FARGATE"
    placement: dict[str, Any] = {}
    if launch_type != CLUSTERS_OWN:
        placement["launchType"] = launch_type
    if subnets := _list(SUBNETS):
        is_public = os.environ.get(PUBLIC_IP, "").lower() in YES
        network = {"subnets": subnets, "assignPublicIp": "ENABLED" if is_public else "DISABLED"}
        if groups := _list(SECURITY_GROUPS):
            network["securityGroups"] = groups
        placement["networkConfiguration"] = {"awsvpcConfiguration": network}
    return placement


def _list(name: str) -> list[str]:
    return [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]


def _wait(ecs: Any, cluster: str, task: str, log: "TaskLog") -> dict[str, Any]:
    """Wait until a task has stopped, and pass on its log; return what ECS says of it."""
    while True:
        with aws_errors("ECS"):
            tasks = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
        if not tasks:
            raise Unavailable(f"ECS knows task {task} no more")
        has_stopped = tasks[0]["lastStatus"] == "STOPPED"
        log.read()
        if has_stopped:
            return dict(tasks[0])
        time.sleep(POLL_SECONDS)


def _exit_code(task: dict[str, Any], container: Container) -> int | None:
    """Return the exit code of a task's container; None where it did not run to an end."""
    for each in task.get("containers", ()):
        if each["name"] == container.name:
            code = each.get("exitCode")
            return None if code is None else int(code)
    return SOME_OPEN


class TaskLog:
    """The log of a task, as far as it was read from CloudWatch."""

    def __init__(self, container: Container, task: str, said: WorkerLog) -> None:
        self.said = said
        self._where: dict[str, str] = {}
        self._token = ""
        options = container.log.get("options", {})
        if container.log.get("logDriver") == "awslogs" and "awslogs-stream-prefix" in options:
            task_id = task.rpartition("/")[2]
            stream = f"{options['awslogs-stream-prefix']}/{container.name}/{task_id}"
            self._where = {"logGroupName": options["awslogs-group"], "logStreamName": stream}
            self._logs = open_client("logs")
        else:
            said.log.warning("its log is not shown here: it goes to no stream of CloudWatch")

    def read(self) -> None:
        """Pass on what is new in the log; one that cannot be read keeps no task from running."""
        try:
            for line in self._lines() if self._where else ():
                self.said.add(line)
        except FanfoldError as error:
            self.said.log.debug(str(error))

    def _lines(self) -> Iterator[str]:
        while True:
            after = {"nextToken": self._token} if self._token else {}
            with aws_errors("CloudWatch"):
                answer = self._logs.get_log_events(**self._where, startFromHead=True, **after)
            for event in answer["events"]:
                yield from event["message"].splitlines()
            if answer["nextForwardToken"] == self._token:
                return
            self._token = answer["nextForwardToken"]
