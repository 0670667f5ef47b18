"""Documents of simple Python: small functions about prices, with a line that says what they do.

In: a `random.Random`. Out: one or two functions and perhaps a call with its result. Thresholds are
drawn. Never a function that trades on a described rule: that task is left to fine-tuning.
"""

from collections.abc import Callable
from random import Random

from stock_llm.evaluation.answers import Language

_FIELDS = (
    "close",
    "sma20",
    "sma50",
    "rsi14",
    "macd",
    "macd_signal",
    "volume",
    "support",
    "resistance",
    "low",
    "high",
)
_WORDS = (
    ("HIGH", "LOW"),
    ("NEAR", "FAR"),
    ("CALM", "WILD"),
    ("RICH", "CHEAP"),
    ("YES", "NO"),
    ("FAST", "SLOW"),
    ("BUY", "WAIT"),
)
_TRIPLES = (
    ("HIGH", "LOW", "MIDDLE"),
    ("RICH", "CHEAP", "FAIR"),
    ("HOT", "COLD", "WARM"),
    ("ENTER", "LEAVE", "WAIT"),
    ("YES", "NO", "WAIT"),
)
_SPOKEN = {
    "close": "the close",
    "sma20": "SMA20",
    "sma50": "SMA50",
    "rsi14": "RSI14",
    "macd": "MACD",
    "macd_signal": "the signal",
    "volume": "the volume",
}
"""Argument of a function → what a sentence may call it in English."""
_VERBS = ("check", "rate", "state", "label", "mark", "judge", "zone", "grade", "decide")


def script(chance: Random, language: Language) -> str:
    """One or two functions, sometimes in a fence."""
    made = "\n\n\n".join(
        chance.choice(_MAKERS)(chance, language) for _ in range(chance.randint(1, 2))
    )
    return f"```python\n{made}\n```" if chance.random() < 0.4 else made


def _condition(chance: Random, language: Language) -> tuple[str, str]:
    """A condition in Python and in words."""
    left = chance.choice(_FIELDS)
    sign = chance.choice("<>")
    if left == "rsi14" or chance.random() < 0.3:
        right = str(chance.randint(5, 95))
    else:
        right = chance.choice([field for field in _FIELDS if field not in (left, "rsi14")])
    words = _SPOKEN if language == "en" and chance.random() < 0.5 else {}
    relations = {"<": "below", ">": "above"} if language == "en" else {"<": "ต่ำกว่า", ">": "สูงกว่า"}
    return (
        f"{left} {sign} {right}",
        f"{words.get(left, left)} {'is ' if language == 'en' else ''}{relations[sign]} "
        f"{words.get(right, right)}",
    )


def _arguments(code: str) -> str:
    return ", ".join(
        field
        for field in _FIELDS
        if field in code.replace(">", " ").replace("<", " ").replace("\n", " ").split()
    )


def asked(chance: Random, language: Language) -> tuple[str, str]:
    """A request for a function with one condition or two rules, and the function."""
    description, source = chance.choice((_choice, _two_rules, _two_rules))(chance, language)
    head = source.splitlines()[0].removeprefix("def ").rstrip(":")
    ask = (
        (
            "A Python function {head}: {description}.",
            "{head} in Python, please: {description}.",
            "Code for {head}: {description}.",
        )
        if language == "en"
        else ("ฟังก์ชัน Python {head}: {description}", "ขอฟังก์ชัน {head} ใน Python: {description}")
    )
    return chance.choice(ask).format(head=head, description=description), source


def _if(chance: Random, language: Language) -> str:
    """A function with one condition or two rules, below a comment that says it."""
    description, source = chance.choice((_choice, _two_rules))(chance, language)
    return f"# {description}\n{source}"


def _choice(chance: Random, language: Language) -> tuple[str, str]:
    """In words and in Python: one word where a condition holds, else another."""
    code, condition = _condition(chance, language)
    yes, no = chance.choice(_WORDS)
    description = (
        f"{yes} when {condition}, else {no}"
        if language == "en"
        else f"{yes} เมื่อ {condition} นอกนั้น {no}"
    )
    lines = (
        f"def {chance.choice(_VERBS)}({_arguments(code)}):",
        f"    if {code}:",
        f'        return "{yes}"',
        f'    return "{no}"',
    )
    return description, "\n".join(lines)


def _two_rules(chance: Random, language: Language) -> tuple[str, str]:
    """In words and in Python: a word for each of two rules, of one or two conditions, else a
    third."""
    words = chance.choice(_TRIPLES)
    rules = [[_condition(chance, language) for _ in range(chance.randint(1, 2))] for _ in range(2)]
    codes = [" and ".join(code for code, _ in rule) for rule in rules]
    joined = " and " if language == "en" else " และ "
    spoken = [joined.join(condition for _, condition in rule) for rule in rules]
    if language == "en":
        first = f"{words[0]} when {spoken[0]}, {words[1]} when {spoken[1]}, else {words[2]}"
    else:
        first = f"{words[0]} เมื่อ {spoken[0]} {words[1]} เมื่อ {spoken[1]} นอกนั้น {words[2]}"
    lines = [f"def {chance.choice(_VERBS)}({_arguments(' '.join(codes))}):"]
    for code, word in zip(codes, words, strict=False):
        lines += [f"    if {code}:", f'        return "{word}"']
    return first, "\n".join([*lines, f'    return "{words[2]}"'])


def _both(chance: Random, language: Language) -> str:
    """Two conditions joined."""
    (first, condition), (second, also) = _condition(chance, language), _condition(chance, language)
    join, word = chance.choice((("and", "และ"), ("or", "หรือ")))
    description = (
        f"True when {condition} {join} {also}"
        if language == "en"
        else f"จริงเมื่อ {condition} {word} {also}"
    )
    return "\n".join(
        (
            f"def {chance.choice(_VERBS)}({_arguments(f'{first} {second}')}):",
            f'    """{description}."""',
            f"    return {first} {join} {second}",
        )
    )


def _three(chance: Random, language: Language) -> str:
    """Three zones of one value."""
    low = chance.randint(5, 45)
    high = chance.randint(55, 95)
    name = chance.choice(("value", "rsi14", "share", "score"))
    comment = (
        f"# below {low}, above {high}, or between"
        if language == "en"
        else f"# ต่ำกว่า {low} สูงกว่า {high} หรือระหว่างนั้น"
    )
    words = chance.choice(
        (("LOW", "HIGH", "MIDDLE"), ("OVERSOLD", "OVERBOUGHT", "NEUTRAL"), ("COLD", "HOT", "WARM"))
    )
    return "\n".join(
        (
            comment,
            f"def zone({name}):",
            f"    if {name} < {low}:",
            f'        return "{words[0]}"',
            f"    if {name} > {high}:",
            f'        return "{words[1]}"',
            f'    return "{words[2]}"',
        )
    )


def _formula(chance: Random, language: Language) -> str:
    name, arguments, body, english, thai = chance.choice(
        (
            ("mean", "values", "sum(values) / len(values)", "the mean of the values", "ค่าเฉลี่ย"),
            (
                "change",
                "new, old",
                "(new / old - 1) * 100",
                "the change in percent",
                "การเปลี่ยนแปลงเป็นร้อยละ",
            ),
            ("spread", "high, low", "high - low", "the range of a session", "ช่วงราคาของวัน"),
            (
                "profit",
                "sold, bought, quantity",
                "(sold - bought) * quantity",
                "the profit of a trade",
                "กำไรของการซื้อขาย",
            ),
            ("largest", "values", "max(values)", "the largest value", "ค่ามากที่สุด"),
            (
                "distance",
                "close, level",
                "abs(close - level)",
                "the distance from a level",
                "ระยะห่างจากระดับราคา",
            ),
            (
                "sma",
                "closes, n",
                "sum(closes[-n:]) / n",
                "the mean of the last n closes",
                "ค่าเฉลี่ย n วันล่าสุด",
            ),
        )
    )
    summary = f"Return {english}." if language == "en" else f"คืน{thai}"
    return f'def {name}({arguments}):\n    """{summary}"""\n    return {body}'


def _loop(chance: Random, language: Language) -> str:
    limit = chance.randint(1, 99)
    sign, word, thai = chance.choice((("<", "below", "ต่ำกว่า"), (">", "above", "สูงกว่า")))
    comment = (
        f"# how many values are {word} {limit}" if language == "en" else f"# นับค่าที่{thai} {limit}"
    )
    return "\n".join(
        (
            comment,
            "def count(values):",
            "    found = 0",
            "    for value in values:",
            f"        if value {sign} {limit}:",
            "            found += 1",
            "    return found",
        )
    )


def _call(chance: Random, _: Language) -> str:
    a, b = chance.randint(1, 99), chance.randint(1, 99)
    return (
        f"def larger(a, b):\n    return a if a > b else b\n\nprint(larger({a}, {b}))  # {max(a, b)}"
    )


_MAKERS: tuple[Callable[[Random, Language], str], ...] = (
    _if,
    _if,
    _both,
    _both,
    _three,
    _formula,
    _loop,
    _call,
)
