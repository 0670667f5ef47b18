"""Documents about numbers: copying, comparing, percent, thresholds, sorting, dates, in the forms
that the product uses.

In: a `random.Random`. Out: a text of several exercises, each with its answer. Differences are often
small, so that more than the first digit has to be read. Does not know situations.
"""

import string
from collections.abc import Callable
from datetime import date, timedelta
from random import Random

from stock_llm.evaluation.answers import Language
from stock_llm.market.situation import format_percent, format_price, format_ratio
from stock_llm.synthetic.stock_tiny import random_situations

_NAMES = (
    "Close",
    "SMA20",
    "SMA50",
    "EMA12",
    "Open",
    "High",
    "Low",
    "Support",
    "Resistance",
    "ATR14",
    "VWAP",
    "Target",
)
_FIELDS = (
    *_NAMES,
    "First price",
    "Last price",
    "Days",
    "Paid",
    "Received",
    "Cost",
    "Volume",
    "RSI14",
    "Year",
    "Fee",
)
_WORDS = (
    "apple",
    "river",
    "stone",
    "cloud",
    "paper",
    "glass",
    "metal",
    "ช้าง",
    "แมว",
    "บ้าน",
    "ดิน",
    "น้ำ",
    "ฟ้า",
)


def drill(chance: Random, language: Language) -> str:
    """Five to twelve exercises of one or two kinds."""
    kinds = chance.sample(_KINDS, chance.choice((1, 2)))
    return "\n".join(chance.choice(kinds)(chance, language) for _ in range(chance.randint(5, 12)))


def _pair(chance: Random) -> tuple[float, float]:
    """Two prices, near to each other as a price and its average are, now and then equal."""
    first = random_situations.amount(chance)
    near = chance.choice((0.003, 0.01, 0.03, 0.1, 0.5))
    second = float(format_price(max(0.01, first * (1 + chance.gauss(0, near)))))
    return first, first if chance.random() < 0.03 else second


def _compare(chance: Random, language: Language) -> str:
    a, b = _pair(chance)
    left, right = chance.sample(_NAMES, 2)
    if language == "th":
        word = "เท่ากับ" if a == b else "สูงกว่า" if a > b else "ต่ำกว่า"
        return chance.choice(
            (
                f"{left} {format_price(a)} {word} {right} {format_price(b)}",
                f"{format_price(a)} {'=' if a == b else '>' if a > b else '<'} {format_price(b)} "
                f"ดังนั้น {left} {word} {right}",
                f"ระหว่าง {format_price(a)} กับ {format_price(b)} ค่าที่มากกว่าคือ "
                f"{format_price(max(a, b))}",
            )
        )
    word = "equal to" if a == b else "above" if a > b else "below"
    return chance.choice(
        (
            f"{left} {format_price(a)} is {word} {right} {format_price(b)}.",
            f"{left}: {format_price(a)}\n{right}: {format_price(b)}\n{left} is {word} {right}.",
            f"{format_price(a)} {'=' if a == b else '>' if a > b else '<'} {format_price(b)}, so "
            f"{left} is {word} {right}.",
            f"Which is larger, {format_price(a)} or {format_price(b)}? {format_price(max(a, b))}.",
            f"Which is smaller, {format_price(a)} or {format_price(b)}? {format_price(min(a, b))}.",
            f"Is {format_price(a)} more than {format_price(b)}? {'Yes' if a > b else 'No'}.",
        )
    )


def _away(chance: Random, language: Language) -> str:
    """The sign in brackets says the side; its number is the distance."""
    a, b = _pair(chance)
    left, right = chance.sample(_NAMES, 2)
    signed, size = format_percent(a, b), format_percent(a, b).lstrip("+-")
    line = f"{right}: {format_price(b)} ({signed})"
    if language == "th":
        side = "สูงกว่า" if a > b else "ต่ำกว่า"
        return chance.choice(
            (
                f"{left}: {format_price(a)}\n{line}\n{left} {format_price(a)} {side} {right} "
                f"{format_price(b)} อยู่ {size}",
                f"ซื้อ {format_price(b)} ขาย {format_price(a)} ({signed}) "
                f"{'กำไร' if a > b else 'ขาดทุน'} {size}",
            )
        )
    side = "above" if a > b else "below"
    return chance.choice(
        (
            f"{left}: {format_price(a)}\n{line}\n{left} {format_price(a)} is {size} {side} {right} "
            f"{format_price(b)}.",
            f"Paid {format_price(b)}, received {format_price(a)} ({signed}): a "
            f"{'gain' if a > b else 'loss'} of {size}.",
            f"Return: {signed}\nIt {'gained' if a > b else 'lost'} {size}.",
            f"{signed} means {side}: {format_price(a)} is {size} {side} {format_price(b)}.",
        )
    )


def _signed(chance: Random, language: Language) -> str:
    a, b = round(chance.gauss(0, 2), 2) + 0.0, round(chance.gauss(0, 2), 2) + 0.0
    line = f"MACD: {a:.2f}, signal {b:.2f} ({a - b:+.2f})"
    if language == "th":
        return f"{line}\nMACD {a:.2f} {'สูงกว่า' if a > b else 'ต่ำกว่า'}เส้นสัญญาณ {b:.2f}"
    return chance.choice(
        (
            f"{line}\nMACD {a:.2f} is {'above' if a > b else 'below'} its signal {b:.2f}.",
            f"{a:.2f} minus {b:.2f} is {a - b:.2f}, which is "
            f"{'positive' if a > b else 'not positive'}.",
            f"On the number line {min(a, b):.2f} comes before {max(a, b):.2f}.",
        )
    )


def _threshold(chance: Random, language: Language) -> str:
    value = round(
        chance.choice((chance.uniform(2, 98), chance.gauss(30, 6), chance.gauss(70, 6))), 1
    )
    value = min(98.0, max(2.0, value))
    if language == "th":
        zone = "สูงกว่า 70" if value > 70 else "ต่ำกว่า 30" if value < 30 else "ระหว่าง 30 ถึง 70"
        return chance.choice(
            (f"RSI14: {value:.1f}\nค่า {value:.1f} {zone}", f"RSI14 {value:.1f} {zone}")
        )
    zone = "above 70" if value > 70 else "below 30" if value < 30 else "between 30 and 70"
    return chance.choice(
        (
            f"RSI14: {value:.1f}\nRSI14 is {zone}.",
            f"{value:.1f} is {zone}.",
            f"RSI14 {value:.1f}: {zone}.",
            f"Is {value:.1f} above 70? {'Yes' if value > 70 else 'No'}. Is it below 30? "
            f"{'Yes' if value < 30 else 'No'}.",
        )
    )


def _table(chance: Random, language: Language) -> str:
    """A few lines, then some of their values again, by name."""
    names = chance.sample(_FIELDS, chance.randint(3, 7))
    values = [
        chance.choice(
            (
                format_price(random_situations.amount(chance)),
                f"{chance.uniform(0, 100):.1f}",
                str(chance.randint(1, 900)),
            )
        )
        for _ in names
    ]
    lines = "\n".join(f"{name}: {value}" for name, value in zip(names, values, strict=True))
    asked = chance.sample(range(len(names)), chance.randint(1, 3))
    readings = (
        chance.choice(
            (
                f"{names[i]} คือ {values[i]}" if language == "th" else f"{names[i]} is {values[i]}.",
                f"{names[i]} = {values[i]}",
                f"{'ค่าของ' if language == 'th' else 'The value of'} {names[i]}: {values[i]}",
            )
        )
        for i in asked
    )
    return lines + "\n" + "\n".join(readings)


def _copy(chance: Random, language: Language) -> str:
    """Any string of signs, told again."""
    kind = chance.random()
    if kind < 0.3:
        text = "".join(chance.choices(string.ascii_uppercase, k=chance.randint(2, 7)))
    elif kind < 0.5:
        text = " ".join(random_situations.ticker(chance) for _ in range(chance.randint(1, 4)))
    elif kind < 0.7:
        text = " ".join(
            format_price(random_situations.amount(chance)) for _ in range(chance.randint(1, 4))
        )
    else:
        text = " ".join(chance.choices(_WORDS, k=chance.randint(2, 5)))
    return chance.choice(
        (
            f"- {text} -> {text}",
            f"{'ทวน' if language == 'th' else 'Repeat'}: {text}\n- {text}",
            f"- {text} = {text}",
        )
    )


def _tickers(chance: Random, language: Language) -> str:
    """A few lines by ticker, then some of them again: by ticker, by value, by place."""
    names = list(
        dict.fromkeys(random_situations.ticker(chance) for _ in range(chance.randint(2, 6)))
    )
    values = [f"{chance.uniform(1, 95):.1f}%" for _ in names]
    if chance.random() < 0.5:
        prices = [_pair(chance) for _ in names]
        lines = [
            f"- {name}: {value}, {format_price(b)} to {format_price(a)} ({format_percent(a, b)})"
            for name, value, (a, b) in zip(names, values, prices, strict=True)
        ]
        values = chance.choice((values, [format_percent(a, b) for a, b in prices]))
    else:
        lines = [f"- {name}: {value}" for name, value in zip(names, values, strict=True)]
    drawn = chance.randrange(len(names))
    if language == "th":
        asks = (
            f"- {names[drawn]} คือ {values[drawn]}",
            f"{values[drawn]} คือ {names[drawn]}",
            f"ตัวแรกคือ {names[0]} {values[0]} ตัวสุดท้ายคือ {names[-1]} {values[-1]}",
            f"- {names[0]} อยู่บนสุด {values[0]}",
        )
    else:
        asks = (
            f"- {names[drawn]} is {values[drawn]}.",
            f"{values[drawn]} is {names[drawn]}.",
            f"First is {names[0]} {values[0]}, last is {names[-1]} {values[-1]}.",
            f"- {names[0]} comes first, {values[0]}.",
        )
    return "\n".join([*lines, *chance.sample(asks, chance.randint(1, 3))])


def repeats(chance: Random, _: Language) -> str:
    """Lines of letters, each twice.

    Nothing but copying predicts the second: the shortest way to a model that looks for what stood
    before the same letters, and goes on as it went on there (induction heads, Olsson et al. 2022).
    """
    lines = (
        "".join(chance.choices(string.ascii_uppercase, k=chance.randint(6, 16)))
        if chance.random() < 0.5
        else " ".join(random_situations.ticker(chance) for _ in range(chance.randint(2, 5)))
        for _ in range(chance.randint(4, 10))
    )
    return "\n".join(f"- {line}\n- {line}" for line in lines)


def signed_table(chance: Random, language: Language) -> str:
    """Lines with signed values, then some of them again, to the sign, and a word for it.

    The signs are drawn, so that no number leads to them: they can only be copied. A model learns
    that late, since they are few among the digits.
    """
    return "\n\n".join(_signed_lines(chance, language) for _ in range(chance.randint(1, 3)))


def _signed_lines(chance: Random, language: Language) -> str:
    count = chance.randint(2, 7)
    fields = chance.random() < 0.6
    names = (
        chance.sample(_FIELDS, count)
        if fields
        else list(dict.fromkeys(random_situations.ticker(chance) for _ in range(count)))
    )
    mark = "" if fields and chance.random() < 0.5 else "- "
    pair = chance.choice(_PAIRS[language])
    drawn = [_signed_value(chance, pair) for _ in names]
    lines = [f"{mark}{name}: {value}" for name, (value, _) in zip(names, drawn, strict=True)]
    again = [
        (f"{name} {value}", f": {chance.choice(_SIGN_WORDS[language])[sign == '-']}")
        for name, (value, sign) in zip(names, drawn, strict=True)
    ]
    if chance.random() < 0.6:
        again = chance.sample(again, chance.randint(1, len(again)))
    worded = chance.random() < 0.6
    readings = (f"{mark}{line}{word if worded else ''}" for line, word in again)
    return "\n".join([*lines, "", *readings])


def _signed_value(chance: Random, pair: str) -> tuple[str, str]:
    """A value with a sign in it, and that sign."""
    sign, kind = chance.choice("+-"), chance.random()
    percent = f"{sign}{abs(chance.gauss(0, 6)):.1f}%"
    if kind < 0.4:
        return f"{format_price(random_situations.amount(chance))} ({percent})", sign
    if kind < 0.55:
        return percent, sign
    if kind < 0.7:
        first, last = _pair(chance)
        return f"{format_price(first)} to {format_price(last)} ({percent})", sign
    a, b = round(chance.gauss(0, 4), 2) + 0.0, round(chance.gauss(0, 4), 2) + 0.0
    return f"{a:.2f}, {pair} {b:.2f} ({sign}{abs(chance.gauss(0, 1.5)):.2f})", sign


_PAIRS: dict[Language, tuple[str, ...]] = {
    "en": ("signal", "signal", "average", "low", "second"),
    "th": ("signal", "signal", "เฉลี่ย", "ต่ำสุด"),
}
"""What the second number of a line is called."""
_SIGN_WORDS: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (("above", "below"), ("plus", "minus"), ("a gain", "a loss"), ("up", "down")),
    "th": (("สูงกว่า", "ต่ำกว่า"), ("บวก", "ลบ"), ("กำไร", "ขาดทุน"), ("ขึ้น", "ลง")),
}


def _sorted(chance: Random, language: Language) -> str:
    first = random_situations.amount(chance)
    values = [
        float(format_price(first * (1 + chance.gauss(0, 0.1)))) for _ in range(chance.randint(3, 5))
    ]
    listed, ordered = (
        ", ".join(map(format_price, values)),
        ", ".join(map(format_price, sorted(values))),
    )
    if language == "th":
        return f"เรียง {listed} จากน้อยไปมาก: {ordered} ค่าสูงสุดคือ {format_price(max(values))}"
    return (
        f"From low to high, {listed} becomes {ordered}. The highest is {format_price(max(values))}."
    )


def _share(chance: Random, language: Language) -> str:
    whole = random_situations.amount(chance)
    part = float(format_price(max(0.01, whole * chance.uniform(0.005, 0.06))))
    share = format_ratio(part, whole)
    line = f"{chance.choice(_FIELDS)}: {format_price(part)} ({share})"
    if language == "th":
        return f"{line}\n{format_price(part)} คิดเป็น {share} ของ {format_price(whole)}"
    return f"{line}\n{format_price(part)} is {share} of {format_price(whole)}."


def _sum(chance: Random, language: Language) -> str:
    a, b = chance.randint(0, 99), chance.randint(0, 99)
    plus = chance.random() < 0.5
    value = a + b if plus else a - b
    if language == "th":
        return f"{a} {'บวก' if plus else 'ลบ'} {b} เท่ากับ {value}"
    return f"{a} {'plus' if plus else 'minus'} {b} is {value}."


def _dates(chance: Random, language: Language) -> str:
    first = date.fromisoformat(random_situations.day(chance))
    days = chance.randint(1, 60)
    second = first + timedelta(days=days)
    if language == "th":
        return chance.choice(
            (
                f"จาก {first} ถึง {second} คือ {days} วัน",
                f"{second} มาหลัง {first}",
                f"วันที่ {first} อยู่ในปี {first.year}",
            )
        )
    return chance.choice(
        (
            f"From {first} to {second} it is {days} days.",
            f"{second} comes after {first}.",
            f"{first} is a {first:%A} in {first:%B} {first.year}.",
        )
    )


_KINDS: tuple[Callable[[Random, Language], str], ...] = (
    *(_compare, _compare, _compare, _away, _away, _away, _signed, _signed, _threshold, _threshold),
    *(_table, _table, _tickers, _tickers, _tickers, _copy, _copy, _sorted, _share, _sum, _dates),
)
"""What is drilled; a kind that stands here more often is drilled more often."""
