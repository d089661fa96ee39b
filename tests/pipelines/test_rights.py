"""The rights under deploy/ are enough for all that Fanfold does, and no more than that."""

import json
from fnmatch import fnmatchcase
from functools import partial

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from pymongo.monitoring import CommandListener

from pipelines.runs import materialise
from resources.embedded import running_settings
from tests.conftest import PROJECT
from tests.support.daily_life import live, put_blocks
from tests.support.pipeline import DAY, Pipeline, event
from tests.support.s3_answers import saying
from workers import store as stores
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.ledger.profiles import ProfileCollection, why_unfit
from workers.store import open_store

POLICY = json.loads((PROJECT / "deploy/iam-policy.json").read_text())
ROLE = json.loads((PROJECT / "deploy/mongodb-role.json").read_text())
BUCKET = "arn:aws:s3:::fanfold"
# The right that a request takes, where that is not named as it is.
S3_RIGHTS = {"ListObjectsV2": "s3:ListBucket", "HeadBucket": "s3:ListBucket"}
MONGODB_RIGHTS = {
    "delete": "remove",
    "distinct": "find",
    "aggregate": "find",
    "count": "find",
    "findAndModify": "update",
    "create": "createCollection",
    "createIndexes": "createIndex",
    "drop": "dropCollection",
}
FREE = {
    "connectionStatus",
    "hello",
    "ping",
    "getMore",
    "killCursors",
    "endSessions",
    "saslStart",
    "saslContinue",
}


def granted_by(action, resource):
    """Return the statements of the policy that allow an action."""
    return [
        statement["Sid"]
        for statement in POLICY["Statement"]
        if action in _listed(statement["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in _listed(statement["Resource"]))
    ]


def _listed(value):
    return value if isinstance(value, list) else [value]


@pytest.fixture
def requests(monkeypatch):
    """The (right, resource) of each request to S3, of clients that are made from here on."""
    requests = set()
    make = stores._client

    def note(params, model, **_):
        key = f"/{params['Key']}" if "Key" in params else ""
        requests.add((S3_RIGHTS.get(model.name, f"s3:{model.name}"), f"{BUCKET}{key}"))

    def watched(arguments):
        client = make(arguments)
        client.meta.events.register("provide-client-params.s3", note)
        return client

    monkeypatch.setattr(stores, "_client", watched)
    return requests


def test_the_policy_allows_each_request_to_s3_and_nothing_that_is_not_made(
    pipeline, fanfold, monkeypatch, requests
):
    put_blocks(pipeline)  # as others do, by a client of before
    watched = Pipeline(open_store(running_settings()), pipeline.database, pipeline.ledger)
    codes = live(watched, fanfold, monkeypatch)
    assert set(codes.values()) == {0}, codes

    used = {request: granted_by(*request) for request in requests}
    assert [request for request, statements in used.items() if not statements] == []
    of_the_bucket = {
        statement["Sid"]
        for statement in POLICY["Statement"]
        if _listed(statement["Resource"])[0].startswith((BUCKET + "/", BUCKET + '"'))
        or statement["Resource"] == BUCKET
    }
    assert of_the_bucket == {sid for statements in used.values() for sid in statements}


def test_no_block_can_be_written_or_deleted():
    for action in ("s3:PutObject", "s3:DeleteObject"):
        assert granted_by(action, f"{BUCKET}/events/dt=1998-04-01/a.jsonl") == []
    assert granted_by("s3:DeleteObject", f"{BUCKET}/_fanfold/manifests/a.json") == []


@pytest.fixture
def read_only(pipeline, servers, monkeypatch):
    """How to run where S3 refuses to write keys with a part; it returns the errors."""
    pipeline.put([event("ann")])
    with saying() as (server, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.s3["aws_access_key_id"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.s3["aws_secret_access_key"])
        monkeypatch.setenv("AWS_DEFAULT_REGION", servers.s3["region_name"])

        def run(part):
            server.say(part, 403, method="PUT", Code="AccessDenied", Message="Access Denied")
            return materialise(pipeline.asset, [DAY])["errors"]

        yield run


def test_a_run_that_may_write_nothing_to_s3_says_so_before_it_plans_anything(pipeline, read_only):
    (error,) = read_only("_fanfold/")
    assert "(AccessDenied: Access Denied); check the credentials and policies: it takes" in error
    assert error.endswith("s3:PutObject (deploy/iam-policy.json has all that Fanfold needs)")
    assert pipeline.ledger.plans.find_one() is None


def test_a_run_that_may_write_no_results_folds_nothing_and_names_the_right(pipeline, read_only):
    (error,) = read_only("_fanfold/results/")
    assert "s3:PutObject" in error
    assert pipeline.profiles.find_one() is None


@pytest.fixture
def limited(pipeline, monkeypatch):
    """The URI of a user who has the role alone, on the database of the test."""
    name = pipeline.database.name
    role = json.loads(json.dumps(ROLE).replace('"db": "fanfold"', f'"db": "{name}"'))
    pipeline.database.command(role)
    pipeline.database.command("createUser", "limited", pwd="secret", roles=["fanfold"])
    host, port = pipeline.database.client.address
    uri = f"mongodb://limited:secret@{host}:{port}/?authSource={name}"
    monkeypatch.setenv("MONGODB_URI", uri)
    yield uri
    pipeline.database.command("dropUser", "limited")
    pipeline.database.command("dropRole", "fanfold")


class Heard(CommandListener):
    """The rights that commands took."""

    def __init__(self):
        self.rights = set()

    def started(self, event):
        right = MONGODB_RIGHTS.get(event.command_name, event.command_name)
        if "$collStats" in event.command.get("pipeline", [{}])[0]:
            right = "collStats"
        self.rights.add(right)

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


def test_the_role_allows_each_command_to_mongodb_and_none_that_is_not_sent(
    pipeline, fanfold, monkeypatch, limited
):
    put_blocks(pipeline)
    heard = Heard()
    monkeypatch.setattr(
        "workers.ledger.mongo.MongoClient", partial(MongoClient, event_listeners=[heard])
    )
    database = open_database(running_settings())
    with database.client:
        codes = live(Pipeline(pipeline.store, database, Ledger(database)), fanfold, monkeypatch)
        assert why_unfit(ProfileCollection(database["users"], "user_id"), is_new=True)
    assert set(codes.values()) == {0}, codes

    (privilege,) = ROLE["privileges"]
    assert heard.rights - FREE == set(privilege["actions"])


FORBIDDEN = {
    "read another database": lambda client, name: client["another"]["plans"].find_one(),
    "write another database": lambda client, name: client["another"]["plans"].insert_one({}),
    "list users": lambda client, name: client.admin.command("usersInfo", 1),
    "make a user": lambda client, name: client[name].command("createUser", "x", pwd="x", roles=[]),
    "grant itself more": lambda client, name: client[name].command(
        "grantRolesToUser", "limited", roles=["dbOwner"]
    ),
    "drop the database": lambda client, name: client.drop_database(name),
}


@pytest.mark.parametrize("forbidden", FORBIDDEN)
def test_the_role_cannot(forbidden, limited, pipeline):
    with MongoClient(limited) as client:
        assert client[pipeline.database.name]["plans"].find_one() is None
        with pytest.raises(OperationFailure, match="not authorized"):
            FORBIDDEN[forbidden](client, pipeline.database.name)
