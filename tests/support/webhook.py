"""Who hears of runs, for tests: a webhook, and the sensor that posts to it."""

import json
import logging
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import msgspec

from pipelines.alerts.sensor import alerts_sensor
from pipelines.definitions import definitions
from pipelines.runs import resolve
from tests.support.pipeline import DAY
from workers.assets import assets
from workers.batch import Worker
from workers.errors import Refused


class Hook(ThreadingHTTPServer):
    """A webhook: it answers with its status, and keeps the texts that it took."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.status = 200
        self.requests = 0
        self.texts = []
        self.url = f"http://127.0.0.1:{self.server_port}/services/hush-hush"


class Answering(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests += 1
        if self.server.status == 200:
            self.server.texts.append(body["text"])
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815  the base class looks for these names

    def log_message(self, *_):
        pass


class Watch:
    """The sensor as the daemon evaluates it: tick after tick, with the cursor of the last one."""

    def __init__(self, pipeline):
        self.alerts = pipeline.database["alerts"]
        self.cursor = None
        self.message = ""
        self.logged = []
        self.tick()

    def tick(self):
        location = definitions()
        handler = logging.Handler()
        handler.emit = lambda record: self.logged.append((record.levelname, record.getMessage()))
        with (
            dg.DagsterInstance.get() as instance,
            dg.build_sensor_context(
                instance=instance,
                cursor=self.cursor,
                resources=location.resources,
                repository_def=location.get_repository_def(),
            ) as context,
        ):
            context.log.addHandler(handler)
            result = alerts_sensor.evaluate_tick(context)

        assert not result.run_requests
        self.cursor = result.cursor
        self.message = result.skip_message
        return self

    def kinds(self):
        return [alert["kind"] for alert in self.alerts.find(sort=[("ended", 1)])]


def refused(monkeypatch, why="S3 refused access to s3://b/ (AccessDenied); check the policies"):
    """Let runs fail before they plan."""

    def list_partition(*_):
        raise Refused(why)

    monkeypatch.setattr("workers.planning.listing.list_partition", list_partition)


def begun(instance, origin=None):
    """Return a run that a worker began and was lost with."""
    job = resolve("user_profiles_job")
    tags = {"dagster/partition": DAY}
    run = instance.create_run_for_job(job, tags=tags, remote_job_origin=origin)
    instance.report_dagster_event(
        dg.DagsterEvent("PIPELINE_START", job.name, message="on its way"), run.run_id
    )
    return run


def unlucky(monkeypatch, why="out of luck"):
    """Let each attempt at a batch raise."""

    def read(worker):
        raise RuntimeError(why)

    monkeypatch.setattr(Worker, "read", read)


def redeclare(monkeypatch, asset, **changes):
    changed = msgspec.structs.replace(asset, **changes)
    monkeypatch.setitem(assets(), asset.name, changed)
    return changed


def anonymous(text):
    """Return a message without what differs between two runs."""
    return re.sub(r"[\d.]+ s\b", "T s", re.sub(r"runs/\S+", "runs/ID", text))
