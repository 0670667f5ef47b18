"""Finds a row of a dataset by its id, and the lines of the user's files that it was made of.

The lines are looked up in the history that the dataset names. Rows keep only ids, so that they are
the same bytes when the lines of a file are in another order.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stock_llm.artifacts import RECORD, Dataset, History, load
from stock_llm.dataset.config import SourceSettings
from stock_llm.dataset.privacy import pseudonyms
from stock_llm.dataset.privacy.pseudonyms import HashFunction
from stock_llm.dataset.sources import general_rows, mixing
from stock_llm.errors import InputError
from stock_llm.feedback.item import read_parquet
from stock_llm.portfolio import holdings
from stock_llm.skills.row import Row, read_rows


@dataclass(frozen=True)
class Origin:
    """Something that a row was made of.

    Attributes:
        what: what it gave: "known candles", "label", "trade", "position", "feedback", "text".
        ref: a trade's or an item's id, or the symbol.
        file: as collect names it; empty for feedback, which lies in the store.
        rows: first and last line of the file, as an editor counts them; None where there is no
            file.
        text: what stands there, in short.
    """

    what: str
    ref: str
    file: str
    rows: tuple[int, int] | None
    text: str

    def __str__(self) -> str:
        where = f"{self.file} row {self.rows[0]}" if self.rows else ""
        if self.rows and self.rows[0] != self.rows[1]:
            where = f"{self.file} rows {self.rows[0]} to {self.rows[1]}"
        return "  ".join(part for part in (f"{self.what:13}", where, self.text) if part)


@dataclass(frozen=True)
class RowProvenance:
    """A row, the file of which dataset it stands in, and what it was made of."""

    row: Row
    file: Path
    dataset: Dataset
    origins: list[Origin]


def datasets(artifacts: Path) -> list[Dataset]:
    """All finished datasets in the folder of artifacts, the newest first."""
    records = sorted(
        (artifacts / "dataset").glob(f"*/{RECORD}"),
        key=lambda path: (-path.stat().st_mtime, str(path)),
    )
    return [
        dataset
        for path in records
        if not path.parent.name.endswith(".partial") and (dataset := load(Dataset, path.parent))
    ]


def find(
    artifacts: Path,
    histories: Path,
    name: str,
    sources: Sequence[SourceSettings],
    hashed: HashFunction,
) -> RowProvenance:
    """Finds the newest row of an id, or of the last eight letters of one.

    Args:
        artifacts: folder of the datasets' folder.
        histories: folder of the histories.
        sources: other people's data, by whose files rows may be named.
        hashed: what makes pseudonyms of ids.

    Raises:
        InputError: no dataset has such a row.
    """
    known = datasets(artifacts)
    for dataset in known:
        for file in (dataset.train, dataset.holdout, dataset.corrections):
            for row in read_rows(file):
                if row.id == name or (len(name) == 8 and row.id.endswith(f"-{name}")):
                    history = load(History, histories / dataset.history)
                    made_of = list(origins(row, history, sources, hashed)) if history else []
                    return RowProvenance(row, file, dataset, made_of)
    raise InputError(
        f"no row '{name}' in {len(known)} datasets",
        remedy=f"Ids are the field `id` of the lines in {artifacts / 'dataset'}/*/*.jsonl",
    )


def origins(
    row: Row, history: History, sources: Sequence[SourceSettings], hashed: HashFunction
) -> Iterator[Origin]:
    """What a row was made of, from the history of its dataset; pseudonyms become the user's ids."""
    kind, ref = row.source["kind"], row.source["ref"]

    def led_back(ref: str, names: Iterable[str]) -> str:
        return pseudonyms.resolve(ref, names, hashed)

    if kind == "feedback":
        ref = led_back(ref, history.feedback_ids)
        for item in read_parquet(history.feedback):
            if item.id == ref:
                given_by = f"{item.user} ({item.source})"
                text = f"item {ref}, given by {given_by} on {item.created_at:%Y-%m-%d %H:%M} UTC"
                yield Origin("feedback", ref, "", None, text)
        return
    if kind == general_rows.KIND:
        return
    if kind not in ("trade", "day", "rule", "positions"):
        file, _, line = ref.rpartition(" ")
        file = led_back(file, mixing.names(sources))
        licence = f", licence {row.source['licence']}" if "licence" in row.source else ""
        yield Origin(
            "text",
            ref,
            file,
            (int(line), int(line)) if line.isdigit() else None,
            f"{kind}{licence}",
        )
        return
    candles, books = (
        pq.read_table(history.candles),
        _Books(pq.read_table(history.trades), pq.read_table(history.steps)),
    )
    ref = led_back(ref, pc.unique(books.ledger["entry_id"]).to_pylist())
    if kind == "positions":
        yield from _portfolio(row, candles, books)
    elif row.symbol:
        known = date.fromisoformat(row.facts["situation"]["as_of"])
        yield from _lines(candles, row.symbol, None, known, "known candles")
        if row.label_until > row.as_of:
            first, last = date.fromisoformat(row.label_from), date.fromisoformat(row.label_until)
            yield from _lines(candles, row.symbol, first, last, "label")
        yield from _fills(books.ledger, pc.field("entry_id") == ref, "trade")
        if row.as_of > known.isoformat():  # a review knows the sale and the purchases before it
            yield from _position(
                books, row.symbol, date.fromisoformat(row.as_of) - timedelta(days=1), ref
            )
        elif row.facts["situation"]["position"]:
            yield from _position(books, row.symbol, known, ref)


@dataclass(frozen=True)
class _Books:
    """A history's ledger, and the steps that it means for holdings."""

    ledger: pa.Table
    steps: pa.Table


def _portfolio(row: Row, candles: pa.Table, books: _Books) -> Iterator[Origin]:
    day = date.fromisoformat(row.as_of)
    for symbol in (holding["symbol"] for holding in row.facts["held"]):
        yield from _lines(candles, symbol, day - timedelta(days=7), day, "close", only_last=True)
        yield from _position(books, symbol, day, "")


def _lines(
    candles: pa.Table,
    symbol: str,
    first: date | None,
    last: date,
    what: str,
    only_last: bool = False,
) -> Iterator[Origin]:
    """The candles of some days, one origin for every file that they are in."""
    chosen = (pc.field("symbol") == symbol) & (pc.field("date") <= last)
    lines = candles.filter(chosen & (pc.field("date") >= first) if first else chosen)
    lines = lines.slice(len(lines) - 1) if only_last and len(lines) else lines
    for file in pc.unique(lines["source_file"]).to_pylist():
        part = lines.filter(pc.field("source_file") == file)
        rows, days = pc.min_max(part["source_row"]).as_py(), pc.min_max(part["date"]).as_py()
        span = f"{days['min']}" if days["min"] == days["max"] else f"{days['min']} to {days['max']}"
        yield Origin(what, symbol, file, (rows["min"], rows["max"]), f"{symbol} {span}")


def _position(books: _Books, symbol: str, last: date, but: str) -> Iterator[Origin]:
    """The trades that made up the position at the close of `last`, from the one that opened it on;
    `but` is left out."""
    fills = holdings.read_fills(books.steps.filter(pc.field("symbol") == symbol))
    holding = holdings.holdings_by_symbol(fills).get(symbol)
    at = bisect_right(holding.days, last) - 1 if holding else -1
    if holding is None or at < 0:
        return
    while at and holding.positions[at - 1]:
        at -= 1
    traded = [
        fill.ref for fill in fills if holding.days[at] <= fill.day <= last and fill.ref != but
    ]
    yield from _fills(books.ledger, pc.field("entry_id").isin(traded), "position")


def _fills(ledger: pa.Table, chosen: pc.Expression, what: str) -> Iterator[Origin]:
    for entry in ledger.filter(chosen).to_pylist():
        traded = f"{entry['kind']} {float(entry['quantity']):g} {entry['symbol']}"
        text = f"{traded} on {entry['executed_at']:%Y-%m-%d}"
        yield Origin(
            what, entry["entry_id"], entry["source_file"], (entry["source_row"],) * 2, text
        )


def markdown(provenance: RowProvenance) -> str:
    """Describes a row for people: question, answer, and where it comes from."""
    row, dataset = provenance.row, provenance.dataset
    label = (
        f"{row.label}, from {row.label_from} to {row.label_until}"
        if row.label_until > row.as_of
        else row.label
    )
    made_of = (
        "\n".join(f"  {origin}" for origin in provenance.origins) or "  nothing but this program"
    )
    asked = "\n\n".join(part for part in (row.instruction, row.input, row.output) if part)
    return f"""{row.id}
{provenance.file.name} of dataset {dataset.digest}, history {dataset.history or "unknown"}

skill    {row.skill}, {row.language}
knows    what was known at the close of {row.as_of or "no day"}
label    {label}
weight   {row.weight:g}
source   {row.source["kind"]}: {row.source["ref"]}

{asked}

made of
{made_of}"""
