"""A second checker of sentences about a situation, written from the sentences' meaning alone.

It shares no code with `stock_llm/skills/`, so that both can be compared: `benchmarks/checker_agreement.py`. False is what states
a wrong number, side, distance, zone or trend; rounding is right. After "if" or "when" only numbers are checked.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from stock_llm.market.situation import Situation

NAMES = {
    "band_high": r"(?:upper|higher) (?:bollinger )?band|(?:แถบ|ขอบ|กรอบ)บน",
    "band_low": r"lower (?:bollinger )?band|(?:แถบ|ขอบ|กรอบ)ล่าง",
    "sma20": r"sma[\s-]?20\b|(?:middle|mid) (?:bollinger )?band|แถบกลาง",
    "sma50": r"sma[\s-]?50\b",
    "bands": r"(?:bollinger )?bands?\b|(?:แถบ|กรอบ)(?:ราคา|โบลลินเจอร์)?",
    "rsi14": r"rsi(?:[\s-]?\(?14\)?(?![\d.]*\d)|(?!-?\d))",
    "macd_signal": r"(?:macd )?signal(?: line)?(?: of (?:the )?macd)?|(?:เส้น)?สัญญาณ(?!ซื้อ|ขาย)(?:\s?ของ\s?macd)?",
    "macd": r"macd(?: line)?",
    "atr14": r"atr(?:[\s-]?\(?14\)?(?![\d.]*\d)|(?!-?\d))",
    "unknown": r"(?:sma|rsi|atr)[-+]?\d+",
    "volume": r"(?:trading )?volume|(?:ปริมาณ|วอลุ่ม)(?:การ)?(?:ซื้อขาย)?",
    "support": r"support|แนวรับ",
    "resistance": r"resistance|แนวต้าน",
    "stop": r"stop(?:[ -]?loss)?|(?:จุด)?ตัดขาดทุน",
    "average": r"(?<!moving )average|ค่าเฉลี่ย(?!เคลื่อนที่)",
    "close": r"\b(?:close|closing price|price|last price)\b(?! to\b)|ราคา(?:ปิด|ล่าสุด)?",
}
RELATIONS = {
    "above": r"above|\bover\b|(?:higher|greater|more) than|exceeds|สูงกว่า|เหนือ|มากกว่า|เกิน",
    "below": r"below|\bunder\b|beneath|(?:lower|less) than|ต่ำกว่า|ใต้|น้อยกว่า",
    "inside": r"inside|within|between|ภายใน|อยู่ใน|ระหว่าง",
    "level": r"\b(?:is|are) (?:at|equal to)\b|\bequals\b|เท่ากับ",
    "away": r"away from|\baway\b|(?<=[%\d]\s)from\b|ห่าง(?:จาก)?",
}
ZONES = {
    "overbought": r"overbought|ซื้อมาก(?:เกินไป|เกิน)?",
    "oversold": r"oversold|ขายมาก(?:เกินไป|เกิน)?",
    "neutral": r"neutral|เป็นกลาง",
}
NUMBER = r"(?<![A-Za-z\d.,])(?:(?<![\d%])[+\-−])?\.?\d(?:[\d.,]*\d)?(?!\d*[-\s]?(?:day|session|วัน))"
UNIT = r"\s?(?:(?P<share>%\s?(?:of|ของ))|(?P<percent>%|percent|เปอร์เซ็นต์)|(?P<times>x\b|×|times|เท่า(?!กับ))|(?P<part>of\b|ของ))"  # fmt: skip
KINDS = {key: kind for kind, keys in {"zone": ZONES, "name": NAMES, "relation": RELATIONS}.items() for key in keys}  # fmt: skip
TOKEN = re.compile(
    rf"\d{{4}}-\d\d-\d\d|(?P<number>{NUMBER})(?:{UNIT})?|"
    + "|".join(f"(?P<{key}>{(ZONES | NAMES | RELATIONS)[key]})" for key in KINDS),
    re.I,
)
CONDITION = re.compile(r"\b(if|when|once|unless|until)\b|\ba close (above|below)|หาก|ถ้า|เมื่อ(?!เทียบ)|จนกว่า|$", re.I)  # fmt: skip
NOT = re.compile(r"(?:\bnot|n't|ไม่(?:ได้)?(?:อยู่)?)\s*(?:in |at |yet )?$", re.I)
AND = re.compile(r"\band\b|และ|กับ", re.I)
TREND = re.compile(r"(?:\btrend|แนวโน้ม)(?:\s|:|is\b|เป็น|ของราคา)*(up|down|sideways|(?:ขา)?ขึ้น|(?:ขา)?ลง|ออกข้าง|ไซด์เวย์)|\b(up|down)-?trend", re.I)  # fmt: skip
GARBLED = re.compile(r"\d\.\s?%|%\s?[\d%]|(?<![\d.,-])0\d")
PRICES = ("sma20", "sma50", "support", "resistance", "band_low", "band_high")


@dataclass
class Token:
    """A name or zone with the numbers behind it, a relation, or a number (its kind is its unit)."""

    kind: str
    text: str
    start: int
    end: int
    numbers: list[str] = field(default_factory=list)


NOTHING = Token("", "", 0, 0)


def false_sentences(answer_text: str, situation: Situation) -> list[str]:
    """The sentences of an answer that say something untrue."""
    return [each for each in sentences_of(answer_text) if judge(each, situation) is False]


def sentences_of(answer_text: str) -> list[str]:
    """The sentences of an answer; a line may be several."""
    lines = (line.strip().removeprefix("- ") for line in answer_text.splitlines())
    return [part for line in lines for part in re.split(r"(?<=[.;!?])\s+", line) if part]


def judge(sentence: str, situation: Situation) -> bool | None:
    """Whether a sentence is true; None where it states nothing that the situation decides."""
    truths = list(_truths(sentence, situation))
    garbled = GARBLED.search(sentence) or not all(_in_place(sentence, situation))
    return False if garbled or not all(truths) else True if truths else None


def _in_place(sentence: str, situation: Situation) -> Iterator[bool]:
    """Whether each unit stands where there is such; that alone makes no sentence true."""
    return _units(sentence, _tokens(sentence), situation)


def _truths(sentence: str, situation: Situation) -> Iterator[bool]:
    """Whether each thing that the sentence states is true."""
    trend = TREND.search(sentence)
    if trend and situation.sma50 == situation.sma50:
        word = (trend[1] or trend[2]).lower().removeprefix("ขา")
        said = {"up": "UP", "ขึ้น": "UP", "down": "DOWN", "ลง": "DOWN"}.get(word, "SIDEWAYS")
        yield said == situation.trend
    shown = {name: getattr(situation, name) for name in NAMES if hasattr(situation, name)}
    known = {name: [value] for name, value in shown.items() if value == value}
    known |= {"overbought": [70.0], "oversold": [30.0], "neutral": [30.0, 70.0]}
    known |= {"unknown": [float("nan")]}
    if "band_low" in known:
        known |= {"bands": [situation.band_low, situation.band_high]}
    tokens = _tokens(sentence)
    known |= {each.text: [_number(each.numbers[0])] for each in tokens if each.text == "stop" and each.numbers}  # fmt: skip
    yield from _numbers(tokens, known)
    yield from _relations(sentence, tokens, known | {"average": [1.0]})


def _tokens(sentence: str) -> list[Token]:
    tokens: list[Token] = []
    for match in TOKEN.finditer(sentence):
        key, last = match.lastgroup or "", tokens[-1] if tokens else NOTHING
        room = 2 if last.text == "bands" or last.kind == "zone" else last.kind == "name"
        unit = "times" if last.text == "volume" else "number"
        if key == unit and len(last.numbers) < room:
            last.numbers.append(match["number"])
            last.end = match.end()
        elif key:
            tokens.append(Token(KINDS.get(key, key), match["number"] or key, *match.span()))
    return tokens


def _numbers(tokens: list[Token], known: dict[str, list[float]]) -> Iterator[bool]:
    """Checks numbers behind names, and the percentage behind a price, as in `SMA50 97.80 (-4.2%)`."""
    for index, token in enumerate(tokens):
        then, second = [*tokens[index + 1 : index + 3], NOTHING, NOTHING][:2]
        values = known.get(token.text, []) + known.get("rsi14", []) * (token.kind == "zone")
        if then.kind == "relation" and values and second.text in known:
            values = [*values, abs(values[0] - known[second.text][0])]  # "MACD is 0.82 above its"
        if values and token.numbers:
            yield all(any(_same(each, value) for value in values) for each in token.numbers)
            yield len(set(token.numbers)) == len(token.numbers)
        related = second.kind == "relation" or (index and tokens[index - 1].kind == "relation")
        if (
            then.kind == "percent"
            and token.numbers
            and not related
            and values
            and token.text in (*PRICES, "atr14")
            and "close" in known
        ):
            ratio = values[0] / known["close"][0]
            gaps = [1 / ratio - 1, ratio - 1] if token.text in PRICES else [ratio]
            yield any(_distance(then.text, 100 * gap) for gap in gaps)


def _units(sentence: str, tokens: list[Token], situation: Situation) -> Iterator[bool]:
    """Checks that percentages, multiples and MACD's difference stand where there are such."""
    for before, token, then in zip([NOTHING, *tokens], tokens, tokens[1:], strict=False):
        priced = token.text in (*PRICES, "atr14", "close", "unknown", "average")
        if token.kind == "name" and then.kind == "percent":
            following = next((each for each in tokens if each.start >= then.end), NOTHING)
            measured = (priced and following.kind in ("relation", "share")) or token.text == "stop"
            measured = measured or (
                priced and before.kind == "relation" and tokens[0].text != "stop"
            )
            bound = token.text == "bands" and len(token.numbers) == 1
            bare = not token.numbers and _follows(sentence, token, then)
            yield not (bound or (bare and not measured))
        if token.text == "volume" and then.kind == "number" and not token.numbers:
            yield not _follows(sentence, token, then) or _same(then.text, situation.volume)
        if then.kind == "times" and token.kind == "name":
            yield token.text in ("volume", "average") and len(token.numbers) == 0
        if token.text == "macd_signal" and then.kind == "number" and token.numbers:
            gap = situation.macd - situation.macd_signal
            written = sentence[token.end : then.start].strip() == "("
            yield not written or (_same(then.text, gap) and (then.text[0] in "+-−" or gap == 0))
    names = {token.text for token in tokens if token.kind == "name"}
    if names and names <= {"rsi14", "macd", "macd_signal"}:
        yield not any(token.kind == "percent" for token in tokens)


def _follows(sentence: str, token: Token, then: Token) -> bool:
    """Whether a number comes right behind a name, as its value would."""
    return (
        re.fullmatch(r"\s*(?:is|at|=|:|เป็น|อยู่ที่)?\s*", sentence[token.end : then.start]) is not None
    )


def _relations(sentence: str, tokens: list[Token], known: dict[str, list[float]]) -> Iterator[bool]:
    """Yields nothing for a side of two values that are shown as equal: rounding hides it.

    Checks `A is above B`, `A is p% below B`, `A is p% of B`, `A is between B and C`, `RSI is overbought`."""
    limit = next(CONDITION.finditer(sentence)).start()  # behind it, sides are conditions
    named = [token.text for token in tokens]
    rsi = known["rsi14"][0] if "rsi14" in named and "rsi14" in known else None
    subjects: list[str] = []
    unread = 0  # tokens before this one are objects of a relation
    for index, token in enumerate(tokens):
        before, after = tokens[index - 1] if index else NOTHING, tokens[index + 1 :]
        right = not NOT.search(sentence[: token.start])
        if token.kind == "name" and index >= unread:
            joined = before.kind == "name" and AND.search(sentence[before.end : token.start])
            subjects = [*subjects, token.text] if joined and index > unread else [token.text]
        elif token.kind == "zone" and rsi and token.start < limit and before.kind != "relation":
            zones = {"overbought": rsi > 70, "oversold": rsi < 30, "neutral": 30 <= rsi <= 70}
            yield zones[token.text] == right
        elif token.kind in ("share", "part") and before.kind != "relation" and after[:1]:
            unread = index + 2
            for whole in known.get(after[0].text, []):
                parts = [known[name][0] for name in subjects if name in known]
                unit = 100 if token.kind == "share" else 1
                yield all(_same(token.text, unit * part / whole) for part in parts)
        elif token.kind == "relation":
            objects = _objects(sentence, token, after)
            unread = index + 1 + len(objects)
            rest = tokens[unread : unread + 2]
            behind = rest[0] if rest and rest[-1].kind != "relation" else NOTHING
            amount = before if before.kind in ("percent", "number") else behind
            ranges = [known.get(each.text, [_number(each.text)] * (each.kind == "number")) for each in objects]  # fmt: skip
            if not objects and amount.kind == "percent" and "close" not in subjects:
                ranges = [known.get("close", [])]
            for value in (known[name][0] for name in subjects if name in known):
                equal = token.text in ("above", "below") and all([value] == each for each in ranges)
                if ranges and all(ranges) and token.start < limit and not equal:
                    yield _related(value, token.text, ranges, amount) == right


def _objects(sentence: str, relation: Token, after: list[Token]) -> list[Token]:
    """What a relation is to: the next name, zone or number; two that span a range or that "and" joins."""
    things = [each for each in after[:2] if each.kind in ("name", "zone", "number")]
    if not things or things[0] is not after[0]:
        return []
    if re.search("[,:]", sentence[relation.end : after[0].start]):
        return []
    joined = AND.search(sentence[after[0].end : things[-1].start]) and len(after) == 2
    spans = relation.text == "inside" and after[0].text != "bands"
    return things if spans or joined else after[:1]


def _related(value: float, relation: str, ranges: list[list[float]], amount: Token) -> bool:
    """Whether a value has this relation to all the ranges, at this distance if one is stated."""
    if any(edge != edge for each in ranges for edge in each):
        return False  # of an average that there is not
    if relation == "level":
        return any(abs(value - edge) < 1e-9 for each in ranges for edge in each)
    if relation == "inside":
        lowest, highest = min(map(min, ranges)), max(map(max, ranges))
        return sum(map(len, ranges)) == 1 or lowest <= value <= highest
    for edge in (max(each) if relation == "above" else min(each) for each in ranges):
        gaps = [value - edge]
        if amount.kind == "percent" and value and edge:
            gaps = [100 * (value / edge - 1), 100 * (edge / value - 1)][: 1 + (relation == "away")]
        stated = amount.kind in ("percent", "number")
        wrong = value <= edge if relation == "above" else value >= edge
        if wrong and relation != "away" and not (stated and value == edge):
            return False
        if stated and not any(_distance(amount.text, gap) for gap in gaps):
            return False
    return True


def _number(text: str) -> float:
    """Not a number for digits like 93.67.1, which equals nothing."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text).replace("−", "-")
    return float(text) if re.fullmatch(r"[+-]?(\d+|\d*\.\d+)", text) else float("nan")


def _same(stated: str, value: float) -> bool:
    """Whether a stated number is the value, rounded to the digits that are stated."""
    return abs(_number(stated) - value) <= 0.5 * 10 ** -len(stated.partition(".")[2]) + 1e-9


def _distance(stated: str, gap: float) -> bool:
    """Whether a stated distance is the gap; one without a sign is that of either side."""
    return _same(stated, gap if stated[0] in "+-−" else abs(gap))
