"""The queue of steps: RabbitMQ or Redis, reached by Celery, and known to be away at times.

Nothing that is in it is trusted to stay there: the ledger says which steps have begun, and a step
whose message is lost is sent again.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError

from resources.embedded import broker_url
from workers.errors import Unavailable
from workers.settings import Settings

T = TypeVar("T")

TASK = "fanfold.step"  # Celery's name of what a worker does with a message
CONNECT_SECONDS = 2  # seconds that a broker has to take a connection,
ANSWER_SECONDS = 5  # and to answer a request
PAUSE_SECONDS = 2  # after a failure, before the broker is asked for anything again

CONFIG: dict[str, Any] = {
    # Who begins a step, and whether it has, is in the ledger. A message stays with the broker until
    # the step's end, so those that a worker holds and has not begun are not lost with it; one that
    # is delivered again is refused.
    "task_acks_late": True,
    "task_reject_on_worker_lost": False,
    "worker_prefetch_multiplier": 1,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_compression": "gzip",  # a step of a run with 500 of them names what it hangs on: 175 KB
    "broker_connection_timeout": CONNECT_SECONDS,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # a worker waits for its broker for ever
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "worker_redirect_stdouts": False,
    "worker_proc_alive_timeout": 60,
}
# By the kind of broker: what holds for all who are connected, and for a run, which waits for none.
OPTIONS: dict[str, dict[str, Any]] = {
    "redis": {"socket_connect_timeout": CONNECT_SECONDS, "socket_keepalive": True},
    "amqp": {"confirm_publish": True},
}
IMPATIENT: dict[str, dict[str, Any]] = {
    "redis": {"socket_timeout": ANSWER_SECONDS},
    "amqp": {"read_timeout": ANSWER_SECONDS, "write_timeout": ANSWER_SECONDS},
}


def queue_name(settings: Settings) -> str:
    """Return the queue of a deployment: several may share a broker."""
    return f"fanfold-{settings.database}-{settings.bucket}"


def celery_app(url: str, queue: str, patient: bool = True) -> Celery:
    """Return Celery's application for a broker and a queue."""
    kind = "redis" if url.startswith("redis") else "amqp"
    app = Celery("fanfold", broker=url, set_as_current=False)
    app.conf.update(CONFIG, task_default_queue=queue)
    app.conf.broker_transport_options = OPTIONS[kind] | ({} if patient else IMPATIENT[kind])
    return app


class Broker:
    """A run's view of the queue: what it sends, and whether anything waits there."""

    def __init__(self, queue: str, find_url: Callable[[], str] = broker_url) -> None:
        self.queue = queue
        # Since when it does not answer; None while it does.
        self.away_since: float | None = None
        self.trouble = ""
        self._find_url = find_url
        self._connection: Connection | None = None
        self._app: Celery | None = None
        self._not_before = 0.0

    def send(self, step_id: str, message: str) -> None:
        """Put a step into the queue; Unavailable where the broker is away."""

        def send(app: Celery, connection: Connection) -> None:
            options = {"task_id": step_id, "connection": connection, "retry": False}
            app.send_task(TASK, args=[step_id, message], **options)

        self._ask(send)

    def is_empty(self) -> bool:
        """Tell whether nothing waits in the queue; Unavailable where the broker is away."""

        def count(_app: Celery, connection: Connection) -> int:
            with connection.channel() as channel:
                try:
                    return int(channel.queue_declare(self.queue, passive=True).message_count)
                except connection.channel_errors:  # there is no such queue
                    return 0

        return not self._ask(count)

    def _ask(self, call: Callable[[Celery, Connection], T]) -> T:
        """Make a call; after one that failed, others fail at once for a moment."""
        if time.monotonic() < self._not_before:
            raise Unavailable(f"the broker does not answer ({self.trouble})")

        app, connection = self._opened()
        errors = (*connection.connection_errors, *connection.channel_errors)
        try:
            answer = call(app, connection)
        except (OSError, OperationalError, *errors) as error:
            self.close()
            self.trouble = type(error).__name__  # its text may hold the password
            self.away_since = self.away_since or time.monotonic()
            self._not_before = time.monotonic() + PAUSE_SECONDS
            raise Unavailable(f"the broker does not answer ({self.trouble})") from None
        self.away_since = None
        return answer

    def _opened(self) -> tuple[Celery, Connection]:
        # An embedded broker may come back at another port.
        if self._app is None or self._connection is None:
            self._app = celery_app(self._find_url(), self.queue, patient=False)
            self._connection = self._app.connection_for_write()
        return self._app, self._connection

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        if self._connection is not None:
            self._connection.collect()
        self._app = self._connection = None
