"""Blocks in S3: list them, read parts of them as they were planned, keep what runs leave behind."""

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from workers.errors import Refused
from workers.retry import retry
from workers.s3_errors import read_date, s3_errors, status_of
from workers.settings import Settings
from workers.values import Block

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
OWN_PREFIX = "_fanfold/"  # results and run references live under this prefix of the bucket
RETRY_SECONDS = 30  # seconds for which a request is repeated while S3 is unavailable
CONNECT_SECONDS = 5  # seconds that a connection may take
REQUESTS_AT_ONCE = 16  # small ones that a step makes side by side: most of each is waiting
USER_AGENT = "fanfold"  # what logs of S3 see of us
ANSWER_SECONDS = 20  # how long S3 may say nothing, before an answer or in the middle of it


class Bytes(Protocol):
    """Something that reads like a file."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class Opener(Protocol):
    """What reads parts of blocks, and whole objects: a store, or one with bytes at hand."""

    def open(self, key: str, etag: str, start: int, end: int) -> Bytes: ...

    def open_whole(self, key: str) -> Bytes: ...


class Body(io.RawIOBase):
    """A body of S3 that is read on where it broke off, and knows how much of it was read."""

    def __init__(
        self, ask: Callable[[Callable[[], bytes]], bytes], part: Callable[[int], Any]
    ) -> None:
        # `part` requests the bytes from an offset on; `ask` makes a call, again if need be.
        self._ask = ask
        self._part = part
        self.bytes_read = 0
        self._body: Any = None
        self._body = part(0)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._ask(partial(self._read, size if size >= 0 else None))
        self.bytes_read += len(chunk)
        return chunk

    def _read(self, size: int | None) -> bytes:
        self._body = self._body or self._part(self.bytes_read)
        try:
            chunk: bytes = self._body.read(size)
        except Exception:
            self._body.close()
            self._body = None
            raise
        return chunk

    def close(self) -> None:
        if self._body:
            self._body.close()
        super().close()


class BlockStore:
    """One bucket: its blocks, and under `_fanfold/` the results and references of runs.

    Requests that S3 does not answer are repeated for `patience` seconds, reads of bodies too.
    """

    def __init__(self, client: "S3Client", bucket: str, patience: float = RETRY_SECONDS) -> None:
        self.client = client
        self.bucket = bucket
        self.patience = patience

    def _ask(self, key: str, request: Callable[[], T]) -> T:
        def call() -> T:
            with s3_errors(f"s3://{self.bucket}/{key}"):
                return request()

        return retry(call, self.patience)

    def ensure(self) -> None:
        """Create the bucket where it does not exist yet."""

        def find_or_create() -> None:
            if not self._find():
                self._create()

        self._ask("", find_or_create)

    def has_bucket(self) -> bool:
        """Tell whether the bucket exists."""
        return self._ask("", self._find)

    def _find(self) -> bool:
        try:
            self.client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if status_of(error) != 404:
                raise
            return False
        return True

    def _create(self) -> None:
        region: Any = self.client.meta.region_name
        try:
            self.client.create_bucket(Bucket=self.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] != "IllegalLocationConstraintException":
                raise
            # Everywhere but in us-east-1 AWS wants to be told again where it is.
            where: Any = {"LocationConstraint": region}
            self.client.create_bucket(Bucket=self.bucket, CreateBucketConfiguration=where)

    # Listing

    def list(self, prefix: str) -> Iterator[Block]:
        """Yield the blocks under a prefix in key order; "folder" objects are left out."""
        for block, _ in self.list_aged(prefix):
            yield block

    def list_aged(self, prefix: str) -> Iterator[tuple[Block, float]]:
        """Yield the blocks under a prefix, each with the seconds since it was written.

        Both times are of the clock of S3, so that ours may be wrong.
        """
        for entry, now in self._entries(prefix):
            if entry["Key"].endswith("/"):
                continue
            yield _block(entry), (now - entry["LastModified"]).total_seconds()

    def pages(self, prefix: str) -> Iterator[tuple[Sequence[Block], bool]]:
        """Yield the blocks under a prefix as S3 answers, up to a thousand at once.

        With each comes whether it is the last; "folder" objects are left out.
        """
        for page in self._pages(prefix):
            entries = [entry for entry in page.get("Contents", []) if entry["Key"][-1] != "/"]
            yield [_block(entry) for entry in entries], not page.get("IsTruncated")

    def _entries(self, prefix: str) -> Iterator[tuple[Any, datetime]]:
        """Yield what S3 says of each object under a prefix, and when it said so."""
        for page in self._pages(prefix):
            now = _answer_time(page)
            for entry in page.get("Contents", []):
                yield entry, now

    def _pages(self, prefix: str) -> Iterator[Any]:
        query: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix}
        while True:
            page = self._ask(prefix, partial(self.client.list_objects_v2, **query))
            yield page
            if not page.get("IsTruncated"):
                return
            query["ContinuationToken"] = page["NextContinuationToken"]

    def some_keys(self, prefix: str, after: str = "") -> Sequence[str]:
        """Return the keys under a prefix, up to a thousand: the first, or the first after one."""
        ask = partial(
            self.client.list_objects_v2, Bucket=self.bucket, Prefix=prefix, StartAfter=after
        )
        page = self._ask(prefix, ask)
        return [entry["Key"] for entry in page.get("Contents", [])]

    def exists(self, key: str) -> bool:
        """Tell whether there is an object with this key."""
        return any(block.key == key for block in self.list(key))

    # Reading

    def open(self, key: str, etag: str, start: int, end: int) -> Body:
        """Open bytes start to end (exclusive, and not empty) of the block with this ETag.

        Refused where the block is gone or no longer has this ETag; Unavailable where S3 is.
        """
        return self._open(key, f'"{etag}"', start, end)

    def open_whole(self, key: str) -> Body:
        """Open an object that Fanfold wrote."""
        return self._open(key, None, 0, None)

    def _open(self, key: str, etag: str | None, start: int, end: int | None) -> Body:
        def part(offset: int) -> Any:
            nonlocal etag
            how: dict[str, Any] = {"IfMatch": etag} if etag else {}
            if offset or end is not None:
                how["Range"] = f"bytes={start + offset}-{'' if end is None else end - 1}"

            answer = self.client.get_object(Bucket=self.bucket, Key=key, **how)
            etag = answer["ETag"]  # what is read on after a break is the same object
            return answer["Body"]

        ask = partial(self._ask, key)
        return ask(lambda: Body(ask, part))

    def get(self, key: str) -> bytes:
        """Return a whole object that Fanfold wrote."""

        def whole() -> bytes:
            return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

        return self._ask(key, whole)

    def get_json(self, key: str) -> Any:
        """Return the JSON value of an object that `put_json` wrote."""
        return json.loads(self.get(key))

    # Writing

    def put(self, key: str, body: bytes) -> None:
        """Write a whole object."""
        self._ask(key, partial(self.client.put_object, Bucket=self.bucket, Key=key, Body=body))

    def put_json(self, key: str, value: Any) -> None:
        """Write a value as JSON."""
        self.put(key, json.dumps(value, separators=(",", ":")).encode())

    def delete(self, key: str) -> None:
        """Delete an object that Fanfold wrote; one that is gone is fine."""
        self._ask(key, partial(self.client.delete_object, Bucket=self.bucket, Key=key))

    def delete_older(self, prefix: str, before: datetime) -> int:
        """Delete the objects under a prefix that were written before a time; return how many."""
        deleted = 0
        for entry, _ in self._entries(prefix):
            if entry["LastModified"] < before:
                self.delete(entry["Key"])
                deleted += 1
        return deleted


def open_store(settings: Settings, patient: bool = True) -> BlockStore:
    """Return the bucket that the settings name. No request is made yet.

    A patient client repeats a request for about half a minute, any other makes it once.
    """
    try:
        client = _client(dict(settings.s3))
    except (BotoCoreError, ValueError) as error:
        raise Refused(f"S3 cannot be used: {error}") from error
    client.meta.events.register("before-parse.s3", undouble_headers)
    if settings.requester_pays:
        client.meta.events.register("provide-client-params.s3", _agree_to_pay)
    return BlockStore(client, settings.bucket, RETRY_SECONDS if patient else 0)


def _client(arguments: dict[str, Any]) -> "S3Client":
    """Return the client that arguments of boto3 name; this is the only place that makes one."""
    profile = arguments.pop("profile_name", None)
    is_unsigned = arguments.pop("use_unsigned_session", False)
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        max_pool_connections=REQUESTS_AT_ONCE,
        # Ours are the only repeats: how long boto3's go on differs by a factor of 20 between
        # versions, and nothing repeats a read that breaks off.
        retries={"mode": "standard", "total_max_attempts": 1},
        # boto3's own is put together anew for each request, which is an eighth of its CPU.
        user_agent=USER_AGENT,
        signature_version=UNSIGNED if is_unsigned else None,
    )
    told = tuple(sorted(each for each in os.environ.items() if each[0].startswith("AWS_")))
    client: Any = _session(profile, told).create_client("s3", config=config, **arguments)
    of_s3: S3Client = client
    return of_s3


@lru_cache(maxsize=4)
def _session(profile: str | None, told: tuple[tuple[str, str], ...]) -> Session:  # noqa: ARG001
    """Return what boto3 stands on; what boto3 adds to a client, uploads in parts, takes 90 ms.

    It keeps the credentials that it reads, so where the environment says others it is another.
    """
    return Session(profile=profile)


def undouble_headers(response_dict: dict[str, Any], **_: Any) -> None:
    """Make one of headers that a proxy has added a second time, before boto3 reads an answer.

    The two have arrived as one, with a comma between them.
    """
    headers = response_dict["headers"]
    for name, value in list(headers.items()):
        half = len(value) // 2 - 1
        if half > 0 and value == f"{value[:half]}, {value[:half]}":
            headers[name] = value[:half]


def _agree_to_pay(params: dict[str, Any], model: Any, **_: Any) -> None:
    """Say in a request, where it can be said, that whoever asks pays for the answer."""
    if "RequestPayer" in model.input_shape.members:
        params.setdefault("RequestPayer", "requester")


def _block(entry: Any) -> Block:
    return Block(key=entry["Key"], etag=entry["ETag"].strip('"'), size=entry["Size"])


def _answer_time(answer: Mapping[str, Any]) -> datetime:
    """Return when S3 answered, by its own clock, or by ours where it does not say."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return read_date(date) or datetime.now(UTC)
