"""Found first on PYTHONPATH: `user_profiles` is declared otherwise in the processes of a proof.

TESTS_DECLARE names what is so: `unique` (copies of an event count once, and profiles begin with the
events of documents that are there before them), `deadly` (some events end their worker), `raising`
(the task knows no film called boom), `sliced` (a few items make a batch).

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

UNIQUE = ("user", "action", "item", "ts")
DEADLY_ITEMS = ("kill", "hang")
HURRY = {"LEAST_SECONDS": 5.0, "QUICK_SECONDS": 1.0}


def make_unique(module):
    """Let copies of an event count once, and profiles begin with what was there."""
    module.asset = type(module.asset).of({**module.asset.to_json(), "unique": UNIQUE})
    events = dataclasses.replace(module.task.fields["events"], adopt="begin")
    fields = {**module.task.fields, "events": events}
    module.task = dataclasses.replace(module.task, fields=fields)


def make_deadly(module):
    """Let an event with a deadly item kill its process, or never end."""
    contributions = module.task.contributions

    @functools.wraps(contributions)
    def deadly(items):
        kill, hang = DEADLY_ITEMS
        if (items["item"] == kill).any():
            os.kill(os.getpid(), signal.SIGKILL)
        while (items["item"] == hang).any():
            time.sleep(1)
        return contributions(items)

    module.task = dataclasses.replace(module.task, contributions=deadly)


def make_sliced(module):
    """Let a few items make a batch, so that a small day has many."""
    sizes = {"min_items": 10, "max_items": 15, "target_seconds": 0.02}
    module.asset = type(module.asset).of({**module.asset.to_json(), "sizes": sizes})


def make_raising(module):
    """Let the task raise for a film that it does not know."""
    contributions = module.task.contributions

    @functools.wraps(contributions)
    def raising(items):
        if (items["item"] == "boom").any():
            raise LookupError("no such film: boom")
        return contributions(items)

    module.task = dataclasses.replace(module.task, contributions=raising)


def hurry(module):
    """Let little time pass before a call counts as stuck."""
    for name, seconds in HURRY.items():
        setattr(module, name, seconds)


ASSET = "workers.tasks.user_profiles"
CHANGES = {
    "unique": [(ASSET, make_unique)],
    "sliced": [(ASSET, make_sliced)],
    "raising": [(ASSET, make_raising)],
    "deadly": [(ASSET, make_deadly), ("workers.isolation.isolated", hurry)],
}


class Changing(importlib.abc.MetaPathFinder):
    """Finds files as they are found anyway, and changes what they define."""

    def __init__(self, changes):
        self.changes = changes
        self.waiting = {name for name, _ in changes}

    def find_spec(self, name, path=None, target=None):
        if name not in self.waiting:
            return None
        self.waiting.remove(name)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            for changed, change in self.changes:
                if changed == name:
                    change(module)

        spec.loader.exec_module = load_and_change
        return spec


declared = filter(None, os.environ.get("TESTS_DECLARE", "").split(","))
sys.meta_path.insert(0, Changing([change for name in declared for change in CHANGES[name]]))
