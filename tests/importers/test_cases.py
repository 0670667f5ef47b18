"""Small exports that were once read wrong: every row becomes what is right, and so do the positions.

tests/cases/brokers has the files and, under expected/, the lines that test_exports.py makes of them; tests/cases/variants has others of
the same kinds, some of whose rows are to be quarantined.
"""

import shutil
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from importers.test_exports import lines_of

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.ledger.instruments import Instruments
from stock_llm.portfolio import merging, positions
from stock_llm.portfolio.valuation import ValuationInputs

CASES = Path(__file__).parents[1] / "cases" / "brokers"
FILES = sorted(path for path in CASES.iterdir() if path.is_file())
VARIANTS = sorted(path for path in (CASES.parent / "variants").iterdir() if path.is_file())


@pytest.mark.parametrize("path", [*FILES, *VARIANTS], ids=lambda path: path.name)
def test_every_row_becomes_the_right_entry(path):
    expected = (
        (path.parent / "expected" / f"{path.stem}.txt").read_text(encoding="utf-8").splitlines()
    )
    assert lines_of(path) == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_cash_is_explained_and_no_column_is_left_unread(path):
    imported = engine.read_export(path, lambda account: account)
    assert not imported.differences
    assert not imported.notes


def positions_of(path: Path, tmp_path: Path) -> tuple[dict[str, dict], list[str]]:
    """The positions of one export by instrument, and the rules of what was found."""
    imported = engine.read_export(path, lambda account: account)
    pq.write_table(imported.table, tmp_path / "part.parquet")
    ledger = tmp_path / "ledger.parquet"
    merging.merge_ledger([tmp_path / "part.parquet"], ledger)
    names = {
        (entry.symbol, entry.isin, entry.name): entry.symbol or entry.isin or entry.name
        for entry in imported.entries
    }
    inputs = ValuationInputs(Instruments(()), {})
    summary = positions.write_positions(
        ledger, names, inputs, tmp_path / "positions.parquet", tmp_path / "steps.parquet"
    )
    rows = pq.read_table(tmp_path / "positions.parquet").to_pylist()
    return {row["instrument"]: row for row in rows}, [finding.rule for finding in summary.findings]


POSITIONS = {
    "t212-split-real-form.csv": ("OTHR", {"quantity": 0, "realised_fifo": 1000}),
    "t212-stock-distribution.csv": ("OTHR", {"quantity": 0, "realised_fifo": 100}),
    "ib-cancel.xml": ("KESTRO", {"quantity": 0, "realised_fifo": 0, "fees": 2}),
    "traderepublic-dividend-reversal.csv": ("US0000000002", {"dividends": 20, "taxes": 6}),
    "traderepublic-bond-maturity.csv": (
        "XS0000000001",
        {"quantity": 0, "realised_fifo": 2, "fees": 1, "dividends": 0},
    ),
    "traderepublic-split.csv": ("US0000000002", {"quantity": 0, "realised_fifo": 100}),
    "schwab-reverse-split-nc.csv": (
        "OTHR",
        {"quantity": 10, "cost_fifo": 1000, "cost_average": 1000},
    ),
    "cryptocom-limit-orders.csv": ("SOL", {"quantity": 10, "cost_fifo": 5}),
    "binance-coin-fee.csv": ("ETH", {"quantity": Decimal("0.99")}),
    "coinbase-usdc-leg.csv": ("USDC", {"quantity": 0}),
    "ib-transfers.csv": ("KESTRO", {"quantity": 30, "unknown_cost": 30}),
    "flex-option-no-multiplier.csv": ("KESTRO 240315C00200000", {"cost_fifo": 120}),
    "flex-rebate.xml": ("KESTRO", {"cost_fifo": 5000, "fees": Decimal("-0.85")}),
    "scalable-cash-rows.csv": ("IE0000000001", {"dividends": 0}),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_the_position_is_right(name, tmp_path):
    instrument, expected = POSITIONS[name]
    rows, _ = positions_of(CASES / name, tmp_path)
    assert {column: rows[instrument][column] for column in expected} == expected


def test_units_of_unknown_cost_are_reported_after_they_were_sold(tmp_path):
    _, rules = positions_of(CASES / "t212-stock-distribution.csv", tmp_path)
    assert rules == ["unknown cost: sold"]


def test_an_ofx_file_without_transactions_is_refused_as_that(tmp_path):
    path = tmp_path / "small.ofx"
    path.write_text(
        "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\n\n<OFX><INVSTMTMSGSRSV1></INVSTMTMSGSRSV1></OFX>\n"
    )
    with pytest.raises(InputError, match="an OFX statement without transactions"):
        engine.read_export(path, lambda account: account)


def test_the_file_name_does_not_matter(tmp_path):
    shutil.copy(CASES / "invest.ofx", tmp_path / "download (1)")
    recognised = engine.identify_format(tmp_path / "download (1)")
    assert recognised is not None
    assert recognised.name == "ofx-investments"
