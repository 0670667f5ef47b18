"""Daily candles from Yahoo Finance, by the library yfinance.

Symbols are as Yahoo writes them: AAPL, AET.L, 4063.T, ^GSPC, BTC-USD; currencies as well: EURUSD=X.
Needs the extra `yfinance`, no key. Prices are asked for unadjusted: `auto_adjust=True`, the
library's default since 0.2.51, would change them after each dividend.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from stock_llm.errors import FetchError, MissingExtra
from stock_llm.market.fetch.daily_candles import DailyCandles, call_with_retries

if TYPE_CHECKING:
    import pandas as pd


def fetch(
    symbols: Sequence[str], start: date, end: date, session: Any = None, wait: float = 2.0
) -> Iterator[DailyCandles]:
    """Yield the candles of each symbol from `start` to the day before `end`.

    Args:
        session: of requests or curl_cffi, to reach Yahoo otherwise than directly.
        wait: seconds before the first retry.

    Raises:
        FetchError: Yahoo cannot be reached, or knows no prices of a symbol.
        MissingExtra: yfinance is not installed.
    """
    try:
        import yfinance
    except ImportError:
        raise MissingExtra("yfinance", "yfinance") from None
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)  # what it would log is raised
    yfinance.config.debug.hide_exceptions = False
    for symbol in symbols:
        ask = partial(_ask, symbol, start, end, session)
        yield _daily(symbol, call_with_retries(ask, _transient, "Yahoo Finance", wait))


def _ask(symbol: str, start: date, end: date, session: Any) -> "pd.DataFrame":
    """Ask the library for one symbol.

    Raises:
        FetchError: there are no such prices, and a retry would not help.
    """
    import yfinance
    from yfinance.exceptions import YFTickerMissingError

    try:
        frame = yfinance.Ticker(symbol, session=session).history(
            start=start, end=end, interval="1d", auto_adjust=False, actions=True, repair=False
        )
    except YFTickerMissingError as error:
        raise FetchError(
            f"Yahoo Finance has no prices of {symbol} from {start} to {end} ({error}): is it"
            " written so?"
        ) from None
    if frame.empty:
        raise FetchError(f"Yahoo Finance has no prices of {symbol} from {start} to {end}")
    return frame


def _transient(error: BaseException) -> bool:
    from yfinance.exceptions import YFDataException, YFRateLimitError

    return isinstance(error, (OSError, json.JSONDecodeError, YFRateLimitError, YFDataException))


def _daily(symbol: str, frame: "pd.DataFrame") -> DailyCandles:
    frame = frame.sort_index()  # local midnight of each session, in the exchange's zone
    return DailyCandles(
        symbol=symbol,
        day=frame.index.tz_localize(None).to_numpy().astype("datetime64[D]"),
        prices=np.stack([frame[name].to_numpy(float) for name in ("Open", "High", "Low", "Close")]),
        adjusted=frame["Adj Close"].to_numpy(float),
        volume=frame["Volume"].to_numpy(float),
        dividend=frame["Dividends"].to_numpy(float),
        split=frame["Stock Splits"].to_numpy(float),
    )
