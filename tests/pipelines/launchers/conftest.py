"""The four launchers, each with what it needs: AWS is on loopback, and runs what it is asked to."""

import asyncio
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests.support.aws import aws_on_loopback
from tests.support.web import serving

PAGES_DAY = "2013-01-01"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries come at once, looks are frequent, and there is one worker."""
    monkeypatch.setattr("workers.retry.uniform", lambda low, high: 0.0)
    monkeypatch.setattr("pipelines.launchers.ecs_task.POLL_SECONDS", 0.1)
    monkeypatch.setenv("FANFOLD_SLOTS", "1")


@pytest.fixture
def aws(servers, monkeypatch):
    """AWS on loopback; S3 is where it was."""
    with aws_on_loopback() as aws:
        s3 = {
            "AWS_ENDPOINT_URL_S3": servers.s3["endpoint_url"],
            "AWS_ACCESS_KEY_ID": servers.s3["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": servers.s3["aws_secret_access_key"],
        }
        for name, value in {**aws.settings(), **s3}.items():
            monkeypatch.setenv(name, value)
        yield aws


@pytest.fixture(params=["inline", "subprocess", "lambda", "ecs"])
def launcher(request, monkeypatch):
    if request.param in ("lambda", "ecs"):
        request.getfixturevalue("aws")
    monkeypatch.setenv("FANFOLD_LAUNCHER", request.param)
    return request.param


class Pages:
    """A partition of page_profiles whose first visit lasts as long as a test needs."""

    def __init__(self, web, pipeline):
        self.web = web
        self.is_visited = False
        self.seconds = 60
        self._may_answer = asyncio.Event()
        urls = [web.on(f"/{number}", self._answer) for number in range(3)]
        pipeline.store.put(f"pages/dt={PAGES_DAY}/urls.txt", "\n".join(urls).encode())

    def answer(self):
        """End the first visit."""
        self.web._loop.call_soon_threadsafe(self._may_answer.set)

    async def _answer(self, _):
        from aiohttp.web import Response

        is_first, self.is_visited = not self.is_visited, True
        if is_first:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._may_answer.wait(), self.seconds)
        return Response(text="<title>A page</title>")


@pytest.fixture
def pages(pipeline, monkeypatch):
    monkeypatch.setenv("FANFOLD_ALLOWED_NETWORKS", "127.0.0.1/32")
    monkeypatch.setenv("FANFOLD_HOST_DELAY_SECONDS", "0")
    with ExitStack() as stack:
        yield Pages(stack.enter_context(serving()), pipeline)


def processes_of(pipeline):
    """Return the processes that work for a test's database, without this one."""
    found = []
    for process in psutil.process_iter():
        try:
            name = process.environ().get("FANFOLD_DATABASE")
            is_dead = process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if name == pipeline.database.name and not is_dead and process.pid != psutil.Process().pid:
            found.append(process)
    return found
