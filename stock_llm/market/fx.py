"""Exchange rates: what one currency was worth in another on a day.

Read from the European Central Bank's table (`Date,USD,JPY,…`: units per euro, as in its
eurofxref-hist.csv), or from pairs as daily candles (`EURUSD.csv`, `USDTHB=X.parquet`: units of the
second per one of the first). A rate holds until the next one, for a week at most; two currencies
without a pair of their own are compared through a third.
"""

import csv
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path

import pyarrow.compute as pc

from stock_llm.errors import InputError
from stock_llm.market.candles.candle_file import read_file
from stock_llm.tabular.text import read_text

WEEK = timedelta(days=7)
"""How long a rate holds: over weekends and holidays, not over gaps."""

HUNDREDTH_CURRENCIES = {"GBX": "GBP", "GBPX": "GBP", "ZAC": "ZAR", "ILA": "ILS", "USX": "USD"}
"""Codes of a hundredth of a currency, as London, Johannesburg and Tel Aviv quote."""

Pair = tuple[str, str]

_PAIR_SYMBOL = re.compile(r"([A-Z]{3})[/_-]?([A-Z]{3})(=X|\.FX)?")


@dataclass(frozen=True)
class ExchangeRates:
    """Rates by pair: days, ascending, and what one unit of the first is worth in the second."""

    pairs: dict[Pair, tuple[list[date], list[Decimal]]] = field(default_factory=dict)

    def rate(self, currency: str, base: str, day: date) -> Decimal | None:
        """Return what one unit of `currency` was worth in `base`; None where no rate tells."""
        return _rate(self, currency, base, day)

    def __hash__(self) -> int:
        return id(self)

    def direct(self, currency: str, base: str, day: date) -> Decimal | None:
        """Return the rate of the pair itself, either way round."""
        if currency == base:
            return Decimal(1)
        if (rate := self._last(currency, base, day)) is not None:
            return rate
        rate = self._last(base, currency, day)
        return 1 / rate if rate else None

    def _last(self, currency: str, base: str, day: date) -> Decimal | None:
        days, rates = self.pairs.get((currency, base), ([], []))
        index = bisect_right(days, day) - 1
        return rates[index] if index >= 0 and day - days[index] <= WEEK else None


@lru_cache(maxsize=100_000)
def _rate(rates: ExchangeRates, currency: str, base: str, day: date) -> Decimal | None:
    if (rate := rates.direct(currency, base, day)) is not None:
        return rate
    for between in sorted({code for pair in rates.pairs for code in pair}):
        first, second = rates.direct(currency, between, day), rates.direct(between, base, day)
        if first is not None and second is not None:
            return first * second
    return None


def load_rates(files: Iterable[Path]) -> ExchangeRates:
    """Read the rates of several files.

    Raises:
        InputError: a file has rates of neither layout; names the row.
    """
    pairs: dict[Pair, dict[date, Decimal]] = {}
    for file in sorted(files):
        for pair, rates in _read(file).items():
            pairs.setdefault(pair, {}).update(rates)
    return ExchangeRates(
        {
            pair: (sorted(rates), [rates[day] for day in sorted(rates)])
            for pair, rates in pairs.items()
        }
    )


def _read(file: Path) -> dict[Pair, dict[date, Decimal]]:
    if file.suffix.lower() != ".parquet":
        lines = read_text(file).splitlines()
        header = [name.strip() for name in next(csv.reader(lines[:1]), [])]
        codes = all(re.fullmatch("[A-Z]{3}|", name) for name in header[1:])
        if header and header[0].lower() == "date" and codes:
            return _read_central_bank(lines, header, file)
    table = read_file(file, file.name).table
    pairs: dict[Pair, dict[date, Decimal]] = {}
    for symbol in pc.unique(table["symbol"]).to_pylist():
        if not (match := _PAIR_SYMBOL.fullmatch(symbol)):
            raise InputError(
                f"'{symbol}' is not a pair of currencies",
                file=file,
                remedy="Call it EURUSD.csv or EURUSD=X.csv",
            )
        rows = table.filter(pc.equal(table["symbol"], symbol))
        closes = [Decimal(str(close)) for close in rows["close"].to_pylist()]
        pairs[match[1], match[2]] = dict(zip(rows["date"].to_pylist(), closes, strict=True))
    return pairs


def _read_central_bank(
    lines: list[str], header: list[str], file: Path
) -> dict[Pair, dict[date, Decimal]]:
    pairs: dict[Pair, dict[date, Decimal]] = {("EUR", code): {} for code in header[1:] if code}
    for row, values in enumerate(csv.reader(lines[1:]), start=2):
        if not any(value.strip() for value in values):
            continue
        try:
            day = date.fromisoformat(values[0].strip())
            rates = {
                code: Decimal(text)
                for code, text in zip(header[1:], values[1:], strict=False)
                if code and text.strip() not in ("", "N/A", "-")
            }
        except (ValueError, InvalidOperation):
            raise InputError(
                f"not a line of exchange rates: {','.join(values)[:80]}",
                file=file,
                row=row,
                remedy="Write 2024-03-01,1.0834,…",
            ) from None
        for code, rate in rates.items():
            if rate > 0:
                pairs["EUR", code][day] = rate
    return pairs
