"""The doors to services of AWS that run workers, and what their errors mean."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pipelines.launchers.launch import by_asset
from workers.errors import Refused, Unavailable
from workers.s3_errors import NO_ANSWER, Answer, passed_on


def open_client(service: str, read_seconds: float = 60, attempts: int = 3) -> Any:
    """Return boto3's client of a service; Refused where it lacks a region."""
    retries: Any = {"mode": "standard", "total_max_attempts": attempts}
    config = Config(
        connect_timeout=5, read_timeout=read_seconds, retries=retries, tcp_keepalive=True
    )
    with aws_errors(service):
        return boto3.client(service, config=config)


@contextmanager
def aws_errors(service: str) -> Iterator[None]:
    """Turn boto3's errors of a service into ours."""
    try:
        yield
    except NO_ANSWER as error:
        raise Unavailable(
            f"{service} did not answer; check the region and the network ({type(error).__name__})"
        ) from error
    except (ClientError, BotoCoreError) as error:
        text = passed_on(str(error))
        if isinstance(error, ClientError) and _is_transient(error):
            raise Unavailable(f"{service} answered: {text}") from error
        raise Refused(
            f"{service} cannot be used; check the settings, the credentials and their policies "
            f"({text})"
        ) from error


def _is_transient(error: ClientError) -> bool:
    answer = Answer.of(error)
    return answer.is_transient or answer.code == "ThrottlingException"


def setting(name: str, asset: str) -> str:
    """Return what a setting says for an asset; Refused where it says nothing."""
    values = by_asset(os.environ.get(name, ""))
    value = values.get(asset) or values.get("")
    if not value:
        raise Refused(f"{name} is not set, and the launcher of {asset} needs it")
    return value
