"""Recognises an export by its header and reads it into ledger entries; no row is lost without a reason.

In: a file, and what makes a salted hash of an account id. Out: `Import`. Free text of an export (notes, descriptions) goes into
no entry. Run alone: `stock-llm import FILE`. Does not merge files: stock_llm/portfolio/merging.py does.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.errors import InputError
from stock_llm.importers import json_xml
from stock_llm.importers.adapters import grouped_rows
from stock_llm.importers.booking import book
from stock_llm.importers.classification import classify
from stock_llm.importers.fields import Conventions, conventions_of, read_fields
from stock_llm.importers.format_spec import Format, available_formats
from stock_llm.importers.headers import cells as values_of
from stock_llm.importers.headers import first_header
from stock_llm.importers.reader import read_csv
from stock_llm.importers.sheets import Sheet, Workbook
from stock_llm.ledger.entries import LEDGER_SCHEMA, LedgerEntry, content_keys, number_ids
from stock_llm.storage.quarantine import QuarantinedRow
from stock_llm.tabular.encoding import text_of
from stock_llm.tabular.values import mapped, read_numbers

_SLICE = 131_072
"""Rows that are worked on at a time, so that memory does not grow with the file."""


@dataclass(frozen=True)
class Discrepancy:
    """Something that an export says itself and that its rows do not add up to."""

    file: str
    row: int
    what: str
    said: Decimal
    computed: Decimal


@dataclass(frozen=True)
class Import:
    """A file, read: rows_read = rows with entries + quarantined + skipped.

    Attributes:
        formats: by table; the first is that of the file.
        table: LEDGER_SCHEMA; a row may be several entries (a fee in another currency, one asset for another).
        rows_kept: rows that became at least one entry.
        skipped: rows that are no events of the ledger, on purpose.
        differences: where the export's own amounts and totals differ from its rows.
    """

    file: str
    formats: tuple[Format, ...]
    table: pa.Table
    rows_kept: int
    quarantined: list[QuarantinedRow] = field(default_factory=list)
    skipped: list[QuarantinedRow] = field(default_factory=list)
    differences: list[Discrepancy] = field(default_factory=list)

    @property
    def rows_read(self) -> int:
        """Every row of the file that is not empty, but for the headers."""
        return self.rows_kept + len(self.quarantined) + len(self.skipped)

    @property
    def entries(self) -> Iterator[LedgerEntry]:
        """The entries one by one."""
        for batch in self.table.to_batches(max_chunksize=_SLICE):
            for row in batch.to_pylist():
                yield LedgerEntry(**row)


def identify_format(path: Path, own: Path | None = None) -> Format | None:
    """The format of a file, by its content; None where no format knows it. `own` is a folder with the user's formats.

    Raises:
        InputError: the file is empty or cannot be read.
    """
    text = text_of(path)
    formats = available_formats(own)
    if json_xml.is_document(text):
        return json_xml.recognised(text, formats, path)
    found = first_header(
        text[:1_000_000].replace("\r\n", "\n").replace("\r", "\n").split("\n"), formats
    )
    return found.format if found else None


def read_export(
    path: Path, account_hash: Callable[[str], str], name: str = "", own: Path | None = None
) -> Import:
    """The entries of a file, which is called `name` in them.

    Raises:
        InputError: no format knows the file, or it is not what its format says.
    """
    name = name or path.name
    text = text_of(path)
    formats = available_formats(own)
    read_text = json_xml.read if json_xml.is_document(text) else read_csv
    reading = read_text(text, formats, path, name)
    del text  # a big file is not kept twice
    return import_sheets(reading, account_hash, path, name)


def import_sheets(
    reading: Workbook, account_hash: Callable[[str], str], path: Path, name: str
) -> Import:
    """The entries of what a reader found in a file."""
    sheets = [
        grouped_rows.STEPS[sheet.format.steps](sheet, reading, name)
        if sheet.format.steps
        else sheet
        for sheet in reading.sheets
    ]
    quarantined, skipped = list(reading.quarantined), list(reading.skipped)
    differences: list[Discrepancy] = []
    tables: list[pa.Table] = []
    rows_kept = 0
    for sheet in sheets:
        how = conventions_of(sheet, path)
        total = Decimal(0)
        for start in range(0, len(sheet.rows), _SLICE):
            fields = read_fields(sheet, start, start + _SLICE, how, path)
            booked = book(classify(fields))
            if sheet.totals:
                total += pc.sum(fields.number("net"), min_count=0).as_py() or 0
            tables.append(_finished(booked.table, sheet.format, account_hash, name))
            rows_kept += int(((booked.reasons == "") & (booked.skip == "")).sum())
            quarantined += _rejected(booked.reasons, fields.rows, sheet, name)
            skipped += _rejected(booked.skip, fields.rows, sheet, name)
            differences += [
                Discrepancy(name, one.row, "quantity times price", one.said, one.computed)
                for one in booked.disagreements
            ]
        differences += _off_totals(sheet, total, how, name)
    table = (
        pa.concat_tables(tables)
        if tables
        else _finished(_NONE, reading.sheets[0].format, account_hash, name)
    )
    table, repeated, conflicting = _one_an_id(number_ids(table), reading.sheets, name)
    rows_kept -= len(repeated) + len(conflicting)
    skipped, quarantined = skipped + repeated, quarantined + conflicting
    if not rows_kept and not quarantined and not skipped:
        raise InputError("there is a header but no row", file=path, remedy="Export it again")
    return Import(
        file=name,
        formats=tuple(sheet.format for sheet in reading.sheets),
        table=table,
        rows_kept=rows_kept,
        quarantined=sorted(quarantined),
        skipped=sorted(skipped),
        differences=differences,
    )


def _rejected(
    reasons: np.ndarray, rows: np.ndarray, sheet: Sheet, name: str
) -> list[QuarantinedRow]:
    return [
        QuarantinedRow("trades", name, int(rows[at]), reasons[at], sheet.raw[int(rows[at])])
        for at in np.flatnonzero(reasons != "")
    ]


def _finished(
    table: pa.Table, form: Format, account_hash: Callable[[str], str], name: str
) -> pa.Table:
    """Adds accounts, sources and ids; ids of equal entries are told apart once the whole file is read."""
    size = len(table)
    columns = {column: table[column].combine_chunks() for column in table.column_names}
    columns["account"] = mapped(columns["account"], account_hash)
    columns["source_format"] = pa.array([form.name] * size, pa.string())
    columns["source_file"] = pa.array([name] * size, pa.string())
    columns["entry_id"] = _ids(columns, form.name)
    return pa.table([columns[column] for column in LEDGER_SCHEMA.names], schema=LEDGER_SCHEMA)


def _ids(columns: dict[str, pa.Array], form: str) -> pa.Array:
    """`format:id` where the broker numbers executions, else `format:hash#` for `numbered_ids` to complete."""
    texts = pc.binary_join_element_wise(content_keys(columns), columns["order_id"], "\x1f")
    ids = []
    for text, trade_id, part in zip(
        texts.to_pylist(), columns["trade_id"].to_pylist(), columns["part"].to_pylist(), strict=True
    ):
        key = trade_id.replace("#", "%23") or hashlib.sha256(text.encode()).hexdigest()[:16] + "#"
        ids.append(f"{form}:{key}{part}")
    return pa.array(ids, pa.string())


def _one_an_id(
    table: pa.Table, sheets: Sequence[Sheet], name: str
) -> tuple[pa.Table, list[QuarantinedRow], list[QuarantinedRow]]:
    """Of rows with one trade id the first stays if they say the same, none if they do not: (table, repeated, conflicting)."""
    ids = table["entry_id"].combine_chunks().dictionary_encode()
    if len(ids.dictionary) == len(table):
        return table, [], []
    codes = ids.indices.to_numpy()
    said = (
        content_keys({column: table[column].combine_chunks() for column in table.column_names})
        .dictionary_encode()
        .indices.to_numpy()
    )
    _, first, group = np.unique(codes, return_index=True, return_inverse=True)
    differing = np.zeros(len(first), bool)
    np.logical_or.at(differing, group, said != said[first[group]])
    rows = table["source_row"].to_numpy()
    wrong = set(rows[differing[group]].tolist())
    again = set(rows[(np.arange(len(rows)) != first[group]) & ~differing[group]].tolist()) - wrong
    out = np.isin(rows, list(wrong | again))
    example = dict(
        zip(rows[out].tolist(), table["entry_id"].filter(pa.array(out)).to_pylist(), strict=True)
    )
    raw = {
        row: sheet.raw[row]
        for sheet in sheets
        for row in np.intersect1d(sheet.rows, rows[out]).tolist()
    }

    def rejected(numbers: set[int], reason: str) -> list[QuarantinedRow]:
        return [
            QuarantinedRow(
                "trades", name, row, f"{reason} {example[row].partition(':')[2]}", raw[row]
            )
            for row in sorted(numbers)
        ]

    return (
        table.filter(pa.array(~out)),
        rejected(again, "the row repeats the trade with the id"),
        rejected(wrong, "rows that differ have the trade id"),
    )


_NONE = pa.table(
    {
        **{item.name: pa.array([], item.type) for item in LEDGER_SCHEMA},
        **{name: pa.array([], pa.string()) for name in ("trade_id", "order_id", "part")},
    }
)


def _off_totals(sheet: Sheet, total: Decimal, how: Conventions, name: str) -> list[Discrepancy]:
    """The sheet's own totals that are not what its rows sum to."""
    found = []
    for row, line in sheet.totals:
        cells = pa.array(
            [
                cell
                for cell in values_of(line, sheet.separator)
                if any(sign.isdigit() for sign in cell)
            ]
            or [""]
        )
        said = (
            read_numbers({"total": cells}, how.decimal, sheet.format.decimal, sheet.separator)
            .of["total"]
            .to_pylist()[-1]
        )
        if said is not None and said != total:
            found.append(Discrepancy(name, row, "the total of the table", said, total))
    return found
