"""Blocks in S3: list them, read parts of them as they were planned, keep what runs leave behind."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)

from workers.errors import Refused, Unavailable
from workers.model import Asset, Block
from workers.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OWN = "_fanfold/"  # results and run references live under this prefix of the bucket


class Bytes(Protocol):
    """Something that reads like a file."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class Body(io.RawIOBase):
    """A body of S3 whose read errors are ours, and which knows how much of it was read."""

    def __init__(self, body: Any, name: str) -> None:
        self._body, self._name, self.bytes_read = body, name, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with s3_errors(self._name):
            piece: bytes = self._body.read(size if size >= 0 else None)
        self.bytes_read += len(piece)
        return piece

    def close(self) -> None:
        self._body.close()
        super().close()


class BlockStore:
    """One bucket: its blocks, and under `_fanfold/` the results and references of runs."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    def ensure(self) -> None:
        """Create the bucket where it does not exist yet."""
        with s3_errors(f"bucket {self.bucket}"):
            try:
                self.client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if _status(error) != 404:
                    raise
                self.client.create_bucket(Bucket=self.bucket)

    def list(self, prefix: str) -> Iterator[Block]:
        """Yield the blocks under a prefix in key order; "folder" objects are left out."""
        with s3_errors(f"s3://{self.bucket}/{prefix}"):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    if not entry["Key"].endswith("/"):
                        etag = entry["ETag"].strip('"')
                        yield Block(key=entry["Key"], etag=etag, size=entry["Size"])

    def of_partition(self, asset: Asset, partition: str) -> Iterator[Block]:
        """Yield the blocks of one partition."""
        for prefix in asset.prefixes(partition):
            for block in self.list(prefix):
                if asset.partition_of(block.key) == partition:
                    yield block

    def open(self, key: str, etag: str, start: int, end: int) -> Body:
        """Open bytes start to end (exclusive, and not empty) of the block with this ETag.

        Refused where the block is gone or no longer has this ETag; Unavailable where S3 is.
        """
        name = f"s3://{self.bucket}/{key}"
        with s3_errors(name):
            answer = self.client.get_object(
                Bucket=self.bucket, Key=key, IfMatch=f'"{etag}"', Range=f"bytes={start}-{end - 1}"
            )
        return Body(answer["Body"], name)

    def open_whole(self, key: str) -> Body:
        """Open an object that Fanfold wrote."""
        name = f"s3://{self.bucket}/{key}"
        with s3_errors(name):
            return Body(self.client.get_object(Bucket=self.bucket, Key=key)["Body"], name)

    def exists(self, key: str) -> bool:
        """Tell whether there is an object with this key."""
        return any(block.key == key for block in self.list(key))

    def delete_older(self, prefix: str, before: datetime) -> int:
        """Delete the objects under a prefix that were written before a time; return how many."""
        deleted = 0
        with s3_errors(f"s3://{self.bucket}/{prefix}"):
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    if entry["LastModified"] < before:
                        self.client.delete_object(Bucket=self.bucket, Key=entry["Key"])
                        deleted += 1
        return deleted

    def get(self, key: str) -> bytes:
        """Return a whole object that Fanfold wrote."""
        name = f"s3://{self.bucket}/{key}"
        with s3_errors(name):
            return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def put(self, key: str, body: bytes) -> None:
        """Write a whole object."""
        with s3_errors(f"s3://{self.bucket}/{key}"):
            self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def get_json(self, key: str) -> Any:
        """Return the JSON value of an object that `put_json` wrote."""
        return json.loads(self.get(key))

    def put_json(self, key: str, value: Any) -> None:
        """Write a value as JSON."""
        self.put(key, json.dumps(value, separators=(",", ":")).encode())


def connect(settings: Settings, patient: bool = True) -> BlockStore:
    """Return the bucket that the settings name. No request is made yet.

    A patient client tries a request five times over about half a minute.
    """
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "max_attempts": 5 if patient else 1},
    )
    arguments: dict[str, Any] = dict(settings.s3)
    return BlockStore(boto3.client("s3", config=config, **arguments), settings.bucket)


@contextmanager
def s3_errors(name: str) -> Iterator[None]:
    """Turn boto3's errors about the named thing into ours."""
    try:
        yield
    except ClientError as error:
        raise _explained(error, name) from error
    except (NoConnection, HTTPClientError, IncompleteReadError, ResponseStreamingError) as error:
        raise Unavailable(
            f"S3 did not answer for {name}; check the endpoint and that the server runs "
            f"({type(error).__name__})"
        ) from error
    except BotoCoreError as error:
        raise Refused(f"S3 cannot be used for {name}: {error}") from error


def _explained(error: ClientError, name: str) -> Exception:
    status, code = _status(error), error.response.get("Error", {}).get("Code", "")
    if status == 412:
        return Refused(f"{name} was replaced after it was planned; run its partition again")
    if status == 404 and code == "NoSuchBucket":
        return Refused(f"{name}: the bucket does not exist; create it or set FANFOLD_BUCKET")
    if status == 404:
        return Refused(f"{name} is gone; run its partition again")
    if status in (401, 403):
        return Refused(f"S3 refused access to {name} ({code}); check the credentials and policies")
    if status >= 500 or status in (408, 429) or code in ("SlowDown", "RequestTimeout"):
        return Unavailable(f"S3 answered {status} {code} for {name}")
    return Refused(f"S3 answered {status} {code} for {name}")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
