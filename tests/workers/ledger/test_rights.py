"""A user of MongoDB without the rights: one sentence, before anything is written."""

from contextlib import contextmanager

import pytest
from pymongo.errors import OperationFailure

from tests.support.anew import rebuild
from tests.support.pipeline import Pipeline, event
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database
from workers.ledger.rights import LEDGER, OF_LEDGER, OF_PROFILES, OF_REBUILD
from workers.planning.rebuild import begin_rebuild
from workers.settings import Settings

OF_ALL = {"listCollections"}
OF_THE_LEDGER = {*OF_LEDGER, "createIndex"}


@pytest.fixture
def limited(pipeline):
    """How to make a user who may do this with the collection of profiles, and that with others."""
    name = pipeline.database.name

    @contextmanager
    def user(of_profiles, of_ledger=OF_THE_LEDGER, of_all=OF_ALL, roles=("limited",)):
        granted = {"": of_all, "users": of_profiles, **dict.fromkeys(LEDGER, of_ledger)}
        privileges = [
            {"resource": {"db": name, "collection": collection}, "actions": sorted(actions)}
            for collection, actions in granted.items()
            if actions
        ]
        pipeline.database.command("createRole", "limited", privileges=privileges, roles=[])
        pipeline.database.command("createUser", "lea", pwd="secret", roles=list(roles))
        host, port = pipeline.database.client.address
        uri = f"mongodb://lea:secret@{host}:{port}/?authSource={name}"
        database = open_database(Settings(mongodb_uri=uri, database=name, bucket="", s3={}))
        try:
            with database.client, mongodb_errors():
                limited = Pipeline(pipeline.store, database, Ledger(database))
                yield limited.changed(collection="users")
        finally:
            pipeline.database.command("dropUser", "lea")
            pipeline.database.command("dropRole", "limited")

    pipeline.put([event("ann")])
    return user


def refused(pipeline, limited, key="_id", **rights):
    """Return what a run of a limited user is refused with; it has written nothing."""
    before = pipeline.database.list_collection_names()
    with pytest.raises(Refused) as error, limited(**rights) as user:
        user.changed(key=key).run()
    assert pipeline.database.list_collection_names() == before
    assert list(pipeline.store.list("_fanfold/")) == []
    return str(error.value)


@pytest.mark.parametrize("right", OF_PROFILES)
def test_a_right_to_profiles_that_is_missing_is_named(pipeline, limited, right):
    text = refused(pipeline, limited, of_profiles={*OF_PROFILES} - {right})
    assert text == (
        f"user_profiles: the user lea of MONGODB_URI lacks rights in the database "
        f"{pipeline.database.name} ({right} on users); deploy/mongodb-role.json has all rights "
        "that are needed (docs/deploy.md)"
    )


def test_a_user_who_may_only_read_is_told_all_that_is_missing(pipeline, limited):
    text = refused(pipeline, limited, of_profiles={"find"}, of_ledger={"find"})
    ledger = ", ".join(LEDGER)
    assert f"(insert, update on {ledger}; insert, update, remove on users)" in text


def test_a_user_who_may_not_list_collections_is_told_so(pipeline, limited):
    text = refused(pipeline, limited, of_profiles=OF_PROFILES, of_all=set())
    assert "(listCollections on all collections)" in text


def test_a_right_to_the_copies_that_count_is_named_where_copies_count_once(limited):
    why = r"find, insert, update on user_profiles\.unique"
    with limited(OF_PROFILES) as user, pytest.raises(Refused, match=why):
        user.changed(unique=("user",)).run()


def test_a_key_is_found_by_an_index_which_takes_a_right_to_see_indexes(pipeline, limited):
    pipeline.database["users"].create_index("user_id", unique=True)
    text = refused(pipeline, limited, of_profiles=OF_PROFILES, key="user_id")
    assert "(listIndexes on users)" in text


def test_a_right_that_is_missing_is_named_before_a_run_too(limited):
    with limited({"find"}) as user:
        (remark,) = user.preview().summary["remarks"]
    assert "(insert, update, remove on users)" in remark


def test_a_right_that_is_missed_only_when_it_is_used_is_named_too(pipeline, limited):
    text = refused(pipeline, limited, of_profiles=OF_PROFILES, of_ledger=OF_LEDGER)
    assert text == (
        "the user of MONGODB_URI lacks the right to createIndex on the collection plans "
        f"of the database {pipeline.database.name}; deploy/mongodb-role.json has all rights that "
        "are needed (docs/deploy.md)"
    )


def test_the_rights_that_are_asked_for_are_enough_for_a_run(pipeline, limited):
    """The collection of profiles is made by the first of them."""
    with limited(OF_PROFILES) as user:
        assert user.run()["profiles"] == 1


@pytest.mark.parametrize("role", ["readWrite", "dbOwner", "root"])
def test_a_role_of_mongodb_is_enough(pipeline, limited, role):
    where = "admin" if role == "root" else pipeline.database.name
    with limited({"find"}, roles=[{"role": role, "db": where}]) as user:
        assert user.run()["profiles"] == 1


def test_a_rebuild_needs_the_rights_to_a_collection_of_its_own(limited):
    with limited(OF_PROFILES) as user:
        user.run()
        with pytest.raises(Refused) as error:
            begin_rebuild(user.asset, user.ledger)
        assert f"({', '.join(OF_REBUILD)} on user_profiles.rebuild_1)" in str(error.value)
        assert user.ledger.claims.latest_generation("user_profiles") == 0


@pytest.mark.parametrize("right", ["createCollection", "dropCollection"])
def test_a_rebuild_is_refused_before_it_begins_where_it_could_not_end(limited, right):
    rights = {*OF_REBUILD} - {right}
    with limited(OF_PROFILES, of_all={*OF_ALL, *rights}) as user:
        user.run()
        with pytest.raises(Refused, match=rf"\({right} on user_profiles\.rebuild_1\)"):
            begin_rebuild(user.asset, user.ledger)


def test_the_rights_that_a_rebuild_asks_for_are_enough(limited):
    with limited(OF_PROFILES, of_all={*OF_ALL, *OF_REBUILD}) as user:
        user.run()
        rebuild(user)
        assert user.verify().match


def test_a_server_that_does_not_say_what_a_user_may_do_is_taken_to_allow_it(pipeline, monkeypatch):
    real = type(pipeline.database).command

    def command(database, name, *args, **how):
        if name == "connectionStatus":
            raise OperationFailure("no such command", 59)
        return real(database, name, *args, **how)

    monkeypatch.setattr(type(pipeline.database), "command", command)
    pipeline.put([event("ann")])
    assert pipeline.run()["profiles"] == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'not authorized on shop to execute command { update: "users", u: [ { name: "Ann" } ] }',
            "the right to update on the collection users of the database shop;",
        ),
        (
            "not authorized on shop to execute command { listCollections: 1, filter: {} }",
            "the right to listCollections on the database shop;",
        ),
        (
            "user is not allowed to do action [insert] on [shop.users]",
            "the right to insert on the collection users of the database shop;",
        ),
        ("Command find requires authentication", "MONGODB_URI names none"),
        ("something else about Ann", "check the user, its password and roles"),
    ],
)
def test_what_mongodb_says_of_rights_is_told_without_documents(text, says):
    with pytest.raises(Refused) as error, mongodb_errors():
        raise OperationFailure(text, 13, {"errmsg": text})
    assert says in str(error.value)
    assert "Ann" not in str(error.value)
