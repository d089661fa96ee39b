"""What AWS Lambda does with a function: a process of its own, an event in, an answer out.

python -m tests.support.lambda_runtime HANDLER SECONDS < event
"""

import importlib
import json
import logging
import os
import sys
import time
import traceback

from workers.on_lambda import handler


class Context:
    """What the handler is told of its invocation."""

    def __init__(self, seconds):
        self._ends = time.monotonic() + seconds

    def get_remaining_time_in_millis(self):
        return max(0, round(1000 * (self._ends - time.monotonic())))


class Hurried:
    """An invocation that has time for one batch."""

    def __init__(self):
        self._answers = iter([900_000])

    def get_remaining_time_in_millis(self):
        return next(self._answers, 0)


def hurried_handler(event, context):
    return handler(event, Hurried())


def other_handler(event, context):
    return "Hello from Lambda!"


def main():
    name, seconds = sys.argv[1:]
    # As in Lambda: the root logger has a handler already, with lines of this form.
    form = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\trequest-id\t%(message)s"
    logging.basicConfig(stream=sys.stderr, format=form, datefmt="%Y-%m-%dT%H:%M:%S")
    answers = os.dup(1)
    os.dup2(2, 1)  # what a function prints is a line of its log

    module, _, function = name.rpartition(".")
    function = getattr(importlib.import_module(module), function)
    try:
        answer, code = function(json.load(sys.stdin), Context(float(seconds))), 0
    except Exception as error:  # noqa: BLE001  Lambda tells of any
        traceback.print_exc()
        answer, code = {"errorMessage": str(error), "errorType": type(error).__name__}, 1
    with os.fdopen(answers, "w") as file:
        json.dump(answer, file)
    return code


if __name__ == "__main__":
    sys.exit(main())
