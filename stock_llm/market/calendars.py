"""Trading calendars: the exchange of a symbol, and the sessions that a series of candles lacks.

The exchange follows from a symbol's suffix, as Yahoo and Stooq write it; the calendars are those of
the library `exchange_calendars`. Findings report sessions without a candle, and candles on days
without a session.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from stock_llm.errors import InputError
from stock_llm.storage.findings import Finding

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

DEFAULT_EXCHANGE = "XNYS"
WEEKDAYS, EVERY_DAY, FUTURES = "24/5", "24/7", "CMES"

EXCHANGE_BY_SUFFIX = {
    "US": "XNYS", "L": "XLON", "UK": "XLON", "IL": "XLON", "DE": "XETR", "F": "XFRA", "BE": "XFRA",
    "SG": "XFRA", "MU": "XFRA", "DU": "XDUS", "HM": "XHAM", "PA": "XPAR", "AS": "XAMS",
    "BR": "XBRU", "LS": "XLIS", "IR": "XDUB", "MI": "XMIL", "MC": "XMAD", "SW": "XSWX",
    "VI": "XWBO", "ST": "XSTO", "CO": "XCSE", "HE": "XHEL", "OL": "XOSL", "IC": "XICE",
    "WA": "XWAR", "PR": "XPRA", "BD": "XBUD", "HU": "XBUD", "AT": "ASEX", "IS": "XIST",
    "TA": "XTAE", "JO": "XJSE", "TO": "XTSE", "V": "XTSE", "MX": "XMEX", "SA": "BVMF", "BA": "XBUE",
    "SN": "XSGO", "T": "XTKS", "JP": "XTKS", "HK": "XHKG", "SS": "XSHG", "SZ": "XSHG", "TW": "XTAI",
    "TWO": "XTAI", "KS": "XKRX", "KQ": "XKRX", "NS": "XBOM", "BO": "XBOM", "SI": "XSES",
    "KL": "XKLS", "JK": "XIDX", "BK": "XBKK", "AX": "XASX", "NZ": "XNZE", "SR": "XSAU",
    "RO": "XBSE",
}  # fmt: skip
"""Suffix of a symbol → calendar code.

From https://help.yahoo.com/kb/SLN2310.html, and `.US .UK .JP .HU` as Stooq has them.
"""

IN_HUNDREDTHS = frozenset({"XLON", "XJSE", "XTAE"})
"""Exchanges that quote in hundredths: pence, cents of a rand, agorot."""

_ZONES = {
    WEEKDAYS: "Europe/London",
    "XTAE": "Asia/Jerusalem",
    "ASEX": "Europe/Athens",
    "XBSE": "Europe/Bucharest",
}
"""Of currencies, whose days Yahoo counts in London, and of calendars that cannot be built now."""

FICTIONAL = frozenset({
    "ALDREN", "BRISKO", "CALVEX", "DORNIA", "ELMORA", "FENWIK",
    "GALDOR", "HUSKEN", "IVORAN", "JUNIPA", "KESTRO", "LUMBRA",
})  # fmt: skip
"""Stocks of the sample, which trade on every weekday. No real US ticker has six letters."""

_CRYPTO = r"^[A-Z0-9]{2,10}[-/](USD|USDT|USDC|EUR|GBP|JPY|BTC|ETH)$"
_MAX_RANGES = 12
"""Ranges of days that the text of one finding names."""


@dataclass(frozen=True)
class Exchanges:
    """Finds the exchange of a symbol.

    Attributes:
        by_symbol: what the user's table of instruments says; it comes before the suffix.
        default: calendar code of symbols without a suffix.
    """

    by_symbol: Mapping[str, str] = field(default_factory=dict)
    default: str = DEFAULT_EXCHANGE

    def of(self, symbol: str) -> str:
        """Return the calendar code of a symbol.

        `AAPL` is of XNYS, `AET.L` of XLON, `BTC-USD` of 24/7, `EURUSD=X` of 24/5, `ES=F` of CMES.
        A file that yfinance's tools name `AET-L-1d-…` is of AET.L.
        """
        if code := self.by_symbol.get(symbol):
            return code
        if symbol.endswith("=X") or symbol in FICTIONAL:
            return WEEKDAYS
        if symbol.endswith("=F"):
            return FUTURES
        if re.match(_CRYPTO, symbol):
            return EVERY_DAY
        suffix = re.search(r"\.([A-Z]{1,3})$|^[A-Z0-9]+-([A-Z]{1,3})-1D\b", symbol)
        key = suffix[1] or suffix[2] if suffix else ""
        return EXCHANGE_BY_SUFFIX.get(key, self.default)

    def in_hundredths(self, symbol: str) -> bool:
        """Return whether the symbol is quoted in hundredths of a currency, such as pence."""
        return self.of(symbol) in IN_HUNDREDTHS


def check_sessions(days: Iterable[tuple[str, np.ndarray]], exchanges: Exchanges) -> list[Finding]:
    """Compare the days of each symbol with its calendar, between its first day and its last.

    Args:
        days: symbol and its days: datetime64[D], ascending, distinct.

    Raises:
        InputError: there is no calendar of a name that the user gave.
    """
    findings: list[Finding] = []
    uncovered: dict[str, list[str]] = {}
    for symbol, day in days:
        if not len(day):
            continue
        code = exchanges.of(symbol)
        expected = sessions(code, day[0], day[-1])
        if expected is None:
            uncovered.setdefault(code, []).append(symbol)
        else:
            findings += _compare(symbol, code, day, expected)
    for code, symbols in sorted(uncovered.items()):
        more = f" and {len(symbols) - 5} more" if len(symbols) > 5 else ""
        text = (
            f"exchange_calendars has no working calendar {code}: nothing is known of missing days"
            f" of {', '.join(symbols[:5])}{more}"
        )
        findings.append(Finding("no calendar", symbols[0], "", "", 0, 1.0, text))
    return findings


def sessions(code: str, first: np.datetime64, last: np.datetime64) -> np.ndarray | None:
    """Return the days from `first` to `last` on which an exchange trades, datetime64[D].

    Returns:
        None where the library has no calendar for these years.

    Raises:
        InputError: there is no calendar of that name.
    """
    year = 1970 + int(first.astype("datetime64[Y]").astype(int))
    # From the begin of the decade, so that few calendars serve all symbols.
    calendar = _calendar(code, year // 10 * 10, int(str(last.astype("datetime64[Y]"))) + 1)
    if calendar is None:
        return None
    known: np.ndarray = calendar.sessions.to_numpy().astype("datetime64[D]")
    if first < known[0] - 14:  # some calendars begin late: Saudi Arabia's in 2021
        return None
    return known[np.searchsorted(known, first) : np.searchsorted(known, last, side="right")]


def zone_of(code: str) -> str:
    """Return the IANA zone of an exchange's clock.

    Raises:
        InputError: there is no calendar of that name.
    """
    calendar = _calendar(code, 2020, 2021)
    return _ZONES.get(code) or str(calendar.tz if calendar else "UTC")


@lru_cache(maxsize=64)
def _calendar(code: str, first_year: int, end_year: int) -> "ExchangeCalendar | None":
    import exchange_calendars  # brings pandas

    if code not in exchange_calendars.get_calendar_names():
        raise InputError(
            f"there is no exchange calendar '{code}'",
            remedy="Use one that exchange_calendars has: XNYS, XLON, XETR, XTKS, … or"
            f" {WEEKDAYS}, {EVERY_DAY}",
        )
    for span in ({"start": f"{first_year}-01-01", "end": f"{end_year}-01-15"}, {}):
        # A span may be outside a calendar's bounds; version 4.13 cannot build some with pandas 3,
        # and pandas 3.1 warns of the library's own code.
        with (
            suppress(ValueError, NotImplementedError),
            warnings.catch_warnings(action="ignore", category=DeprecationWarning),
        ):
            return exchange_calendars.get_calendar(code, **span)
    return None


def _compare(symbol: str, code: str, day: np.ndarray, expected: np.ndarray) -> list[Finding]:
    """Report the sessions that a symbol lacks, and its days that are none."""
    missing = np.setdiff1d(expected, day, assume_unique=True)
    strange = np.setdiff1d(day, expected, assume_unique=True)
    text = f"no candle on {_count(missing, 'session')} of {code}: {_ranges(missing, expected)}"
    if 2 * len(missing) > len(expected):
        text = (
            f"only {len(expected) - len(missing)} of {len(expected)} sessions of {code} have a"
            " candle; are they daily?"
        )
    texts = {
        "missing sessions": f"{text}. Fetch it again: stock-llm fetch {symbol}",
        "unexpected sessions": f"{_count(strange, 'candle')} on days on which {code} does not"
        f" trade: {_ranges(strange, day)}. If it is another exchange's, write it into"
        " data/instruments.csv, column exchange",
    }
    return [
        Finding(rule, symbol, str(days[0]), str(days[-1]), len(days), 1.0, texts[rule])
        for rule, days in (("missing sessions", missing), ("unexpected sessions", strange))
        if len(days)
    ]


def _ranges(days: np.ndarray, among: np.ndarray) -> str:
    """Return `2024-01-03, 2024-02-05 to 2024-02-07`: neighbours in `among` are one range."""
    starts = np.flatnonzero(np.r_[True, np.diff(np.searchsorted(among, days)) > 1])
    ranges = [
        str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}"
        for run in np.split(days, starts[1 : _MAX_RANGES + 1])[:_MAX_RANGES]
        if len(run)
    ]
    more = len(starts) - _MAX_RANGES
    return ", ".join(ranges) + (f" and {more} more ranges" if more > 0 else "")


def _count(days: np.ndarray, noun: str) -> str:
    return f"{len(days)} {noun}{'' if len(days) == 1 else 's'}"
