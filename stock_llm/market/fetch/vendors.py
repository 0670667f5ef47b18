"""The candle vendors that `stock-llm fetch --from NAME` knows. To add one, register it here.

A vendor is a module of this folder with a function `fetch(symbols, start, end)`, which yields
`DailyCandles` from `start` to the day before `end` and imports its optional library when it is
called. Nothing is sent to a vendor but symbols and days.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date

from stock_llm.market.fetch import alpaca, yahoo
from stock_llm.market.fetch.daily_candles import DailyCandles

FetchCandles = Callable[[Sequence[str], date, date], Iterator[DailyCandles]]

VENDORS: dict[str, FetchCandles] = {
    "yfinance": yahoo.fetch,
    "alpaca": alpaca.fetch,
}
