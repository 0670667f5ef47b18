"""What is new since the last time somebody was told: entries, candles and rows set aside, between two histories.

In: two `History`s. Out: `Changes`. Which history was told last lies beside the histories; it moves only once the telling is done,
so that a run that is killed tells again. Does not know how to read exports.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from stock_llm.artifacts import History, load
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
        since: when the other history was told, ISO 8601; empty where this is the first.
        quarantined: rows set aside that were not before.
        findings: by rule, those that were not there before.
    """

    since: str = ""
    trades: ChangeCounts = ChangeCounts()
    candles: ChangeCounts = ChangeCounts()
    quarantined: int = 0
    findings: dict[str, int] = field(default_factory=dict)


def compare_histories(before: History | None, after: History, since: str = "") -> Changes:
    """What `after` has that `before` has not, and the other way round; all of it where there was nothing before."""
    with parquet.connect(after.folder) as connection:
        one, other = (
            {name: _rows(path) for name, path in _files(history)} for history in (before, after)
        )

        def count(query: str) -> int:
            return connection.execute(f"select count(*) from {query}").fetchall()[0][0]

        def compare(name: str, key: str, content: str) -> ChangeCounts:
            if name not in one:
                return ChangeCounts(added=count(other[name]))
            changed = f"""
                {one[name]} one join {other[name]} other using ({key})
                where hash({content.replace("~", "one.")}) <> hash({content.replace("~", "other.")})
            """
            return ChangeCounts(
                added=count(f"{other[name]} anti join {one[name]} using ({key})"),
                changed=count(changed),
                gone=count(f"{one[name]} anti join {other[name]} using ({key})"),
            )

        trades = compare(
            "trades",
            "entry_id",
            "~kind, ~symbol, ~isin, ~quantity, ~price, ~amount, ~fee, ~tax, ~executed_at",
        )
        candles = compare(
            "candles", "symbol, date", "~open, ~high, ~low, ~close, ~volume, ~adjustment"
        )
        aside = count(_new("quarantine", one, other, "kind, file, reason, raw"))
        found = _new("findings", one, other, "finding, symbol, text")
        rules = connection.execute(
            f"select finding, count(*) from {found} group by all order by all"
        ).fetchall()
    return Changes(since, trades, candles, aside, dict(rules))


def _files(history: History | None) -> list[tuple[str, Path]]:
    if history is None:
        return []
    names = ("trades", "candles", "quarantine", "findings")
    return [(name, path) for name in names if (path := getattr(history, name)).exists()]


def _rows(path: Path) -> str:
    renamed = (
        'select * rename ("rule" as finding)' if path.name == "findings.parquet" else "select *"
    )  # a word of SQL's own
    return f"({renamed} from {parquet.rows_of([path])})"


def _new(name: str, one: dict[str, str], other: dict[str, str], key: str) -> str:
    return f"{other[name]} anti join {one[name]} using ({key})" if name in one else other[name]


def changes_since_report(settings: Settings, history: History) -> Changes:
    """What is new since the last history that `remember` was called for."""
    note = _note(settings)
    if not note.exists():
        return compare_histories(None, history)
    told = json.loads(note.read_text(encoding="utf-8"))
    return compare_histories(
        load(History, settings.artifacts / "history" / told["history"]), history, told["at"]
    )


def mark_reported(settings: Settings, history: History, at: str) -> None:
    """Notes that a history was told; whole or not at all."""
    atomic_write(_note(settings), json.dumps({"history": history.digest, "at": at}))


def _note(settings: Settings) -> Path:
    return settings.artifacts / "history" / "told.json"
