"""Workbooks as brokers export them: worksheets that are no table of trades, title rows, an empty first column, real dates."""

# ruff: noqa: DTZ001 - cells of Excel have no time zone
import random
import zipfile
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from importers.test_exports import lines_of

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.importers.scaffold.draft import draft_format
from stock_llm.pipeline.exports import as_parse_result, difference_findings
from stock_llm.storage.parse_cache import CachedParse

_RELS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def _cell(value: object) -> str:
    if value is None or value == "":
        return "<c/>"
    if isinstance(value, datetime):
        days = (value - datetime(1899, 12, 30)).total_seconds() / 86_400
        return f'<c s="1"><v>{days!r}</v></c>'
    if isinstance(value, int | float):
        return f"<c><v>{value!r}</v></c>"
    return f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'


def write_workbook(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    """A minimal XLSX file; datetimes get a style that shows them as such."""
    names = list(sheets)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/>'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r" Type="{_RELS}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        entries = "".join(
            f'<sheet name="{escape(name)}" sheetId="{at}" r:id="r{at}"/>'
            for at, name in enumerate(names, start=1)
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELS}"><sheets>{entries}</sheets></workbook>',
        )
        links = "".join(
            f'<Relationship Id="r{at}" Type="{_RELS}/worksheet" Target="worksheets/sheet{at}.xml"/>'
            for at in range(1, len(names) + 1)
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{_PACKAGE}/relationships">{links}<Relationship Id="s" Type="{_RELS}/styles" '
            'Target="styles.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/styles.xml",
            f'<styleSheet xmlns="{_MAIN}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22" applyNumberFormat="1"/>'
            "</cellXfs></styleSheet>",
        )
        for at, rows in enumerate(sheets.values(), start=1):
            body = "".join(f"<row>{''.join(_cell(cell) for cell in row)}</row>" for row in rows)
            archive.writestr(
                f"xl/worksheets/sheet{at}.xml",
                f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData></worksheet>',
            )
    return path


ETORO = [
    ["Date", "Type", "Details", "Amount", "Units", "Realized Equity Change", "Realized Equity", "Balance", "Position ID", "Asset type", "NWA"],
    ["02/01/2024 00:10:33", "Dividend", "NKE/USD", 0.17, "-", 0.17, 4581.91, 99.6, "2272508626", "Stocks", 0],
    ["13/01/2024 15:30:40", "Position closed", "OLED/USD", 18.43, 0.102626, 7.37, 4581.91, 0, "2355395242", "Stocks", 0],
]  # fmt: skip
ETORO_DIVIDENDS = [
    ["Date of Payment", "Instrument Name", "Net Dividend Received (USD)", "Net Dividend Received (EUR)", "Withholding Tax Rate (%)", "Withholding Tax Amount (USD)", "Withholding Tax Amount (EUR)", "Position ID", "Type", "ISIN"],
    ["01/01/2024", "Nike", 0.17, 0.16, "15 %", 0.03, 0.03, "2272508626", "Stocks", "US6541061031"],
]  # fmt: skip
XTB = [
    [],
    ["", "CASH OPERATION HISTORY"],
    ["", "", "Account", 1234567, "Currency", "EUR"],
    ["", "ID", "Type", "Time", "Comment", "Symbol", "Amount"],
    ["", 530692719, "Stocks/ETF purchase", datetime(2024, 4, 12, 13, 1, 45), "OPEN BUY 34/42.5658 @ 11.7480", "SPYL.DE", -399.43],
    ["", 530691593, "Deposit", datetime(2024, 4, 12, 13, 0, 22), "deposit", "", 500],
    ["", "", "", "", "Total", "", 100.57],
]  # fmt: skip
QUESTRADE = [
    ["Transaction Date", "Settlement Date", "Action", "Symbol", "Description", "Quantity", "Price", "Gross Amount", "Commission", "Net Amount", "Currency", "Account #", "Activity Type", "Account Type"],
    ["2024-01-05 12:00:00 AM", "2024-01-09 12:00:00 AM", "Buy", "ACME.TO", "ACME INC", 100, 80.125, -8012.5, -4.95, -8017.45, "CAD", "55512345", "Trades", "Individual TFSA"],
]  # fmt: skip
DEGIRO = [
    ["Datum", "Tijd", "Valutadatum", "Product", "ISIN", "Omschrijving", "FX", "Mutatie", "", "Saldo", "", "Order Id"],
    ["02-01-2026", "10:00", "02-01-2026", "KESTRO", "US0000000002", "Koop 1.500 @ 2,50 EUR", "", "EUR", -3750, "EUR", 6250.125, "o1"],
]  # fmt: skip

WORKBOOKS = {
    "etoro": (
        {"Account Summary": [["Account Summary"], ["Name", "J. Doe"]], "Account Activity": ETORO, "Dividends": ETORO_DIVIDENDS},
        """
        2 DIVIDEND STOCK NKE - @ - = 0.2 fee 0 tax 0.03 USD 2024-01-02T00:10:33Z
        3 SELL STOCK OLED 0.102626 @ 179.584120982987 = 18.43 fee 0 tax 0 USD 2024-01-13T15:30:40Z
        ~ 0 no format knows the worksheet 'Account Summary'
        ~ 2 the tax of the dividend in row 2 of the account activity
        """,
    ),
    "xtb": (
        {"CLOSED POSITION HISTORY": [[], ["", "Position", "Symbol", "Type"], ["", 1, "SPYL.DE", "BUY"]], "CASH OPERATION HISTORY": XTB},
        """
        5 BUY STOCK SPYL.DE 34 @ 11.748 = 399.432 fee 0 tax 0 EUR 2024-04-12T11:01:45Z
        6 DEPOSIT CASH - - @ - = 500 fee 0 tax 0  2024-04-12T11:00:22Z
        ~ 0 no format knows the worksheet 'CLOSED POSITION HISTORY'
        ~ 2 a title above the header
        ~ 3 a title above the header
        ~ 7 a total of the table
        """,
    ),
    "questrade": ({"Activities": QUESTRADE}, "2 BUY STOCK ACME.TO 100 @ 80.125 = 8012.5 fee 4.95 tax 0 CAD 2024-01-05"),
    "degiro": ({"Rekeningoverzicht": DEGIRO}, "2 BUY STOCK US0000000002 1500 @ 2.5 = 3750 fee 0 tax 0 EUR 2026-01-02T09:00:00Z"),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKBOOKS)
def test_a_workbook_is_read_as_its_worksheets_say(name, tmp_path):
    sheets, expected = WORKBOOKS[name]
    path = write_workbook(tmp_path / "export.xlsx", sheets)
    assert lines_of(path) == [line.strip() for line in expected.strip().splitlines()]
    recognised = engine.identify_format(path)
    assert recognised is not None
    assert recognised.name.startswith(name)


def test_a_row_is_named_with_its_worksheet(tmp_path):
    dividends = [
        *ETORO_DIVIDENDS,
        ["05/01/2024", "Nike", 0.5, 0.45, "15 %", 0.09, 0.08, "1", "Stocks", "US6541061031"],
        ["06/01/2024", "Nike", "much", 0.45, "15 %", 0.09, 0.08, "2", "Stocks", "US6541061031"],
    ]
    path = write_workbook(
        tmp_path / "etoro.xlsx", {"Account Activity": ETORO, "Dividends": dividends}
    )
    imported = engine.read_export(path, lambda account: account)
    assert [(entry.source_file, entry.source_row, entry.isin) for entry in imported.entries] == [
        ("etoro.xlsx, Account Activity", 2, "US6541061031"),
        ("etoro.xlsx, Account Activity", 3, ""),
    ]
    assert [(row.file, row.row, row.reason) for row in imported.quarantined] == [
        ("etoro.xlsx, Dividends", row, "the account activity has no such dividend")
        for row in (3, 4)
    ]
    assert imported.rows_read == 5 and imported.file == "etoro.xlsx"


def test_dividends_without_the_account_activity_are_events_of_their_own(tmp_path):
    path = write_workbook(tmp_path / "etoro.xlsx", {"Dividends": ETORO_DIVIDENDS})
    assert lines_of(path) == [
        "2 DIVIDEND STOCK US6541061031 - @ - = 0.2 fee 0 tax 0.03 USD 2024-01-01"
    ]


def test_differences_and_titles_of_a_second_worksheet_are_found_where_they_are(tmp_path):
    header = [
        "Date",
        "Action",
        "Symbol",
        "Description",
        "Quantity",
        "Price",
        "Fees & Comm",
        "Amount",
    ]
    first = [header, ["01/15/2024", "Buy", "ACME", "A", 10, 15, 0, -150]]
    second = [["Account 7 as of today"], [], header, ["01/16/2024", "Buy", "WREN", "W", 10, 15, 0, -153], ["01/17/2024", "Fly", "WREN", "W", 1, 1, 0, 1]]  # fmt: skip
    path = write_workbook(tmp_path / "two.xlsx", {"2023": first, "2024": second})
    imported = engine.read_export(path, lambda account: account)
    assert [(off.file, off.row) for off in imported.differences] == [("two.xlsx, 2024", 4)]
    assert [(row.file, row.row) for row in imported.skipped] == [("two.xlsx, 2024", 1)]
    assert [(row.file, row.row) for row in imported.quarantined] == [("two.xlsx, 2024", 5)]
    (text,) = (finding.text for finding in difference_findings([cached(imported)]))
    assert text.startswith("two.xlsx, 2024, row 4: the cash is -153")


def cached(imported: engine.Import) -> CachedParse:
    return CachedParse(Path(), [], as_parse_result(imported).facts, fresh=True)


def test_the_name_of_the_file_does_not_matter(tmp_path):
    path = write_workbook(tmp_path / "export.csv", {"Activities": QUESTRADE})
    assert engine.read_export(path, lambda account: account).rows_kept == 1


def test_numbers_of_a_worksheet_are_never_taken_for_thousands(tmp_path):
    header = ["date", "symbol", "side", "quantity", "price", "currency"]
    path = write_workbook(
        tmp_path / "t.xlsx",
        {"t": [header, [datetime(2024, 3, 4), "ACME", "BUY", 1.234, 1234, "EUR"]]},
    )
    (entry,) = engine.read_export(path, lambda account: account).entries
    assert (float(entry.quantity), float(entry.price), entry.time_known) == (1.234, 1234, False)


def test_a_workbook_that_no_format_knows_is_refused_by_its_header(tmp_path):
    path = write_workbook(
        tmp_path / "t.xlsx", {"t": [["colour", "taste", "smell"], ["red", "sweet", "none"]]}
    )
    with pytest.raises(InputError, match="no format knows this file"):
        engine.read_export(path, lambda account: account)


def test_a_workbook_that_no_format_knows_gets_a_draft(tmp_path):
    rows = [["When it was", "Paper", "What", "How many", "Each"]]
    rows += [[datetime(2024, 3, day), "ACME", "Buy", day, 10.5] for day in range(1, 9)]
    path = write_workbook(tmp_path / "t.xlsx", {"Notes": [["a note"]], "Trades": rows})
    assert "[columns]" in draft_format(path)


def test_a_damaged_workbook_is_refused_in_words(tmp_path):
    path = write_workbook(tmp_path / "t.xlsx", {"t": QUESTRADE})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError):
        engine.read_export(path, lambda account: account)


def test_flipped_bytes_are_read_or_refused_in_words(tmp_path):
    whole = write_workbook(tmp_path / "t.xlsx", {"t": QUESTRADE}).read_bytes()
    for number in range(200):
        chance = random.Random(number)
        content = bytearray(whole)
        for _ in range(chance.randint(1, 20)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path = tmp_path / "flipped.xlsx"
        path.write_bytes(content)
        try:
            imported = engine.read_export(path, lambda account: account)
        except InputError as error:
            assert error.problem
        else:
            assert imported.rows_read
