"""What of a task's code decides what its batches find, and what decides what profiles show.

Comments, docstrings and formatting decide nothing; nor does what the task does not use. A module
that the task's file imports counts as its code, where it is the project's own: beside the files of
workers/tasks/, and not Fanfold's.
"""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

VERSION_DIGITS = 12
# The arguments of a Task in their order, and those that decide nothing of what a batch finds.
ARGUMENTS = ("item", "fields", "contributions", "derive", "observe", "by_item", "example")
OF_PROFILES = "derive"
OF_NOTHING = "example"
# What a part of the code is called that gives nothing a name.
IMPORTS = "the imports"
OF_NO_NAME = "the statements outside of functions"
# Fanfold's own parts of `workers`; whose results change by RESULTS_FORMAT, never by a digest.
FRAMEWORK = frozenset(
    (
        *("assets", "batch", "contributions", "contributors", "dealt", "declare", "errors"),
        *("examples", "explain", "folding", "giving_way", "isolation", "launched", "ledger"),
        *("memory", "on_lambda", "planning", "progress", "recompute", "rehearsal", "retry"),
        *("s3_errors", "settings", "share", "small"),
        *("sources", "steps", "store", "values", "verify", "watching"),
    )
)
# Of nodes: how something is written rather than what it is.
AS_WRITTEN = frozenset(("ctx", "kind", "type_comment", "type_ignores"))
WITH_DOCSTRING = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Versions(NamedTuple):
    """Digests of a task's code: what batches are found by, and how profiles are shown."""

    batches: str
    profiles: str
    # What each of them is made of: digests by name of a function, a constant, a file.
    parts_of_batches: Mapping[str, str]
    parts_of_profiles: Mapping[str, str]


class _Part(NamedTuple):
    """A part of the code, under the name by which an engineer knows it."""

    name: str
    plain: Any


def versions_of(source: str) -> Versions:
    """Return the digests of the code of a task's file."""
    file = _File(source)
    call = file.task_call()
    if call is None:  # made in another way: all of it counts
        parts = file.all_but("asset")
        digest, names = _digest(_plain_of(parts)), _by_name(parts)
        return Versions(digest, digest, names, names)

    arguments = dict(zip(ARGUMENTS, call.args, strict=False))
    arguments |= {keyword.arg or "": keyword.value for keyword in call.keywords}
    of_profiles = {name: arguments[name] for name in arguments if name == OF_PROFILES}
    others = {
        name: arguments[name] for name in sorted(arguments) if name not in (OF_PROFILES, OF_NOTHING)
    }

    batches = file.reached_from(others)
    profiles = file.reached_from(of_profiles)
    return Versions(
        _digest([*others, *_plain_of(batches)]),
        _digest(_plain_of(profiles)),
        _by_name(batches),
        _by_name(profiles),
    )


class _File:
    """The statements of a file, by the names that they bind."""

    def __init__(self, source: str) -> None:
        tree = _without_docstrings(ast.parse(source))
        self.statements = [each for statement in tree.body for each in _one_by_one(statement)]
        self.binding: dict[str, list[int]] = {}
        # What binds nothing by itself may do anything: it belongs to all.
        self.always: list[int] = []
        for number, statement in enumerate(self.statements):
            names = list(_bound_by(statement))
            for name in names:
                self.binding.setdefault(name, []).append(number)
            if not names or isinstance(statement, ast.If | ast.Try | ast.With | ast.For):
                self.always.append(number)

    def task_call(self) -> ast.Call | None:
        """Return the call of `task = Task(...)`, if that is how the task is made."""
        for number in self.binding.get("task", []):
            call = getattr(self.statements[number], "value", None)
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "Task":
                continue
            if all(keyword.arg for keyword in call.keywords):
                return call
        return None

    def all_but(self, name: str) -> list[_Part]:
        """Return all statements but those that bind a name."""
        left_out = self.binding.get(name, [])
        kept = [s for number, s in enumerate(self.statements) if number not in left_out]
        return [*map(_part, kept), *_helpers(kept)]

    def reached_from(self, roots: Mapping[str, ast.AST]) -> list[_Part]:
        """Return what arguments mean: themselves, and all statements that they use."""
        reached = set(self.always)
        waiting = [name for node in roots.values() for name in _names_in(node)]
        waiting += [name for number in reached for name in _names_in(self.statements[number])]
        while waiting:
            for number in self.binding.get(waiting.pop(), []):
                if number not in reached:
                    reached.add(number)
                    waiting += _names_in(self.statements[number])

        used = [self.statements[number] for number in sorted(reached)]
        arguments = [_Part(name, _plain(node)) for name, node in roots.items()]
        return [*arguments, *map(_part, used), *_helpers(used)]


def _part(statement: ast.stmt) -> _Part:
    """Return a statement of a file, under the name that it binds."""
    name = OF_NO_NAME
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        name = statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        name = IMPORTS
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        name = ", ".join(sorted(_bound_by(statement))) or OF_NO_NAME
    return _Part(name, _plain(statement))


def _plain_of(parts: Iterable[_Part]) -> list[Any]:
    return [part.plain for part in parts]


def _by_name(parts: Iterable[_Part]) -> dict[str, str]:
    """Return a digest of all that has one name, by name."""
    by_name: dict[str, list[Any]] = {}
    for part in parts:
        by_name.setdefault(part.name, []).append(part.plain)
    return {name: _digest(plain) for name, plain in by_name.items()}


def _one_by_one(statement: ast.stmt) -> list[ast.stmt]:
    """Return an import of several names as one for each: a name that is added changes no other."""
    if isinstance(statement, ast.Import):
        return [ast.Import([alias]) for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        names = sorted(statement.names, key=lambda alias: (alias.name, alias.asname or ""))
        return [ast.ImportFrom(statement.module, [name], statement.level) for name in names]
    return [statement]


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of a file binds; not those that functions keep inside."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        for node in ast.walk(statement):
            if isinstance(node, ast.Global):
                yield from node.names
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
    if isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield (alias.asname or alias.name).partition(".")[0]


def _names_in(node: ast.AST) -> list[str]:
    return [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


def _plain(node: Any) -> Any:
    """Return a node as JSON can hold it, the same by every version of Python."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, ast.AST):
        return node if isinstance(node, str | int | bool | None) else repr(node)

    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in AS_WRITTEN)
    plain = {name: _plain(value) for name, value in fields if value not in (None, [])}
    if isinstance(node, ast.Constant):
        plain["type"] = type(node.value).__name__
    return {"node": type(node).__name__, **plain}


def _helpers(statements: Sequence[ast.stmt]) -> Iterator[_Part]:
    """Yield the project's modules that statements import, each with a digest of its code.

    Those too that these import.
    """
    waiting = list(_imported(statements))
    seen: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen[name] = ""
        if file := _file_of(name):
            tree = _without_docstrings(ast.parse(file.read_text(encoding="utf-8")))
            seen[name] = _digest(_plain(tree.body))
            waiting += _imported(tree.body)
    for name in sorted(seen):
        if seen[name]:
            yield _Part(f"{name.replace('.', '/')}.py", [name, seen[name]])


def _imported(statements: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield what may be the names of modules that statements import."""
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _file_of(module: str) -> Path | None:
    """Return the file of a module of the project; None of any other name."""
    room, _, rest = module.partition(".")
    if room != "workers" or not rest or rest.partition(".")[0] in FRAMEWORK:
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # it is a name in a module
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _digest(parts: Sequence[Any]) -> str:
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]
