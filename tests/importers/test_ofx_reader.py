"""OFX and QFX as banks write them: SGML and XML, currencies, zones, damage of any kind."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from factories.broken_exports import mutated
from importers.test_exports import EXPORTS, lines_of

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.portfolio.merging import merge_ledger

SAMPLES = [EXPORTS / "ofx-investments.ofx", EXPORTS / "ofx-bank.qfx"]
HEAD = """OFXHEADER:100
DATA:OFXSGML
VERSION:102

<OFX><INVSTMTMSGSRSV1><INVSTMTTRNRS><INVSTMTRS><DTASOF>20240401<CURDEF>EUR<INVACCTFROM><BROKERID>b<ACCTID>A-1</INVACCTFROM>
<INVTRANLIST><DTSTART>20240101<DTEND>20240401
{}
</INVTRANLIST></INVSTMTRS></INVSTMTTRNRS></INVSTMTMSGSRSV1></OFX>
"""
BUY = (
    "<BUYSTOCK><INVBUY><INVTRAN><FITID>B1<DTTRADE>{day}</INVTRAN><SECID><UNIQUEID>037833100<UNIQUEIDTYPE>CUSIP</SECID>"
    "<UNITS>10<UNITPRICE>5<COMMISSION>{fee}<TOTAL>{total}{more}</INVBUY><BUYTYPE>BUY</BUYSTOCK>"
)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("20240110", "2024-01-10"),
        ("20240110120000", "2024-01-10"),
        ("20240110000000.000[0:GMT]", "2024-01-10"),
        ("20240110093005[-5:EST]", "2024-01-10T14:30:05Z"),
        ("20240110093005.250[+5.5:IST]", "2024-01-10T04:00:05Z"),
        ("202401100930", "2024-01-10T09:30:00Z"),
    ],
)
def test_times(tmp_path, day, expected):
    path = tmp_path / "x.ofx"
    path.write_text(HEAD.format(BUY.format(day=day, fee="1", total="-51", more="")))
    assert lines_of(path) == [f"1 BUY STOCK 037833100 10 @ 5 = 50 fee 1 tax 0 EUR {expected}"]


def test_a_transaction_in_another_currency_and_a_rebate(tmp_path):
    more = "<CURRENCY><CURRATE>0.9<CURSYM>USD</CURRENCY>"
    path = tmp_path / "x.qfx"
    path.write_text(HEAD.format(BUY.format(day="20240110", fee="-0.4", total="-49.6", more=more)))
    assert lines_of(path) == ["1 BUY STOCK 037833100 10 @ 5 = 50 fee -0.4 tax 0 USD 2024-01-10"]


def test_a_total_that_the_parts_do_not_explain_is_reported(tmp_path):
    path = tmp_path / "x.ofx"
    path.write_text(HEAD.format(BUY.format(day="20240110", fee="1", total="-61", more="")))
    (off,) = engine.read_export(path, lambda account: account).differences
    assert (off.row, off.what, off.stated, off.computed) == (1, "the cash", -61, -51)


def test_the_account_is_hashed():
    entries = engine.read_export(SAMPLES[0], lambda account: f"hash of {account}").entries
    assert {entry.account for entry in entries} == {"hash of DEMO-0002"}


STATEMENTS = {
    "ofx-bank": "<STMTRS><CURDEF>EUR<BANKACCTFROM><BANKID>1<ACCTID>{account}<ACCTTYPE>CHECKING</BANKACCTFROM>"
    "<BANKTRANLIST><STMTTRN><TRNTYPE>CREDIT<DTPOSTED>{day}<TRNAMT>20<FITID>1</STMTTRN>"
    "<STMTTRN><TRNTYPE>DEBIT<DTPOSTED>{day}<TRNAMT>-5<FITID>2</STMTTRN></BANKTRANLIST></STMTRS>",
    "ofx-investments": "<INVSTMTRS><CURDEF>EUR<INVACCTFROM><BROKERID>b<ACCTID>{account}</INVACCTFROM>"
    "<INVTRANLIST>"
    + BUY.replace("B1", "1").format(day="{day}", fee="1", total="-51", more="")
    + BUY.replace("B1", "2").format(day="{day}", fee="2", total="-52", more="")
    + "</INVTRANLIST></INVSTMTRS>",
}


@pytest.mark.parametrize("form", STATEMENTS)
@pytest.mark.parametrize("files", [1, 2])
def test_transaction_numbers_are_those_of_one_account(tmp_path, form, files):
    statements = [
        STATEMENTS[form].format(account=f"DEMO-{number}", day=f"2024011{number}")
        for number in (1, 2)
    ]
    texts = ["".join(statements)] if files == 1 else [*statements, statements[0]]
    parts = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.ofx"
        path.write_text(f"OFXHEADER:100\n\n<OFX>{text}</OFX>\n")
        imported = engine.read_export(path, lambda account: f"hash{account[-1]}")
        assert (imported.formats[0].name, imported.quarantined) == (form, [])
        parts.append(tmp_path / f"{number}.parquet")
        pq.write_table(imported.table, parts[-1])
    merged = merge_ledger(parts, tmp_path / "ledger.parquet")
    repeated = 0 if files == 1 else 2
    assert (merged.rows, merged.repeated, merged.conflicts) == (4, repeated, [])
    ids = pq.read_table(tmp_path / "ledger.parquet")["entry_id"].to_pylist()
    assert len(set(ids)) == 4
    assert not any("DEMO" in entry_id for entry_id in ids)


@pytest.mark.parametrize("part", range(2))
def test_damage_is_read_or_refused_in_words(part, tmp_path):
    for number in range(part, 120, 2):
        chance = random.Random(number)
        sample, other = chance.sample(SAMPLES, 2)
        path = tmp_path / "broken.ofx"
        path.write_bytes(mutated(number, sample.read_bytes(), other.read_bytes())[0])
        _read_or_refused(path)


def _read_or_refused(path: Path) -> None:
    try:
        imported = engine.read_export(path, lambda account: account)
    except InputError as error:
        assert error.problem
    else:
        assert imported.rows_read == imported.rows_kept + len(imported.quarantined) + len(
            imported.skipped
        )
