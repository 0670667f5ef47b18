"""Code for a trading strategy: a described rule becomes a Python function, scored by running it.

The function runs in stock_llm/evaluation/sandbox.py, because a model's code is not trusted.
"""

import itertools
import random
import re
from dataclasses import dataclass

from stock_llm.evaluation import sandbox
from stock_llm.evaluation.answers import Language
from stock_llm.skills.decision_rows import pick_wording
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of

NAME = "code"

ARGUMENTS = ("close", "sma50", "rsi14", "macd", "macd_signal")

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Write a Python function signal({arguments}): buy when {buy}, sell when {sell}, otherwise "
        "hold.",
        "Python function signal({arguments}), please. Buy when {buy}. Sell when {sell}. Else hold.",
    ),
    "th": ("เขียนฟังก์ชัน Python signal({arguments}): ซื้อเมื่อ {buy} ขายเมื่อ {sell} นอกนั้นถือ",),
}

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "rsi14 <": "RSI14 is below {limit}",
        "rsi14 >": "RSI14 is above {limit}",
        "close > sma50": "the close is above SMA50",
        "close < sma50": "the close is below SMA50",
        "macd > macd_signal": "MACD is above its signal",
        "macd < macd_signal": "MACD is below its signal",
        "and": " and ",
    },
    "th": {
        "rsi14 <": "RSI14 ต่ำกว่า {limit}",
        "rsi14 >": "RSI14 สูงกว่า {limit}",
        "close > sma50": "ราคาปิดสูงกว่า SMA50",
        "close < sma50": "ราคาปิดต่ำกว่า SMA50",
        "macd > macd_signal": "MACD สูงกว่าเส้นสัญญาณ",
        "macd < macd_signal": "MACD ต่ำกว่าเส้นสัญญาณ",
        "and": " และ ",
    },
}


@dataclass(frozen=True)
class Strategy:
    """Conditions that must all hold, in Python; the RSI limit stands in them."""

    buy: tuple[str, ...]
    sell: tuple[str, ...]

    @property
    def ref(self) -> str:
        """The same for the same strategy, in whatever order its conditions are told."""
        return f"{' and '.join(sorted(self.buy))} / {' and '.join(sorted(self.sell))}"

    def source(self) -> str:
        """The function as it is taught."""
        return "\n".join(
            (
                f"def signal({', '.join(ARGUMENTS)}):",
                f"    if {' and '.join(self.buy)}:",
                '        return "BUY"',
                f"    if {' and '.join(self.sell)}:",
                '        return "SELL"',
                '    return "HOLD"',
            )
        )

    def says(self, case: sandbox.Case) -> str:
        """BUY, SELL or HOLD in a situation."""
        if all(_holds(condition, case) for condition in self.buy):
            return "BUY"
        return "SELL" if all(_holds(condition, case) for condition in self.sell) else "HOLD"


def _holds(condition: str, case: sandbox.Case) -> bool:
    left, sign, right = condition.split()
    other = case[right] if right in case else float(right)
    return case[left] > other if sign == ">" else case[left] < other


def draw(seed: str) -> Strategy:
    """A strategy, the same for the same seed."""
    chance = random.Random(seed)
    buys = (f"rsi14 < {chance.randint(20, 45)}", "close > sma50", "macd > macd_signal")
    sells = (f"rsi14 > {chance.randint(55, 80)}", "close < sma50", "macd < macd_signal")
    return Strategy(
        buy=tuple(chance.sample(buys, chance.randint(1, 2))),
        sell=tuple(chance.sample(sells, chance.randint(1, 2))),
    )


def _described(conditions: tuple[str, ...], language: Language) -> str:
    words = _WORDS[language]
    parts = []
    for condition in conditions:
        left, sign, right = condition.split()
        parts.append(
            words[condition] if condition in words else words[f"{left} {sign}"].format(limit=right)
        )
    return words["and"].join(parts)


def row(strategy: Strategy, as_of: str, language: Language, phrasing: int) -> Row:
    """Builds one row; it is about no stock and no time, `as_of` only says on which side of the
    split it lies."""
    instruction = pick_wording(
        INSTRUCTIONS[language],
        phrasing,
        arguments=", ".join(ARGUMENTS),
        buy=_described(strategy.buy, language),
        sell=_described(strategy.sell, language),
    )
    return Row(
        skill=NAME,
        language=language,
        symbol="",
        as_of=as_of,
        instruction=instruction,
        input="",
        output=f"```python\n{strategy.source()}\n```",
        source={"kind": "rule", "ref": strategy.ref},
        label="CODE",
        label_from=as_of,
        label_until=as_of,
        facts={"strategy": {"buy": list(strategy.buy), "sell": list(strategy.sell)}},
    )


def score(row: Row, text: str) -> Score:
    """Scores an answer by the share of right answers on a grid of situations, balanced over BUY,
    HOLD and SELL and corrected for chance."""
    fenced = re.fullmatch(r"\s*```(?:python)?\n(.*?)\n?```\s*", text, re.DOTALL)
    stored = row.facts["strategy"]
    strategy = Strategy(tuple(stored["buy"]), tuple(stored["sell"]))
    results = sandbox.run(fenced[1], "signal", ARGUMENTS, GRID) if fenced else None
    if results is None:
        return UNPARSED
    rights: dict[str, list[bool]] = {}
    for case, word in zip(GRID, results, strict=True):
        expected = strategy.says(case)
        rights.setdefault(expected, []).append(word == expected)
    chance = 1 / len(rights)
    balanced = sum(sum(hits) / len(hits) for hits in rights.values()) / len(rights)
    return mean_of(
        "CODE", tests=max(0.0, (balanced - chance) / (1 - chance)) if chance < 1 else balanced
    )


GRID: list[sandbox.Case] = [
    {"close": close, "sma50": 100.0, "rsi14": rsi, "macd": macd, "macd_signal": 0.0}
    for close, rsi, macd in itertools.product(
        (95.0, 105.0), [5 + 2.5 * step for step in range(37)], (-1.0, 1.0)
    )
]
"""Situations on both sides of every condition that a strategy can have."""
