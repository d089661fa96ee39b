"""Hand-written events in the shapes that GH Archive had in 2015 and has had since 2016."""

import gzip
import json

import pytest

from tests.support.pipeline import Pipeline, lines
from workers.errors import Refused
from workers.tasks.github_profiles import asset

HOUR = "2015-06-01-05:00"
LATER = "2021-03-04-15:00"


def event2015(kind="PushEvent", actor="ann-dev", repo="ann-dev/tea.js", at="05:00:00", **payload):
    """Return an event as those of 2015 were: no display_login."""
    return {
        "id": "2800000001",
        "type": kind,
        "actor": {
            "id": 1001,
            "login": actor,
            "gravatar_id": "",
            "url": f"https://api.github.com/users/{actor}",
            "avatar_url": "https://avatars.githubusercontent.com/u/1001?",
        },
        "repo": {"id": 5005, "name": repo, "url": f"https://api.github.com/repos/{repo}"},
        "payload": payload,
        "public": True,
        "created_at": f"2015-06-01T{at}Z",
    }


def event2021(kind="PushEvent", actor="ann-dev", repo="ann-dev/tea.js", at="15:00:00", **payload):
    """Return an event as those of 2021 were: with display_login, and the organisation's `org`."""
    event = event2015(kind, actor, repo, **payload)
    event["actor"]["display_login"] = actor.removesuffix("[bot]")
    owner = repo.split("/")[0]
    org = {"id": 7007, "login": owner, "gravatar_id": "", "url": "", "avatar_url": ""}
    return event | {"id": "15500000001", "org": org, "created_at": f"2021-03-04T{at}Z"}


@pytest.fixture
def github(pipeline):
    """A pipeline over GH Archive's files; `put` names them as the archive does."""

    def put(partition, items):
        day, hour = partition[:10], int(partition[11:13])
        key = f"github/{day}-{hour}.json.gz"
        archive.store.put(key, gzip.compress(lines(items), mtime=0))
        return key

    archive = Pipeline(pipeline.store, pipeline.database, pipeline.ledger, asset)
    archive.put = put
    return archive


def test_an_actor_has_events_by_type_and_an_owner_what_others_gave(github):
    github.put(
        HOUR,
        [
            event2015("PushEvent", at="05:10:00", commits=[{"message": "x" * 900}]),
            event2015("PushEvent", at="05:05:00"),
            event2015("WatchEvent", "bo", "ann-dev/tea.js", at="05:20:00", action="started"),
            event2015("ForkEvent", "bo", "ann-dev/tea.js", at="05:30:00", forkee={"id": 1}),
        ],
    )
    github.run(HOUR)
    ann = github.profile("ann-dev")

    assert ann["events"] == {"PushEvent": 2}
    assert (ann["stars_received"], ann["forks_received"]) == (1, 1)
    assert ann["starred"] == []
    assert ann["first_seen"].isoformat() == "2015-06-01T05:05:00+00:00"
    assert ann["last_seen"].isoformat() == "2015-06-01T05:10:00+00:00"

    bo = github.profile("bo")

    assert bo["events"] == {"WatchEvent": 1, "ForkEvent": 1}
    assert bo["starred"] == ["ann-dev/tea.js"]
    assert github.verify().match


def test_starring_twice_counts_once_and_dots_in_names_survive(github):
    names = ["ann-dev/tea.js", "cy/.github", "cy/a.b.c", "ann-dev/tea.js"]
    github.put(HOUR, [event2015("WatchEvent", "bo", name) for name in names])
    github.put(LATER, [event2021("WatchEvent", "bo", "ann-dev/tea.js")])
    github.run(HOUR)
    github.run(LATER)
    assert github.profile("bo")["starred"] == ["ann-dev/tea.js", "cy/.github", "cy/a.b.c"]
    assert github.profile("bo")["events"] == {"WatchEvent": 5}
    assert github.profile("ann-dev")["stars_received"] == 3
    assert github.verify().match


def test_who_stars_a_repository_of_their_own_has_both_in_one_profile(github):
    github.put(HOUR, [event2015("WatchEvent", "ann-dev", "ann-dev/tea.js")])
    summary = github.run(HOUR)
    assert (summary["items_used"], summary["profiles"]) == (1, 1)
    ann = github.profile("ann-dev")
    assert (ann["starred"], ann["stars_received"]) == (["ann-dev/tea.js"], 1)
    assert ann["events"] == {"WatchEvent": 1}


def test_an_account_is_one_profile_over_the_years(github):
    github.put(HOUR, [event2015("PushEvent")])
    github.put(
        LATER,
        [
            event2021("PullRequestReviewEvent", action="created", review={"state": "approved"}),
            event2021("WatchEvent", "bo"),
        ],
    )
    github.run(HOUR, LATER)
    ann = github.profile("ann-dev")

    assert ann["events"] == {"PushEvent": 1, "PullRequestReviewEvent": 1}
    assert (ann["first_seen"].year, ann["last_seen"].year) == (2015, 2021)
    assert ann["stars_received"] == 1
    assert github.verify().match


def test_an_app_is_a_bot_and_not_the_owner_of_that_name(github):
    github.put(
        LATER,
        [
            event2021("PullRequestEvent", "dependabot[bot]", "ann-dev/tea.js"),
            event2021("WatchEvent", "ann-dev", "dependabot/core"),
        ],
    )
    github.run(LATER)
    bot, owner = github.profile("dependabot[bot]"), github.profile("dependabot")

    assert (bot["is_bot"], bot["events"]) == (True, {"PullRequestEvent": 1})
    assert (owner["is_bot"], owner["events"]) == (False, {})
    assert owner["stars_received"] == 1
    assert owner["last_seen"] is None
    assert github.profile("ann-dev")["is_bot"] is False


@pytest.mark.parametrize("missing", ["actor", "type", "created_at"])
def test_a_line_without_actor_type_or_time_is_a_dead_letter(github, missing):
    bad = event2015()
    del bad[missing]
    github.put(HOUR, [event2015(), bad])
    summary = github.run(HOUR)
    assert (summary["items_used"], summary["dead_letters"]) == (1, 1)
    (letter,) = github.letters()
    assert missing in letter["reason"]


def test_each_kind_of_damage_known_of_the_archive_costs_one_line(github):
    merged = json.dumps(event2015()).encode()[:200] + json.dumps(event2015()).encode()
    nobody = event2015() | {"actor": {}}
    cut = json.dumps(event2015()).encode()[:-30]
    github.put(HOUR, [event2015(), merged, nobody, cut])
    summary = github.run(HOUR)
    assert (summary["items_used"], summary["dead_letters"]) == (1, 3)


@pytest.mark.parametrize("repo", [None, {}, {"name": ""}, {"name": "/"}, {"name": "tea"}])
def test_a_star_of_a_repository_without_an_owner_counts_for_the_actor_alone(github, repo):
    github.put(HOUR, [event2015("WatchEvent", "bo") | {"repo": repo}])
    github.run(HOUR)
    assert github.profiles.count_documents({}) == 1
    assert github.profile("bo")["events"] == {"WatchEvent": 1}
    assert github.profile("bo")["starred"] == []
    assert github.verify().match


def test_the_hours_5_and_15_of_a_day_are_not_mixed_up(github):
    fifth = github.put("2015-06-01-05:00", [event2015(actor="ann-dev", at="05:00:00")])
    fifteenth = github.put("2015-06-01-15:00", [event2015(actor="bo", at="15:00:00")])
    first = github.put("2015-06-01-01:00", [event2015(actor="cy", at="01:00:00")])
    assert fifth == "github/2015-06-01-5.json.gz"
    assert fifteenth == "github/2015-06-01-15.json.gz"
    assert asset.partition_of(fifth) == "2015-06-01-05:00"
    assert asset.partition_of(fifteenth) == "2015-06-01-15:00"
    assert asset.partition_of("github/2015-06-01-05.json.gz") is None
    assert github.run("2015-06-01-05:00")["items"] == 1
    assert [profile["_id"] for profile in github.profiles.find()] == ["ann-dev"]
    assert github.verify("2015-06-01-05:00").match
    assert github.run("2015-06-01-01:00")["blocks"] == 1
    assert asset.partition_of(first) == "2015-06-01-01:00"
    assert github.run("2015-06-01-15:00")["items"] == 1
    assert github.verify().match


def test_running_an_hour_again_changes_nothing(github):
    github.put(HOUR, [event2015("WatchEvent", "bo"), event2015("ForkEvent", "bo")])
    github.run(HOUR)
    before = github.verify().digest
    assert github.run(HOUR)["batches_reused"] == 1
    assert github.verify().digest == before


def test_partitions_are_hours_since_2015():
    with pytest.raises(Refused, match="2015-06-01-5"):
        asset.partitions.time("2015-06-01-5")
    assert asset.partitions.shift(HOUR, 10) == "2015-06-01-15:00"
    assert asset.partitions.start == "2015-01-01-00:00"
