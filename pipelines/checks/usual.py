"""The check `as_usual`: partitions held against those like them, and fields that no type knows."""

from collections.abc import Sequence

import dagster as dg

from pipelines.checks.findings import Finding
from pipelines.errors import FIRST_FIELDS, UNUSUAL
from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.ledger.records import Plan
from workers.ledger.unknown import unknown_text
from workers.ledger.usual import MIN_HISTORY, History
from workers.values import UnknownField

SCHEMA = dg.TableSchema([dg.TableColumn("measure"), dg.TableColumn("text")])


def as_usual(asset: Asset, ledger: Ledger, plans: Sequence[Plan], run: str) -> list[Finding]:
    """Warn of partitions whose numbers are not like those of the partitions like them.

    Also of fields that their items' type does not know, in the run that was the first to meet them.
    """
    history = _history(asset, ledger, plans)
    fields = ledger.unknown_fields.of(asset.name, run) if plans else []
    later: dict[str, list[UnknownField]] = {}
    for field in fields:
        if not field.is_first:
            partition = asset.owner_of(field.block) or plans[-1].partition
            later.setdefault(partition, []).append(field)

    findings = [_finding(history, plan.partition, later.get(plan.partition, [])) for plan in plans]
    firsts = [field for field in fields if field.is_first]
    if firsts:
        findings[-1] = _with_firsts(findings[-1], firsts)
    return findings


def _finding(history: History | None, partition: str, fields: Sequence[UnknownField]) -> Finding:
    """Return what is not as usual of a partition, as numbers that a table has."""
    unusual = []
    text = (
        f"nothing compared: that takes {MIN_HISTORY} others of about the same time, which were "
        "folded after they had ended, as this one has to be"
    )
    if history and history.compares(partition):
        unusual = history.unusual(partition)
        text = "its numbers are as usual"
    if unusual:
        text = f"{partition}: {', '.join(map(str, unusual))}"

    rows = [(each.measure, str(each)) for each in unusual]
    rows += [(f"field {field.name}", unknown_text([field])) for field in fields]
    if fields:
        text += f"; {unknown_text(fields)}"
    records = [dg.TableRecord({"measure": measure, "text": told}) for measure, told in rows]
    shown = {UNUSUAL: dg.TableMetadataValue(records, SCHEMA)} if records else {}
    severity = dg.AssetCheckSeverity.WARN
    return Finding("as_usual", partition, not records, text, shown, severity)


def _with_firsts(finding: Finding, fields: Sequence[UnknownField]) -> Finding:
    """Return a finding that tells of fields which the first blocks of the asset have."""
    text = unknown_text(fields)
    shown = {**finding.metadata, FIRST_FIELDS: text}
    return finding._replace(description=f"{finding.description}; {text}", metadata=shown)


def _history(asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> History | None:
    """Return what the partitions of plans are held against; None where there is no plan."""
    if not plans:
        return None
    keys = [plan.partition for plan in plans]
    return ledger.folded.history(asset, plans[0].generation, min(keys), max(keys))
