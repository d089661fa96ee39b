"""Found first on PYTHONPATH: some events end the worker of `user_profiles`, and soon count as stuck.

Nothing is imported before its time: a module is changed once its file is loaded.
"""

import dataclasses
import functools
import importlib.abc
import importlib.util
import os
import signal
import sys
import time

SOON_SECONDS = 3.0


def make_deadly(module):
    """Let an event with the item `kill` or `hang` do so."""
    contributions = module.task.contributions

    @functools.wraps(contributions)
    def deadly(items):
        if (items["item"] == "kill").any():
            os.kill(os.getpid(), signal.SIGKILL)
        while (items["item"] == "hang").any():
            time.sleep(1)
        return contributions(items)

    module.task = dataclasses.replace(module.task, contributions=deadly)


def hurry(module):
    """Let little time pass before a call counts as stuck."""
    module.LEAST_SECONDS = SOON_SECONDS
    module.QUICK_SECONDS = SOON_SECONDS


CHANGES = {"workers.tasks.user_profiles": make_deadly, "workers.isolation.isolated": hurry}


class Changing(importlib.abc.MetaPathFinder):
    """Finds files as they are found anyway, and changes what they define."""

    def find_spec(self, name, path=None, target=None):
        change = CHANGES.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            change(module)

        spec.loader.exec_module = load_and_change
        return spec


sys.meta_path.insert(0, Changing())
