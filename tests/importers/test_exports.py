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
    for one in sorted(
        read.entries,
        key=lambda one: (
            one.source_row,
            one.entry_id.endswith((":fee0", ":in", ":coin")),
            one.entry_id,
        ),
    ):
        when = one.executed_at.strftime("%Y-%m-%dT%H:%M:%SZ" if one.time_known else "%Y-%m-%d")
        ratio = f" ratio {_number(one.ratio)}" if one.ratio is not None else ""
        lines.append(
            f"{one.source_row} {one.kind} {one.asset_class} {one.symbol or one.isin or one.name or '-'}"
            f" {_number(one.quantity)} @ {_number(one.price)} = {_number(one.amount)}"
            f" fee {_number(one.fee)} tax {_number(one.tax)} {one.currency} {when}{ratio}"
        )
    lines += [f"! {row.row} {row.reason}" for row in read.quarantined]
    return lines + [f"~ {row.row} {row.reason}" for row in read.skipped]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_row_becomes_what_is_expected(path):
    expected = (EXPORTS / "expected" / f"{path.stem}.txt").read_text(encoding="utf-8").splitlines()
    assert lines_of(path) == expected


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_format_is_told_by_the_header_and_not_by_the_file_name(path, tmp_path):
    renamed = tmp_path / "download (3).txt"
    renamed.write_bytes(path.read_bytes())
    found = engine.identify_format(renamed)
    assert found is not None
    assert (
        found.name == path.name.split(".")[0]
    )  # what follows the name tells samples of one format apart


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_line_is_accounted_for(path):
    read = engine.read_export(path, lambda account: account)
    rows = {row.row for row in read.quarantined} | {row.row for row in read.skipped}
    entries = {one.source_row for one in read.entries}
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


def test_no_two_formats_fight_over_a_header():
    """Each of the project's formats recognises a header made of its own columns, before any other
    format."""
    from stock_llm.importers.format_spec import Header, best_format

    for one in bundled_formats():
        columns = [entry.split("|")[0] for entry in one.header]
        cells: list[str] = []
        for name in columns:
            cells += name.replace("*", "EUR").split(" > ")[-1:]
        found = best_format(bundled_formats(), Header(cells), one.content)
        if any(" >" in name for name in columns):
            continue  # columns that are told by the one before them
        assert found is not None and found.name == one.name, (one.name, found and found.name)
