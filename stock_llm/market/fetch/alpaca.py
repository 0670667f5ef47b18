"""Daily candles of US stocks from Alpaca, by its library alpaca-py.

Symbols are as Alpaca writes them: AAPL, BRK.B. Needs the extra `alpaca` and the keys of an account,
in the variables that Alpaca itself names: APCA_API_KEY_ID and APCA_API_SECRET_KEY. Bars are asked
for three times: raw, adjusted for splits, adjusted for everything
(https://docs.alpaca.markets/reference/stockbars); from the first two follow the splits. Alpaca does
not give the dividends themselves.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from stock_llm.errors import FetchError, InputError, MissingExtra
from stock_llm.market.fetch.daily_candles import DailyCandles, call_with_retries

if TYPE_CHECKING:
    from alpaca.data.historical import StockHistoricalDataClient

KEYS = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")

_Bars = list[dict[str, Any]]

_BUSY = (408, 425, 429, 500, 502, 503, 504)


def fetch(
    symbols: Sequence[str], start: date, end: date, url: str | None = None, wait: float = 2.0
) -> Iterator[DailyCandles]:
    """Yield the candles of each symbol from `start` to the day before `end`.

    Args:
        url: of another server than Alpaca's.
        wait: seconds before the first retry.

    Raises:
        FetchError: Alpaca cannot be reached, refuses the keys, or has no bars of a symbol.
        InputError: the keys are not set.
        MissingExtra: alpaca-py is not installed.
    """
    try:
        from alpaca.data.historical import StockHistoricalDataClient
    except ImportError:
        raise MissingExtra("alpaca-py", "alpaca") from None
    missing = [name for name in KEYS if not os.environ.get(name)]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} not set",
            remedy="Put the keys of your Alpaca account into the environment",
        )
    key, secret = (os.environ[name] for name in KEYS)
    client = StockHistoricalDataClient(key, secret, raw_data=True, url_override=url)
    for symbol in symbols:
        raw, split, everything = (
            call_with_retries(
                partial(_ask, client, symbol, start, end, name), _transient, "Alpaca", wait
            )
            for name in ("raw", "split", "all")
        )
        yield _daily(symbol, raw, split, everything)


def _ask(
    client: "StockHistoricalDataClient", symbol: str, start: date, end: date, adjustment: str
) -> _Bars:
    """Ask for the bars of a symbol, whose fields are t o h l c v n vw.

    Raises:
        FetchError: Alpaca refuses, and a retry would not help.
    """
    from alpaca.common.exceptions import APIError
    from alpaca.data.enums import Adjustment
    from alpaca.data.requests import StockBarsRequest
    from alpaca.data.timeframe import TimeFrame

    request = StockBarsRequest(
        symbol_or_symbols=symbol,
        timeframe=TimeFrame.Day,
        start=datetime.combine(start, time.min, UTC),
        end=datetime.combine(end, time.min, UTC),
        adjustment=Adjustment(adjustment),
    )
    try:
        bars = dict(client.get_stock_bars(request)).get(symbol, [])  # a dictionary: raw_data
    except APIError as error:
        if error.status_code in _BUSY:
            raise
        if error.status_code in (401, 403):
            raise FetchError(
                f"Alpaca refused ({error.status_code}): are {' and '.join(KEYS)} right, and may"
                " this account have these bars?"
            ) from None
        raise FetchError(
            f"Alpaca refused {symbol} ({error.status_code}): {str(error)[:200]}"
        ) from None
    bars = [bar for bar in bars if bar["t"][:10] < end.isoformat()]
    if not bars:
        raise FetchError(f"Alpaca has no bars of {symbol} from {start} to {end}")
    return bars


def _transient(error: BaseException) -> bool:
    from alpaca.common.exceptions import APIError, RetryException

    return isinstance(error, (OSError, RetryException, APIError))


def _daily(symbol: str, raw: _Bars, split: _Bars, everything: _Bars) -> DailyCandles:
    """Combine the three answers: split-adjusted bars, splits, adjusted closes.

    Raises:
        FetchError: the three answers are of different days.
    """
    days = [[bar["t"][:10] for bar in bars] for bars in (raw, split, everything)]
    if not days[0] == days[1] == days[2]:
        raise FetchError(
            f"Alpaca gave bars of different days for {symbol}: run the same command again"
        )
    unsplit, close = (np.array([bar["c"] for bar in bars], float) for bars in (raw, split))
    return DailyCandles(
        symbol=symbol,
        day=np.array(days[1], "datetime64[D]"),
        prices=np.array([[bar[name] for bar in split] for name in "ohlc"], float),
        adjusted=np.array([bar["c"] for bar in everything], float),
        volume=np.array([bar["v"] for bar in split], float),
        dividend=None,
        split=_splits(unsplit / close),
    )


def _splits(ahead: np.ndarray) -> np.ndarray:
    """Return the new units per old one on the day of a split, else 0.

    Both closes are rounded to cents, so a ratio is taken as the simplest fraction that is within
    half a percent of it.

    Args:
        ahead: raw closes divided by split-adjusted ones.
    """
    ratios = np.zeros(len(ahead))
    for index in (np.flatnonzero(np.abs(ahead[1:] / ahead[:-1] - 1) > 0.01) + 1).tolist():
        ratio = ahead[index - 1] / ahead[index]
        simple = (float(Fraction(ratio).limit_denominator(limit)) for limit in range(1, 101))
        ratios[index] = next((value for value in simple if abs(value / ratio - 1) < 0.005), ratio)
    return ratios
