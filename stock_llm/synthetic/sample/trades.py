"""The trades part of data/sample: four years of one fictional investor with a habit.

The habit: buys dips in uptrends, adds when the dip deepens, sells half into strength and the rest
on more of it, and gets out below a stop or when the trend has turned. Acts on what yesterday's
close shows, at prices inside today's candle, not at every chance, and now and then on a whim. Some
orders are filled in two parts. Sells only what is held.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from stock_llm.market.situation import Candles, Situation, compute_indicators

ACCOUNT = "DEMO-0001"
ORDER = 5000.0
"""What a purchase costs, roughly, in USD."""

STOP = 2.5
"""ATR14s below the average cost at which a position is given up."""

TARGET = 1.09
"""Close, as a multiple of the average cost, that counts as strength; so does RSI14 above `HOT`."""

HOT = 66.0

DIP = 60.0
"""RSI14 below which an uptrend has a dip; so has one whose close is below SMA20."""


PARTS = 0.25
"""Share of the orders that are filled in two parts."""


@dataclass(frozen=True)
class SampleTrade:
    """One execution."""

    symbol: str
    executed_at: str
    """ISO 8601, UTC, inside the session."""
    side: str
    quantity: int
    price: float
    note: str

    @property
    def fee(self) -> float:
        """USD: half a cent a share, at least a dollar."""
        return round(max(1.0, 0.005 * self.quantity), 2)


@dataclass
class _Held:
    quantity: int = 0
    cost: float = 0.0
    purchases: int = 0
    halved: bool = False


def generate_trades(series: list[Candles], seed: int) -> list[SampleTrade]:
    """All fills, in the order in which they happened."""
    fills = [
        fill
        for number, candles in enumerate(series)
        for fill in _follow(candles, Random(1000 * seed + number))
    ]
    return sorted(fills, key=lambda fill: (fill.executed_at, fill.symbol))


def trades_csv(fills: list[SampleTrade]) -> str:
    """The generic trades file, trade ids in order of time."""
    lines = (
        f"T{number:05d},{fill.executed_at},{fill.symbol},{fill.side},{fill.quantity},{fill.price:.2f},{fill.fee:.2f},"
        f"USD,{ACCOUNT},{fill.note}\n"
        for number, fill in enumerate(fills, start=1)
    )
    return "trade_id,date,symbol,side,quantity,price,fee,currency,account,note\n" + "".join(lines)


def _follow(candles: Candles, chance: Random) -> Iterator[SampleTrade]:
    """One stock, session by session."""
    indicators = compute_indicators(candles)
    held = _Held()
    for index in range(1, len(candles)):
        seen = indicators.at(index - 1)
        if seen is None:
            continue
        side, quantity, note = _decide(seen, held, chance)
        if quantity == 0:
            continue
        minute = chance.randrange(14 * 60 + 31, 20 * 60)
        part = quantity // 3 if chance.random() < PARTS else 0
        for number, shares in enumerate((part, quantity - part)):
            if shares == 0:
                continue
            low, high = candles.low[index], candles.high[index]
            price = round(float(low + (high - low) * chance.random()), 2)
            clock = f"{minute // 60:02d}:{minute % 60:02d}:{30 * number + chance.randrange(30):02d}"
            yield SampleTrade(
                candles.symbol, f"{candles.day[index]}T{clock}Z", side, shares, price, note
            )
            if side == "BUY":
                held.cost = (held.cost * held.quantity + price * shares) / (held.quantity + shares)
                held.quantity += shares
            else:
                held.quantity -= shares
        if side == "BUY":
            held.purchases += 1
        held.halved |= note == "into strength"
        if held.quantity == 0:
            held = _Held()


def _decide(seen: Situation, held: _Held, chance: Random) -> tuple[str, int, str]:
    """Side, quantity (0: nothing) and the note that the investor writes down."""
    if held.quantity:
        if seen.close < held.cost - STOP * seen.atr14:
            return "SELL", held.quantity, "stop"
        if (seen.rsi14 > HOT or seen.close > TARGET * held.cost) and chance.random() < 0.5:
            return (
                "SELL",
                held.quantity if held.halved else (held.quantity + 1) // 2,
                "into strength",
            )
        if seen.trend == "DOWN" and chance.random() < 0.4:
            return "SELL", held.quantity, "trend has turned"
    dip = seen.trend == "UP" and (seen.close < seen.sma20 or seen.rsi14 < DIP)
    if dip and held.purchases == 0 and chance.random() < 0.7:
        return "BUY", _size(seen, chance), "dip in an uptrend"
    if (
        dip
        and 0 < held.purchases < 3
        and seen.close < held.cost - 0.5 * seen.atr14
        and chance.random() < 0.5
    ):
        return "BUY", _size(seen, chance), "added to the dip"
    if held.purchases == 0 and chance.random() < 0.006:
        return "BUY", _size(seen, chance), "felt like it"
    return "HOLD", 0, ""


def _size(seen: Situation, chance: Random) -> int:
    return max(1, round(ORDER * chance.uniform(0.6, 1.4) / seen.close))
