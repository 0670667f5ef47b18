"""The table of instruments: the user's lines are read and never overwritten; the project's are written anew."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from stock_llm.errors import InputError
from stock_llm.ledger.entries import AssetClass
from stock_llm.ledger.instruments import (
    COLUMNS,
    NEEDS,
    InstrumentLine,
    learn,
    load_instruments,
    user_lines_digest,
)

TABLE = """# my notes
kind,match,symbol,from,ratio,price,asset,exchange,note,by
alias,US0378331005,aapl,,,,,,the fruit,
split,,AAPL,2020-08-31,4,,,,,
merger,OLDCO,NEWCO,2024-03-01,0.5,,,,"two for one, roughly",

leave-out,,BRK-A,,,,,,,
unit,,VOD.L,,0.01,,,XLON,,
class,,ARKB,,,,fund,,,
delisted,,WCAGY,2021-01-01,,0,,,,
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data" / "instruments.csv"
    path.parent.mkdir()
    path.write_text(TABLE)
    return path


def test_lines_of_the_user_are_read(path):
    known = load_instruments(path)
    assert known.aliases == {"US0378331005": "AAPL"}
    assert known.of("split") == [
        InstrumentLine("split", symbol="AAPL", day=date(2020, 8, 31), ratio=Decimal(4))
    ]
    assert known.of("merger")[0].note == "two for one, roughly"
    assert known.left_out == {"BRK-A", "WCAGY"}
    assert known.units == {"VOD.L": Decimal("0.01")}
    assert known.classes == {"ARKB": AssetClass.FUND}
    assert known.exchanges == {"VOD.L": "XLON"}
    assert known.of("delisted")[0].price == 0


def test_learnt_lines_leave_the_users_text_and_the_digest_unchanged(path):
    before, digest = load_instruments(path), user_lines_digest(path)
    learn(
        path,
        [
            InstrumentLine("alias", "IE00B4L5Y983", "IWDA.AS"),
            InstrumentLine("alias", "US0378331005", "OTHER"),
            InstrumentLine("alias", "WAITS", ""),
        ],
    )
    text = path.read_text()
    assert text.startswith(TABLE)
    assert len(text.splitlines()) == len(TABLE.splitlines()) + 2, (
        "the user has an alias for Apple's ISIN"
    )
    assert (load_instruments(path), user_lines_digest(path)) == (before, digest)
    stamp = path.stat().st_mtime_ns
    learn(
        path,
        [InstrumentLine("alias", "WAITS", ""), InstrumentLine("alias", "IE00B4L5Y983", "IWDA.AS")],
    )
    assert path.stat().st_mtime_ns == stamp
    learn(path, [])
    assert path.read_text() == TABLE


def test_a_line_that_the_user_completed_is_the_users(path):
    learn(path, [InstrumentLine("alias", "WAITS", ""), InstrumentLine("alias", "LATER", "")])
    before = user_lines_digest(path)
    path.write_text(path.read_text().replace("alias,WAITS,,", "alias,WAITS,FOUND,"))
    after = load_instruments(path)
    assert after.aliases["WAITS"] == "FOUND"
    assert user_lines_digest(path) != before
    learn(path, [InstrumentLine("alias", "WAITS", "")])
    assert load_instruments(path).aliases["WAITS"] == "FOUND"
    assert "LATER" not in path.read_text()


def test_no_file_is_made_for_nothing(tmp_path):
    path = tmp_path / "new" / "instruments.csv"
    learn(path, [])
    assert not path.exists()
    assert load_instruments(path).lines == ()
    learn(path, [InstrumentLine("alias", "IE00B4L5Y983", "IWDA.AS", note="MSCI World, all of it")])
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert load_instruments(path).lines == (), "what was learnt is no line of the user"


def test_another_separator_and_fewer_columns(path):
    path.write_text("kind;symbol;from;ratio\r\nsplit;AAPL;2020-08-31;0,25\r\n")
    assert load_instruments(path).of("split")[0].ratio == Decimal("0.25")
    learn(path, [InstrumentLine("alias", "X1", "X.L")])
    assert load_instruments(path).of("split")[0].ratio == Decimal("0.25")
    assert load_instruments(path).aliases == {}
    learn(path, [])
    assert "X1" not in path.read_text()


def test_the_example_of_the_documentation(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (tmp_path / "table.csv").write_text(page[page.index("kind,match") :].split("```")[0])
    known = load_instruments(tmp_path / "table.csv")
    assert {line.kind for line in known.lines} | {"exchange"} == set(NEEDS)
    assert known.aliases == {"IE00BK5BQT80": "VWCE.DE"} and known.exchanges == {"VOD.L": "XLON"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "spilt,,AAPL,2020-08-31,4",
            "row 2: 'spilt' is no kind of line. Write one of alias, rename",
        ),
        ("split,,AAPL,,4", "row 2: a line of kind split needs 'from'"),
        ("split,,AAPL,31.8.2020,4", "row 2: '31.8.2020' is not a date. Write YYYY-MM-DD"),
        ("split,,AAPL,2020-08-31,four", "row 2: the ratio 'four' is not a number above zero"),
        ('split,,AAPL,2020-08-31,"1,000"', "row 2: the ratio '1,000' is not a number above zero"),
        ("split,,AAPL,2020-08-31,0", "row 2: the ratio '0' is not"),
        ("class,,AAPL,,,,shares", "row 2: 'SHARES' is no class"),
    ],
)
def test_a_mistake_is_reported_with_its_row(path, line, message):
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        load_instruments(path)


def test_another_file_is_refused(path):
    path.write_text("date,symbol\n2020-01-01,AAPL\n")
    with pytest.raises(InputError, match="no header of this table"):
        load_instruments(path)
