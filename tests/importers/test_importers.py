"""The engine on exports as they come: separators, signs, dates, titles and footers, stray quotes,
languages, repeated rows."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.importers.format_spec import Header, available_formats, best_format, bundled_formats
from stock_llm.ledger.entries import EntryKind, LedgerEntry

PLAIN = "date,symbol,side,quantity,price,fee,currency\n"


def read(tmp_path: Path, text: str | bytes, name: str = "trades.csv") -> engine.Import:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return engine.read_export(path, lambda account: f"hash of {account}")


def entries(tmp_path: Path, text: str | bytes) -> list[LedgerEntry]:
    return list(read(tmp_path, text).entries)


def only_entry(tmp_path: Path, text: str | bytes) -> LedgerEntry:
    ledger = entries(tmp_path, text)
    assert len(ledger) == 1
    return ledger[0]


def test_a_plain_table(tmp_path):
    entry = only_entry(tmp_path, PLAIN + "2024-03-04T14:31:05Z,ACME,BUY,10,12.5,1,USD\n")
    assert (entry.kind, entry.symbol, entry.currency) == (EntryKind.BUY, "ACME", "USD")
    assert (entry.quantity, entry.price, entry.amount, entry.fee) == (10, Decimal("12.5"), 125, 1)
    assert entry.executed_at == datetime(2024, 3, 4, 14, 31, 5, tzinfo=UTC)
    assert entry.time_known
    assert entry.source_row == 2


@pytest.mark.parametrize(
    ("row", "price"),
    [
        ('2024-03-04,ACME,BUY,10,"1,500.00",1,USD', "1500"),
        ('2024-03-04,ACME,BUY,10,"$1,500.00",1,USD', "1500"),
        ("2024-03-04,ACME,BUY,10,1500 USD,1,USD", "1500"),
        ('2024-03-04,ACME,BUY,10,"1.500,25",1,USD', "1500.25"),
        ("2024-03-04,ACME,BUY,10,1'500.25,1,USD", "1500.25"),
        ("2024-03-04,ACME,BUY,10,1.5e3,1,USD", "1500"),
        ('2024-03-04,ACME,BUY,10,"1 500,25",1,USD', "1500.25"),
        ('2024-03-04,ACME,BUY,10,"12,5",1,USD', "12.5"),
    ],
)
def test_numbers_as_people_write_them(tmp_path, row, price):
    assert only_entry(tmp_path, PLAIN + row + "\n").price == Decimal(price)


def test_money_in_brackets_is_negative(tmp_path):
    text = (
        "Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount\n"
        '01/15/2024,Buy,ACME,ACME INC,10,$150.00,,"($1,500.00)"\n'
        '01/16/2024,Margin Interest,,INT,,,,"($3.20)"\n'
    )
    bought, interest = entries(tmp_path, text)
    assert bought.amount == 1500
    assert interest.amount == Decimal("-3.2")


def test_a_decimal_comma_behind_semicolons(tmp_path):
    entry = only_entry(
        tmp_path, PLAIN.replace(",", ";") + "04.03.2024;ACME;BUY;1.234,5;12,75;0,99;EUR\n"
    )
    assert (entry.quantity, entry.price, entry.fee) == (
        Decimal("1234.5"),
        Decimal("12.75"),
        Decimal("0.99"),
    )


def test_what_a_lone_sign_means_is_read_from_the_other_numbers_of_the_file(tmp_path):
    comma = PLAIN.replace(",", ";") + "2024-03-04;ACME;BUY;1,234;5,5;0;EUR\n"
    point = PLAIN.replace(",", ";") + "2024-03-04;ACME;BUY;1,234;5.5;0;EUR\n"
    assert only_entry(tmp_path, comma).quantity == Decimal("1.234")
    assert only_entry(tmp_path, point).quantity == 1234


@pytest.mark.parametrize(
    "encoded",
    [
        ("\ufeff" + PLAIN + "2024-03-04,ACMÉ,BUY,10,12.5,1,USD\n").encode(),
        (PLAIN + "2024-03-04,ACMÉ,BUY,10,12.5,1,USD\n").encode("utf-16"),
        (PLAIN + "2024-03-04,ACMÉ,BUY,10,12.5,1,USD\n").encode("cp1252"),
        (PLAIN + "2024-03-04,ACMÉ,BUY,10,12.5,1,USD\n").replace("\n", "\r\n").encode(),
        (PLAIN + "2024-03-04,ACMÉ,BUY,10,12.5,1,USD\n").replace("\n", "\r").encode(),
        (PLAIN + "2024-03-04,ACMÉ,BUY,10,12.5,1,USD\n").replace(",", "\t").encode(),
        (PLAIN + "2024-03-04,ACMÉ,BUY,10,12.5,1,USD\n").replace(",", "|").encode(),
        (PLAIN + '"2024-03-04","ACMÉ","BUY","10","12.5","1","USD"\n').encode(),
    ],
    ids=["utf-8-bom", "utf-16", "latin-1", "crlf", "cr", "tabs", "bars", "quoted"],
)
def test_encodings_and_separators(tmp_path, encoded):
    entry = only_entry(tmp_path, encoded)
    assert (entry.symbol, entry.price) == ("ACMÉ", Decimal("12.5"))


def test_four_date_formats_in_one_file(tmp_path):
    text = PLAIN + "".join(
        f"{date},ACME,BUY,1,10,0,USD\n"
        for date in (
            "2024-09-16",
            "16/09/2024",
            "16-Sep-2024",
            "20240916",
            "2024-09-16T00:00:00.000Z",
        )
    )
    assert {entry.executed_at for entry in entries(tmp_path, text)} == {
        datetime(2024, 9, 16, tzinfo=UTC)
    }


@pytest.mark.parametrize(
    "date",
    [
        "Sep 16, 2024",
        "16 September 2024",
        "16 sept. 2024",
        "16-09-24",
        "16.09.2024",
        "2024/09/16",
        "Sep 16, 2024, 1:20:30 PM",
    ],
)
def test_more_dates(tmp_path, date):
    assert (
        only_entry(tmp_path, PLAIN + f'"{date}",ACME,BUY,1,10,0,USD\n')
        .executed_at.date()
        .isoformat()
        == "2024-09-16"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Time,Symbol,Side,Quantity,Price\n2024-03-04 10:00:05,ACME,BUY,1,10\n",
        "date,time,ticker,action,shares,unit price\n2024-03-04,10:00:05,ACME,bought,1,10\n",
        "Trade Date;Instrument;Direction;Size;Fill Price;Trade Time\n04.03.2024;ACME;B;1;10,00;10:00:05\n",
        "EXECUTED_AT\tSYMBOL\tTYPE\tQTY\tUNITPRICE\n2024-03-04T10:00:05Z\tACME\tPurchase\t1\t10\n",
    ],
)
def test_column_names_of_a_plain_table(tmp_path, text):
    entry = only_entry(tmp_path, text)
    assert (entry.kind, entry.symbol, entry.quantity, entry.price) == (EntryKind.BUY, "ACME", 1, 10)
    assert entry.executed_at == datetime(2024, 3, 4, 10, 0, 5, tzinfo=UTC)


def test_an_ambiguous_order_of_day_and_month_is_asked_about(tmp_path):
    with pytest.raises(InputError, match="'3/4/2024' may be day/month or month/day"):
        read(tmp_path, PLAIN + "3/4/2024,ACME,BUY,1,10,0,USD\n")


def test_times_are_in_the_zone_of_the_broker(tmp_path):
    text = (
        "Date;Order #;Transaction;Symbol;Name;ISIN;Quantity;Unit price;Costs;Accrued Interest;Net Amount;Balance;Currency\n"
        "10-08-2022 15:30:02;1;Buy;ACME;ACME;US0000000001;200.0;19.85;5.96;0.00;-3'975.96;1.00;USD\n"
        "10-01-2022 15:30:02;2;Buy;ACME;ACME;US0000000001;200.0;19.85;5.96;0.00;-3'975.96;1.00;USD\n"
    )
    assert [entry.executed_at.hour for entry in entries(tmp_path, text)] == [13, 14]


def test_titles_and_footers(tmp_path):
    text = (
        '"Transactions  for account ...123 as of 01/31/2024"\n\n'
        "Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount\n"
        "01/15/2024,Buy,ACME,ACME INC,10,$15.00,$1.00,-$151.00\n"
        "Transactions Total,,,,,,,-$151.00\n"
    )
    imported = read(tmp_path, text)
    assert [(row.row, row.reason) for row in imported.skipped] == [
        (1, "a title above the header"),
        (5, "the total of the table"),
    ]
    assert imported.rows_kept == 1
    assert not imported.differences


def test_a_total_that_is_off_is_reported(tmp_path):
    text = (
        "Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount\n"
        "01/15/2024,Buy,ACME,ACME INC,10,$15.00,$1.00,-$151.00\n"
        "Transactions Total,,,,,,,-$999.00\n"
    )
    (off,) = read(tmp_path, text).differences
    assert (off.row, off.stated, off.computed) == (3, -999, -151)


def test_an_amount_that_is_not_quantity_times_price_is_reported(tmp_path):
    text = (
        "Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount\n"
        "01/15/2024,Buy,ACME,ACME INC,10,$15.00,$1.00,-$171.00\n"
        "01/16/2024,Buy,ACME,ACME INC,10,$15.00,$1.00,-$151.00\n"
    )
    (off,) = read(tmp_path, text).differences
    assert (off.row, off.what, off.stated, off.computed) == (2, "the cash", -171, -151)


def test_the_header_again_in_the_middle(tmp_path):
    text = PLAIN + "2024-03-04,ACME,BUY,1,10,0,USD\n" + PLAIN + "2024-03-05,ACME,BUY,1,10,0,USD\n"
    imported = read(tmp_path, text)
    assert imported.rows_kept == 2
    assert [row.reason for row in imported.skipped] == ["the header again"]


def test_a_stray_quote_affects_its_own_line_only(tmp_path):
    text = PLAIN + '2024-03-04,"ACME,BUY,1,10,0,USD\n2024-03-05,ACME,BUY,1,10,0,USD\n'
    imported = read(tmp_path, text)
    assert [entry.source_row for entry in imported.entries] == [3] or [
        entry.source_row for entry in imported.entries
    ] == [2, 3]
    assert imported.rows_read == 2


def test_a_value_in_quotes_may_run_over_lines(tmp_path):
    text = (
        "date,symbol,side,quantity,price,note\n"
        + '2024-03-04,ACME,BUY,1,10,"two\nlines"\n2024-03-05,ACME,SELL,1,10,\n'
    )
    assert [entry.source_row for entry in entries(tmp_path, text)] == [2, 4]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2024-13-04,ACME,BUY,1,10,0,USD", "the date cannot be read: '2024-13-04'"),
        (",ACME,BUY,1,10,0,USD", "there is no date"),
        ("2024-03-04,ACME,HOLD,1,10,0,USD", "unknown action 'HOLD'"),
        ("2024-03-04,ACME,,1,10,0,USD", "there is no action"),
        ("2024-03-04,,BUY,1,10,0,USD", "there is no symbol"),
        ("2024-03-04,ACME,BUY,,10,0,USD", "there is no quantity"),
        ("2024-03-04,ACME,BUY,0,10,0,USD", "the quantity is zero"),
        ("2024-03-04,ACME,BUY,-1,10,0,USD", "a purchase has a negative quantity"),
        ("2024-03-04,ACME,BUY,ten,10,0,USD", "quantity is not a number: 'ten'"),
        ("2024-03-04,ACME,BUY,1,,0,USD", "there is no price"),
        ("2024-03-04,ACME,BUY,1,0,0,USD", "the price is zero"),
        ("2024-03-04,ACME,BUY,1,-3,0,USD", "the price is negative"),
        ("2024-03-04,ACME,BUY,1,10000000000000,0,USD", "price is too large: 10000000000000"),
        ("2024-03-04,ACME,BUY,1,10,0,US DOLLARS!", "not a currency code: 'US DOLLARS!'"),
        ("2024-03-04,ACME,BUY,1,10", "5 values under 7 columns"),
    ],
)
def test_a_row_that_cannot_be_booked_has_a_reason(tmp_path, row, reason):
    imported = read(tmp_path, PLAIN + "2024-03-01,ACME,BUY,1,10,0,USD\n" + row + "\n")
    assert [(rejected.row, rejected.reason, rejected.raw) for rejected in imported.quarantined] == [
        (3, reason, row)
    ]
    assert imported.rows_read == 2


def test_two_equal_fills_of_a_day_are_two_entries_and_a_second_import_has_the_same_ids(tmp_path):
    text = PLAIN + "2024-03-04,ACME,BUY,1,10,0,USD\n" * 2
    ids = [entry.entry_id for entry in entries(tmp_path, text)]
    assert len(set(ids)) == 2
    assert [entry.entry_id for entry in entries(tmp_path, text)] == ids
    assert entries(tmp_path, PLAIN + "2024-03-04,ACME,BUY,1,10,0,USD\n")[0].entry_id == ids[0]


def test_the_brokers_own_id_is_the_id(tmp_path):
    header = "date,symbol,side,quantity,price,trade id\n"
    assert only_entry(tmp_path, header + "2024-03-04,ACME,BUY,1,10,T9\n").entry_id == "generic:T9"
    assert (
        len(
            {
                entry.entry_id
                for entry in entries(
                    tmp_path, header + "2024-03-04,ACME,BUY,1,10,#1\n2024-03-04,ACME,BUY,1,10,#2\n"
                )
            }
        )
        == 2
    )


def test_a_row_with_an_id_that_was_there_is_skipped_and_rows_that_contradict_each_other_are_set_aside(
    tmp_path,
):
    header = "date,symbol,side,quantity,price,trade id\n"
    text = (
        header
        + "2024-03-04,ACME,BUY,1,10,T9\n" * 2
        + "2024-03-04,ACME,BUY,1,10,T8\n2024-03-04,ACME,BUY,2,10,T8\n"
    )
    imported = read(tmp_path, text)
    assert [entry.entry_id for entry in imported.entries] == ["generic:T9"]
    assert [(rejected.row, rejected.reason) for rejected in imported.skipped] == [
        (3, "the row repeats the trade with the id T9")
    ]
    assert [(rejected.row, rejected.reason) for rejected in imported.quarantined] == [
        (4, "rows that differ have the trade id T8"),
        (5, "rows that differ have the trade id T8"),
    ]
    assert imported.rows_read == 4


def test_accounts_are_hashed_and_free_text_is_not_imported(tmp_path):
    text = (
        "Datum;Konto;Typ av transaktion;Värdepapper/beskrivning;Antal;Kurs;Belopp;Transaktionsvaluta;Courtage (SEK);Valutakurs;"
        "Instrumentvaluta;ISIN;Resultat\n"
        "2025-01-14;4711;Uttag;Till Karin Andersson;;;-544;SEK;;;;;\n"
    )
    entry = only_entry(tmp_path, text)
    assert entry.account == "hash of 4711"
    assert "Karin" not in str(entry)


def test_a_name_cannot_be_a_formula(tmp_path):
    header = "date,symbol,name,side,quantity,price\n"
    assert only_entry(tmp_path, header + '2024-03-04,=1+1,"@SUM(A1)",BUY,1,10\n').symbol == "1+1"


def test_a_fee_in_another_currency_is_an_entry_of_its_own(tmp_path):
    text = (
        "Action,Time,ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share),Exchange rate,Total,Currency (Total),"
        "Currency conversion fee,Currency (Currency conversion fee),ID\n"
        "Market buy,2024-01-02 10:00:00,US0000000001,ACME,Acme,2,50.00,USD,1.25,80.12,GBP,0.12,GBP,EOF1\n"
    )
    bought, fee = entries(tmp_path, text)
    assert (bought.kind, bought.amount, bought.currency, bought.fee) == (
        EntryKind.BUY,
        100,
        "USD",
        0,
    )
    assert (fee.kind, fee.amount, fee.currency, fee.symbol) == (
        EntryKind.FEE,
        Decimal("0.12"),
        "GBP",
        "ACME",
    )
    assert fee.entry_id.endswith(":fee5")


def test_the_cash_of_an_option_gives_its_amount(tmp_path):
    text = (
        "Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount\n"
        "01/16/2024,Sell to Open,ACME 01/19/2024 190.00 C,CALL ACME INC $190 EXP 01/19/24,2,$1.25,$1.30,$248.70\n"
        "01/19/2024,Expired,ACME 01/19/2024 190.00 C,CALL ACME INC $190 EXP 01/19/24,2,,,\n"
    )
    sold, expired = entries(tmp_path, text)
    assert (sold.kind, sold.asset_class, sold.quantity, sold.price, sold.amount) == (
        "SELL",
        "OPTION",
        2,
        Decimal("1.25"),
        250,
    )
    assert (expired.kind, expired.quantity, expired.amount) == ("TRANSFER", 2, None)


@pytest.mark.parametrize(
    "symbol",
    ["ACME 01/19/2024 190.00 C", "ACME  240119C00190000", "ACME240119P00190000", "-ACME240119C190"],
)
def test_a_contract_in_place_of_a_symbol_is_an_option_whatever_the_action(tmp_path, symbol):
    header = "Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount\n"
    bought = only_entry(
        tmp_path, header + f'01/16/2024,Buy,{symbol},ACME INC,2,$1.25,$1.30,"-$251.30"\n'
    )
    assert (bought.kind, bought.asset_class, bought.amount) == (EntryKind.BUY, "OPTION", 250)


@pytest.mark.parametrize("symbol", ["ACME", "BRK.B", "7203", "AC240119", "600519.SS"])
def test_a_symbol_with_digits_is_no_option(tmp_path, symbol):
    header = "Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount\n"
    bought = only_entry(
        tmp_path, header + f'01/16/2024,Buy,{symbol},ACME INC,2,$1.25,$0.00,"-$2.50"\n'
    )
    assert bought.asset_class == "STOCK"


def test_an_unknown_table_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(
        InputError, match=r"no format knows this file; its header is: a,b,c.*--draft"
    ):
        read(tmp_path, "a,b,c\n1,2,3\n")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"\xff\xfe\n\0", "the file is empty"),
        (b"PK\x03\x04rest", "a spreadsheet or a ZIP file"),
        (b'{"activities": [', "not JSON"),
        (b"<html></html>", "XML of the kind 'html' is not known"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><FlexQueryResponse/>', "declares entities"),
        (PLAIN.encode(), "there is a header but no row"),
    ],
)
def test_what_is_no_export_is_refused_in_words(tmp_path, content, problem):
    with pytest.raises(InputError, match=problem):
        read(tmp_path, content)


HEADERS = {
    "degiro-account": [
        "Datum,Tijd,Valutadatum,Product,ISIN,Omschrijving,FX,Mutatie,,Saldo,,Order Id",
        "Date,Time,Value date,Product,ISIN,Description,FX,Change,,Balance,,Order Id",
        "Datum,Uhrzeit,Valutadatum,Produkt,ISIN,Beschreibung,FX,Änderung,,Saldo,,Order-ID",
        "Datum,Uhrze,Valutadatum,Produkt,ISIN,Beschreibung,FX,Änderung,,Saldo,,Order-ID",
        "Date,Heure,Date de,Produit,Code ISIN,Description,FX,Mouvements,,Solde,,ID Ordre",
        "Fecha,Hora,Fecha valor,Producto,ISIN,Descripción,Tipo,Variación,,Saldo,,ID Orden",
        "Data,Ora,Data Valore,Prodotto,ISIN,Descrizione,FX,Variazioni,,Saldo,,ID Ordine",
        "Data,Hora,Data Valor,Produto,ISIN,Descrição,T.,Mudança,,Saldo,,ID da Ordem",
    ],
    "degiro-transactions": [
        "Date,Time,Product,ISIN,Reference exchange,Venue,Quantity,Price,,Local value,,Value EUR,Exchange rate,AutoFX Fee,"
        "Transaction and/or third party fees EUR,Total EUR,Order ID,",
        "Datum,Tijd,Product,ISIN,Beurs,Uitvoeringsplaats,Aantal,Koers,,Lokale waarde,,Waarde EUR,Wisselkoers,AutoFX Kosten,"
        "Transactiekosten en/of kosten van derden EUR,Totaal EUR,Order ID,",
        "Fecha,Hora,Producto,ISIN,Bolsa de,Centro de ejecución,Número,Precio,,Valor local,,Valor,,Tipo de cambio,"
        "Costes de transacción,,Total,,ID Orden",
        "Date,Heure,Produit,Code ISIN,Bourse de référence,Lieu d'exécution,Quantité,Cours,,Valeur locale,,Valeur EUR,"
        "Taux de change,Frais AutoFX,Frais de courtage et/ou de parties tierces EUR,Total EUR,ID Ordre,",
        "Data,Ora,Prodotto,ISIN,Borsa di riferimento,Borsa,Quantità,Quotazione,,Valore locale,,Valore EUR,Tasso di cambio,"
        "Commissione AutoFX,Costi di transazione e/o di terze parti EUR,Totale EUR,ID Ordine,",
        "Data,Hora,Produto,ISIN,Bolsa de referência,Local de execução,Quantidade,Preço,,Valor local,,Valor EUR,Taxa de câmbio,"
        "Custo AutoFX,Custos de transação e/ou de terceiros EUR,Total EUR,ID da Ordem,",
    ],
    "trading212": [
        "Action,Time,ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share),Exchange rate,Result (GBP),"
        "Total (GBP),Withholding tax,Currency (Withholding tax),Notes,ID",
        "Action,Time (UTC),ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share),Exchange rate,Total,"
        "Currency (Total),Notes,ID",
    ],
    "swissquote": [
        "Datum;Auftrag #;Transaktionen;Symbol;Name;ISIN;Anzahl;Stückpreis;Kosten;Aufgelaufene Zinsen;Nettobetrag;Saldo;Währung",
        "Datum;Auftrag #;Transaktionen;Symbol;Name;ISIN;Anzahl;Stückpreis;Kosten;Aufgelaufene Zinsen;Nettobetrag;"
        "Währung Nettobetrag;Nettobetrag in der Währung des Kontos;Saldo;Währung",
    ],
    "traderepublic": [
        "Date;Type;Value;Note;ISIN;Shares;Fees;Taxes",
        "Datum;Typ;Wert;Notiz;ISIN;Stück;Gebühren;Steuern;ISIN2;Stück2",
    ],
    "xtb": [
        "ID;Type;Time;Symbol;Comment;Amount",
        "ID;Type;Time;Comment;Symbol;Amount",
        "ID;Typ;Czas;Symbol;Komentarz;Kwota",
        "ID;Tipo;Hora;Símbolo;Comentario;Importe",
        "ID;Type;Time;Symbol;Comment;Amount;Currency",
    ],
    "etoro": [
        "Date,Type,Details,Amount,Units,Realized Equity Change,Realized Equity,Balance,Position ID,Asset type,NWA",
        "Date,Type,Details,Amount,Units / Contracts,Realized Equity Change,Realized Equity,Balance,Position ID,Asset type,NWA",
    ],
    "avanza": [
        "Datum;Konto;Typ av transaktion;Värdepapper/beskrivning;Antal;Kurs;Belopp;Courtage;Valuta;ISIN",
        "Datum;Konto;Typ av transaktion;Värdepapper/beskrivning;Antal;Kurs;Belopp;Courtage;Valuta;ISIN;Resultat",
        "Datum;Konto;Typ av transaktion;Värdepapper/beskrivning;Antal;Kurs;Belopp;Transaktionsvaluta;Courtage;Valutakurs;"
        "Instrumentvaluta;ISIN;Resultat",
    ],
    "freetrade": [
        "Title,Type,Timestamp,Account Currency,Total Amount in Account Currency,Buy / Sell,Ticker,ISIN,"
        "Price per Share in Account Currency,Stamp Duty,Quantity,Venue,Order ID,Order Type,Instrument Currency",
    ],
    "ibkr-flex-trades": [
        "ClientAccountID,CurrencyPrimary,FXRateToBase,AssetClass,SubCategory,Symbol,CUSIP,ISIN,TradeID,DateTime,TransactionType,"
        "Quantity,TradePrice,Proceeds,Taxes,FifoPnlRealized,IBCommission,IBCommissionCurrency,Buy/Sell",
        "Symbol,ISIN,TradeDate,Buy/Sell,Quantity,Proceeds,IBCommission,CurrencyPrimary,FXRateToBase,AssetClass",
    ],
    "ibkr-activity-trades": [
        "Trades,Header,DataDiscriminator,Asset Category,Currency,Account,Symbol,Date/Time,Quantity,T. Price,C. Price,Proceeds,"
        "Comm/Fee,Basis,Realized P/L,MTM P/L,Code",
        "Trades,Header,DataDiscriminator,Asset Category,Currency,Symbol,Date/Time,Quantity,T. Price,Proceeds,Comm in USD",
    ],
    "parqet": ["datetime;price;shares;tax;fee;type;holdingname;identifier;currency"],
    "schwab": [
        "Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount",
        "Date,Action,Symbol,Description,Price,Quantity,Fees & Comm,Amount,",
    ],
    "saxo": [
        "Client ID,Trade Date,Value Date,Type,Instrument,Instrument ISIN,Instrument currency,Exchange Description,"
        "Instrument Symbol,Event,Booked Amount,Order ID,Conversion Rate,From Derivative,Underlying asset type",
    ],
}


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, lines in HEADERS.items() for line in lines]
)
def test_years_and_languages_of_a_format(name, line):
    separator = max(",;", key=line.count)
    imported = best_format(bundled_formats(), Header(line.split(separator)), "csv")
    assert imported is not None
    assert imported.name == name


DEGIRO = [
    ("Koop 1.000 @ 0,5 EUR", "-500,00", EntryKind.BUY, "1000", "0.5"),
    ("Verkauf 3 zu je 57,46 EUR (IE0000000001)", "172,38", EntryKind.SELL, "3", "57.46"),
    ("Buy 5 3D SYSTEMS@21.31 USD (US0000000001)", "-106,55", EntryKind.BUY, "5", "21.31"),
    (
        "Vente 1 046,3825 ACME@0,9854 EUR (IE0000000001)",
        "1 031,11",
        EntryKind.SELL,
        "1046.3825",
        "0.9854",
    ),
    ("Acquisto 2 ACME@1.234,5 EUR (IE0000000001)", "-2.469,00", EntryKind.BUY, "2", "1234.5"),
    ("STOCK DIVIDEND: Koop 9 @ 0 EUR", "0,00", EntryKind.TRANSFER, "9", None),
    ("AKTIENSPLIT: Verkauf 10 zu je 20 EUR", "200,00", EntryKind.TRANSFER, "-10", None),
]


@pytest.mark.parametrize(
    ("sentence", "change", "kind", "quantity", "price"), DEGIRO, ids=[row[0] for row in DEGIRO]
)
def test_degiro_writes_trades_as_sentences(tmp_path, sentence, change, kind, quantity, price):
    currency = "USD" if "USD" in sentence else "EUR"
    text = (
        "Datum,Tijd,Valutadatum,Product,ISIN,Omschrijving,FX,Mutatie,,Saldo,,Order Id\n"
        f'16-12-2022,09:05,15-12-2022,ACME,IE0000000001,"{sentence}",,{currency},"{change}",{currency},"1,36",\n'
    )
    entry = only_entry(tmp_path, text)
    assert (entry.kind, entry.quantity, entry.price) == (
        kind,
        Decimal(quantity),
        price and Decimal(price),
    )


SENTENCES = {
    EntryKind.DIVIDEND: ["Dividend", "Dividende", "Dividendo", "Fund Distribution", "Fondsausschüttung"],
    EntryKind.TAX: ["Dividendbelasting", "Dividendensteuer", "Impôts sur dividende", "Retención del dividendo",
               "Ritenuta sul dividendo", "Quellensteuer", "Dividend Tax", "London/Dublin Stamp Duty", "Transactiebelasting"],
    EntryKind.FEE: ["DEGIRO Aansluitingskosten 2024", "Giro Exchange Connection Fee 2024", "Custo de Conectividade DEGIRO 2023",
               "Frais de connexion aux places boursières 2023", "Einrichtung von Handelsmodalitäten Gebühr 2023",
               "DEGIRO Transactiekosten en/of kosten van derden", "Comissões de transação DEGIRO e/ou taxas de terceiros"],
    EntryKind.INTEREST: ["Flatex Interest Income", "Flatex Interest", "Zinsen", "Intérêts", "Debetrente"],
    EntryKind.WITHDRAWAL: ["flatex terugstorting", "Retrait de fonds", "Auszahlung", "Retirada", "Prelievo"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [(kind, sentence) for kind, some in SENTENCES.items() for sentence in some],
)
def test_degiro_in_many_languages(tmp_path, kind, sentence):
    text = (
        "Datum,Tijd,Valutadatum,Product,ISIN,Omschrijving,FX,Mutatie,,Saldo,,Order Id\n"
        f'16-12-2022,09:05,15-12-2022,ACME,IE0000000001,"{sentence}",,EUR,"-1,00",EUR,"1,36",\n'
    )
    assert only_entry(tmp_path, text).kind == kind


def test_the_costs_of_an_order_go_with_its_largest_fill_whatever_the_order_of_the_file(tmp_path):
    header = "Datum,Tijd,Valutadatum,Product,ISIN,Omschrijving,FX,Mutatie,,Saldo,,Order Id\n"
    rows = [
        '10-11-2023,17:10,10-11-2023,ACME,NL0000000001,DEGIRO Transactiekosten,,EUR,"-3,00",EUR,"9,77",a1\n',
        '10-11-2023,17:10,10-11-2023,ACME,NL0000000001,"Koop 4 @ 26,88 EUR",,EUR,"-107,52",EUR,"12,77",a1\n',
        '10-11-2023,17:10,10-11-2023,ACME,NL0000000001,"Koop 34 @ 26,88 EUR",,EUR,"-913,92",EUR,"926,69",a1\n',
    ]
    orders = [
        sorted(
            (fill.quantity, fill.fee, fill.entry_id)
            for fill in entries(tmp_path, header + "".join(lines))
        )
        for lines in (rows, rows[::-1])
    ]
    assert orders[0] == orders[1]
    assert [fill[:2] for fill in orders[0]] == [(4, 0), (34, 3)]


@pytest.mark.parametrize(
    "sentence",
    ["Valuta Creditering", "FX Debit", "Währungswechsel (Einbuchung)", "Opération de change - Crédit", "Ingreso Cambio de Divisa",
     "Levantamento de divisa", "Degiro Cash Sweep Transfer", "Reservation iDEAL / Sofort Deposit"],
)  # fmt: skip
def test_degiro_rows_that_are_no_events(tmp_path, sentence):
    text = (
        "Datum,Tijd,Valutadatum,Product,ISIN,Omschrijving,FX,Mutatie,,Saldo,,Order Id\n"
        f'16-12-2022,09:05,15-12-2022,,,"{sentence}",,EUR,"-1,00",EUR,"1,36",\n'
    )
    imported = read(tmp_path, text)
    assert (imported.rows_kept, len(imported.skipped)) == (0, 1)


def test_a_users_own_format_counts_before_the_projects(tmp_path):
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "mine.toml").write_text(
        'name = "mine"\ntitle = "Mine"\nheader = ["When", "What", "How many", "Paid"]\n'
        '[columns]\ndate = "When"\nsymbol = "What"\nquantity = "How many"\nnet = "Paid"\n'
        '[[rules]]\nif = { quantity = ">0" }\nkind = "BUY/SELL"\n'
    )
    path = tmp_path / "x.csv"
    path.write_text("When,What,How many,Paid\n2024-03-04,ACME,4,-50\n")
    entry = next(engine.read_export(path, lambda account: account, own=folder).entries)
    assert (entry.kind, entry.price, entry.source_format) == (
        EntryKind.BUY,
        Decimal("12.5"),
        "mine",
    )


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("name = ", "not TOML"),
        ('name = "x"\ntitle = "X"\nheader = ["A"]\n[columns]\nwhen = "A"\n', "when"),
        (
            'name = "x"\ntitle = "X"\nheader = ["A"]\nsteps = "magic"\n[columns]\ndate = "A"\n',
            "steps",
        ),
        (
            'name = "x"\ntitle = "X"\nheader = ["A"]\n[columns]\ndate = "A"\n[kinds]\nGIFT = "a"\n',
            "GIFT",
        ),
        (
            'name = "x"\ntitle = "X"\nheader = ["A"]\ncolour = "red"\n[columns]\ndate = "A"\n',
            "colour",
        ),
    ],
)
def test_an_impossible_format_is_refused(tmp_path, toml, problem):
    (tmp_path / "x.toml").write_text(toml)
    with pytest.raises(InputError, match=problem):
        available_formats(tmp_path)
