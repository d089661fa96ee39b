"""The queue of steps: its name, and a broker that is away."""

import socket
import time

import pytest

from pipelines.celery import broker as brokers
from pipelines.celery.broker import Broker, celery_app, queue_name
from resources.servers import free_ports
from workers.errors import Unavailable
from workers.settings import Settings


def test_each_deployment_has_a_queue_of_its_own():
    def queue(database, bucket):
        return queue_name(Settings(mongodb_uri="", database=database, bucket=bucket, s3={}))

    assert queue("a", "b") == queue("a", "b")
    assert len({queue("a", "b"), queue("a", "c"), queue("b", "b")}) == 3


@pytest.fixture(params=["redis", "amqp"])
def away(request):
    """A broker whose port nobody listens on."""
    (port,) = free_ports(1)
    return Broker("queue", lambda: f"{request.param}://ann:hidden@127.0.0.1:{port}/0")


def test_a_broker_that_is_away_is_unavailable_at_once_and_keeps_its_password(away):
    began = time.monotonic()
    with pytest.raises(Unavailable, match="the broker does not answer") as unavailable:
        away.send("run/step/0", "{}")
    assert time.monotonic() - began < 2 * brokers.CONNECT_SECONDS
    assert "hidden" not in str(unavailable.value)
    assert away.away_since


def test_a_broker_that_is_away_is_left_in_peace_for_a_moment(away):
    with pytest.raises(Unavailable):
        away.is_empty()
    away._find_url = lambda: pytest.fail("it was asked again")
    with pytest.raises(Unavailable):
        away.send("run/step/0", "{}")


def test_a_broker_that_takes_connections_and_never_answers_is_unavailable(monkeypatch):
    monkeypatch.setitem(brokers.IMPATIENT["redis"], "socket_timeout", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with pytest.raises(Unavailable):
            Broker("queue", lambda: url).is_empty()


def test_messages_are_json_and_compressed_and_wait_with_the_broker_until_a_steps_end():
    conf = celery_app("redis://", "queue").conf
    assert (conf.task_serializer, conf.accept_content) == ("json", ["json"])
    assert conf.task_compression == "gzip"
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost) == (True, False)
    assert conf.worker_prefetch_multiplier == 1
