"""AWS Lambda, ECS and CloudWatch Logs on loopback, as far as launchers use them.

They really run what they are asked to, as a process of this machine: the handler, or the
container's command. boto3 validates what is sent by its models of the services.
"""

import base64
import json
import subprocess
import sys
import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TAIL_BYTES = 4_096  # of a function's log, in its answer
FAMILY = "worker"
GROUP = "/ecs/worker"
PREFIX = "fanfold"
CONTAINER = "fanfold"


class Task:
    """A task of ECS: its container is a process, whose log is kept."""

    def __init__(self, cluster, command, environ):
        self.id = uuid.uuid4().hex
        self.cluster = cluster
        self.lines = []
        self.stop_reason = ""
        command = [sys.executable if word == "python" else word for word in command]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        self.lines += self.process.stdout
        self.process.stdout.close()

    @property
    def arn(self):
        return f"arn:aws:ecs:eu-west-1:111122223333:task/{self.cluster}/{self.id}"

    def stop(self, reason):
        self.stop_reason = reason
        self.process.terminate()

    def describe(self):
        code = self.process.poll()
        if code is not None:
            self._reader.join()
        container = {"name": CONTAINER}
        if code is not None:  # a signal's number plus 128, as of any container
            container["exitCode"] = code if code >= 0 else 128 - code
        return {
            "taskArn": self.arn,
            "lastStatus": "RUNNING" if code is None else "STOPPED",
            "stoppedReason": self.stop_reason or "Essential container in task exited",
            "containers": [container],
        }


class Aws(ThreadingHTTPServer):
    """The three services, at one address."""

    daemon_threads = True

    def __init__(self, environ=None):
        super().__init__(("127.0.0.1", 0), Handler)
        # Of functions and tasks; this process' own where none is given.
        self.environ = environ
        self.calls = Counter()
        self.requests = []
        self.tasks = {}
        self.tokens = {}
        # The function's time-out, as it says itself, and what it is told of it.
        self.seconds = 900
        self.told_seconds = 900
        self.handler = "workers.on_lambda.handler"
        # Whoever sets it ends the invocation that runs, as its time-out does.
        self.is_out_of_time = threading.Event()
        # What RunTask answers instead, once.
        self.failures = []
        self.processes = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """Say nothing of a launcher that hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def settings(self):
        names = ("LAMBDA", "ECS", "CLOUDWATCH_LOGS")
        return {f"AWS_ENDPOINT_URL_{name}": self.url for name in names} | {
            "AWS_DEFAULT_REGION": "eu-west-1",
            "FANFOLD_LAMBDA_FUNCTION": "worker",
            "FANFOLD_ECS_CLUSTER": "machines",
            "FANFOLD_ECS_TASK_DEFINITION": FAMILY,
            "FANFOLD_ECS_SUBNETS": "subnet-1, subnet-2",
        }

    def end(self):
        for process in [*self.processes, *(task.process for task in self.tasks.values())]:
            if process.poll() is None:
                process.kill()

    # Lambda

    def invoke(self, event):
        """Return the headers and the body of an answer."""
        command = [sys.executable, "-m", "tests.support.lambda_runtime"]
        process = subprocess.Popen(
            [*command, self.handler, str(self.told_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environ,
        )
        self.processes.append(process)
        over = threading.Event()
        threading.Thread(target=self._end_in_time, args=(process, over)).start()
        body, log = process.communicate(event)
        timed_out = f"Task timed out after {self.seconds:.2f} seconds" if over.is_set() else ""

        frame = b"START RequestId: 1 Version: $LATEST\n" + log + b"END RequestId: 1\n"
        headers = {"X-Amz-Log-Result": base64.b64encode(frame[-TAIL_BYTES:]).decode()}
        if process.returncode:
            headers["X-Amz-Function-Error"] = "Unhandled"
            why = timed_out or "Runtime exited with error: signal: killed"
            body = body or json.dumps({"errorMessage": why}).encode()
        return headers, body

    def _end_in_time(self, process, over):
        """Kill an invocation whose time is over."""
        while process.poll() is None:
            if self.is_out_of_time.wait(0.05):
                self.is_out_of_time.clear()
                over.set()
                process.kill()
                return

    # ECS

    def describe_task_definition(self, request):
        options = {"awslogs-group": GROUP, "awslogs-region": "eu-west-1"}
        log = {"logDriver": "awslogs", "options": options | {"awslogs-stream-prefix": PREFIX}}
        container = {"name": CONTAINER, "image": "fanfold", "logConfiguration": log}
        return {
            "taskDefinition": {
                "family": request["taskDefinition"],
                "containerDefinitions": [container],
            }
        }

    def run_task(self, request):
        if self.failures:
            return {"tasks": [], "failures": [{"reason": self.failures.pop()}]}
        token = request["clientToken"]
        if token not in self.tokens:
            (override,) = request["overrides"]["containerOverrides"]
            assert override["name"] == CONTAINER
            self.tokens[token] = Task(request["cluster"], override["command"], self.environ)
        task = self.tokens[token]
        self.tasks[task.arn] = task
        return {"tasks": [task.describe()], "failures": []}

    def describe_tasks(self, request):
        known = [self.tasks[arn].describe() for arn in request["tasks"] if arn in self.tasks]
        return {"tasks": known, "failures": []}

    def stop_task(self, request):
        task = self.tasks[request["task"]]
        task.stop(request["reason"])
        return {"task": task.describe()}

    # CloudWatch Logs

    def get_log_events(self, request):
        prefix, container, task_id = request["logStreamName"].split("/")
        assert (request["logGroupName"], prefix, container) == (GROUP, PREFIX, CONTAINER)
        (lines,) = [task.lines for task in self.tasks.values() if task.id == task_id]
        start = int(request.get("nextToken", "f/0")[2:])
        events = [{"message": line.rstrip("\n"), "timestamp": 0} for line in lines[start:]]
        return {"events": events, "nextForwardToken": f"f/{start + len(events)}"}


ACTIONS = {
    "DescribeTaskDefinition": Aws.describe_task_definition,
    "RunTask": Aws.run_task,
    "DescribeTasks": Aws.describe_tasks,
    "StopTask": Aws.stop_task,
    "GetLogEvents": Aws.get_log_events,
}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = self.headers.get("X-Amz-Target", ".Invoke").rpartition(".")[2]
        self.server.calls[name] += 1
        self.server.requests.append((name, json.loads(body)))

        if name == "Invoke":
            assert self.path == "/2015-03-31/functions/worker/invocations"
            headers, answer = self.server.invoke(body)
        else:
            headers = {}
            answer = json.dumps(ACTIONS[name](self.server, json.loads(body))).encode()

        self.send_response(200)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


@contextmanager
def aws_on_loopback(environ=None):
    """Serve from a thread of its own; what still runs at the end is killed."""
    with Aws(environ) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
            server.end()
