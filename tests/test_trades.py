"""The plain trades file: conventions, every kind of bad row, and fills that are counted once."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stock_llm import trades
from stock_llm.errors import InputError
from stock_llm.ledger import LEDGER_SCHEMA
from stock_llm.quarantine import Reading

HEADER = "trade_id,date,symbol,side,quantity,price,fee,currency,account,note\n"
GOOD = "".join(f'T{n},2024-03-{n:02d}T15:00:0{n % 10}Z,ABC,BUY,{n},10.5,1,USD,A-1,"a, ""note"""\n' for n in range(1, 11))


def read(tmp_path: Path, *texts: str) -> Reading:
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"{number}.csv")
        files[-1].write_text(text, encoding="utf-8", newline="")
    return trades.read(files, tmp_path, lambda account: account and f"hashed {account}")


def balanced(reading: Reading) -> bool:
    return reading.rows_read == len(reading.table) + len(reading.rejected) + reading.duplicates


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "T1,2024-03-13T15:30:00Z,abc,buy,3,1234.5,-1.25,usd,A-1,\n",
        "\ufeffDate;Time;Ticker;Action;Shares;Unit Price;Commission;Ccy;Account ID;Trade ID\r\n"
        '13.03.2024;15:30:00;ABC;Bought;3,0;"1.234,50";1,25;USD;A-1;T1\r\n',
        "Trade ID,Account,Currency,Fees & Comm,Price,Qty,Side,Symbol,Trade Date\n"
        'T1,A-1,USD,($1.25),"$1,234.50",+3.000,BOT,ABC,3/13/2024 3:30 PM\n',
        "\n" + HEADER.replace("note", "memo") + 'T1,2024-03-13 10:30:00-05:00,ABC,B,3e0,1234.5,1.25,USD,A-1,"two\nlines"\n\n',
    ],
)
def test_conventions(tmp_path, text):
    reading = read(tmp_path, text)
    assert reading.table.schema.equals(LEDGER_SCHEMA)
    (entry,) = reading.table.to_pylist()
    assert text.split("\n")[entry.pop("source_row") - 1].count("ABC") + text.count("abc")
    assert entry == {
        "entry_id": "generic:T1",
        "account": "hashed A-1",
        "kind": "BUY",
        "asset_class": "STOCK",
        "symbol": "ABC",
        "isin": "",
        "name": "",
        "quantity": Decimal(3),
        "price": Decimal("1234.5"),
        "amount": Decimal("3703.5"),
        "fee": Decimal("1.25"),
        "tax": 0,
        "ratio": None,
        "currency": "USD",
        "executed_at": datetime(2024, 3, 13, 15, 30, tzinfo=UTC),
        "time_known": True,
        "source_format": "generic",
        "source_file": "0.csv",
    }


def test_the_least_that_a_row_needs(tmp_path):
    (entry,) = read(tmp_path, "date,symbol,side,quantity,price\n2024-03-01,ABC,SELL,-2,10\n").table.to_pylist()
    assert (entry["kind"], entry["quantity"], entry["fee"], entry["currency"], entry["account"]) == ("SELL", 2, 0, "", "")
    assert entry["executed_at"] == datetime(2024, 3, 1, tzinfo=UTC)
    assert not entry["time_known"]


def test_money_is_exact(tmp_path):
    rows = ("0.1,0.2", "123456.789012,9999999.999999", "1e-5,3.3E2", "0.1234567890125,1", "9999999999999,9.5")
    lines = "".join(f"2024-03-0{n},ABC,BUY,{row}\n" for n, row in enumerate(rows, start=1))
    found = read(tmp_path, "date,symbol,side,quantity,price\n" + lines).table.to_pylist()
    assert [entry["amount"] for entry in found] == [
        Decimal("0.02"),
        Decimal("123456.789012") * Decimal("9999999.999999"),
        Decimal("0.0033"),
        Decimal("0.123456789012"),  # half to even in the twelfth digit
        Decimal("9999999999999") * Decimal("9.5"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("T99,soon,ABC,BUY,1,10,1,USD,A-1,", "the date cannot be read"),
        ("T99,2024-02-30,ABC,BUY,1,10,1,USD,A-1,", "the date cannot be read"),
        ("T99,2024-03-01, ,BUY,1,10,1,USD,A-1,", "there is no symbol"),
        ("T99,2024-03-01,ABC,HOLD,1,10,1,USD,A-1,", "the side is neither BUY nor SELL"),
        ("T99,2024-03-01,ABC,BUY,one,10,1,USD,A-1,", "quantity is not a number"),
        ("T99,2024-03-01,ABC,BUY,NaN,10,1,USD,A-1,", "quantity is not a number"),
        ("T99,2024-03-01,ABC,BUY,1,,1,USD,A-1,", "price is not a number"),
        ("T99,2024-03-01,ABC,BUY,1,10,free,USD,A-1,", "fee is not a number"),
        ("T99,2024-03-01,ABC,BUY,0,10,1,USD,A-1,", "the quantity is zero"),
        ("T99,2024-03-01,ABC,BUY,-1,10,1,USD,A-1,", "a purchase has a negative quantity"),
        ("T99,2024-03-01,ABC,BUY,1,-10,1,USD,A-1,", "the price is zero or negative"),
        ("T99,2024-03-01,ABC,BUY,1e13,10,1,USD,A-1,", "a number is too large"),
        ("T99,2024-03-01,ABC,BUY,1,10,1,dollars,A-1,", "the currency is not a code such as USD"),
        ("T99,2024-03-01,ABC,BUY,1,10,1,USD", "8 values under 10 columns"),
        ('T99,2024-03-01,ABC,BUY,1,10,1,USD,A-1,"never closed, and on', "11 values under 10 columns"),
        ('T99,"2024-03-01,ABC,BUY,1,10,1,USD,A-1,x', "the date cannot be read"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_line_and_reason(tmp_path, line, reason):
    reading = read(tmp_path, HEADER + "\n" + GOOD + line + "\nT98,2024-03-20,ABC,BUY,1,10,1,USD,A-1,\n")
    (rejected,) = reading.rejected
    assert (rejected.kind, rejected.file, rejected.row, rejected.reason, rejected.raw) == ("trades", "0.csv", 13, reason, line)
    assert (reading.rows_read, len(reading.table)) == (12, 11)
    assert reading.table["source_row"].to_pylist()[-1] == 14


def test_extra_empty_values_at_the_end_do_no_harm(tmp_path):
    assert len(read(tmp_path, "date,symbol,side,quantity,price\n2024-03-01,ABC,SELL,2,10,,\n").table) == 1


def test_ids_tell_what_was_seen_before(tmp_path):
    """A repeated row, an overlapping file and a file in another order add nothing."""
    once = read(tmp_path, HEADER + GOOD)
    again = read(tmp_path, HEADER + GOOD + GOOD.splitlines()[0] + "\n", HEADER + "\n".join(reversed(GOOD.splitlines())))
    assert again.table["entry_id"].to_pylist() == once.table["entry_id"].to_pylist()
    assert (again.duplicates, again.rows_read) == (11, 21)


def test_one_id_for_two_different_trades_is_set_aside(tmp_path):
    reading = read(tmp_path, HEADER + GOOD + "T3,2024-03-03T15:00:03Z,ABC,BUY,3,11,1,USD,A-1,\n")
    assert [(one.row, one.reason) for one in sorted(reading.rejected)] == [
        (4, "another trade has the id generic:T3"),
        (12, "another trade has the id generic:T3"),
    ]
    assert balanced(reading)


def test_without_ids_equal_fills_of_one_file_are_two_and_over_files_the_most_counts(tmp_path):
    header = "date,symbol,side,quantity,price\n"
    fill, other = "2024-03-01,ABC,BUY,1,10\n", "2024-03-02,ABC,BUY,1,10\n"
    reading = read(tmp_path, header + fill * 2 + other, header + fill + other, header + fill * 3)
    assert Counter(entry["executed_at"].day for entry in reading.table.to_pylist()) == {1: 3, 2: 1}
    assert reading.duplicates == 4
    assert balanced(reading)
    same_number_written_otherwise = read(tmp_path, header + fill, header + "2024-03-01,abc,buy,1.0,10.00\n")
    assert same_number_written_otherwise.duplicates == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0.csv: the file is empty"),
        (HEADER, "there is a header but no trade"),
        (
            "date,symbol,side,price\n2024-03-01,A,BUY,1\n",
            "column 'quantity' is missing; the header is: date, symbol,",
        ),
        (HEADER + "T1,today,ABC,BUY,1,1,,,,\nT2,tomorrow,ABC,BUY,1,1,,,,\n", "0.csv, row 2: 'today' is not a date"),
        (
            HEADER + "T1,2024-03-01,ABC,BUY,1,0,,,,\nT2,x,ABC,BUY,1,1,,,,\n",
            "row 2: 2 of 2 rows are bad, the first: the price",
        ),
        (HEADER + "T1,1/2/2024,ABC,BUY,1,1,,,,\n", "may be day/month or month/day"),
    ],
)
def test_a_file_that_cannot_be_meant_stops_everything(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_file_loses_no_row_in_silence(tmp_path, data):
    text = HEADER + GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        filling = data.draw(st.sampled_from(["", "\n", ",", '"', '""', "\r", "\0", "é", "-", "9", "1e5", text[at : at + 60]]))
        text = text[:at] + filling + text[at + length :]
    try:
        reading = read(tmp_path, text)
    except InputError:
        return
    assert balanced(reading)
    ids = reading.table["entry_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    seen = [*reading.table["source_row"].to_pylist(), *(one.row for one in reading.rejected)]
    assert len(set(seen)) == len(seen)
