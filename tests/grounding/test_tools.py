"""The read-only tools over the sample: what they tell, what they withhold, what they refuse."""

import json

import pyarrow.parquet as pq
import pytest
from factories.sample_home import home_with_sample

from stock_llm.grounding import tools
from stock_llm.grounding.questions import find_symbol, read_question
from stock_llm.pipeline.ask import own_data
from stock_llm.settings import load_settings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with home_with_sample(tmp_path_factory) as home:
        yield own_data(load_settings(home=home, ollama_host=""))


def told(data, name, sharing="everything", **arguments):
    return json.loads(tools.call(data, name, arguments, sharing))


def test_positions_and_performance_are_those_of_the_ledger(data):
    rows = {row["instrument"]: row for row in pq.read_table(data.history.positions).to_pylist()}
    held = told(data, "positions")["positions"]
    assert {each["instrument"] for each in held} == {name for name, row in rows.items() if row["quantity"]}  # fmt: skip
    assert sum(float(each["weight"].rstrip("%")) for each in held) == pytest.approx(100, abs=1)
    for each in told(data, "performance")["instruments"]:
        assert each["realised"] == pytest.approx(float(rows[each["instrument"]]["realised_fifo"]), abs=1e-3)  # fmt: skip


def test_trades_of_a_symbol_come_newest_first_with_the_return_of_sales(data):
    trades = told(data, "trades", symbol="kestro")["trades"]
    days = [each["day"] for each in trades]
    assert days == sorted(days, reverse=True) and {each["side"] for each in trades} == {"buy", "sell"}  # fmt: skip
    assert all(("return" in each) == (each["side"] == "sell") for each in trades)
    assert "there are no trades in AAPL" in told(data, "trades", symbol="AAPL")["error"]


def test_candles_come_with_the_indicators_that_questions_get(data):
    result = told(data, "candles", symbol="KESTRO", sessions=3)
    assert [each["date"] for each in result["candles"]][-1] == result["as_of"] == "2025-12-31"
    assert len(result["candles"]) == 3
    assert result["indicators"] == data.situation("KESTRO").lines()


def test_income_of_a_year_and_findings(data):
    fees = told(data, "income", year=2024)
    assert fees["totals"]["USD"]["fees"] > 0 and fees["year"] == 2024
    assert told(data, "income", year=1999)["totals"] == {}
    assert isinstance(told(data, "findings")["findings"], list)


@pytest.mark.parametrize("term", ["RSI14", "rsi", "Bands", "stop-loss", "แนวรับ"])
@pytest.mark.parametrize("language", ["en", "th"])
def test_a_term_is_explained_in_either_language(data, term, language):
    meaning = told(data, "term", "nothing", term=term, language=language)["meaning"]
    assert any("\u0e00" <= letter <= "\u0e7f" for letter in " ".join(meaning)) == (language == "th")


def test_an_unknown_term_is_answered_by_what_there_is(data):
    assert "RSI" in told(data, "term", term="quantum")["terms"]


def test_what_is_not_shared_is_not_told(data):
    names = {sharing: {tool.name for tool in tools.offered(sharing)} for sharing in ("nothing", "percentages", "everything")}  # fmt: skip
    assert names["nothing"] == {"candles", "term"}
    assert names["percentages"] == {"candles", "term", "positions", "performance"}
    assert names["everything"] == {tool.name for tool in tools.TOOLS}
    assert "not shared" in told(data, "positions", "nothing")["error"]
    percentages = told(data, "positions", "percentages")["positions"]
    assert set(percentages[0]) == {"instrument", "currency", "weight", "return", "as_of"}
    assert all("realised" not in each for each in told(data, "performance", "percentages")["instruments"])  # fmt: skip
    held = percentages[0]["instrument"]
    shown = told(data, "candles", "percentages", symbol=held)["indicators"]["Position"]
    assert shown.endswith("%") and " at " not in shown
    assert "Position" not in told(data, "candles", "nothing", symbol=held)["indicators"]


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("sell", {}, "there is no tool 'sell'"),
        ("candles", {}, "symbol: Field required"),
        ("candles", {"symbol": "KESTRO", "sessions": 100_000}, "sessions: "),
        ("candles", {"symbol": "../../etc/passwd"}, "there are no candles of ../../ETC/PASSWD"),
        ("candles", {"symbol": "KESTRO", "shell": "rm"}, "shell: Extra inputs"),
        ("positions", ["x"], "arguments: "),
        ("income", {"year": "all; drop table"}, "year: "),
    ],
)
def test_mistakes_of_the_caller_are_results(data, name, arguments, error):
    assert error in json.loads(tools.call(data, name, arguments, "everything"))["error"]


def test_schemas_are_objects_that_name_their_arguments():
    for tool in tools.TOOLS:
        schema = tool.schema()
        assert schema["type"] == "object" and schema["additionalProperties"] is False
        assert set(schema.get("required", ())) <= set(schema["properties"])


SYMBOLS = {"KESTRO", "COST", "ON", "A", "T", "IT", "AET.L", "NOW"}


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("What about kestro?", "KESTRO"), ("วิเคราะห์KESTROหน่อย", "KESTRO"), ("How is AET.L?", "AET.L"),
        ("What does it cost?", ""), ("Is COST a buy?", "COST"), ("what is going on now", ""), ("ON and off", "ON"),
        ("A question", ""), ("Is $a a buy?", "A"), ("How is T?", "T"), ("$cost", "COST"), ("KESTROX", ""),
    ],
)  # fmt: skip
def test_words_that_are_also_symbols_are_words(text, symbol):
    assert find_symbol(text, SYMBOLS) == symbol


def test_a_symbol_that_only_a_long_text_names_is_not_searched_for_ever():
    assert read_question("x " * 100_000 + "KESTRO", SYMBOLS) is None
