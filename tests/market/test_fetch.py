"""Fetching candles: the real libraries against answers of the documented shape, on loopback or from
a session; no network.
"""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import requests
from typer.testing import CliRunner

from stock_llm.cli.main import app
from stock_llm.errors import FetchError, InputError, MissingExtra
from stock_llm.market import fx
from stock_llm.market.candles import candle_table
from stock_llm.market.fetch import alpaca, daily_candles, download, yahoo
from stock_llm.market.fetch.daily_candles import DailyCandles
from stock_llm.pipeline.input_files import download_folder
from stock_llm.settings import load_settings

START, END = date(2024, 6, 5), date(2024, 6, 13)
DAYS = ["2024-06-05", "2024-06-06", "2024-06-07", "2024-06-10", "2024-06-11", "2024-06-12"]
CLOSE = [120.5, 121.0, 120.8875, 121.79, 120.91, 125.2]
SECRET = "never-show-this-secret"


def yahoo_answer(
    zone: str = "America/New_York", days: list[str] = DAYS, close: list = CLOSE
) -> dict:
    """What Yahoo's chart answers: seconds of the opening, a split and a dividend as events."""
    stamps = [
        int(datetime.fromisoformat(f"{day}T09:30").replace(tzinfo=ZoneInfo(zone)).timestamp())
        for day in days
    ]
    meta = {
        "currency": "USD", "symbol": "X", "exchangeName": "NMS", "instrumentType": "EQUITY", "firstTradeDate": 917015400,
        "gmtoffset": -14400, "timezone": "EDT", "exchangeTimezoneName": zone, "regularMarketPrice": 1.0, "priceHint": 2,
        "dataGranularity": "1d", "range": "", "validRanges": ["1d", "1mo", "max"],
        "currentTradingPeriod": {
            name: {"timezone": "EDT", "start": stamps[-1], "end": stamps[-1] + 23400, "gmtoffset": -14400}
            for name in ("pre", "regular", "post")
        },
    }  # fmt: skip
    prices = {
        "open": close,
        "high": [value and value * 1.01 for value in close],
        "low": [value and value * 0.99 for value in close],
        "close": close,
        "volume": [1000 + number for number in range(len(days))],
    }
    events = {
        "splits": {
            str(stamps[3]): {
                "date": stamps[3],
                "numerator": 10,
                "denominator": 1,
                "splitRatio": "10:1",
            }
        },
        "dividends": {str(stamps[4]): {"date": stamps[4], "amount": 0.01}},
    }
    adjusted = [value and value * 0.99 for value in close]
    result = {"meta": meta, "timestamp": stamps, "events": events}
    result["indicators"] = {"quote": [prices], "adjclose": [{"adjclose": adjusted}]}
    return {"chart": {"result": [result], "error": None}}


class YahooSession(requests.Session):
    """Yahoo as a session sees it: cookie, crumb, chart."""

    def __init__(self, answers: dict[str, object]):
        super().__init__()
        self.answers, self.asked = answers, []

    def request(self, method, url, params=None, **_):  # noqa: ARG002
        self.asked.append((urlparse(url).path, params))
        response = requests.Response()
        response.url, response.status_code = url, 200
        if "/v8/finance/chart/" not in url:
            response._content = b"crumb"
            return response
        answer = self.answers[url.rpartition("/")[2]]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            response.status_code, answer = answer, {}
        response._content = json.dumps(answer).encode()
        return response


@pytest.fixture
def yfinance(tmp_path, monkeypatch):
    """The library, keeping its caches to the test."""
    library = pytest.importorskip("yfinance", reason="the extra yfinance is not installed")
    library.set_tz_cache_location(str(tmp_path / "cache"))
    from yfinance.data import YfData

    monkeypatch.setattr(YfData, "cache_get", YfData.get)
    return library


@pytest.mark.usefixtures("yfinance")
def test_yahoo():
    (series,) = yahoo.fetch(["NVDA"], START, END, session=YahooSession({"NVDA": yahoo_answer()}))
    assert series.day.astype(str).tolist() == DAYS
    np.testing.assert_allclose(series.prices[3], CLOSE)
    np.testing.assert_allclose(series.adjusted, np.array(CLOSE) * 0.99)
    assert series.split.tolist() == [0, 0, 0, 10, 0, 0]
    assert series.dividend.tolist() == [0, 0, 0, 0, 0.01, 0]
    assert series.volume.tolist() == [1000, 1001, 1002, 1003, 1004, 1005]


@pytest.mark.usefixtures("yfinance")
def test_yahoo_days_are_the_exchanges():
    """09:30 in Tokyo is the evening before in New York and 00:30 in UTC."""
    (series,) = yahoo.fetch(
        ["4063.T"], START, END, session=YahooSession({"4063.T": yahoo_answer("Asia/Tokyo")})
    )
    assert series.day.astype(str).tolist() == DAYS


@pytest.mark.usefixtures("yfinance")
def test_yahoo_is_asked_again_when_the_line_is_bad():
    broken = requests.ConnectionError("reset")
    session = YahooSession({"AAPL": [broken, broken, yahoo_answer(), yahoo_answer()]})
    (series,) = yahoo.fetch(["AAPL"], START, END, session=session, wait=0)
    assert len(series.day) == 6


@pytest.mark.parametrize(
    "answer", [requests.ConnectionError("Name or service not known"), requests.Timeout("late"), 429]
)
@pytest.mark.usefixtures("yfinance")
def test_no_answer_from_yahoo_is_an_error(answer):
    session = YahooSession({"AAPL": answer})
    with pytest.raises(
        FetchError,
        match=r"Yahoo Finance could not be reached in 4 attempts: .*run the same command again",
    ):
        list(yahoo.fetch(["AAPL"], START, END, session=session, wait=0))
    assert sum("chart" in path for path, _ in session.asked) >= daily_candles.ATTEMPTS


@pytest.mark.usefixtures("yfinance")
def test_a_symbol_that_yahoo_does_not_know_is_not_asked_for_again():
    unknown = {
        "chart": {
            "result": None,
            "error": {"code": "Not Found", "description": "No data found, symbol may be delisted"},
        }
    }
    session = YahooSession({"NOPE": unknown})
    with pytest.raises(
        FetchError, match="Yahoo Finance has no prices of NOPE from 2024-06-05 to 2024-06-13"
    ):
        list(yahoo.fetch(["NOPE"], START, END, session=session, wait=0))
    assert sum("chart" in path for path, _ in session.asked) <= 3


@dataclass
class Alpaca:
    """Alpaca's data server: two bars a page, adjusted as asked; `fails` are statuses that it
    answers first.
    """

    url: str = ""
    fails: list[int] = field(default_factory=list)
    asked: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)

    def answer(self, path: str, headers: dict) -> tuple[int, dict]:
        given = {name: values[0] for name, values in parse_qs(urlparse(path).query).items()}
        self.asked.append(given)
        self.headers.append(headers)
        if self.fails:
            return self.fails.pop(0), {"code": 40110000, "message": "request is not authorized"}
        start = int(given.get("page_token", 0))
        symbol = given["symbols"]
        if symbol != "NVDA":
            return 200, {"bars": {}, "next_page_token": None}
        factor = {"raw": [10, 10, 10, 1, 1, 1], "split": [1] * 6, "all": [0.99] * 6}[
            given["adjustment"]
        ]
        bars = [
            {
                "t": f"{day}T04:00:00Z", "o": round(close * by, 2), "h": round(close * by * 1.01, 2),
                "l": round(close * by * 0.99, 2), "c": round(close * by, 2), "v": 1000, "n": 10, "vw": round(close * by, 6),
            }
            for day, close, by in zip(DAYS, CLOSE, factor, strict=True)
        ]  # fmt: skip
        more = str(start + 2) if start + 2 < len(bars) else None
        return 200, {"bars": {symbol: bars[start : start + 2]}, "next_page_token": more}


@pytest.fixture
def server(monkeypatch) -> Iterator[Alpaca]:
    pytest.importorskip("alpaca", reason="the extra alpaca is not installed")
    made = Alpaca()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, content = made.answer(self.path, dict(self.headers))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    monkeypatch.setenv("APCA_API_KEY_ID", "KEYID")
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    yield made
    listening.shutdown()
    listening.server_close()


def test_alpaca(server):
    (series,) = alpaca.fetch(["NVDA"], START, END, url=server.url)
    assert series.day.astype(str).tolist() == DAYS
    np.testing.assert_allclose(series.prices[3], np.round(CLOSE, 2))
    np.testing.assert_allclose(series.adjusted, np.round(np.array(CLOSE) * 0.99, 2))
    assert series.split.tolist() == [0, 0, 0, 10, 0, 0]
    assert series.dividend is None
    assert {
        (query["adjustment"], query["timeframe"], query["start"]) for query in server.asked
    } == {(name, "1Day", "2024-06-05T00:00:00+00:00") for name in ("raw", "split", "all")}
    assert {headers["APCA-API-SECRET-KEY"] for headers in server.headers} == {SECRET}


def test_alpaca_is_asked_again_when_it_is_busy(server):
    server.fails = [503, 500]
    assert len(next(alpaca.fetch(["NVDA"], START, END, url=server.url, wait=0)).day) == 6


@pytest.mark.parametrize(
    ("fails", "symbol", "message"),
    [
        (
            [403],
            "NVDA",
            r"Alpaca refused \(403\): are APCA_API_KEY_ID and APCA_API_SECRET_KEY right",
        ),
        ([422], "NVDA", r"Alpaca refused NVDA \(422\): .*not authorized"),
        ([], "NOPE", "Alpaca has no bars of NOPE"),
        ([500] * 99, "NVDA", "Alpaca could not be reached in 4 attempts"),
    ],
)
def test_a_refusal_by_alpaca_is_reported_without_the_keys(server, fails, symbol, message):
    server.fails = fails
    with pytest.raises(FetchError, match=message) as caught:
        list(alpaca.fetch([symbol], START, END, url=server.url, wait=0))
    assert SECRET not in str(caught.value)


@pytest.mark.usefixtures("server")
def test_no_answer_from_alpaca_is_an_error():
    with pytest.raises(FetchError, match="Alpaca could not be reached") as caught:
        list(alpaca.fetch(["NVDA"], START, END, url="http://127.0.0.1:9", wait=0))
    assert SECRET not in str(caught.value)


def test_alpaca_without_keys(server, monkeypatch):
    monkeypatch.delenv("APCA_API_SECRET_KEY")
    with pytest.raises(InputError, match="APCA_API_SECRET_KEY not set"):
        list(alpaca.fetch(["NVDA"], START, END, url=server.url))
    assert server.asked == []


@pytest.mark.parametrize(("provider", "library"), [(yahoo, "yfinance"), (alpaca, "alpaca-py")])
def test_without_the_extra(monkeypatch, provider, library):
    extra = library.removesuffix("-py")
    monkeypatch.setitem(sys.modules, extra, None)
    monkeypatch.setitem(sys.modules, f"{extra}.data.historical", None)
    with pytest.raises(
        MissingExtra, match=rf"{library} is not installed. Run: pip install .*\[{extra}\]"
    ):
        list(provider.fetch(["AAPL"], START, END))


def daily_of(
    symbol: str = "NVDA", days: list[str] = DAYS, close: list[float] = CLOSE
) -> DailyCandles:
    prices = np.stack([np.array(close, float) * factor for factor in (1, 1.01, 0.99, 1)])
    split = np.array([10.0 if day == "2024-06-10" else 0.0 for day in days])
    return DailyCandles(
        symbol,
        np.array(days, "datetime64[D]"),
        prices,
        prices[3] * 0.99,
        np.full(len(days), 7.0),
        None,
        split,
    )


def test_a_fetched_file_is_read_as_it_was_fetched(tmp_path):
    holey = daily_of(close=[*CLOSE[:2], float("nan"), *CLOSE[3:]])
    (fetched,) = download.download(
        lambda _: tmp_path / "new", ["nvda"], "yfinance", START, lambda *_: iter([holey])
    )
    assert (fetched.file.name, fetched.candles, fetched.first_day, fetched.last_day) == (
        "NVDA.csv",
        5,
        date(2024, 6, 5),
        date(2024, 6, 12),
    )
    reading = candle_table.read_candles([fetched.file], tmp_path)
    assert reading.rejected == []
    assert [finding.rule for finding in reading.findings] == ["missing sessions"]
    kept = [0, 1, 3, 4, 5]
    for name, values in zip(("open", "high", "low", "close"), holey.prices, strict=True):
        assert reading.table[name].to_pylist() == values[kept].tolist()
    assert reading.table["adjustment"].to_pylist() == pytest.approx([0.99] * 5)
    assert reading.table["split"].to_pylist() == [1, 1, 10, 1, 1]
    assert set(reading.table["as_of"].to_pylist()) == {datetime.now(UTC).date()}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["NVDA.csv"]


def test_a_file_that_is_there_is_fetched_again_from_its_first_day(tmp_path):
    asked = []

    def provide(symbols, start, end):
        asked.append((symbols, start, end))
        return iter([daily_of()])

    list(download.download(lambda _: tmp_path, ["NVDA"], "yfinance", START, provide))
    list(download.download(lambda _: tmp_path, ["NVDA"], "yfinance", date(2024, 6, 11), provide))
    list(download.download(lambda _: tmp_path, ["NVDA"], "yfinance", date(2020, 1, 1), provide))
    assert [start for _, start, _ in asked] == [START, START, date(2020, 1, 1)]


def test_a_file_of_the_user_is_not_replaced_and_a_failure_leaves_what_was_there(tmp_path):
    own = tmp_path / "NVDA.csv"
    own.write_text("Date,Open,High,Low,Close,Volume\n2024-06-05,1,1,1,1,1\n")
    with pytest.raises(
        InputError, match=r"NVDA.csv: this file was not fetched, and is not replaced"
    ):
        list(
            download.download(
                lambda _: tmp_path, ["NVDA"], "yfinance", START, lambda *_: iter([daily_of()])
            )
        )
    assert own.read_text().count("\n") == 2

    def breaks(symbols, *_):
        if symbols == ["MSFT"]:
            raise FetchError("no line")
        return iter([daily_of(symbols[0])])

    with pytest.raises(FetchError):
        list(
            download.download(lambda _: tmp_path, ["AAPL", "MSFT", "KO"], "yfinance", START, breaks)
        )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["AAPL.csv", "NVDA.csv"]


@pytest.mark.parametrize("symbol", ["../etc/passwd", "A/B", "", "A B", ".hidden"])
def test_a_symbol_is_never_a_path(tmp_path, symbol):
    with pytest.raises(InputError, match="is not a symbol"):
        list(
            download.download(
                lambda _: tmp_path / "new", [symbol], "yfinance", START, lambda *_: iter([])
            )
        )
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("yfinance")
def test_currencies_come_the_same_way(tmp_path):
    session = YahooSession(
        {"EURUSD=X": yahoo_answer("Europe/London", close=[1.08, 1.09, 1.08, 1.07, 1.08, 1.075])}
    )
    list(
        download.download(
            partial(download_folder, load_settings(home=tmp_path)),
            ["EURUSD=X"],
            "yfinance",
            START,
            lambda symbols, start, _: yahoo.fetch(symbols, start, END, session=session),
        )
    )
    rates = fx.load_rates([tmp_path / "data/fx/EURUSD=X.csv"])
    assert float(rates.rate("EUR", "USD", date(2024, 6, 11))) == pytest.approx(1.08)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["AAPL"], "the candles of the fictional sample. Give a folder of your own"),
        (
            ["AAPL", "--candles", "mine", "--from", "elsewhere"],
            "there is no candle vendor 'elsewhere'. Use one of yfinance, alpaca",
        ),
        (["AAPL", "--candles", "mine", "--since", "yesterday"], "'yesterday' is not a day"),
        (["AAPL", "--candles", "mine", "--since", "2999-01-01"], "2999-01-01 is not over yet"),
        (
            ["AAPL", "--candles", "mine", "--from", "alpaca"],
            "APCA_API_KEY_ID and APCA_API_SECRET_KEY not set",
        ),
    ],
)
def test_errors_of_the_command_name_the_remedy(tmp_path: Path, monkeypatch, given, message):
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    for name in alpaca.KEYS:
        monkeypatch.delenv(name, raising=False)
    if "alpaca" in given:
        pytest.importorskip("alpaca", reason="the extra alpaca is not installed")
    result = CliRunner().invoke(app, ["fetch", *given])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
