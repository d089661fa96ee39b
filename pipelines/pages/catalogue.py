"""What the catalogue says of an asset: its columns, its storage, its items, how to mend it.

The blocks in S3 stand before it, as assets that others make: lineage begins where data do.
"""

import inspect
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg

from workers.contributions.fields import Field
from workers.declare.asset import Asset
from workers.declare.task import Task, load_task
from workers.settings import bucket_name, database_name

PROJECT = Path(__file__).parent.parent
DOCS = ("your-own-asset", "data", "operations")  # pages that the side bar leads to
TYPES = {"datetime": "time", "str": "text", "bool": "yes or no"}
SETS = {"Set": "what items say, each once", "Marked": "what the latest item about it marks"}
RULES = {
    "sum": "the sum of what items say",
    "min": "the least that items say",
    "max": "the greatest that items say",
    "latest": "what the latest item says",
}


def catalogue_metadata(asset: Asset) -> dict[str, Any]:
    """Return what the catalogue shows of an asset beside its description."""
    task = load_task(asset.task)
    metadata: dict[str, Any] = {
        "dagster/column_schema": columns(asset, task),
        "dagster/table_name": f"{database_name()}.{asset.collection}",
        "dagster/code_references": _code(task),
        "tolerance": f"{asset.tolerance.text} of a partition's items",
        "late_after_hours": asset.schedule.late_hours,
    }
    if asset.unique:
        metadata["counted_once_by"] = ", ".join(asset.unique)
    return metadata


def columns(asset: Asset, task: Task) -> dg.TableSchema:
    """Return the fields of a profile: what finds it, what is folded, and that more is derived."""
    found = dg.TableColumn(asset.key, "text", "what finds a profile")
    folded = [
        dg.TableColumn(name, _type(field), _meaning(field)) for name, field in task.fields.items()
    ]
    return dg.TableSchema([found, *folded])


def _type(field: Field) -> str:
    kind = TYPES.get(field.type.__name__, field.type.__name__)
    if type(field).__name__ in SETS:
        return "set of text"
    return f"map of {kind}" if field.keyed else kind


def _meaning(field: Field) -> str:
    name = type(field).__name__
    if name in SETS:
        return f"{name}: {SETS[name]}"
    return f"{name}: {RULES[field.rule]}{' by key' if field.keyed else ''}"


def _code(task: Task) -> dg.CodeReferencesMetadataValue:
    """Return where the task is written, and the pages of the docs that a person may want."""
    files = [(Path(task.file), "the task")]
    files += [(PROJECT / "docs" / f"{name}.md", f"docs: {name}") for name in DOCS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        references = [
            dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=label)
            for path, label in files
            if path.exists()
        ]
        return dg.CodeReferencesMetadataValue(code_references=references)


def description(asset: Asset) -> str:
    """Return what an asset is, what its items are, and what to type when something is wrong."""
    task = load_task(asset.task)
    name = asset.name
    paragraphs = [asset.description.strip(), f"**An item** {_item(asset, task)}"]
    if task.derive:
        told = (inspect.getdoc(task.derive) or "").split("\n", maxsplit=1)[0]
        paragraphs.append(f"**Derived** from the fields: {told or 'more fields.'}")
    paragraphs.append(
        "**To mend it**\n\n"
        f"- what is not folded: `fanfold run {name} --failed`\n"
        f"- dead letters and why: `fanfold dead-letters {name}`\n"
        f"- once their cause is mended: `fanfold redrive {name}`\n"
        f"- is every number right: `fanfold verify {name}`; make it anew: `fanfold rebuild {name}`"
    )
    return "\n\n".join(paragraphs)


def _item(asset: Asset, task: Task) -> str:
    fields = ", ".join(f"`{field}`" for field in task.item.__struct_fields__)
    told = (task.item.__doc__ or "").strip().split("\n", maxsplit=1)[0]
    whence = f"of `{asset.source}`" if asset.source else f"under `{_shown(asset)}`"
    return f"{whence} has {fields}. {told}".rstrip()


def _shown(asset: Asset) -> str:
    return f"s3://{bucket_name()}/{asset.template}"


def blocks_key(asset: Asset) -> dg.AssetKey:
    """Return the key of the blocks that an asset reads: the same for all that read one place."""
    parts = [part for part in asset.layout.root.split("/") if part.isidentifier()]
    return dg.AssetKey(["s3", *(parts or ["blocks"])])


def block_assets(assets: Iterable[Asset]) -> list[dg.AssetSpec]:
    """Return the places in S3 that assets read, as assets that others make."""
    by_key: dict[dg.AssetKey, list[Asset]] = {}
    for asset in assets:
        if not asset.source:
            by_key.setdefault(blocks_key(asset), []).append(asset)
    return [_blocks(key, readers) for key, readers in by_key.items()]


def _blocks(key: dg.AssetKey, readers: list[Asset]) -> dg.AssetSpec:
    root = readers[0].layout.root
    folder = root[: root.rfind("/") + 1]
    templates = "\n".join(f"- `{_shown(reader)}`, read by `{reader.name}`" for reader in readers)
    return dg.AssetSpec(
        key,
        description=(
            "Blocks that producers put into S3; Fanfold lists and reads them, and writes none.\n\n"
            f"{templates}"
        ),
        group_name="blocks",
        kinds={"s3"},
        metadata={"dagster/uri": f"s3://{bucket_name()}/{folder}"},
    )
