"""The formats that come with a made-up sample: every row of tests/exports becomes what
tests/exports/expected says.

A line of an expected file: row, kind, class, symbol or ISIN or name, quantity @ price = amount,
fee, tax, currency, time; a split has its ratio. Rows that are no entries stand below, with `!` (set
aside) or `~` (left out on purpose) and the reason.
"""

from decimal import Decimal
from pathlib import Path

import pytest

from stock_llm.importers import engine
from stock_llm.importers.format_spec import bundled_formats

EXPORTS = Path(__file__).parents[1] / "exports"
SAMPLES = sorted(
    path for path in EXPORTS.iterdir() if path.suffix in (".csv", ".json", ".xml", ".ofx", ".qfx")
)


def _number(value: Decimal | None) -> str:
    return "-" if value is None else format(value.normalize(), "f")


def lines_of(path: Path) -> list[str]:
    """A file as the expected files write it."""
    read = engine.read_export(path, lambda account: f"hash of {account}" if account else "")
    lines = []
    for entry in sorted(
        read.entries,
        key=lambda entry: (
            entry.source_row,
            entry.entry_id.endswith((":fee0", ":in", ":coin")),
            entry.entry_id,
        ),
    ):
        when = entry.executed_at.strftime("%Y-%m-%dT%H:%M:%SZ" if entry.time_known else "%Y-%m-%d")
        ratio = f" ratio {_number(entry.ratio)}" if entry.ratio is not None else ""
        lines.append(
            f"{entry.source_row} {entry.kind} {entry.asset_class} {entry.symbol or entry.isin or entry.name or '-'}"
            f" {_number(entry.quantity)} @ {_number(entry.price)} = {_number(entry.amount)}"
            f" fee {_number(entry.fee)} tax {_number(entry.tax)} {entry.currency} {when}{ratio}"
        )
    lines += [f"! {row.row} {row.reason}" for row in read.quarantined]
    return lines + [f"~ {row.row} {row.reason}" for row in read.skipped]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_row_becomes_what_is_expected(path):
    expected = (EXPORTS / "expected" / f"{path.stem}.txt").read_text(encoding="utf-8").splitlines()
    assert lines_of(path) == expected


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_header_and_not_the_file_name_decides_the_format(path, tmp_path):
    renamed = tmp_path / "download (3).txt"
    renamed.write_bytes(path.read_bytes())
    recognised = engine.identify_format(renamed)
    assert recognised is not None
    assert (
        recognised.name == path.name.split(".")[0]
    )  # what follows the name distinguishes samples of one format


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_line_is_accounted_for(path):
    read = engine.read_export(path, lambda account: account)
    rows = {row.row for row in read.quarantined} | {row.row for row in read.skipped}
    entries = {entry.source_row for entry in read.entries}
    assert not rows & entries
    assert read.rows_read == read.rows_kept + len(read.quarantined) + len(read.skipped)
    assert len(entries) == read.rows_kept


@pytest.mark.parametrize("name", ["kraken-ledgers", "binance-transactions", "coinbase-pro-account"])
def test_rows_of_a_trade_are_one_entry_in_any_order(name, tmp_path):
    header, *rows = (EXPORTS / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    backwards = tmp_path / "backwards.csv"
    backwards.write_text("\n".join([header, *rows[::-1]]), encoding="utf-8")
    ids = [
        sorted(engine.read_export(path, lambda account: account).table["entry_id"].to_pylist())
        for path in (EXPORTS / f"{name}.csv", backwards)
    ]
    assert ids[0] == ids[1]


def test_every_header_fits_its_own_format_best():
    """Each of the project's formats recognises a header made of its own columns, before any other
    format."""
    from stock_llm.importers.format_spec import Header, best_format

    for export_format in bundled_formats():
        columns = [column.split("|")[0] for column in export_format.header]
        cells: list[str] = []
        for name in columns:
            cells += name.replace("*", "EUR").split(" > ")[-1:]
        recognised = best_format(bundled_formats(), Header(cells), export_format.content)
        if any(" >" in name for name in columns):
            continue  # columns that are recognised by the one before them
        assert recognised is not None and recognised.name == export_format.name, (
            export_format.name,
            recognised and recognised.name,
        )
