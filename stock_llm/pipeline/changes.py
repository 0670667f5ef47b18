"""Counts what is new between two histories: entries, candles, quarantined rows and findings.

Which history was reported last is noted beside the histories, and only after the report is out: a
run that is killed reports again.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from stock_llm.artifacts import History, load
from stock_llm.pipeline.private_folder import private_folder
from stock_llm.settings import Settings
from stock_llm.storage import parquet
from stock_llm.storage.atomic import atomic_write


@dataclass(frozen=True)
class ChangeCounts:
    """Of ledger entries or candles."""

    added: int = 0
    changed: int = 0
    gone: int = 0


@dataclass(frozen=True)
class Changes:
    """What is new.

    Attributes:
        since: when the other history was reported, ISO 8601; empty where this is the first.
        quarantined: rows that are quarantined and were not before.
        findings: by rule, those that were not there before.
    """

    since: str = ""
    trades: ChangeCounts = ChangeCounts()
    candles: ChangeCounts = ChangeCounts()
    quarantined: int = 0
    findings: dict[str, int] = field(default_factory=dict)


def compare_histories(before: History | None, after: History, since: str = "") -> Changes:
    """Count the differences between two histories; without one before, all of `after` is new."""
    with parquet.connect(after.folder) as connection:
        old, new = _tables(before), _tables(after)

        def count(query: str) -> int:
            return int(connection.execute(f"select count(*) from {query}").fetchall()[0][0])

        def compare(name: str, key: str, content: str) -> ChangeCounts:
            if name not in old:
                return ChangeCounts(added=count(new[name]))
            changed = f"""
                {old[name]} old join {new[name]} new using ({key})
                where hash({content.replace("~", "old.")}) <> hash({content.replace("~", "new.")})
            """
            return ChangeCounts(
                added=count(f"{new[name]} anti join {old[name]} using ({key})"),
                changed=count(changed),
                gone=count(f"{old[name]} anti join {new[name]} using ({key})"),
            )

        def added(name: str, key: str) -> str:
            return f"{new[name]} anti join {old[name]} using ({key})" if name in old else new[name]

        trades = compare(
            "trades",
            "entry_id",
            "~kind, ~symbol, ~isin, ~quantity, ~price, ~amount, ~fee, ~tax, ~executed_at",
        )
        candles = compare(
            "candles", "symbol, date", "~open, ~high, ~low, ~close, ~volume, ~adjustment"
        )
        quarantined = count(added("quarantine", "kind, file, reason, raw"))
        rules = connection.execute(
            f"select finding, count(*) from {added('findings', 'finding, symbol, text')}"
            " group by all order by all"
        ).fetchall()
    return Changes(since, trades, candles, quarantined, dict(rules))


def _tables(history: History | None) -> dict[str, str]:
    """Return the files of a history as tables for a query, by name."""
    tables = {}
    for name in ("trades", "candles", "quarantine", "findings") if history else ():
        if (path := getattr(history, name)).exists():
            # `rule` is a word of SQL's own
            columns = '* rename ("rule" as finding)' if name == "findings" else "*"
            tables[name] = f"(select {columns} from {parquet.rows_of([path])})"
    return tables


def changes_since_report(settings: Settings, history: History) -> Changes:
    """Count what is new since the last history that `mark_reported` was called for."""
    note = _note(settings)
    if not note.exists():
        return compare_histories(None, history)
    reported = json.loads(note.read_text(encoding="utf-8"))
    before = load(History, _note(settings).parent / reported["history"])
    return compare_histories(before, history, reported["at"])


def mark_reported(settings: Settings, history: History, at: str) -> None:
    """Note that a history was reported."""
    atomic_write(_note(settings), json.dumps({"history": history.digest, "at": at}))


def _note(settings: Settings) -> Path:
    return private_folder(settings) / "history" / "told.json"
