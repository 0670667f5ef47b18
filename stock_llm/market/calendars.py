"""Which days an exchange trades, and which of them a series of candles lacks.

In: symbols with the exchange suffixes of Yahoo and Stooq, the days of their candles. Out: the exchange of a symbol and
findings: sessions without a candle, candles on days without a session. The calendars are those of `exchange_calendars`. Does
not know prices.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from stock_llm.errors import InputError
from stock_llm.settings import Settings
from stock_llm.storage.findings import Finding

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

DEFAULT_EXCHANGE = "XNYS"
WEEKDAYS, EVERY_DAY, FUTURES = "24/5", "24/7", "CMES"

EXCHANGE_BY_SUFFIX = {
    "US": "XNYS", "L": "XLON", "UK": "XLON", "IL": "XLON", "DE": "XETR", "F": "XFRA", "BE": "XFRA", "SG": "XFRA", "MU": "XFRA",
    "DU": "XDUS", "HM": "XHAM", "PA": "XPAR", "AS": "XAMS", "BR": "XBRU", "LS": "XLIS", "IR": "XDUB", "MI": "XMIL", "MC": "XMAD",
    "SW": "XSWX", "VI": "XWBO", "ST": "XSTO", "CO": "XCSE", "HE": "XHEL", "OL": "XOSL", "IC": "XICE", "WA": "XWAR", "PR": "XPRA",
    "BD": "XBUD", "HU": "XBUD", "AT": "ASEX", "IS": "XIST", "TA": "XTAE", "JO": "XJSE", "TO": "XTSE", "V": "XTSE", "MX": "XMEX",
    "SA": "BVMF", "BA": "XBUE", "SN": "XSGO", "T": "XTKS", "JP": "XTKS", "HK": "XHKG", "SS": "XSHG", "SZ": "XSHG", "TW": "XTAI",
    "TWO": "XTAI", "KS": "XKRX", "KQ": "XKRX", "NS": "XBOM", "BO": "XBOM", "SI": "XSES", "KL": "XKLS", "JK": "XIDX", "BK": "XBKK",
    "AX": "XASX", "NZ": "XNZE", "SR": "XSAU", "RO": "XBSE",
}  # fmt: skip
"""Suffix of a symbol → calendar code; https://help.yahoo.com/kb/SLN2310.html, and `.US .UK .JP .HU` as Stooq has them."""

IN_HUNDREDTHS = frozenset({"XLON", "XJSE", "XTAE"})
"""Exchanges that quote in hundredths: pence, cents of a rand, agorot."""

_ZONES = {
    WEEKDAYS: "Europe/London",
    "XTAE": "Asia/Jerusalem",
    "ASEX": "Europe/Athens",
    "XBSE": "Europe/Bucharest",
}
"""Of currencies, whose days Yahoo counts in London, and of calendars that cannot be built now."""

_CRYPTO = r"^[A-Z0-9]{2,10}[-/](USD|USDT|USDC|EUR|GBP|JPY|BTC|ETH)$"
_SHOWN = 12
"""Ranges of days that the text of one finding names; the first and the last day stand in the finding itself."""


@dataclass(frozen=True)
class Exchanges:
    """How symbols find their exchange.

    Attributes:
        by_symbol: what the user's table of instruments says; it comes before the suffix.
        default: of symbols without a suffix.
    """

    by_symbol: Mapping[str, str] = field(default_factory=dict)
    default: str = DEFAULT_EXCHANGE

    def of(self, symbol: str) -> str:
        """The calendar code of a symbol: `AAPL` XNYS, `AET.L` XLON, `BTC-USD` 24/7, `EURUSD=X` 24/5, `ES=F` CMES.

        A file that yfinance's tools name `AET-L-1d-…` is of AET.L.
        """
        if named := self.by_symbol.get(symbol):
            return named
        if symbol.endswith("=X"):
            return WEEKDAYS
        if symbol.endswith("=F"):
            return FUTURES
        if re.match(_CRYPTO, symbol):
            return EVERY_DAY
        suffix = re.search(r"\.([A-Z]{1,3})$|^[A-Z0-9]+-([A-Z]{1,3})-1D\b", symbol)
        return (
            EXCHANGE_BY_SUFFIX.get(suffix[1] or suffix[2], self.default) if suffix else self.default
        )

    def in_hundredths(self, symbol: str) -> bool:
        """Whether prices of the symbol are in hundredths of a currency, so that a price in the currency itself is a mistake."""
        return self.of(symbol) in IN_HUNDREDTHS


def exchanges_of(settings: Settings, by_symbol: Mapping[str, str] | None = None) -> Exchanges:
    """How symbols find their exchange under these settings; the sample's fictional market trades on every weekday."""
    fictional = (
        settings.path(settings.candles)
        .resolve()
        .is_relative_to(settings.path("data/sample").resolve())
    )
    return Exchanges(by_symbol or {}, WEEKDAYS if fictional else settings.exchange)


def check_sessions(days: Iterable[tuple[str, np.ndarray]], exchanges: Exchanges) -> list[Finding]:
    """What the calendars say of each symbol's days (datetime64[D], ascending, distinct), between its first and its last.

    Raises:
        InputError: there is no calendar of a name that the user gave.
    """
    found: list[Finding] = []
    uncovered: dict[str, list[str]] = {}
    for symbol, day in days:
        if not len(day):
            continue
        code = exchanges.of(symbol)
        expected = sessions(code, day[0], day[-1])
        if expected is None:
            uncovered.setdefault(code, []).append(symbol)
        else:
            found += _compare(symbol, code, day, expected)
    for code, symbols in sorted(uncovered.items()):
        text = f"exchange_calendars has no working calendar {code}: nothing is known of missing days of {_listed(symbols)}"
        found.append(Finding("no calendar", symbols[0], "", "", 0, 1.0, text))
    return found


def sessions(code: str, first: np.datetime64, last: np.datetime64) -> np.ndarray | None:
    """Days on which the exchange trades, datetime64[D], from `first` to `last`; None where the library cannot say.

    Raises:
        InputError: there is no calendar of that name.
    """
    decade = (
        1970 + int(first.astype("datetime64[Y]").astype(int)) // 10 * 10
    )  # few calendars serve all symbols
    known = _sessions(code, decade, int(str(last.astype("datetime64[Y]"))) + 1)
    if known is None or first < known[0] - 14:  # some calendars begin late: Saudi Arabia's in 2021
        return None
    return known[np.searchsorted(known, first) : np.searchsorted(known, last, side="right")]


def zone_of(code: str) -> str:
    """Returns the IANA zone of an exchange's clock.

    Raises:
        InputError: there is no calendar of that name.
    """
    calendar = _calendar(code, 2020, 2021)
    return _ZONES.get(code) or str(calendar.tz if calendar else "UTC")


def _sessions(code: str, first_year: int, end_year: int) -> np.ndarray | None:
    calendar = _calendar(code, first_year, end_year)
    return calendar.sessions.to_numpy().astype("datetime64[D]") if calendar else None


@lru_cache(maxsize=64)
def _calendar(code: str, first_year: int, end_year: int) -> "ExchangeCalendar | None":
    import exchange_calendars  # brings pandas

    if code not in exchange_calendars.get_calendar_names():
        raise InputError(
            f"there is no exchange calendar '{code}'",
            remedy=f"Use one that exchange_calendars has: XNYS, XLON, XETR, XTKS, … or {WEEKDAYS}, {EVERY_DAY}",
        )
    for span in ({"start": f"{first_year}-01-01", "end": f"{end_year}-01-15"}, {}):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", DeprecationWarning
                )  # pandas 3.1 warns of the library's own code
                return exchange_calendars.get_calendar(code, **span)
        except (ValueError, NotImplementedError):
            continue  # outside its bounds; or one that version 4.13 cannot build with pandas 3
    return None


def _compare(symbol: str, code: str, day: np.ndarray, expected: np.ndarray) -> list[Finding]:
    found = []
    missing = np.setdiff1d(expected, day, assume_unique=True)
    if len(missing):
        text = f"no candle on {_count(len(missing), 'session')} of {code}: {_ranges(missing, expected)}"
        if 2 * len(missing) > len(expected):
            text = f"only {len(expected) - len(missing)} of {len(expected)} sessions of {code} have a candle; are they daily?"
        text += f". Fetch it again: stock-llm fetch {symbol}"
        found.append(
            Finding(
                "missing sessions",
                symbol,
                str(missing[0]),
                str(missing[-1]),
                len(missing),
                1.0,
                text,
            )
        )
    strange = np.setdiff1d(day, expected, assume_unique=True)
    if len(strange):
        text = (
            f"{_count(len(strange), 'candle')} on days on which {code} does not trade: {_ranges(strange, day)}. If it is another "
            f"exchange's, write it into data/instruments.csv, column exchange"
        )
        found.append(
            Finding(
                "unexpected sessions",
                symbol,
                str(strange[0]),
                str(strange[-1]),
                len(strange),
                1.0,
                text,
            )
        )
    return found


def _ranges(days: np.ndarray, among: np.ndarray) -> str:
    """`2024-01-03, 2024-02-05 to 2024-02-07`: neighbours among `among` are one range."""
    place = np.searchsorted(among, days)
    starts = np.flatnonzero(np.r_[True, np.diff(place) > 1])
    ends = np.r_[starts[1:], len(days)] - 1
    shown = [
        str(days[start]) if start == end else f"{days[start]} to {days[end]}"
        for start, end in zip(starts[:_SHOWN], ends[:_SHOWN], strict=True)
    ]
    return ", ".join(shown) + (
        f" and {len(starts) - _SHOWN} more ranges" if len(starts) > _SHOWN else ""
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(symbols: list[str]) -> str:
    return ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")
