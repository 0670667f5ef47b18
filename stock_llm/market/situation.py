"""What is known about a stock at one close, as the model is shown it.

A `Situation` has values rounded as printed, and a block of `Name: value` lines that becomes a row's
input. Percentages are computed from the printed values, so that a reader, or the checker, can
compute them again. Training and serving use the same code.
"""

import math
import re
from dataclasses import dataclass
from datetime import date

import numpy as np

from stock_llm.market import indicators

WARM_UP = 100
"""Sessions before the first situation: Wilder's averages need that long to forget their seed."""


@dataclass(frozen=True)
class Candles:
    """One symbol's daily candles: arrays of one length, ascending in time; prices in the
    instrument's currency.
    """

    symbol: str
    day: np.ndarray
    """datetime64[D]"""
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray

    def __len__(self) -> int:
        return len(self.day)


@dataclass(frozen=True)
class Position:
    """The user's own holding at that close."""

    quantity: float
    cost: float
    """Average price paid per unit."""


@dataclass(frozen=True)
class Situation:
    """Indicator values at the close of `as_of`, rounded to the printed digits. Definitions:
    stock_llm/market/indicators.py.
    """

    symbol: str
    as_of: str
    close: float
    sma20: float
    sma50: float
    rsi14: float
    macd: float
    macd_signal: float
    atr14: float
    band_low: float
    band_high: float
    volume: float
    support: float
    resistance: float
    position: Position | None = None

    @property
    def trend(self) -> str:
        """UP if the close and SMA20 are above SMA50, DOWN if both are below it, else SIDEWAYS."""
        if self.close > self.sma50 and self.sma20 > self.sma50:
            return "UP"
        return "DOWN" if self.close < self.sma50 and self.sma20 < self.sma50 else "SIDEWAYS"

    @property
    def rsi_zone(self) -> str:
        """overbought above 70, oversold below 30, else neutral (Wilder 1978)."""
        return "overbought" if self.rsi14 > 70 else "oversold" if self.rsi14 < 30 else "neutral"

    @property
    def band_place(self) -> str:
        """Where the close is: above the upper band, below the lower, or inside."""
        if self.close > self.band_high:
            return "above"
        return "below" if self.close < self.band_low else "inside"

    @property
    def volume_level(self) -> str:
        """high from 1.5 times the average on, low up to half of it, else normal."""
        return "high" if self.volume >= 1.5 else "low" if self.volume <= 0.5 else "normal"

    def lines(self) -> dict[str, str]:
        """Name → the text after the colon, in the order of the block."""
        shown = {
            "Symbol": self.symbol,
            "Date": self.as_of,
            "Close": format_price(self.close),
            "SMA20": f"{format_price(self.sma20)} ({format_percent(self.close, self.sma20)})",
            "SMA50": f"{format_price(self.sma50)} ({format_percent(self.close, self.sma50)})",
            "SMA20/SMA50": format_percent(self.sma20, self.sma50),
            "RSI14": f"{self.rsi14:.1f}, {self.rsi_zone}",
            "MACD": f"{self.macd:.2f}, signal {self.macd_signal:.2f}"
            f" ({self.macd - self.macd_signal:+.2f})",
            "ATR14": f"{format_price(self.atr14)} ({format_ratio(self.atr14, self.close)})",
            "Bands": f"{format_price(self.band_low)} to {format_price(self.band_high)}, "
            f"{self.band_place}",
            "Volume": f"{self.volume:.1f}x, {self.volume_level}",
            "Support": f"{format_price(self.support)} ({format_percent(self.support, self.close)})",
            "Resistance": f"{format_price(self.resistance)}"
            f" ({format_percent(self.resistance, self.close)})",
        }
        if self.position:
            held, cost = self.position.quantity, self.position.cost
            shown["Position"] = (
                f"{held:g} at {format_price(cost)} ({format_percent(self.close, cost)})"
            )
        return shown

    def block(self, *names: str) -> str:
        """The lines that a row shows: all, or those named."""
        return "\n".join(
            f"{name}: {text}" for name, text in self.lines().items() if not names or name in names
        )


_PRINTED = {
    "Close": ("close",),
    "SMA20": ("sma20",),
    "SMA50": ("sma50",),
    "RSI14": ("rsi14",),
    "MACD": ("macd", "macd_signal"),
    "ATR14": ("atr14",),
    "Bands": ("band_low", "band_high"),
    "Volume": ("volume",),
    "Support": ("support",),
    "Resistance": ("resistance",),
}
"""Line of a block → the attributes that it begins with."""
_FIGURE = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


def read_lines(block: str) -> dict[str, str]:
    """Name → the text after the colon."""
    return {name: text for name, _, text in (line.partition(": ") for line in block.split("\n"))}


def read_situation(block: str) -> Situation | None:
    """Reads back a block, whole or some of its lines; what those do not tell is NaN.

    None for a text that is not, to the letter, what `Situation.block` writes.
    """
    lines = read_lines(block)
    values = {name: math.nan for names in _PRINTED.values() for name in names}
    for line, names in _PRINTED.items():
        figures = map(float, _FIGURE.findall(lines.get(line, "")))
        values |= dict(zip(names, figures, strict=False))
    held = [float(figure) for figure in _FIGURE.findall(lines.get("Position", ""))]
    position = Position(held[0], held[1]) if len(held) > 1 else None
    situation = Situation(
        lines.get("Symbol", ""), lines.get("Date", ""), **values, position=position
    )
    try:
        return situation if situation.block(*lines) == block else None
    except ZeroDivisionError:  # a price of 0, to which nothing is above or below in percent
        return None


def format_price(value: float) -> str:
    """Two decimals; four below 1."""
    return f"{value:.4f}" if 0 < abs(value) < 1 else f"{value:.2f}"


def format_percent(value: float, base: float) -> str:
    """Signed difference of `value` from `base` in percent of `base`, one decimal."""
    text = f"{(value / base - 1) * 100:+.1f}%"
    return "+0.0%" if text == "-0.0%" else text


def format_ratio(value: float, base: float) -> str:
    """`value` in percent of `base`, one decimal."""
    return f"{value / base * 100:.1f}%"


def round_as_printed(value: float) -> float:
    """A price rounded to the digits that `price` shows."""
    return float(format_price(value))


@dataclass(frozen=True)
class IndicatorSeries:
    """All indicator series of one symbol, each as long as its candles, NaN in the warm-up."""

    candles: Candles
    sma20: np.ndarray
    sma50: np.ndarray
    rsi14: np.ndarray
    macd: np.ndarray
    macd_signal: np.ndarray
    atr14: np.ndarray
    band_low: np.ndarray
    band_high: np.ndarray
    volume: np.ndarray
    support: np.ndarray
    resistance: np.ndarray

    def at(self, index: int, position: Position | None = None) -> Situation | None:
        """The situation at the close of session `index`; None inside the warm-up."""
        if index < WARM_UP:
            return None
        candles = self.candles
        return Situation(
            symbol=candles.symbol,
            as_of=str(candles.day[index]),
            close=round_as_printed(candles.close[index]),
            sma20=round_as_printed(self.sma20[index]),
            sma50=round_as_printed(self.sma50[index]),
            rsi14=round(float(self.rsi14[index]), 1),
            macd=round(float(self.macd[index]), 2) + 0.0,
            macd_signal=round(float(self.macd_signal[index]), 2) + 0.0,
            atr14=round_as_printed(self.atr14[index]),
            band_low=round_as_printed(self.band_low[index]),
            band_high=round_as_printed(self.band_high[index]),
            volume=round(float(self.volume[index]), 1) if np.isfinite(self.volume[index]) else 0.0,
            support=round_as_printed(self.support[index]),
            resistance=round_as_printed(self.resistance[index]),
            position=position,
        )

    def last_before(self, day: date) -> int:
        """Index of the last session strictly before `day`; -1 where there is none."""
        return int(np.searchsorted(self.candles.day, np.datetime64(day, "D"), side="left")) - 1


def compute_indicators(candles: Candles) -> IndicatorSeries:
    """Every series once per symbol."""
    high, low, close = candles.high, candles.low, candles.close
    macd, bands = indicators.macd(close), indicators.bollinger(close)
    return IndicatorSeries(
        candles=candles,
        sma20=indicators.sma(close, 20),
        sma50=indicators.sma(close, 50),
        rsi14=indicators.rsi(close, 14),
        macd=macd.line,
        macd_signal=macd.signal,
        atr14=indicators.atr(high, low, close, 14),
        band_low=bands.lower,
        band_high=bands.upper,
        volume=indicators.relative_volume(candles.volume, 20),
        support=indicators.swing_support(high, low, close),
        resistance=indicators.swing_resistance(high, low, close),
    )
