"""Imports an export: recognises its format by the header and books its rows; no row is lost without
a reason.

In: a file, and what makes a salted hash of an account id. Out: `Import`. Free text of an export
(notes, descriptions) goes into no entry. Run alone: `stock-llm import FILE`. Files are merged in
stock_llm/portfolio/merging.py.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.errors import InputError
from stock_llm.importers import excel_reader, ofx_reader
from stock_llm.importers.adapters.grouped_rows import STEPS
from stock_llm.importers.booking import book
from stock_llm.importers.classification import classify
from stock_llm.importers.column_mapping import conventions_of, read_fields
from stock_llm.importers.format_spec import Format, available_formats, glob
from stock_llm.importers.json_xml_reader import identify_document, is_document, read_document
from stock_llm.importers.reconciliation import reconcile
from stock_llm.importers.table_reader import Sheet, Workbook, first_header, read_tables
from stock_llm.ledger.entries import LEDGER_SCHEMA, LedgerEntry, content_keys, number_ids
from stock_llm.storage.quarantine import QuarantinedRow
from stock_llm.tabular.numbers import read_numbers
from stock_llm.tabular.table import map_distinct, split_record
from stock_llm.tabular.text import read_text

_BATCH_ROWS = 131_072
"""Rows that are worked on at a time, so that memory does not grow with the file."""


@dataclass(frozen=True)
class Discrepancy:
    """Something that an export states itself and that its rows do not add up to."""

    file: str
    row: int
    what: str
    stated: Decimal
    computed: Decimal


@dataclass(frozen=True)
class Note:
    """Something about a file that a person should know: a column that nothing reads, cash that
    could not be compared."""

    rule: str
    rows: int
    text: str


@dataclass(frozen=True)
class Import:
    """What became of a file: rows_read = rows with entries + quarantined + skipped.

    Attributes:
        formats: by table; the first is that of the file.
        table: LEDGER_SCHEMA; a row may be several entries (a fee in another currency, one asset for
            another).
        rows_kept: rows that became at least one entry.
        skipped: rows that are no events of the ledger, on purpose.
        differences: where the export's own amounts, cash and totals differ from what is booked.
        notes: columns that nothing reads, cash that could not be compared.
        unchecked: the rows of that cash.
    """

    file: str
    formats: tuple[Format, ...]
    table: pa.Table
    rows_kept: int
    quarantined: list[QuarantinedRow] = field(default_factory=list)
    skipped: list[QuarantinedRow] = field(default_factory=list)
    differences: list[Discrepancy] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    unchecked: list[int] = field(default_factory=list)

    @property
    def rows_read(self) -> int:
        """Every row of the file that is not empty, but for the headers."""
        return self.rows_kept + len(self.quarantined) + len(self.skipped)

    @property
    def entries(self) -> Iterator[LedgerEntry]:
        """The entries one by one."""
        for batch in self.table.to_batches(max_chunksize=_BATCH_ROWS):
            for row in batch.to_pylist():
                yield LedgerEntry(**row)


def identify_format(path: Path, own: Path | None = None) -> Format | None:
    """Returns the format of a file, by its content; None where no format knows it. `own` is a
    folder with the user's formats.

    Raises:
        InputError: the file is empty or cannot be read.
    """
    formats = available_formats(own)
    if excel_reader.is_workbook(path):
        return excel_reader.identify_workbook(path, formats)
    text = read_text(path)
    if ofx_reader.is_ofx(text):
        return ofx_reader.identify_statement(text, formats, path)
    if is_document(text):
        return identify_document(text, formats, path)
    match = first_header(text[:1_000_000].split("\n"), formats)
    return match.format if match else None


def read_export(
    path: Path, account_hash: Callable[[str], str], name: str = "", own: Path | None = None
) -> Import:
    """Imports a file, which is called `name` in its entries.

    Raises:
        InputError: no format knows the file, or it is not what its format says.
    """
    name = name or path.name
    formats = available_formats(own)
    if excel_reader.is_workbook(path):
        workbook = excel_reader.read_workbook(path, formats, name)
        return import_sheets(workbook, account_hash, path)
    text = read_text(path)
    if ofx_reader.is_ofx(text):
        workbook = ofx_reader.read_statement(text, formats, path, name)
    elif is_document(text):
        workbook = read_document(text, formats, path, name)
    else:
        workbook = read_tables(text.split("\n"), formats, path, Workbook(name))
    del text  # a big file is not kept twice
    return import_sheets(workbook, account_hash, path)


def import_sheets(workbook: Workbook, account_hash: Callable[[str], str], path: Path) -> Import:
    """Imports what a reader found in a file."""
    notes = [
        note
        for sheet in workbook.sheets
        if len(sheet.rows)
        for note in _unread_columns(sheet, workbook.locate(int(sheet.rows[0]))[0])
    ]
    sheets = [
        STEPS[sheet.format.steps](sheet, workbook) if sheet.format.steps else sheet
        for sheet in workbook.sheets
    ]
    discrepancies: list[Discrepancy] = []
    unchecked: list[int] = []
    tables = [LEDGER_SCHEMA.empty_table()]
    rows_kept = 0
    for sheet in sheets:
        conventions = conventions_of(sheet, path)
        total = Decimal(0)
        for start in range(0, len(sheet.rows), _BATCH_ROWS):
            fields = read_fields(sheet, start, _BATCH_ROWS, conventions)
            booking = book(classify(fields))
            if sheet.totals:
                total += pc.sum(fields.number("net"), min_count=0).as_py() or 0
            tables.append(_with_ids(booking.table, sheet.format, account_hash, workbook.name))
            for row, reason, skip in zip(
                fields.rows.tolist(), booking.reasons, booking.skip, strict=True
            ):
                if reason:
                    workbook.quarantine(row, reason, sheet.raw(row))
                elif skip:
                    workbook.skip(row, skip, sheet.raw(row))
                else:
                    rows_kept += 1
            discrepancies += [
                Discrepancy(
                    *workbook.locate(amount.row),
                    "quantity times price",
                    amount.stated,
                    amount.computed,
                )
                for amount in booking.mismatches
            ]
            compared = reconcile(booking.table, booking.fields)
            discrepancies += [
                Discrepancy(*workbook.locate(cash.row), "the cash", cash.stated, cash.booked)
                for cash in compared.differences
            ]
            unchecked += compared.unchecked
        discrepancies += _off_totals(sheet, total, conventions.decimal, workbook)
    table, dropped = _without_repetitions(number_ids(pa.concat_tables(tables)), workbook)
    rows_kept -= dropped
    if not rows_kept and not workbook.quarantined and not workbook.skipped:
        raise InputError("there is a header but no row", file=path, remedy="Export it again")
    return Import(
        file=workbook.name,
        formats=tuple(sheet.format for sheet in workbook.sheets),
        table=_located(table, workbook),
        rows_kept=rows_kept,
        quarantined=sorted(workbook.quarantined),
        skipped=sorted(workbook.skipped),
        differences=discrepancies,
        notes=notes + _unchecked_cash(unchecked, workbook),
        unchecked=unchecked,
    )


_NOTHING = r"^[\s\-0.,]*$"
"""What an empty cell holds: nothing, a dash, or no more than zeros."""


def _unread_columns(sheet: Sheet, name: str) -> list[Note]:
    """Columns with values that the format neither reads nor ignores on purpose."""
    form, header = sheet.format, sheet.header
    known = {header.find(column) for column in form.known} | ({0} if form.section else set())
    notes = []
    for place, cell in enumerate(header.cells):
        called = cell if cell or not place else f"{header.cells[place - 1]} >"
        if place in known or any(glob(column).fullmatch(called) for column in form.ignored):
            continue
        empty = pc.match_substring_regex(sheet.columns[place], _NOTHING)
        if filled := len(empty) - (pc.sum(empty).as_py() or 0):
            column = f"column {place + 1}" if not called else f"the column '{called[:60]}'"
            text = f"{name}: nothing reads {column}, which has {filled} values ({form.name})"
            notes.append(Note("unread column", filled, text))
    return notes


def _unchecked_cash(rows: list[int], workbook: Workbook) -> list[Note]:
    if not rows:
        return []
    name, row = workbook.locate(min(rows))
    text = (
        f"{name}: the cash of {len(rows)} rows is in another currency than their price, and no"
        f" column has a rate to compare them by (first in row {row})"
    )
    return [Note("unchecked cash", len(rows), text)]


def _with_ids(
    table: pa.Table, form: Format, account_hash: Callable[[str], str], name: str
) -> pa.Table:
    """Adds accounts, sources and ids; ids of equal entries are told apart once the whole file is
    read."""
    columns = {column: table[column].combine_chunks() for column in table.column_names}
    columns["account"] = map_distinct(columns["account"], account_hash)
    columns["source_format"] = pa.repeat(pa.scalar(form.name), len(table))
    columns["source_file"] = pa.repeat(pa.scalar(name), len(table))
    columns["entry_id"] = _ids(columns, form)
    return pa.table([columns[column] for column in LEDGER_SCHEMA.names], schema=LEDGER_SCHEMA)


def _ids(columns: dict[str, pa.Array], form: Format) -> pa.Array:
    """`format:id` where the broker numbers executions, else `format:hash#` for `number_ids` to
    complete. OFX numbers the transactions of each account anew, so that there the hashed account
    is part of the id."""
    contents = pc.binary_join_element_wise(content_keys(columns), columns["order_id"], "\x1f")
    ids = []
    for content, account, trade_id, part in zip(
        contents.to_pylist(),
        columns["account"].to_pylist(),
        columns["trade_id"].to_pylist(),
        columns["part"].to_pylist(),
        strict=True,
    ):
        if trade_id and account and form.content == "ofx":
            trade_id = f"{account} {trade_id}"
        key = (
            trade_id.replace("#", "%23") or hashlib.sha256(content.encode()).hexdigest()[:16] + "#"
        )
        ids.append(f"{form.name}:{key}{part}")
    return pa.array(ids, pa.string())


def _without_repetitions(table: pa.Table, workbook: Workbook) -> tuple[pa.Table, int]:
    """Of rows with one trade id the first stays if they say the same, none if they do not; and how
    many rows went."""
    ids = table["entry_id"].combine_chunks().dictionary_encode()
    if len(ids.dictionary) == len(table):
        return table, 0
    columns = {column: table[column].combine_chunks() for column in table.column_names}
    contents = content_keys(columns).dictionary_encode().indices.to_numpy()
    _, first, group = np.unique(ids.indices.to_numpy(), return_index=True, return_inverse=True)
    differing = np.zeros(len(first), bool)
    np.logical_or.at(differing, group, contents != contents[first[group]])
    rows = table["source_row"].to_numpy()
    conflicting = set(rows[differing[group]].tolist())
    repeated = (
        set(rows[(np.arange(len(rows)) != first[group]) & ~differing[group]].tolist()) - conflicting
    )
    dropped = np.isin(rows, list(conflicting | repeated))
    entry_ids = table["entry_id"].filter(pa.array(dropped)).to_pylist()
    examples = dict(zip(rows[dropped].tolist(), entry_ids, strict=True))
    raw = {
        row: sheet.raw
        for sheet in workbook.sheets
        for row in np.intersect1d(sheet.rows, rows[dropped]).tolist()
    }
    for row in sorted(examples):
        trade_id = examples[row].partition(":")[2]
        if row in conflicting:
            workbook.quarantine(
                row, f"rows that differ have the trade id {trade_id}", raw[row](row)
            )
        else:
            workbook.skip(row, f"the row repeats the trade with the id {trade_id}", raw[row](row))
    return table.filter(pa.array(~dropped)), len(examples)


def _located(table: pa.Table, workbook: Workbook) -> pa.Table:
    """The entries with their worksheet beside the file, and their row in it."""
    if not workbook.worksheets or not len(table):
        return table
    places = [workbook.locate(row) for row in table["source_row"].to_pylist()]
    for name, values in zip(("source_file", "source_row"), zip(*places, strict=True), strict=True):
        at = LEDGER_SCHEMA.get_field_index(name)
        table = table.set_column(at, LEDGER_SCHEMA.field(at), pa.array(values))
    return table


def _off_totals(
    sheet: Sheet, total: Decimal, decimal: str, workbook: Workbook
) -> list[Discrepancy]:
    """The sheet's own totals that are not what its rows sum to."""
    off = []
    for row, line in sheet.totals:
        cells = [
            cell
            for cell in split_record(line, sheet.separator)
            if any(sign.isdigit() for sign in cell)
        ]
        texts = {"total": pa.array(cells, pa.string())}
        numbers = (
            read_numbers(texts, decimal, sheet.format.decimal, sheet.separator)
            .values["total"]
            .to_pylist()
        )
        stated = numbers[-1] if numbers else None
        if stated is not None and stated != total:
            off.append(Discrepancy(*workbook.locate(row), "the total of the table", stated, total))
    return off
