"""Embedded servers of their own, in a folder of their own: these tests kill them."""

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from resources.embedded import (
    broker_url,
    running_settings,
    server_status,
    start_servers,
    stop_servers,
)
from workers import settings
from workers.errors import Refused, Unavailable
from workers.ledger.mongo import open_database
from workers.settings import home, read_settings
from workers.store import open_store


@pytest.fixture
def own(servers, tmp_path, monkeypatch):
    """A fresh folder of local state, whose servers stop with the test."""
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    stop_servers()


def pids() -> dict[str, int]:
    return {name: server["pid"] for name, server in server_status().items()}


def works() -> bool:
    embedded = running_settings()
    store = open_store(embedded)
    store.put("greeting", b"hello")

    database = open_database(embedded)
    with database.client:
        database["greetings"].insert_one({})
    return store.get("greeting") == b"hello"


def test_servers_start_once_listen_on_loopback_only_and_keep_their_secrets(own):
    assert works()
    first = pids()
    assert works()
    assert pids() == first

    listening = {
        connection.laddr.ip
        for pid in first.values()
        for connection in psutil.Process(pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}

    for secret in (own / "servers.json", own / "seaweedfs" / "s3.json"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_a_killed_server_and_a_taken_port_heal(own):
    assert works()
    states = json.loads((own / "servers.json").read_text())
    for server in ("mongod", "seaweedfs"):
        psutil.Process(states[server]["pid"]).send_signal(signal.SIGKILL)
        psutil.Process(states[server]["pid"]).wait(10)

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", states["mongod"]["ports"][0]))
        taken.listen()
        assert works()

    healed = json.loads((own / "servers.json").read_text())
    assert healed["mongod"]["ports"] != states["mongod"]["ports"]
    assert healed["mongod"]["secret"] == states["mongod"]["secret"]


def test_a_pid_that_another_process_has_now_is_not_taken_for_the_server(own):
    assert works()
    states = json.loads((own / "servers.json").read_text())
    lost = states["seaweedfs"]["pid"]
    states["seaweedfs"]["pid"] = psutil.Process().pid
    (own / "servers.json").write_text(json.dumps(states))

    assert not server_status()["seaweedfs"]["running"]
    assert works()
    assert not psutil.pid_exists(lost)  # two servers on one folder would ruin it


def test_processes_that_start_at_once_share_the_same_servers(own):
    code = "from resources.embedded import start_servers, server_status\n"
    code += "start_servers(); print(server_status())"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)
    ]
    printed = {process.communicate()[0] for process in started}
    assert len(printed) == 1
    assert b"'running': True" in printed.pop()


def test_the_data_of_servers_outlive_their_stop(own):
    assert works()
    assert sorted(stop_servers()) == ["mongod", "seaweedfs"]
    assert stop_servers() == []
    assert open_store(running_settings()).get("greeting") == b"hello"


@pytest.fixture
def orphans(tmp_path):
    """Two processes, known as servers, whose parent never asks how they ended: zombies."""
    code = "import subprocess, time\n"
    code += "for _ in 'ab': print(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
    code += "time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    processes = [psutil.Process(int(parent.stdout.readline())) for _ in "ab"]
    states = {
        name: {"ports": [1], "secret": "s", "pid": process.pid, "born": process.create_time()}
        for name, process in zip(("mongod", "seaweedfs"), processes, strict=True)
    }
    (tmp_path / "servers.json").write_text(json.dumps(states))
    yield processes
    for process in processes:
        process.kill()
    parent.kill()
    parent.communicate()


def test_servers_that_nobody_waits_for_are_stopped_at_once_all_of_them(orphans, tmp_path):
    began = time.monotonic()
    assert stop_servers({"FANFOLD_HOME": str(tmp_path)}) == ["mongod", "seaweedfs"]
    assert time.monotonic() - began < 5
    assert {orphan.status() for orphan in orphans} == {psutil.STATUS_ZOMBIE}


def test_a_server_that_does_not_end_keeps_no_other_from_being_stopped(
    orphans, tmp_path, monkeypatch
):
    waited_for = []
    monkeypatch.setattr(
        "resources.embedded._is_over", lambda process, _: waited_for.append(process)
    )
    with pytest.raises(Unavailable, match="mongod and seaweedfs did not end"):
        stop_servers({"FANFOLD_HOME": str(tmp_path)})
    assert set(waited_for) == set(orphans)


def test_nothing_is_started_where_settings_are_given(tmp_path):
    environ = {
        "FANFOLD_HOME": str(tmp_path / "none"),
        "MONGODB_URI": "mongodb://elsewhere/",
        "AWS_ACCESS_KEY_ID": "someone",
    }
    given = running_settings(environ)
    assert (given.mongodb_uri, given.s3) == ("mongodb://elsewhere/", {})
    assert not (tmp_path / "none").exists()


def test_settings_never_show_their_secrets(servers):
    secret = servers.s3["aws_secret_access_key"]
    assert secret not in repr(servers)
    assert "mongodb://" not in str(servers)


def test_without_servers_or_settings_the_error_names_both_ways_out(tmp_path):
    with pytest.raises(Refused, match=r"MONGODB_URI.*fanfold up"):
        read_settings({"FANFOLD_HOME": str(tmp_path)})
    with pytest.raises(Refused, match=r"AWS_ENDPOINT_URL_S3.*fanfold up"):
        read_settings({"FANFOLD_HOME": str(tmp_path), "MONGODB_URI": "mongodb://elsewhere/"})


def test_a_server_whose_first_start_was_cut_off_is_no_server_to_use(tmp_path):
    """Without an address boto3 would look for S3 in the cloud."""
    states = {name: {"ports": [1], "secret": "s"} for name in ("mongod", "seaweedfs")}
    (tmp_path / "servers.json").write_text(json.dumps(states))
    with pytest.raises(Refused, match=r"MONGODB_URI.*fanfold up"):
        read_settings({"FANFOLD_HOME": str(tmp_path)})
    with pytest.raises(Refused, match=r"AWS_ENDPOINT_URL_S3.*fanfold up"):
        read_settings({"FANFOLD_HOME": str(tmp_path), "MONGODB_URI": "mongodb://elsewhere/"})


def test_local_state_lies_in_the_projects_folder():
    assert home({}) == Path(settings.__file__).parent.parent / ".fanfold"


@pytest.fixture
def own_broker(own, monkeypatch):
    """A folder of local state with a broker alone; the other servers are given."""
    monkeypatch.setenv("MONGODB_URI", "mongodb://elsewhere/")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("FANFOLD_EXECUTOR", "celery")
    start_servers()
    return own


def test_a_broker_is_started_only_where_the_executor_needs_one(own, monkeypatch):
    assert "redis" not in server_status()
    monkeypatch.setenv("FANFOLD_EXECUTOR", "celery")
    assert server_status()["redis"]["needed"]
    monkeypatch.setenv("FANFOLD_BROKER", "amqp://somebody:secret@elsewhere/")
    assert not server_status()["redis"]["needed"]
    assert broker_url() == "amqp://somebody:secret@elsewhere/"


def test_the_broker_keeps_what_it_holds_and_its_secret_when_it_is_killed(own_broker):
    url = broker_url()
    with redis.Redis.from_url(url) as broker:
        broker.lpush("queue", "message")
        time.sleep(1.5)  # it writes its file once a second

    process = psutil.Process(pids()["redis"])
    process.kill()
    process.wait()
    start_servers()
    with redis.Redis.from_url(broker_url()) as broker:
        assert broker.lrange("queue", 0, -1) == [b"message"]
    assert broker_url().partition("@")[0] == url.partition("@")[0]
    config = own_broker / "redis" / "data" / "redis.conf"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_the_broker_listens_on_loopback_only_and_to_who_knows_its_secret(own_broker):
    process = psutil.Process(pids()["redis"])
    listening = [each for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}
    with (
        redis.Redis(port=server_status()["redis"]["port"]) as broker,
        pytest.raises(redis.AuthenticationError),
    ):
        broker.ping()


def test_a_broker_of_an_unknown_kind_is_refused_without_its_password():
    with pytest.raises(Refused, match="begins with one of redis://") as refused:
        broker_url({"FANFOLD_BROKER": "kafka://ann:hidden@elsewhere", "FANFOLD_HOME": "/none"})
    assert "hidden" not in str(refused.value)


def test_without_a_broker_the_error_names_both_ways_out(tmp_path):
    with pytest.raises(Refused, match=r"FANFOLD_BROKER.*fanfold up"):
        broker_url({"FANFOLD_HOME": str(tmp_path)})
