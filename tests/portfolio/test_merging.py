"""One ledger of many exports: nothing counted twice, no order of files matters, contradictions and
doubles are told.
"""

import itertools
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stock_llm.ledger.entries import LEDGER_SCHEMA
from stock_llm.portfolio.merging import ledger_digest, merge_ledger, suspected_duplicates

FILL = {
    "entry_id": "generic:T1",
    "account": "a",
    "kind": "BUY",
    "asset_class": "STOCK",
    "symbol": "ABC",
    "isin": "",
    "name": "",
    "quantity": Decimal(3),
    "price": Decimal("10.5"),
    "amount": Decimal("31.5"),
    "fee": Decimal(1),
    "tax": Decimal(0),
    "ratio": None,
    "currency": "USD",
    "executed_at": datetime(2024, 3, 1, 15, tzinfo=UTC),
    "time_known": True,
    "source_format": "generic",
}


def part(folder, name, *entries):
    """An export's entries, row by row from row 2."""
    rows = [
        FILL | {"source_file": name, "source_row": row} | entry
        for row, entry in enumerate(entries, start=2)
    ]
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA), path)
    return path


def ids(folder, *parts):
    merged = merge_ledger(parts, folder / "ledger.parquet")
    return pq.read_table(folder / "ledger.parquet")["entry_id"].to_pylist(), merged


def test_over_overlapping_files_the_count_is_the_maximum(tmp_path):
    first, second, third = (
        {"entry_id": name} for name in ("generic:h-1", "generic:h-2", "generic:T9")
    )
    entry_ids, merged = ids(
        tmp_path,
        part(tmp_path, "a", first, second),
        part(tmp_path, "b", first, third),
        part(tmp_path, "c", first, second),
    )
    assert sorted(entry_ids) == ["generic:T9", "generic:h-1", "generic:h-2"]
    assert (merged.entries, merged.rows, merged.repeated, merged.conflicts) == (3, 3, 3, [])


def test_the_order_of_files_changes_no_byte(tmp_path):
    parts = [
        part(tmp_path, "a", {}, {"entry_id": "generic:T2", "symbol": "XYZ"}),
        part(
            tmp_path,
            "b",
            {"entry_id": "generic:T2", "symbol": "XYZ"},
            {"entry_id": "generic:T3", "price": None},
        ),
        part(
            tmp_path,
            "c",
            {},
            {"entry_id": "generic:T3", "price": None},
            {"entry_id": "generic:T2", "symbol": "OTHER"},
        ),
    ]
    ledgers = set()
    for order in itertools.permutations(parts):
        merge_ledger(order, tmp_path / "ledger.parquet")
        ledgers.add((tmp_path / "ledger.parquet").read_bytes())
    assert len(ledgers) == 1


def test_a_second_copy_under_another_name_leaves_the_digest(tmp_path):
    first = merge_ledger(
        [part(tmp_path, "b", {}, {"entry_id": "generic:T2"})], tmp_path / "ledger.parquet"
    )
    parts = [part(tmp_path, name, {}, {"entry_id": "generic:T2"}) for name in ("a", "b")]
    again = merge_ledger(parts, tmp_path / "ledger.parquet")
    assert again.digest == first.digest == ledger_digest(tmp_path / "ledger.parquet")
    assert again.repeated == 2
    more = merge_ledger(
        [*parts, part(tmp_path, "c", {"entry_id": "generic:T3"})], tmp_path / "ledger.parquet"
    )
    assert more.digest != first.digest


def test_a_contradiction_is_set_aside_with_its_whole_rows(tmp_path):
    fee = {
        "entry_id": "generic:T1:fee",
        "kind": "FEE",
        "quantity": None,
        "price": None,
        "amount": Decimal(1),
        "currency": "EUR",
    }
    fine = {"entry_id": "generic:T2"}
    entry_ids, merged = ids(
        tmp_path,
        part(tmp_path, "a", {}, fine, fee | {"source_row": 2}),
        part(tmp_path, "b", {"quantity": Decimal(4)}, fine),
        part(tmp_path, "c", {}),
    )
    assert entry_ids == ["generic:T2"]
    assert [(conflict.file, conflict.row, conflict.reason) for conflict in merged.conflicts] == [
        (name, 2, "another trade has the id generic:T1") for name in "abc"
    ]
    assert "BUY,ABC" in merged.conflicts[0].raw and "FEE" in merged.conflicts[0].raw
    assert (merged.rows, merged.repeated) == (1, 1)


def test_a_row_of_several_entries_is_one_row(tmp_path):
    leg = {"entry_id": "kraken:1:in", "symbol": "ETH", "source_row": 2}
    _, merged = ids(
        tmp_path,
        part(tmp_path, "a", {"entry_id": "kraken:1"}, leg),
        part(tmp_path, "b", {"entry_id": "kraken:1"}, leg),
    )
    assert (merged.entries, merged.rows, merged.repeated) == (2, 1, 1)


def test_the_same_fill_in_two_formats_is_reported_and_kept(tmp_path):
    bank = {
        "entry_id": "bank:77",
        "source_format": "bank",
        "symbol": "",
        "isin": "US0000000001",
        "price": Decimal("10.50001"),
    }
    path = part(tmp_path, "bank.csv", bank, bank | {"entry_id": "bank:78", "quantity": Decimal(5)})
    entry_ids, _ = ids(tmp_path, path, part(tmp_path, "mine.csv", {}, {"entry_id": "generic:T2"}))
    assert len(entry_ids) == 4
    names = pa.table(
        {
            "symbol": ["ABC", ""],
            "isin": ["", "US0000000001"],
            "name": ["", ""],
            "instrument": ["ABC", "ABC"],
        }
    )
    (finding,) = suspected_duplicates(tmp_path / "ledger.parquet", names)
    assert (finding.rule, finding.symbol, finding.rows, finding.first_day) == (
        "suspect: duplicate",
        "ABC",
        1,
        "2024-03-01",
    )
    assert "bank.csv, row 2" in finding.text and "mine.csv, row 2" in finding.text


def test_nothing_that_one_format_repeats_is_a_suspect(tmp_path):
    ids(tmp_path, part(tmp_path, "a", {}, {"entry_id": "generic:T2"}))
    names = pa.table({"symbol": ["ABC"], "isin": [""], "name": [""], "instrument": ["ABC"]})
    assert suspected_duplicates(tmp_path / "ledger.parquet", names) == []


@pytest.mark.parametrize("rows", [0, 1, 65_536, 65_537])
def test_every_size_is_written_whole(tmp_path, rows):
    table = pa.Table.from_pylist(
        [FILL | {"source_file": "a", "source_row": 1}] * rows, schema=LEDGER_SCHEMA
    )
    names = pa.array([f"generic:{number:06d}" for number in range(rows)], pa.string())
    table = table.set_column(0, LEDGER_SCHEMA.field(0), names).set_column(
        18, LEDGER_SCHEMA.field(18), pa.array(range(rows), pa.int64())
    )
    pq.write_table(table, tmp_path / "a.parquet")
    merged = merge_ledger([tmp_path / "a.parquet"], tmp_path / "ledger.parquet")
    assert (merged.entries, merged.rows) == (rows, rows)
    assert pq.read_table(tmp_path / "ledger.parquet")["entry_id"].combine_chunks() == names
