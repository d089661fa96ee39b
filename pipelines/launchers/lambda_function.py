"""A worker as a function of AWS Lambda: it is invoked until no batch of the share is left.

By boto3, and not by dagster-aws's PipesLambdaClient: that one hands back no answer of the function,
cannot stop it, and starts again what took longer than boto3 waits.
"""

import base64
import json
from typing import Any

import msgspec
from dagster._utils.interrupts import capture_interrupts

from pipelines.launchers.aws import aws_errors, open_client, setting
from pipelines.launchers.launch import Launch, WorkerLog, ask_to_stop, checked
from workers.dealt import ShareReference
from workers.declare.asset import Asset
from workers.errors import Refused
from workers.launched import SOME_OPEN, Ended

FUNCTION = "FANFOLD_LAMBDA_FUNCTION"
MAX_SECONDS = 900  # of an invocation
MAX_TARGET_SECONDS = 600  # of a batch, since some take longer than was expected
# What Lambda itself says at the beginning and the end of an invocation.
FRAMES = ("START RequestId", "END RequestId")


def check_lambda(asset: Asset) -> None:
    """Refuse an asset whose batches may take longer than an invocation."""
    setting(FUNCTION, asset.name)
    if asset.sizes.target_seconds > MAX_TARGET_SECONDS:
        raise Refused(
            f"{asset.name} has batches of {asset.sizes.target_seconds:g} s, and a function of AWS "
            f"Lambda runs for {MAX_SECONDS} s at most: set sizes.target_seconds to "
            f"{MAX_TARGET_SECONDS} or less in its file, or have it run elsewhere, as in "
            f"FANFOLD_LAUNCHER=lambda,{asset.name}=ecs"
        )


def launch_lambda(launch: Launch) -> int:
    """Invoke the function until it has run the share, or comes no further."""
    # Not asked again where it takes long: each invocation is a worker.
    client = open_client("lambda", read_seconds=MAX_SECONDS + 60, attempts=1)
    function = setting(FUNCTION, launch.asset.name)

    left: int | None = len(launch.batches)
    while left:
        reference = launch.reference.renewed()
        ended = _invoke(client, function, launch, reference)
        if not ended.left or ended.left >= left:
            return checked(ended.exit, ended.error)
        left = ended.left
        launch.log.info(f"{left} batches of the share are left: the function is invoked again")
    return SOME_OPEN


def _invoke(client: Any, function: str, launch: Launch, reference: ShareReference) -> Ended:
    """Invoke the function once, with its log's end in the run's log; return how it ended."""
    try:
        with aws_errors("AWS Lambda"):
            answer = client.invoke(
                FunctionName=function,
                InvocationType="RequestResponse",
                LogType="Tail",
                Payload=json.dumps(reference.to_json()),
            )
            payload = answer["Payload"].read()
    except BaseException:  # it goes on without us: Lambda knows no way to stop it
        with capture_interrupts():
            ask_to_stop(launch, reference.worker)
        raise

    said = WorkerLog(launch.log)
    tail = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
    for line in tail.splitlines():
        if not line.startswith(FRAMES):
            said.add(line)
    return _ended(answer, payload, launch)


def _ended(answer: dict[str, Any], payload: bytes, launch: Launch) -> Ended:
    """Return how an invocation ended: by its own words, or without one."""
    if "FunctionError" in answer:
        launch.log.warning(f"the function failed: {_error_message(payload)}")
        return Ended(exit=SOME_OPEN)
    try:
        ended = msgspec.json.decode(payload, type=Ended)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Refused(
            f"{FUNCTION} names a function that answers as no worker does; its handler has to be "
            f"workers.on_lambda.handler ({error})"
        ) from error
    if ended.error:
        launch.log.warning(ended.error)
    return ended


def _error_message(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["errorMessage"])
    except (ValueError, KeyError, TypeError):
        return payload[:400].decode(errors="replace")
