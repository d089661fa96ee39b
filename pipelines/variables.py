"""The environment that Fanfold reads: each variable with what it means.

docs/settings.md is written from this page by `make docs`; a mistyped one is told by every command.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches

# What a person sets, and what it means; what it is without, in brackets.
VARIABLES = {
    "MONGODB_URI": (
        "a MongoDB 5 or newer, best a replica set (writes are acknowledged by its majority, "
        "and from the journal); without it an embedded mongod starts. Timeouts in the URI "
        "win over Fanfold's"
    ),
    "FANFOLD_DATABASE": ("the database of ledger and profiles (`fanfold`)"),
    "FANFOLD_BUCKET": (
        "the bucket of blocks and results (`fanfold`); results lie under `_fanfold/`"
    ),
    "AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_PROFILE, ...": (
        "boto3's own: the S3 to use; without any of them an embedded SeaweedFS starts. On a "
        "machine with an instance role, set `AWS_ENDPOINT_URL_S3`. An `S3Resource` of the code "
        "location [wins](deploy.md#s3)"
    ),
    "FANFOLD_EXECUTOR": (
        "`local` (a process for each op, as many at once as there are slots), `in_process`, "
        "`celery`: workers elsewhere take ops [from a broker](deploy.md#celery), or `k8s`: "
        "a [Kubernetes job for each op](#kubernetes)"
    ),
    "FANFOLD_BROKER": (
        "with `celery`: `amqp://USER:PASSWORD@HOST/VHOST` (RabbitMQ) or "
        "`redis://:PASSWORD@HOST/0` (Redis with an append-only file), also `amqps` and "
        "`rediss`; a secret, never repeated. Without it an embedded Redis starts. The queue "
        "is named after database and bucket, so deployments can share a broker"
    ),
    "FANFOLD_K8S_CONFIG": ("a YAML file that says what [pods of ops](#kubernetes) are like"),
    "FANFOLD_LAUNCHER": (
        "how a worker is run: `inline` (in the op), `subprocess`, `lambda` or `ecs`; by "
        "asset too, as in `inline,page_profiles=ecs` ([decision "
        "19](decisions/0019-launchers.md))"
    ),
    "FANFOLD_WORKER_PYTHON": (
        "the Python of `subprocess` workers, of an environment of their own (that of the op)"
    ),
    "FANFOLD_LAMBDA_FUNCTION": (
        "the function whose handler is `workers.on_lambda.handler`: its name or ARN; by asset too"
    ),
    "FANFOLD_ECS_CLUSTER, FANFOLD_ECS_TASK_DEFINITION": (
        "where `ecs` workers run, and as what; by asset too"
    ),
    "FANFOLD_ECS_CONTAINER": (
        "the container of the task definition that workers run in (its only one)"
    ),
    "FANFOLD_ECS_LAUNCH_TYPE": (
        "`FARGATE`, `EC2`, or `cluster`: by the cluster's own strategy (`FARGATE`)"
    ),
    "FANFOLD_ECS_SUBNETS, FANFOLD_ECS_SECURITY_GROUPS, FANFOLD_ECS_PUBLIC_IP": (
        "the network of tasks: ids with commas between them, and `yes` for public addresses (no)"
    ),
    "FANFOLD_SLOTS": (
        "how many workers run at once, those on Lambda and ECS among them; without it the "
        "least of the cores that the process may use, the CPU quota of its container, and "
        "the memory over the most that a worker of the asset was seen to hold. `fanfold "
        "plan` says which. With `celery`, of each `fanfold worker`; a run counts those of "
        "all that are alive"
    ),
    "FANFOLD_EVENTS_QUEUE": (
        "the URL of an SQS queue with S3's event notifications; sensors read it instead of "
        "listing. Its region is taken from it; `AWS_ENDPOINT_URL_SQS` (outside AWS also "
        "`AWS_ENDPOINT_URL`) overrides the endpoint"
    ),
    "FANFOLD_REQUESTER_PAYS": (
        "`yes`: requests say that whoever asks pays, for buckets whose readers pay (no)"
    ),
    "FANFOLD_NOTIFY_ON": (
        "which messages are sent: `failed,recovered,warned`; also `finished`, `cancelled`"
    ),
    "FANFOLD_NOTIFY_WEBHOOK": ("a Slack-compatible webhook; a secret, never repeated"),
    "FANFOLD_NOTIFY_SNS": ("the ARN of an SNS topic"),
    "FANFOLD_UI_URL": ("what links in messages begin with (`http://127.0.0.1:3000`)"),
    "FANFOLD_ALLOWED_NETWORKS": (
        "private networks whose pages may be visited, as in `10.1.0.0/16,127.0.0.1/32` (none)"
    ),
    "FANFOLD_USER_AGENT": (
        "who visits pages (`Fanfold/<version> (no contact given)`); name yourself and where "
        "to complain"
    ),
    "FANFOLD_HOST_CONNECTIONS, FANFOLD_HOST_DELAY_SECONDS": (
        "connections to one host, and seconds between requests to it, of one worker (2 and 0.5)"
    ),
    "FANFOLD_HOME": (
        "local state: embedded servers and samples (`.fanfold` in the project's folder)"
    ),
    "DAGSTER_EVENT_BATCH_SIZE": (
        "Dagster's own: events that are written in one transaction (1,000 with the storage "
        "of `dagster.yaml`; 0: one by one)"
    ),
    "DAGSTER_HOME": (
        "Dagster's own; without it `dagster.yaml` of the project keeps its state in "
        "`.fanfold/dagster`"
    ),
}
NAME = re.compile(r"[A-Z][A-Z0-9_]+")
OWN_PREFIX = "FANFOLD_"


def names() -> set[str]:
    """Return the names of all variables."""
    return {name for key in VARIABLES for name in NAME.findall(key)}


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that looks like one of Fanfold's and is none."""
    sentences = []
    for name in sorted(environ):
        if not name.startswith(OWN_PREFIX) or name in names():
            continue
        near = get_close_matches(name, names(), n=1)
        meant = f"; is {near[0]} meant?" if near else ""
        sentences.append(f"{name} is set, and is no setting of Fanfold{meant}")
    return sentences
