"""The second checker on whole answers: it reads the numbers that a question ends with, and judges what an answer says of them.

Written from the sentences' meaning alone, as `second_checker.py`, which judges a stock's; here stand trades, portfolios, and what the
textbook says of a reading. It shares no code with `stock_llm/skills/` and `stock_llm/truth/`. Used by `benchmarks/shown_truth.py`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan

from fakes.second_checker import judge as judge_of_stock
from fakes.second_checker import sentences_of

from stock_llm.market.situation import Situation

FIGURE = r"[+\-−]?\d[\d,]*(?:\.\d+)?"
NO_STATEMENT = re.compile(
    r"(?:Insights|Risks|ข้อสังเกต|ความเสี่ยง):?|Not investment advice\.|ไม่ใช่คำแนะนำการลงทุน"
    r"|(?:Recommendation|Confidence|คำแนะนำ|ความมั่นใจ):.*"
)
"""Lines that say nothing of the numbers: headings, the disclaimer, what is recommended."""

GAIN, LOSS = r"\bgain(?:ed|s)?\b|\bprofit|กำไร", r"\bloss\b|\blost\b|\blos(?:es|ing)\b|ขาดทุน"
RESULT = re.compile(rf"(?P<no>\bnot (?:a )?|\bno |ไม่)?(?:(?P<gain>{GAIN})|(?P<loss>{LOSS}))", re.I)
RETURN = re.compile(r"\breturn|ผลตอบแทน", re.I)
DAYS = re.compile(r"(\d+)\s?(?:days?\b|วัน)", re.I)
WITH = re.compile(r"(?P<no>\bnot |ไม่)?(?:ได้|ซื้อ|bought )*(?:(?P<with>with the trend|ตามแนวโน้ม)|(?P<against>against the trend|สวนแนวโน้ม))", re.I)  # fmt: skip
READINGS = r"OVERBOUGHT|OVERSOLD|NEUTRAL|BULLISH|BEARISH|HIGH|LOW"
MEANINGS = {
    r"buyers (?:may|might|could) be exhausted|แรงซื้ออาจเริ่มหมด": "OVERBOUGHT",
    r"sellers (?:may|might|could) be exhausted|แรงขายอาจเริ่มหมด": "OVERSOLD",
    r"upward momentum|แรงขึ้น": "BULLISH",
    r"downward momentum|แรงลง": "BEARISH",
    r"many more shares than usual|มากกว่าปกติ": "HIGH",
    r"(?:far|many) fewer shares than usual|น้อยกว่าปกติ": "LOW",
    r"points neither way|ยังไม่บอกทิศทาง|about as busy as usual|ซื้อขายตามปกติ": "NEUTRAL",
}


@dataclass(frozen=True)
class Judged:
    """A sentence, and whether it is true; None where that cannot be decided."""

    sentence: str
    true: bool | None


def judge_answer(answer: str, question: str) -> list[Judged]:
    """The sentences of an answer to a question that ends with numbers, headings left out."""
    block = question.strip().rpartition("\n\n")[2]
    lines = [line.strip() for line in answer.splitlines()]
    said = [line for line in lines if line and not NO_STATEMENT.fullmatch(line)]
    copied = {line.strip().removeprefix("- ") for line in block.splitlines()}
    judge = _judge_for(block)
    return [
        Judged(sentence, True if sentence in copied else judge(sentence))
        for line in said
        for sentence in sentences_of(line)
    ]


def _judge_for(block: str):
    lines = dict(line.partition(": ")[::2] for line in block.splitlines() if ": " in line)
    if "Portfolio" in lines:
        return _PortfolioJudge(block, lines).judge
    if "Bought" in lines:
        return _TradeJudge(lines).judge
    return _StockJudge(lines).judge


def _situation(lines: dict[str, str]) -> Situation:
    """What a stock's lines show; what they do not show is not a number."""

    def shown(line: str, index: int = 0) -> float:
        figures = re.findall(FIGURE, lines.get(line, ""))
        return float(figures[index].replace(",", "")) if index < len(figures) else nan

    return Situation(
        symbol=lines.get("Symbol", ""), as_of=lines.get("Date", ""), close=shown("Close"), sma20=shown("SMA20"),
        sma50=shown("SMA50"), rsi14=shown("RSI14"), macd=shown("MACD"), macd_signal=shown("MACD", 1), atr14=shown("ATR14"),
        band_low=shown("Bands"), band_high=shown("Bands", 1), volume=shown("Volume"), support=shown("Support"),
        resistance=shown("Resistance"),
    )  # fmt: skip


def _all(truths: Iterator[bool | None]) -> bool | None:
    """False if one is, else true if one is."""
    known = [truth for truth in truths if truth is not None]
    return all(known) if known else None


class _StockJudge:
    """Sentences about a stock, or about one of its indicators."""

    def __init__(self, lines: dict[str, str]):
        self._situation = _situation(lines)
        shown = [name for name in lines if name not in ("Symbol", "Date", "Close")]
        self._reading = _reading(shown[0], lines[shown[0]]) if len(shown) == 1 else ""

    def judge(self, sentence: str) -> bool | None:
        return _all(self._truths(sentence))

    def _truths(self, sentence: str) -> Iterator[bool | None]:
        if level := re.fullmatch(
            r"(?:Levels|ระดับราคา|ระดับ): (?:support|แนวรับ) (\S+), (?:resistance|แนวต้าน) (\S+)",
            sentence,
        ):
            low, high = float(level[1].replace(",", "")), float(level[2].replace(",", ""))
            yield (low, high) == (self._situation.support, self._situation.resistance)
            return
        known = judge_of_stock(sentence, self._situation)
        yield known
        unknown = known is None and re.search(r"\d", sentence)  # a figure of which nothing is known
        for is_right in self._readings(sentence):
            yield None if is_right and unknown else is_right

    def _readings(self, sentence: str) -> Iterator[bool]:
        """Whether each reading that is told is the indicator's, by its word or by what it means."""
        if not self._reading:
            return
        if told := re.match(rf"(?:(?:Reading|สัญญาณ): ?)?({READINGS})\b", sentence):
            yield told[1] == self._reading
        for words, reading in MEANINGS.items():
            if re.search(words, sentence, re.I):
                yield reading == self._reading


def _reading(name: str, line: str) -> str:
    """What the textbook reads from the line of an indicator."""
    if name == "MACD":
        macd, signal, *_ = map(float, re.findall(FIGURE, line))
        return "BULLISH" if macd > signal else "BEARISH"
    if name == "SMA50":
        return "BULLISH" if "(+" in line and "(+0.0%)" not in line else "BEARISH"
    word = line.rpartition(", ")[2]
    names = {"above": "OVERBOUGHT", "below": "OVERSOLD", "inside": "NEUTRAL", "normal": "NEUTRAL"}
    return names.get(word, word.upper())


def _results(sentence: str) -> list[bool]:
    """For each word of a gain or a loss whether it tells a gain."""
    return [bool(told["gain"]) != bool(told["no"]) for told in RESULT.finditer(sentence)]


class _TradeJudge:
    """Sentences about a closed trade."""

    def __init__(self, lines: dict[str, str]):
        entry = {"Symbol": lines["Symbol"], "Date": ""}
        entry |= {name.removeprefix("Entry "): value for name, value in lines.items() if name.startswith("Entry ")}  # fmt: skip
        self._entry = _situation(entry)
        self._change, self._days = lines["Return"], re.findall(r"\d+", lines["Held"])[0]
        bought, sold = (float(lines[name].split(" at ")[1].replace(",", "")) for name in ("Bought", "Sold"))  # fmt: skip
        self._gained = sold > bought

    def judge(self, sentence: str) -> bool | None:
        return _all(self._truths(sentence))

    def _truths(self, sentence: str) -> Iterator[bool | None]:
        results = _results(sentence)
        yield from (gained == self._gained for gained in results)
        told = RETURN.search(sentence) or results
        left = sentence
        if told:
            for figure in re.findall(rf"({FIGURE})\s?(?:%|percent|เปอร์เซ็นต์)", sentence):
                yield _is_change(figure, self._change, unsigned=bool(results))
            left = re.sub(rf"{FIGURE}\s?(?:%|percent|เปอร์เซ็นต์)", "", left)
        for days in DAYS.findall(sentence):
            yield days == self._days
        for way in WITH.finditer(sentence):
            follows = self._entry.close > self._entry.sma50
            yield (bool(way["with"]) != bool(way["no"])) == follows
        yield judge_of_stock(WITH.sub("", DAYS.sub("", left)), self._entry)


def _is_change(figure: str, change: str, unsigned: bool) -> bool:
    """Whether a figure in percent is a change as it is printed; without a sign where words tell it."""
    stated, printed = figure.replace("−", "-"), change.rstrip("%")
    if stated[0] not in "+-":
        if not unsigned:
            return False
        printed = printed.lstrip("+-")
    digits = len(stated.partition(".")[2])
    return abs(float(stated) - float(printed)) <= (0 if digits else 0.5) + 1e-9


class _PortfolioJudge:
    """Sentences about a portfolio. A figure belongs to the symbol before it; the first symbol may stand behind its rank."""

    RANK = re.compile(r"(?P<largest>largest(?! two)|biggest|(?<!สองตัว)ใหญ่ที่สุด)|(?P<best>\bbest\b|ดีที่สุด)|(?P<worst>\bworst\b|แย่ที่สุด)", re.I)  # fmt: skip
    TWO = re.compile(r"(?:largest two|two largest|top two|สองตัวใหญ่)[^\d;]*?([\d.]+)%", re.I)
    EQUAL = re.compile(r"([\d.]+)\s?(?:equal holdings|ตัวเท่า)", re.I)
    CONCENTRATION = re.compile(r"(?:Concentration|การกระจุกตัว): (\w+)")
    NO_SYMBOL = re.compile(r"(?:GAIN|LOSS|RSI\d*|SMA\d*|ATR\d*|MACD)\b")
    OUTCOME = re.compile(r"(?:Outcome|ผลลัพธ์): (\w+)")

    def __init__(self, block: str, lines: dict[str, str]):
        held = re.findall(
            rf"^- (\S+): ([\d.]+)%, ({FIGURE}) to ({FIGURE}) \((\S+)%\)$", block, re.M
        )
        self._held = {symbol: rest for symbol, *rest in held}
        self._lines, self._change = lines, lines["Return"]
        self._complete = "Others" not in lines
        self._weights = [float(rest[0]) for rest in self._held.values()]
        changes = [float(rest[3]) for rest in self._held.values()]
        self._ranks = {"largest": max(self._weights), "best": max(changes), "worst": min(changes)}

    def judge(self, sentence: str) -> bool | None:
        return _all(self._truths(sentence))

    def _truths(self, sentence: str) -> Iterator[bool | None]:
        equal, word = self._lines["Equal holdings"].split(", ")
        if told := self.CONCENTRATION.fullmatch(sentence):
            yield told[1].lower() == word
            return
        if two := self.TWO.search(sentence):
            yield two[1] == self._lines["Largest two"].rstrip("%")
            sentence = sentence[: two.start()] + sentence[two.end() :]
        if spread := self.EQUAL.search(sentence):
            yield spread[1] == equal
            sentence = sentence[: spread.start()] + sentence[spread.end() :]
        symbols = list(re.finditer(r"(?<![\w.])[A-Z][A-Z0-9]+\b\.?(?!\w)", self.OUTCOME.sub("", sentence)))  # fmt: skip
        symbols = [each for each in symbols if not self.NO_SYMBOL.match(each[0])]
        if not symbols:
            yield from self._of_whole(sentence)
        claims = RETURN.search(sentence) or self.RANK.search(sentence) or re.search(r"\d", sentence)
        for index, symbol in enumerate(symbols):
            name = symbol[0] if symbol[0] in self._held else symbol[0].rstrip(".")
            if name not in self._held:
                yield False if self._complete and claims else None
                continue
            end = symbols[index + 1].start() if index + 1 < len(symbols) else len(sentence)
            behind = sentence[symbol.end() : end]
            before = sentence[symbols[index - 1].end() if index else 0 : symbol.start()]
            yield from self._of_holding(name, before, behind, last=index + 1 == len(symbols))

    def _of_whole(self, sentence: str) -> Iterator[bool | None]:
        results = _results(sentence)
        if word := self.OUTCOME.fullmatch(sentence):
            results = [word[1] == "GAIN"]
        yield from (gained == self._change.startswith("+") for gained in results)
        if RETURN.search(sentence) or results:
            for figure in re.findall(rf"({FIGURE})\s?%", sentence):
                yield _is_change(figure, self._change, unsigned=bool(results))

    def _of_holding(self, name: str, before: str, behind: str, last: bool) -> Iterator[bool | None]:
        weight, cost, close, change = self._held[name]
        values = {"largest": float(weight), "best": float(change), "worst": float(change)}
        for rank in self.RANK.finditer(before):
            if re.fullmatch(r"(?:\s|:|is|holding|คือ|ตัว)*", before[rank.end() :]):
                yield values[rank.lastgroup or ""] == self._ranks[rank.lastgroup or ""]
        for rank in self.RANK.finditer(behind):
            between = behind[rank.end() :]
            ahead = not last and re.fullmatch(r"(?:\s|:|is|holding|คือ|ตัว)*", between)
            if not ahead:
                yield values[rank.lastgroup or ""] == self._ranks[rank.lastgroup or ""]
        results = _results(behind)
        yield from (gained == (float(change) >= 0) for gained in results)
        for figure, percent, share in re.findall(rf"({FIGURE})(\s?%)?(\s*(?:of the value|ของมูลค่า))?", behind):  # fmt: skip
            if share:
                yield figure == weight
            elif percent and (figure[0] in "+-−" or results):
                yield _is_change(figure, change, unsigned=bool(results))
            elif percent:
                yield figure == weight
            else:
                yield float(figure.replace(",", "")) in (float(cost), float(close))
