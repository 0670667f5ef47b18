"""Random tickers, days, prices and situations for the corpus.

Values are drawn, not computed from candles: they look like a market's, and nothing can be learnt
from them about what a market does next. No ticker of the committed sample is ever drawn.
"""

import math
from datetime import date, timedelta
from random import Random

from stock_llm.market.situation import Position, Situation, round_as_printed
from stock_llm.synthetic.sample.market import COMPANIES

_CONSONANTS, _VOWELS = "BCDFGHJKLMNPRSTVWXZ", "AEIOUY"
_EXCHANGES = ("", "", "", "", ".BK", ".BK", ".L", ".DE", ".HK")
_EPOCH = date(1996, 1, 1)
_DAYS = (date(2030, 12, 31) - _EPOCH).days


def ticker(chance: Random) -> str:
    """A made-up symbol: random letters or a word-like name, now and then with an exchange's
    ending."""
    while True:
        if chance.random() < 0.35:
            name = "".join(chance.choices(_CONSONANTS + _VOWELS, k=chance.randint(2, 5)))
        else:
            pattern = chance.choice(
                (
                    "CVC",
                    "CVCV",
                    "CVCVC",
                    "VCVC",
                    "CCVC",
                    "CVCCV",
                    "VCCVCV",
                    "CVCCVC",
                    "CCVCCV",
                    "VCVCCV",
                )
            )
            name = "".join(
                chance.choice(_CONSONANTS if kind == "C" else _VOWELS) for kind in pattern
            )
        if name not in COMPANIES:
            return name + (chance.choice(_EXCHANGES) if len(name) < 5 else "")


def day(chance: Random) -> str:
    """An ISO date of a weekday."""
    drawn = _EPOCH + timedelta(days=chance.randrange(_DAYS))
    return (drawn - timedelta(days=max(0, drawn.weekday() - 4))).isoformat()


def amount(chance: Random) -> float:
    """A price: two to four digits before the point, now and then below 1."""
    return round_as_printed(
        10 ** (chance.uniform(-0.9, -0.01) if chance.random() < 0.04 else chance.uniform(0.2, 3.3))
    )


def situation(chance: Random) -> Situation:
    """A situation whose values are drawn around one price; the trend of one says nothing about its
    RSI but their common sign."""
    close = amount(chance)
    spread = close * chance.uniform(0.008, 0.035)
    lately, before = chance.gauss(0, 3), chance.gauss(0, 4)
    sma20 = _positive(close - spread * lately)
    sma50 = _positive(close - spread * (0.6 * lately + before))
    half_band = spread * chance.uniform(1.5, 6)
    macd = round(spread * chance.gauss(0, 1.1), 2) + 0.0
    position = None
    if chance.random() < 0.35:
        quantity = float(
            chance.choice(
                (chance.randint(1, 99), 10 * chance.randint(1, 90), 100 * chance.randint(1, 30))
            )
        )
        position = Position(quantity, _positive(close / math.exp(chance.gauss(0, 0.12))))
    return Situation(
        symbol=ticker(chance),
        as_of=day(chance),
        close=close,
        sma20=sma20,
        sma50=sma50,
        rsi14=round(min(97.0, max(3.0, 50 + 3 * lately + chance.gauss(0, 13))), 1),
        macd=macd,
        macd_signal=round(macd + spread * chance.gauss(0, 0.4), 2) + 0.0,
        atr14=_positive(spread * chance.uniform(0.9, 1.7)),
        band_low=_positive(sma20 - half_band),
        band_high=_positive(sma20 + half_band),
        volume=round(math.exp(chance.gauss(0, 0.5)), 1),
        support=_positive(min(close, close - spread * abs(chance.gauss(0, 3)))),
        resistance=_positive(max(close, close + spread * abs(chance.gauss(0, 3)))),
        position=position,
    )


def _positive(value: float) -> float:
    return round_as_printed(max(0.01, value))
