"""Rows of every skill about situations drawn at random: what a dataset looks like, without a dataset."""

import math
import random
from collections.abc import Iterator

from stock_llm.market.situation import Position, Situation, round_as_printed
from stock_llm.skills import analyse, code, explain, review, signal
from stock_llm.skills.decision_point import BaseRates, DecisionPoint
from stock_llm.skills.row import Row


def situation(chance: random.Random) -> Situation:
    """Plausible numbers without a market behind them."""
    close = round_as_printed(math.exp(chance.uniform(2, 6)))

    def around(spread: float) -> float:
        return round_as_printed(close * (1 + chance.gauss(0, spread)))

    return Situation(
        symbol="".join(chance.choices("ABCDEFGH", k=4)),
        as_of=f"2024-{chance.randint(1, 12):02d}-15",
        close=close,
        sma20=around(0.03),
        sma50=around(0.05),
        rsi14=round(chance.uniform(15, 85), 1),
        macd=round(chance.gauss(0, 2), 2) + 0.0,
        macd_signal=round(chance.gauss(0, 2), 2) + 0.0,
        atr14=round_as_printed(close * 0.02),
        band_low=around(0.02),
        band_high=around(0.02),
        volume=round(chance.uniform(0.3, 2.5), 1),
        support=round_as_printed(close * 0.95),
        resistance=round_as_printed(close * 1.05),
        position=Position(float(chance.randint(1, 99)), around(0.1))
        if chance.random() < 0.3
        else None,
    )


def rows_of_all_skills(count: int, seed: int = 1) -> Iterator[Row]:
    """`count` rows, the skills in turn, one in four Thai."""
    chance = random.Random(seed)
    for number in range(count):
        drawn = situation(chance)
        language = "th" if number % 4 == 3 else "en"
        record = DecisionPoint(
            drawn,
            chance.choice(("BUY", "HOLD", "SELL")),
            "2024-01-01",
            "2024-01-10",
            {"kind": "day", "ref": str(number)},
        )
        trade = review.ClosedTrade(
            drawn, drawn.close, drawn.sma20 + 0.01, "2024-01-02", "2024-02-01", 30, str(number)
        )
        yield (
            analyse.row(record, BaseRates([]), language, number),
            signal.row(record, BaseRates([]), language, number),
            explain.row(drawn, chance.choice(list(explain.TEXTBOOK)), language, number),
            review.row(trade, language, number),
            code.row(code.draw(str(number)), "2024-01-01", language, number),
        )[number % 5]
