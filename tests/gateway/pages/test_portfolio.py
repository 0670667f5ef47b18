"""The page of the portfolio: what `positions` and `import` show, from a browser."""

import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from factories.page_browser import Browser
from factories.running_gateway import RunningGateway

from stock_llm.gateway.pages.portfolio_page import safe_name, totals
from stock_llm.gateway.pages.project import Holding, Portfolio
from stock_llm.settings import load_settings

TRADES = """date,symbol,side,quantity,price,fee,trade_id
2025-01-06,{symbol},BUY,10,100,1,A1
2025-02-06,{symbol},SELL,4,110,1,A2
"""
SAMPLE = Path(__file__).parents[3] / "data" / "sample" / "candles"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser on a project with a trades file of its own and two of the sample's candles."""
    home = tmp_path_factory.mktemp("home")
    (home / "data" / "candles").mkdir(parents=True)
    (home / "data" / "trades").mkdir()
    for file in sorted(SAMPLE.iterdir())[:2]:
        shutil.copy(file, home / "data" / "candles")
    symbol = sorted(SAMPLE.iterdir())[0].stem
    (home / "data" / "trades" / "mine.csv").write_text(TRADES.format(symbol=symbol))
    settings = load_settings(
        home=home, ollama_host="", trades="data/trades", candles="data/candles", threads=1
    )
    with RunningGateway(settings) as running:
        browser = Browser(running.url)
        browser.open("/pages/portfolio")
        browser.home, browser.symbol = home, symbol
        yield browser


def test_it_shows_holdings_gains_and_findings(page):
    shown = page.open("/pages/portfolio/holdings").text
    assert page.symbol in shown and "Realised gain" in shown and "+40.00" in shown
    assert "Findings" in shown and "<html" not in shown
    assert "fictional" not in shown


def test_an_import_is_looked_at_before_it_is_kept(page):
    body = TRADES.format(symbol=page.symbol).replace("A1", "B1").replace("A2", "B2").encode()
    body = body.replace(b"2025-01-06", b"2025-03-06").replace(b"2025-02-06", b"2025-04-07")
    name = "../../<b>mine & yours</b>.csv"
    looked = page.post("/pages/portfolio/preview", params={"name": name}, content=body)
    assert "2 are" in looked.text or "2" in looked.text
    assert "<b>" not in looked.text and "data-keep" in looked.text
    before = sorted(page.home.rglob("*.csv"))
    assert before == sorted(page.home.rglob("*.csv"))
    kept = page.post("/pages/portfolio/keep", params={"name": name}, content=body)
    assert "Kept as data/trades/" in kept.text
    (new,) = set(page.home.rglob("*.csv")) - set(before)
    assert new.parent == page.home / "data" / "trades" and new.read_bytes() == body
    again = page.post("/pages/portfolio/keep", params={"name": name}, content=body)
    assert again.status_code == 200
    assert set(page.home.rglob("*.csv")) == {*before, new}
    assert "+80.00" in page.open("/pages/portfolio/holdings").text


@pytest.mark.parametrize(
    ("body", "problem"), [(b"", "empty"), (b"what,is,this\n1,2,3\n", "unknown.csv")]
)
def test_a_file_that_is_no_export_is_told_and_not_kept(page, body, problem):
    before = sorted(page.home.rglob("*"))
    for action in ("preview", "keep"):
        answer = page.post(
            f"/pages/portfolio/{action}", params={"name": "unknown.csv"}, content=body
        )
        assert 'class="problem"' in answer.text and problem in answer.text
        assert "/tmp" not in answer.text
    assert sorted(page.home.rglob("*")) == before


def test_a_file_cannot_be_sent_by_another_page(page):
    answer = page.post("/pages/portfolio/keep", "0" * 32, params={"name": "a.csv"}, content=b"x")
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mine.csv", "mine.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\รายการ 2025.xlsx", "รายการ 2025.xlsx"),
        (".bashrc", "bashrc"),
        ("a\0b\n;rm -rf.csv", "a_b__rm -rf.csv"),
        ("", "export"),
        ("..", "export"),
        ("x" * 300 + ".csv", "x" * 140 + ".csv"),
        ("ก" * 300 + ".csv", "ก" * 46 + ".csv"),
        ("ซื้อขาย ปี นี้.csv", "ซื้อขาย ปี นี้.csv"),
    ],
)
def test_a_name_leads_nowhere_else(given, name):
    assert safe_name(given) == name


def test_currencies_are_summed_apart():
    def holding(currency, value):
        gain = None if value is None else Decimal(value) - 10
        worth = None if value is None else Decimal(value)
        one = Decimal(1)
        return Holding("X", currency, one, Decimal(10), worth, gain, one, one, one, one)

    portfolio = Portfolio(
        (holding("USD", 12), holding("EUR", 7), holding("USD", None)), (), "2025-01-01", False
    )
    euro, dollar = totals(portfolio)
    assert (euro.currency, euro.value, euro.unrealised) == ("EUR", 7, -3)
    assert (dollar.value, dollar.unrealised, dollar.valued_cost, dollar.realised) == (12, 2, 10, 2)
