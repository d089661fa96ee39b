"""A stand-in for a Kubernetes cluster: an API server on loopback that runs pods as processes.

It knows the calls that dagster-k8s makes. Each job is held against Kubernetes' schema before it is
taken, and its pod's command is run with the pod's environment and nothing of this process' own. As
in a cluster, a pod outlives its job until it is deleted; then it is asked to stop, and killed after
its grace period. Images, nodes, limits and rights are not looked at.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

PROJECT = Path(__file__).parent.parent.parent
STARTS_FAST = PROJECT / "tests/support/starts_fast"  # what an image has on PYTHONPATH first
SCHEMA_VERSION = "1.35"
GRACE_SECONDS = 30  # Kubernetes' own
VERBS = {"GET": "get", "POST": "create", "DELETE": "delete"}
NAMES = r"/namespaces/(?P<namespace>[^/]+)/(?P<kind>jobs|pods|events)(/(?P<name>[^/]+))?"
PATH = re.compile(rf"/(apis/batch|api)/v1{NAMES}(/(?P<part>status|log))?")

Document = dict[str, Any]


@dataclass
class Pod:
    """A pod whose command runs as a process, in a group of its own."""

    manifest: Document
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def name(self) -> str:
        return self.manifest["metadata"]["name"]

    @property
    def op(self) -> str:
        """The step that the pod runs, as its label has it."""
        return self.manifest["metadata"]["labels"].get("dagster/op", "")

    @property
    def container(self) -> Document:
        return self.manifest["spec"]["containers"][0]

    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill all processes of the pod, as its node does when it dies."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ask the pod's first process to stop, and kill what is left of it after that."""
        grace = self.manifest["spec"].get("terminationGracePeriodSeconds", GRACE_SECONDS)
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        self.kill()

    def to_json(self) -> Document:
        code = self.process.poll()
        if code is None:
            phase, state = "Running", {"running": {}}
        else:
            phase = "Failed" if code else "Succeeded"
            state = {"terminated": {"exitCode": code if code >= 0 else 128 - code}}
        status = {"name": self.container["name"], "state": state, "ready": code is None}
        status |= {"image": self.container["image"], "imageID": "", "restartCount": 0}
        return self.manifest | {"status": {"phase": phase, "containerStatuses": [status]}}


@dataclass
class Cluster:
    """What a namespace holds: jobs and pods that run, secrets and config maps that are given."""

    folder: Path
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    environ: dict[str, str] = field(
        default_factory=lambda: {"PYTHONPATH": f"{STARTS_FAST}{os.pathsep}{PROJECT}"}
    )  # an image's
    path: str = str(Path(sys.executable).parent)  # where an image has its commands
    url: str = ""
    jobs: dict[str, Document] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)  # why jobs were not taken
    started: list[Pod] = field(default_factory=list)  # every pod there was
    calls: set[tuple[str, str, str]] = field(default_factory=set)  # API group, resource, verb

    def create_job(self, job: Document) -> tuple[int, Document]:
        name = job["metadata"]["name"]
        try:
            kubernetes_validate.validate(job, SCHEMA_VERSION, strict=True)
            environ = self._environ(job["spec"]["template"]["spec"]["containers"][0])
        except (kubernetes_validate.ValidationError, KeyError) as error:
            self.refused.append(str(error))
            return failure(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        if name in self.jobs:
            return failure(HTTPStatus.CONFLICT, name)

        self.jobs[name] = job
        self._start_pod(job, environ)
        return HTTPStatus.CREATED, self._job(name)

    def _start_pod(self, job: Document, environ: dict[str, str]) -> None:
        template = job["spec"]["template"]
        name = f"{job['metadata']['name']}-pod"
        labels = template["metadata"]["labels"] | {"job-name": job["metadata"]["name"]}
        manifest = {"metadata": {"name": name, "labels": labels}, "spec": template["spec"]}
        log = self.folder / f"{name}.log"
        container = template["spec"]["containers"][0]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*container.get("command", []), *container["args"]],
                env=environ | {"HOSTNAME": name},
                cwd=PROJECT,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.pods[name] = Pod(manifest, process, log)
        self.started.append(self.pods[name])

    def _environ(self, container: Document) -> dict[str, str]:
        """Return a container's environment; KeyError where a secret or a config map is missing."""
        environ = {"PATH": f"{self.path}:/usr/bin:/bin", "HOME": str(self.folder)} | self.environ
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                environ |= self.secrets[source["secretRef"]["name"]]
            else:
                environ |= self.config_maps[source["configMapRef"]["name"]]
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                environ[variable["name"]] = self.secrets[reference["name"]][reference["key"]]
            else:
                environ[variable["name"]] = variable["value"]
        return environ

    def _job(self, name: str) -> Document:
        """Return a job with its status, which is that of its one pod: no pod is tried again."""
        pod = self.pods.get(f"{name}-pod")
        code = pod.process.poll() if pod else 1
        outcome = "active" if code is None else "failed" if code else "succeeded"
        return self.jobs[name] | {"status": {outcome: 1, "startTime": "2026-01-01T00:00:00Z"}}

    def delete_pod(self, name: str) -> None:
        """Delete a pod, as somebody who cancels does, or who drains its node; its job fails."""
        pod = self.pods.pop(name)
        threading.Thread(target=pod.stop).start()

    def answer(self, method: str, path: str, body: Document | None) -> tuple[int, Document | str]:
        """Return the status and the document that a request is answered with."""
        match = PATH.fullmatch(urlsplit(path).path)
        if not match:
            return failure(HTTPStatus.NOT_FOUND, path)

        kind, name, part = match["kind"], match["name"], match["part"]
        group = "batch" if path.startswith("/apis/batch") else ""
        verb = VERBS[method] if name or method != "GET" else "list"
        self.calls.add((group, f"{kind}/{part}" if part else kind, verb))
        objects: Mapping[str, Any] = {"jobs": self.jobs, "pods": self.pods, "events": {}}[kind]
        if method == "POST" and kind == "jobs" and body:
            return self.create_job(body)
        if not name:
            query = parse_qs(urlsplit(path).query)
            items = [self._to_json(kind, each) for each in list(objects)]
            selected = [item for item in items if is_selected(item, query)]
            return HTTPStatus.OK, {"items": selected, "metadata": {}}
        if name not in objects:
            return failure(HTTPStatus.NOT_FOUND, name)
        if part == "log":
            return HTTPStatus.OK, self.pods[name].log.read_text(errors="replace")

        document = self._to_json(kind, name)
        if method == "DELETE" and kind == "jobs":
            del self.jobs[name]
        elif method == "DELETE":
            self.delete_pod(name)
        return HTTPStatus.OK, document

    def _to_json(self, kind: str, name: str) -> Document:
        return self._job(name) if kind == "jobs" else self.pods[name].to_json()

    def running(self, op: str = "") -> list[Pod]:
        """Return the pods whose processes run, and whose step has this in its name."""
        return [pod for pod in self.started if pod.is_running() and op in pod.op]

    def kubeconfig(self) -> Path:
        """Write the file by which clients find the cluster; return where it is."""
        file = self.folder / "kubeconfig"
        name = "stand-in"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {"token": "any"}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
        file.write_text(yaml.safe_dump(config))
        return file

    def dagster_home(self) -> Path:
        """Write a dagster.yaml that launches into the cluster, as a chart would; return its folder.

        Its state is in SQLite, beside it, which the pods of this machine share.
        """
        launcher = {
            "dagster_home": str(self.folder),
            "instance_config_map": "dagster-instance",
            "job_image": "fanfold:test",
            "service_account_name": "dagster",
            "job_namespace": "fanfold",
            "env_secrets": list(self.secrets),
            "env_config_maps": list(self.config_maps),
            "load_incluster_config": False,
            "kubeconfig_file": str(self.kubeconfig()),
        }
        text = (PROJECT / "dagster.yaml").read_text()
        config = yaml.safe_load(text.replace(".fanfold/dagster", f"{self.folder}/dagster"))
        config["run_launcher"] = {"module": "dagster_k8s", "class": "K8sRunLauncher"}
        config["run_launcher"]["config"] = launcher
        (self.folder / "dagster.yaml").write_text(yaml.safe_dump(config))
        return self.folder


def failure(status: HTTPStatus, message: str) -> tuple[int, Document]:
    """Return how the API says that something went wrong."""
    document = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    return status, document | {"message": message, "code": int(status), "reason": status.phrase}


def is_selected(item: Document, query: Mapping[str, list[str]]) -> bool:
    """Tell whether an object has the labels and the name that a list is asked for."""
    for selector in query.get("labelSelector", []):
        wanted = dict(part.split("=") for part in selector.split(","))
        if not wanted.items() <= item["metadata"]["labels"].items():
            return False
    names = [selector.partition("metadata.name=")[2] for selector in query.get("fieldSelector", [])]
    return all(name == item["metadata"]["name"] for name in names if name)


@contextmanager
def open_cluster(folder: Path, **given: Any) -> Iterator[Cluster]:
    """Serve a cluster on loopback; what still runs at the end is killed."""
    cluster = Cluster(folder, **given)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            with lock:
                status, document = cluster.answer(self.command, self.path, body)
            is_text = isinstance(document, str)
            answer = (document if is_text else json.dumps(document)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if is_text else "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            """Keep quiet."""

    lock = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    cluster.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        for pod in cluster.running():
            pod.kill()
        for pod in cluster.started:
            pod.process.wait(GRACE_SECONDS)
