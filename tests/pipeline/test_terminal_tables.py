"""The tables of positions and findings: nothing is cut off, and what repeats is one line."""

import shutil
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from stock_llm.errors import InputError
from stock_llm.pipeline import history
from stock_llm.pipeline.positions_table import findings_table, positions_table
from stock_llm.portfolio.positions import POSITION_SCHEMA
from stock_llm.settings import load_settings
from stock_llm.storage import findings
from stock_llm.storage.findings import Finding

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


def shown(table, width):
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(table)
    return console.file.getvalue()


def positions_file(path, *rows):
    usual = {field.name: Decimal(0) for field in POSITION_SCHEMA if pa.types.is_decimal(field.type)}
    usual |= {"asset_class": "STOCK", "currency": "USD", "trades": 1, "value_day": None}
    usual |= {"base_currency": None, "first_day": date(2024, 1, 2), "last_day": date(2024, 1, 2)}
    lines = [usual | row for row in rows]
    pq.write_table(pa.Table.from_pylist(lines, schema=POSITION_SCHEMA), path)
    return path


def test_eighty_columns_show_every_digit(tmp_path):
    row = {
        "instrument": "US0378331005",
        "quantity": Decimal("123.456"),
        "cost_fifo": Decimal("123456.78"),
        "value": Decimal("234567.89"),
        "unrealised_fifo": Decimal("111111.11"),
        "realised_fifo": Decimal("-22222.22"),
        "sold_cost_fifo": Decimal("1000"),
    }
    text = shown(positions_table(positions_file(tmp_path / "p.parquet", row)), 80)
    line = next(line for line in text.splitlines() if "US0378331005" in line)
    for value in ("123.456", "123,456.78", "234,567.89", "+111,111.11", "+90.0", "-22,222.22"):
        assert value in line
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    wide = shown(positions_table(tmp_path / "p.parquet", wide=True), 200)
    assert "dividends" in wide and "-2222.2" in wide and "dividends" not in text


def test_findings_that_differ_in_the_symbol_are_one_line(tmp_path):
    same = [
        Finding("missing sessions", name, "", "", 1, 1.0, f"Fetch it again: stock-llm fetch {name}")
        for name in ("AAA", "BBB", "CCC", "DDD", "EEE")
    ]
    other = Finding("unknown cost", "AAA", "", "", 1, 1.0, "3 units came in without a price")
    findings.write([*same, other], tmp_path / "findings.parquet")
    text = shown(findings_table(SimpleNamespace(findings=tmp_path / "findings.parquet")), 80)
    assert text.count("Fetch it again") == 1 and "AAA, BBB, CCC and 2 more" in text
    assert "3 units came in" in text
    findings.write([], tmp_path / "findings.parquet")
    assert findings_table(SimpleNamespace(findings=tmp_path / "findings.parquet")) == "no findings"


@pytest.fixture
def elsewhere(tmp_path):
    """A home whose exports are a copy of the sample's, in a folder of the user's own."""
    shutil.copytree(SAMPLE, tmp_path / "mine")
    return tmp_path


def test_the_sample_has_no_findings_wherever_it_is(elsewhere):
    settings = load_settings(home=elsewhere, trades="mine/trades.csv", candles="mine/candles")
    assert history.current(settings).findings_count == {}


def test_positions_need_no_candles(elsewhere):
    settings = load_settings(home=elsewhere, trades="mine/trades.csv", candles="nowhere")
    made = history.current(settings, candles_required=False)
    rows = {row["instrument"]: row for row in pq.read_table(made.positions).to_pylist()}
    assert rows["ELMORA"]["quantity"] == 32 and rows["ELMORA"]["value"] is None
    assert made.symbols == [] and made.first_day < made.last_day and made.rows_kept["candles"] == 0
    assert made.findings_count == {"no candles": 12}
    assert shown(findings_table(made), 100).count("no candles fit it") == 1
    with pytest.raises(InputError, match="no candles: no such file or folder"):
        history.current(settings)
