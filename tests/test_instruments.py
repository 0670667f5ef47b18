"""The table of instruments: the user's lines are read and never overwritten; the project's are written anew."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from stock_llm.accounts.ledger import AssetClass
from stock_llm.errors import InputError
from stock_llm.instruments import COLUMNS, NEEDS, Line, digest_of_lines, learn, load

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


def test_what_the_user_says(path):
    known = load(path)
    assert known.aliases == {"US0378331005": "AAPL"}
    assert known.of("split") == [Line("split", symbol="AAPL", day=date(2020, 8, 31), ratio=Decimal(4))]
    assert known.of("merger")[0].note == "two for one, roughly"
    assert known.left_out == {"BRK-A", "WCAGY"}
    assert known.units == {"VOD.L": Decimal("0.01")}
    assert known.classes == {"ARKB": AssetClass.FUND}
    assert known.exchanges == {"VOD.L": "XLON"}
    assert known.of("delisted")[0].price == 0


def test_learning_keeps_every_character_of_the_user_and_is_not_news(path):
    before, digest = load(path), digest_of_lines(path)
    learn(path, [Line("alias", "IE00B4L5Y983", "IWDA.AS"), Line("alias", "US0378331005", "OTHER"), Line("alias", "WAITS", "")])
    text = path.read_text()
    assert text.startswith(TABLE)
    assert len(text.splitlines()) == len(TABLE.splitlines()) + 2, "the user has an alias for Apple's ISIN"
    assert (load(path), digest_of_lines(path)) == (before, digest)
    stamp = path.stat().st_mtime_ns
    learn(path, [Line("alias", "WAITS", ""), Line("alias", "IE00B4L5Y983", "IWDA.AS")])
    assert path.stat().st_mtime_ns == stamp
    learn(path, [])
    assert path.read_text() == TABLE


def test_a_line_that_the_user_completed_is_the_users(path):
    learn(path, [Line("alias", "WAITS", ""), Line("alias", "LATER", "")])
    before = digest_of_lines(path)
    path.write_text(path.read_text().replace("alias,WAITS,,", "alias,WAITS,FOUND,"))
    after = load(path)
    assert after.aliases["WAITS"] == "FOUND"
    assert digest_of_lines(path) != before
    learn(path, [Line("alias", "WAITS", "")])
    assert load(path).aliases["WAITS"] == "FOUND"
    assert "LATER" not in path.read_text()


def test_no_file_is_made_for_nothing(tmp_path):
    path = tmp_path / "new" / "instruments.csv"
    learn(path, [])
    assert not path.exists()
    assert load(path).lines == ()
    learn(path, [Line("alias", "IE00B4L5Y983", "IWDA.AS", note="MSCI World, all of it")])
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert load(path).lines == (), "what was learnt is no line of the user"


def test_another_separator_and_fewer_columns(path):
    path.write_text("kind;symbol;from;ratio\r\nsplit;AAPL;2020-08-31;0,25\r\n")
    assert load(path).of("split")[0].ratio == Decimal("0.25")
    learn(path, [Line("alias", "X1", "X.L")])
    assert load(path).of("split")[0].ratio == Decimal("0.25")
    assert load(path).aliases == {}
    learn(path, [])
    assert "X1" not in path.read_text()


def test_the_example_of_the_documentation(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    (tmp_path / "table.csv").write_text(page[page.index("kind,match") :].split("```")[0])
    known = load(tmp_path / "table.csv")
    assert {line.kind for line in known.lines} | {"exchange"} == set(NEEDS)
    assert known.aliases == {"IE00BK5BQT80": "VWCE.DE"} and known.exchanges == {"VOD.L": "XLON"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("spilt,,AAPL,2020-08-31,4", "row 2: 'spilt' is no kind of line. Write one of alias, rename"),
        ("split,,AAPL,,4", "row 2: a line of kind split needs 'from'"),
        ("split,,AAPL,31.8.2020,4", "row 2: '31.8.2020' is not a date. Write YYYY-MM-DD"),
        ("split,,AAPL,2020-08-31,four", "row 2: the ratio 'four' is not a number above zero"),
        ("split,,AAPL,2020-08-31,0", "row 2: the ratio '0' is not"),
        ("class,,AAPL,,,,shares", "row 2: 'SHARES' is no class"),
    ],
)
def test_a_mistake_is_told_with_its_row(path, line, message):
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        load(path)


def test_another_file_is_refused(path):
    path.write_text("date,symbol\n2020-01-01,AAPL\n")
    with pytest.raises(InputError, match="no header of this table"):
        load(path)
