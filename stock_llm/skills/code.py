"""Code for a trading strategy: a described rule becomes a Python function, marked by running it.

A model's code is not trusted: it is read as a syntax tree and refused unless it is one function made of `if`, `return`,
comparisons and arithmetic on its own arguments. That language has no calls, attributes, imports or loops, so it ends at once
and can touch nothing.
"""

import ast
import itertools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType

from stock_llm.answers import Language
from stock_llm.rows import UNPARSED, Row, Score, mean_of
from stock_llm.skills.decision import worded

NAME = "code"

ARGUMENTS = ("close", "sma50", "rsi14", "macd", "macd_signal")

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Write a Python function signal({arguments}): buy when {buy}, sell when {sell}, otherwise hold.",
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


def draw(seed: str) -> Strategy:
    """A strategy, the same for the same seed."""
    chance = random.Random(seed)
    buys = (f"rsi14 < {chance.randint(20, 45)}", "close > sma50", "macd > macd_signal")
    sells = (f"rsi14 > {chance.randint(55, 80)}", "close < sma50", "macd < macd_signal")
    return Strategy(buy=tuple(chance.sample(buys, chance.randint(1, 2))), sell=tuple(chance.sample(sells, chance.randint(1, 2))))


def _described(conditions: tuple[str, ...], language: Language) -> str:
    words = _WORDS[language]
    parts = []
    for condition in conditions:
        left, sign, right = condition.split()
        parts.append(words[condition] if condition in words else words[f"{left} {sign}"].format(limit=right))
    return words["and"].join(parts)


def row(strategy: Strategy, as_of: str, language: Language, phrasing: int) -> Row:
    """One row; it is about no stock and no time, `as_of` only says on which side of the split it lies."""
    instruction = worded(
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
        source={"kind": "rule", "ref": " / ".join((*strategy.buy, *strategy.sell))},
        label="CODE",
        label_from=as_of,
        label_until=as_of,
        facts={"strategy": {"buy": list(strategy.buy), "sell": list(strategy.sell)}},
    )


def score(row: Row, text: str) -> Score:
    """Marks: the share of right answers on a grid of situations, balanced over BUY, HOLD and SELL and corrected for chance."""
    fenced = re.fullmatch(r"\s*```(?:python)?\n(.*?)\n?```\s*", text, re.DOTALL)
    function = compiled(fenced[1]) if fenced else None
    if function is None:
        return UNPARSED
    kept = row.facts["strategy"]
    wanted = compiled(Strategy(tuple(kept["buy"]), tuple(kept["sell"])).source())
    assert wanted is not None
    rights: dict[str, list[bool]] = {}
    for case in _grid():
        expected = wanted(case)
        rights.setdefault(str(expected), []).append(function(case) == expected)
    chance = 1 / len(rights)
    balanced = sum(sum(hits) / len(hits) for hits in rights.values()) / len(rights)
    return mean_of("CODE", tests=max(0.0, (balanced - chance) / (1 - chance)) if chance < 1 else balanced)


def _grid() -> list[dict[str, float]]:
    """Situations on both sides of every condition that a strategy can have."""
    return [
        {"close": close, "sma50": 100.0, "rsi14": rsi, "macd": macd, "macd_signal": 0.0}
        for close, rsi, macd in itertools.product((95.0, 105.0), [5 + 2.5 * step for step in range(37)], (-1.0, 1.0))
    ]


_ALLOWED = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.If, ast.Return, ast.IfExp, ast.Compare, ast.BoolOp, ast.And, ast.Or,
    ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq,
    ast.NotEq, ast.Name, ast.Load, ast.Constant,
)  # fmt: skip


def compiled(source: str) -> Callable[[dict[str, float]], object] | None:
    """The function `signal` of `source`, or None where it is not valid, not allowed or has other arguments.

    The result of a call that fails (a division by zero, a comparison of text with a number) is None.
    """
    if len(source) > 4000:
        return None
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    body = tree.body
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef) or body[0].name != "signal" or body[0].decorator_list:
        return None
    if [argument.arg for argument in body[0].args.args] != list(ARGUMENTS) or body[0].args.defaults:
        return None
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            return None
        if isinstance(node, ast.Name) and node.id not in ARGUMENTS:
            return None
        if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str):
            return None
        if isinstance(node, ast.BinOp) and any(
            isinstance(part, ast.Constant) and isinstance(part.value, str) for part in ast.walk(node)
        ):
            return None  # "x" * 999999999 would fill the memory
    code: CodeType = compile(tree, "<answer>", "exec")
    space: dict[str, object] = {"__builtins__": {}}
    exec(code, space)
    function = space["signal"]

    def call(case: dict[str, float]) -> object:
        try:
            return function(**case)  # type: ignore[operator]
        except (ArithmeticError, TypeError):
            return None

    return call
