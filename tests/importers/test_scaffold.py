"""Drafts for unknown tables: they say what they guessed, they load, and importing with them
works."""

import tomllib
from decimal import Decimal

import pytest

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.importers.scaffold.draft import draft_format

GERMAN = """Depotbank Muster AG;;;;;;;;
Umsätze vom 01.01.2024 bis 31.12.2024;;;;;;;;

Buchungsdatum;Vorgang;Wertpapier;Kennnummer;Menge;Ausführungskurs;Betrag EUR;Entgelt;Steuer
15.01.2024;Kauf;Muster AG;DE0007164600;10;140,50;-1.405,00;4,90;0,00
20.02.2024;Verkauf;Muster AG;DE0007164600;4;151,25;605,00;4,90;3,10
15.05.2024;Dividende;Muster AG;DE0007164600;6;;13,20;;3,48
01.06.2024;Einzahlung;;;;;1.000,00;;
30.06.2024;Zinsen;;;;;0,42;;
01.07.2024;Depotumstellung;Muster AG;DE0007164600;6;;;;
"""

SIGNED = """Trade Day,Instrument,Position Change,Fill Price,Costs,Cur
2024-01-15,AAPL,10,182.5,1.00,USD
2024-01-16,MSFT,-5,390.25,1.00,USD
2024-01-17,AAPL,-10,185,1.00,USD
2024-02-01,SAP.DE,3.5,160.10,0,EUR
"""

NAMELESS = """A|B|C|D|E|F
01/13/2024|BOUGHT|MSFT|5|400.00|2000.00
01/14/2024|SOLD|AAPL|2|190.00|380.00
01/15/2024|BOUGHT|NVDA|3|550.00|1650.00
01/16/2024|CANCELLED|NVDA|3|550.00|1650.00
"""

SPANISH = """Fecha;Hora;Operación;Valor;ISIN;Títulos;Precio;Importe;Comisión;Divisa;Nº Orden
03/02/2024;09:15;Compra;TELEFONICA;ES0178430E18;100;3,7510;375,10;2,00;EUR;A1
13/02/2024;10:00;Venta;TELEFONICA;ES0178430E18;50;3,9000;195,00;2,00;EUR;A2
20/06/2024;;Dividendo;TELEFONICA;ES0178430E18;50;0,15;7,50;0,00;EUR;A3
"""

PROSE = """"Date","Details","Qty","Price","Cash In","Cash Out"
"3 Jan 2024","Purchase of ACME PLC","10","2.50","","25.00"
"4 Jan 2024","Sale of ACME PLC","5","2.60","13.00",""
"5 Jan 2024","Purchase of FOO LTD","1","100.00","","100.00"
"""

REPEATED = """Datum,Köp/Sälj,Värdepapper,Antal,,Kurs,Belopp,Valuta,Courtage,Valuta
2024-01-15,Köpt,Volvo B,10,st,250.50,-2505.00,SEK,1.00,SEK
2024-01-16,Sålt,Volvo B,5,st,260.00,1300.00,SEK,1.00,SEK
"""


@pytest.fixture
def imported(tmp_path):
    """Drafts a format for a text, saves it among the user's own, imports the text with it."""

    def run(text: str, name: str = "my broker.csv") -> engine.Import:
        path, own = tmp_path / name, tmp_path / "formats"
        path.write_text(text, encoding="utf-8")
        own.mkdir(exist_ok=True)
        (own / "mine.toml").write_text(draft_format(path), encoding="utf-8")
        read = engine.read_export(path, lambda account: account, own=own)
        assert read.formats[0].name == "my-broker"
        return read

    return run


def _entries(read: engine.Import) -> list[tuple]:
    return [
        (
            entry.kind,
            entry.symbol or entry.isin or entry.name,
            entry.quantity,
            entry.price,
            entry.amount,
            entry.fee,
            entry.currency,
            str(entry.executed_at)[:16],
        )
        for entry in sorted(read.entries, key=lambda entry: entry.source_row)
    ]


D = Decimal


def test_a_german_depot(imported):
    read = imported(GERMAN)
    assert _entries(read) == [
        ("BUY", "DE0007164600", D(10), D("140.5"), D(1405), D("4.9"), "EUR", "2024-01-15 00:00"),
        ("SELL", "DE0007164600", D(4), D("151.25"), D(605), D("4.9"), "EUR", "2024-02-20 00:00"),
        ("DIVIDEND", "DE0007164600", D(6), None, D("16.68"), D(0), "EUR", "2024-05-15 00:00"),
        ("DEPOSIT", "", None, None, D(1000), D(0), "EUR", "2024-06-01 00:00"),
        ("INTEREST", "", None, None, D("0.42"), D(0), "EUR", "2024-06-30 00:00"),
    ]
    assert [row.reason for row in read.quarantined] == ["unknown action 'Depotumstellung'"]


def test_no_side_but_signed_quantities(imported):
    read = imported(SIGNED)
    assert [entry[:4] for entry in _entries(read)] == [
        ("BUY", "AAPL", D(10), D("182.5")),
        ("SELL", "MSFT", D(5), D("390.25")),
        ("SELL", "AAPL", D(10), D(185)),
        ("BUY", "SAP.DE", D("3.5"), D("160.1")),
    ]
    assert not read.quarantined


def test_no_side_but_signed_cash(imported):
    read = imported(
        "When,Ticker,Shares,Price,Net Cash\n2024-01-15,AAPL,10,182.5,-1825\n2024-01-16,AAPL,4,190,760\n"
    )
    assert [entry[:3] for entry in _entries(read)] == [
        ("BUY", "AAPL", D(10)),
        ("SELL", "AAPL", D(4)),
    ]


def test_columns_with_meaningless_names_are_recognised_by_their_content(imported):
    read = imported(NAMELESS)
    assert [entry[:5] for entry in _entries(read)] == [
        ("BUY", "MSFT", D(5), D(400), D(2000)),
        ("SELL", "AAPL", D(2), D(190), D(380)),
        ("BUY", "NVDA", D(3), D(550), D(1650)),
    ]
    assert [row.reason for row in read.skipped] == ["not carried out"]


def test_a_spanish_export_with_a_time_of_day(imported):
    read = imported(SPANISH)
    assert [(entry[0], entry[2], entry[3], entry[5], entry[7]) for entry in _entries(read)] == [
        ("BUY", D(100), D("3.751"), D(2), "2024-02-03 09:15"),
        ("SELL", D(50), D("3.9"), D(2), "2024-02-13 10:00"),
        ("DIVIDEND", D(50), D("0.15"), D(0), "2024-06-20 00:00"),
    ]


def test_sentences_instead_of_actions(imported):
    read = imported(PROSE)
    assert [entry[:4] for entry in _entries(read)] == [
        ("BUY", "ACME PLC", D(10), D("2.5")),
        ("SELL", "ACME PLC", D(5), D("2.6")),
        ("BUY", "FOO LTD", D(1), D(100)),
    ]


def test_repeated_and_empty_names_of_columns(imported):
    read = imported(REPEATED)
    assert [(entry[0], entry[1], entry[2], entry[5], entry[6]) for entry in _entries(read)] == [
        ("BUY", "Volvo B", D(10), D(1), "SEK"),
        ("SELL", "Volvo B", D(5), D(1), "SEK"),
    ]


def test_the_draft_describes_how_it_reads_the_file(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(GERMAN, encoding="utf-8")
    text = draft_format(path)
    assert "reads 5 of 8 rows; 2 rows left out on purpose" in text
    assert "1 row: unknown action 'Depotumstellung'" in text
    assert '# ? = "Depotumstellung"' in text
    written = tomllib.loads(text)
    assert (written["decimal"], written["dates"], written["currency"]) == (",", "DMY", "EUR")
    assert written["columns"]["isin"] == "Kennnummer"
    assert written["kinds"]["SELL"] == ["Verkauf"]


def test_a_draft_takes_no_other_formats_place(tmp_path):
    path = tmp_path / "fidelity.csv"
    path.write_text(SIGNED)
    assert tomllib.loads(draft_format(path))["name"] == "my-fidelity"


def test_a_quote_that_is_never_closed(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(SIGNED + '2024-02-02,"AAPL,1,2,0,USD\n' + SIGNED.split("\n")[1] * 10_000)
    assert tomllib.loads(draft_format(path))["columns"]["quantity"] == "Position Change"


def test_dates_that_can_be_read_both_ways_are_not_guessed(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        "Date,Ticker,Side,Shares,Cost Each\n01/02/2024,A,Buy,1,2.5\n03/04/2024,B,Sell,1,2.5\n"
    )
    text = draft_format(path)
    assert "dates" not in tomllib.loads(text)
    assert '# dates = "DMY"  # or "MDY"' in text
    assert "does not read the file" in text


def test_signs_that_toml_cannot_hold_do_no_harm(imported):
    text = (
        SIGNED.replace("Costs", 'Co"st\\s')
        .replace("Instrument", "Paper|Fund")
        .replace("Cur", "C\x07ur")
    )
    assert len(_entries(imported(text))) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\nworld\n", "no table"),
        ('{"a": [1]}', "JSON or XML|not JSON|no list|no format"),
        (
            '"txid","ordertxid","pair","time","type","ordertype","price","cost","fee","vol"\n',
            "'kraken-trades'",
        ),
    ],
)
def test_what_needs_or_makes_no_draft(tmp_path, text, message):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        draft_format(path)


ORDERS = """Placed On,Ticker,Direction,Shares,Average Price,Order Status
2024-01-15,ACME,Buy,10,5,Executed
2024-01-16,ACME,Buy,20,5,Cancelled
2024-01-17,ACME,Sell,30,5,Storniert
2024-01-18,ACME,Sell,4,5,Executed
"""


def test_orders_that_were_not_carried_out_are_no_trades(imported):
    read = imported(ORDERS)
    assert [entry[:3] for entry in _entries(read)] == [
        ("BUY", "ACME", D(10)),
        ("SELL", "ACME", D(4)),
    ]
    assert {row.reason for row in read.skipped} == {"the order was not carried out"}


def test_what_was_filled_of_a_cancelled_order_counts(imported):
    read = imported(ORDERS.replace("Shares", "Filled Shares").replace("Sell,30,5", "Sell,0,5"))
    assert [entry[:3] for entry in _entries(read)] == [
        ("BUY", "ACME", D(10)),
        ("BUY", "ACME", D(20)),
        ("SELL", "ACME", D(4)),
    ]
    assert [row.row for row in read.skipped] == [4]


def test_a_table_without_anything_of_a_trade_is_refused(tmp_path):
    path = tmp_path / "colours.csv"
    path.write_text("q,w,e\n-,-,-\n?,?,?\n")
    with pytest.raises(InputError, match=r"no column of it looks like a date"):
        draft_format(path)
