"""The committed sample: made again byte for byte, plausible, and as predictable as its README says."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from stock_llm.market import situation
from stock_llm.market.candles import candle_table
from stock_llm.synthetic.sample import market

COMMITTED = Path(__file__).parents[2] / "data" / "sample"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    market.write_sample(folder)
    return folder


def test_is_made_again_byte_for_byte(made):
    files = sorted(path.relative_to(made) for path in made.rglob("*.csv"))
    assert len(files) == len(market.COMPANIES) + 1
    for file in files:
        assert (made / file).read_bytes() == (COMMITTED / file).read_bytes(), file


def test_another_seed_is_another_market(made, tmp_path):
    market.write_sample(tmp_path, seed=market.SEED + 1)
    for file in made.rglob("*.csv"):
        assert file.read_bytes() != (tmp_path / file.relative_to(made)).read_bytes()


def test_is_small_and_every_candle_is_good():
    files = sorted((COMMITTED / "candles").glob("*.csv"))
    assert sum(file.stat().st_size for file in files) < 600_000
    reading = candle_table.read_candles(files, COMMITTED)
    assert reading.rows_read == len(reading.table) == 12 * 1043
    assert reading.rejected == []
    for candles in candle_table.candles_by_symbol(reading.table):
        assert candles.day[0] == np.datetime64("2022-01-03")
        assert candles.day[-1] == np.datetime64("2025-12-31")
        assert np.is_busday(candles.day).all()
        assert candles.close.min() > 5


def test_predictability_is_what_the_readme_states():
    predictability = market.measure_predictability(COMMITTED)
    assert 0.50 <= predictability.regression <= 0.56
    assert 0.34 <= predictability.majority <= 0.40
    assert predictability.textbook < predictability.majority
    assert min(predictability.shares.values()) > 0.28
    text = (COMMITTED / "README.md").read_text(encoding="utf-8")
    for share in (
        predictability.regression,
        predictability.majority,
        predictability.textbook,
        *predictability.shares.values(),
    ):
        assert f"{share:.1%}".replace("%", " %") in text
    assert f"{predictability.rows:,} decisions" in text


def test_the_investor_trades_inside_the_candle_and_sells_only_what_is_held():
    reading = candle_table.read_candles(sorted((COMMITTED / "candles").glob("*.csv")), COMMITTED)
    ranges = {
        (row["symbol"], row["date"]): (row["low"], row["high"]) for row in reading.table.to_pylist()
    }
    header, *lines = (COMMITTED / "trades.csv").read_text(encoding="utf-8").splitlines()
    assert header == "trade_id,date,symbol,side,quantity,price,fee,currency,account,note"
    assert len(lines) >= 600
    held = dict.fromkeys(market.COMPANIES, 0)
    moments = []
    for line in lines:
        _, when, symbol, side, quantity, price, *_ = line.split(",")
        moments.append(datetime.fromisoformat(when))
        low, high = ranges[symbol, moments[-1].date()]
        assert low <= float(price) <= high
        held[symbol] += int(quantity) if side == "BUY" else -int(quantity)
        assert held[symbol] >= 0
    assert moments == sorted(moments)
    assert len({line.split(",")[0] for line in lines}) == len(lines)
    assert sum(",SELL," in line for line in lines) > len(lines) / 3


def test_the_habit_can_be_recognised():
    """Purchases in uptrends far outnumber what chance would give: the share of all sessions in an
    uptrend.
    """
    reading = candle_table.read_candles(sorted((COMMITTED / "candles").glob("*.csv")), COMMITTED)
    lines = (COMMITTED / "trades.csv").read_text(encoding="utf-8").splitlines()[1:]
    bought = [line.split(",") for line in lines if ",BUY," in line]
    rising, total, sessions, up = 0, 0, 0, 0
    for candles in candle_table.candles_by_symbol(reading.table):
        series = situation.compute_indicators(candles)
        trends = [
            point.trend if (point := series.at(index)) else "" for index in range(len(candles))
        ]
        sessions += len(candles) - situation.WARM_UP
        up += trends.count("UP")
        for _, when, symbol, *_ in bought:
            if symbol == candles.symbol:
                rising += trends[series.last_before(datetime.fromisoformat(when).date())] == "UP"
                total += 1
    assert rising / total > 0.8
    assert up / sessions < 0.5
