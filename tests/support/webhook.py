"""Who hears of units, for tests: a webhook, and the sensor that tells it."""

import json
import logging
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg

from pipelines.alerts.sensor import alerts_sensor
from pipelines.definitions import definitions
from pipelines.runs import resolve
from tests.support.pipeline import DAY
from workers.errors import Refused


class Hook(ThreadingHTTPServer):
    """A webhook: it answers what it is told to, and keeps what it took."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.status, self.requests, self.texts = 200, 0, []
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
        self.notices = pipeline.database["notices"]
        self.cursor, self.logged, self.said = None, [], ""
        self.tick()

    def tick(self, **more):
        found = definitions()
        handler = logging.Handler()
        handler.emit = lambda record: self.logged.append((record.levelname, record.getMessage()))
        with (
            dg.DagsterInstance.get() as instance,
            dg.build_sensor_context(
                instance=instance,
                cursor=self.cursor,
                resources=found.resources,
                repository_def=found.get_repository_def(),
            ) as context,
        ):
            context.log.addHandler(handler)
            data = alerts_sensor.evaluate_tick(context)
        assert not data.run_requests
        self.cursor, self.said = data.cursor, data.skip_message
        return self

    def kinds(self):
        return [one["kind"] for one in self.notices.find(sort=[("ended", 1)])]


def refused(monkeypatch, why="S3 refused access to s3://b/ (AccessDenied); check the policies"):
    """Let runs fail before they plan."""

    def list_partition(*_):
        raise Refused(why)

    monkeypatch.setattr("pipelines.fanout.list_partition", list_partition)


def begun(instance, origin=None):
    """Return a run that a worker began and was lost with."""
    job = resolve("user_profiles_job")
    tags = {"dagster/partition": DAY}
    run = instance.create_run_for_job(job, tags=tags, remote_job_origin=origin)
    instance.report_dagster_event(
        dg.DagsterEvent("PIPELINE_START", job.name, message="on its way"), run.run_id
    )
    return run
