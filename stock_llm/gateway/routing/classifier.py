"""Classifies a question by its words: type, complexity, urgency and language, where no caller says.

English and Thai. Rules only, microseconds, no model; benchmarks/estimate.py measures how often they
are right on benchmarks/questions.csv.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stock_llm.gateway.query import Privacy, Query, QueryType

CLASSIFIED_CHARACTERS = 600
"""Characters that are looked at: the beginning says what is wanted, the rest is data."""

QUOTED = re.compile(r"```.*?(?:```|$)|\"[^\"]*\"|“[^”]*”|'[^'\n]{12,}'", re.DOTALL)
"""What is quoted: material, not request."""

_THAI = re.compile(r"[\u0e00-\u0e7f]")
_LETTER = re.compile(r"[A-Za-z\u0e00-\u0e7f]")
_ENGLISH = re.compile(
    r"\b(?:the|this|that|what|how|is|are|does|do|to|in|into|of|for|from|with|and|my|me|please|now|say|would|you|i|write|explain)\b",
    re.I,
)


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_TRANSLATION = _any(
    r"\btranslat", r"\blocali[sz]e\b",
    r"\b(?:in|into|to) (?:formal |plain |natural |simple )?(?:thai|english)\b",
    r"\b(?:thai|english) (?:for|version|word)\b",
    r"\bmean in (?:thai|english)", r"\bhow would an? (?:thai|english)", r"แปล(?!ง|ก(?!ลับ))",
    r"ถอด(?:ประโยค|ความ|คำ)",
    r"ภาษา(?:ไทย|อังกฤษ)(?:คือ|ใช้|เรียก|พูด|ว่า|ก่อน)", r"เป็น(?:ภาษา)?(?:ไทย|อังกฤษ)",
    r"ฉบับภาษา", r"ภาษา(?:ไทย|อังกฤษ)$",
    r"ฝรั่งพูด", r"ซับไทย|ซับอังกฤษ",
)  # fmt: skip

_CODE = _any(
    r"```", r"\bdef \w+\(", r"\bpython\b", r"\bjavascript\b|\btypescript\b", r"\bsql\b",
    r"\brust\b", r"c\+\+",
    r"\bbash\b|\bshell script", r"\bregex|\bregular expression",
    r"\bfunction\b", r"\bcode\b|\bcoding\b", r"\bbug\b|\bdebug", r"\bscript\b",
    r"\bclass(?:es)?\b", r"\bcompile",
    r"\bdata ?frame\b|\bpandas\b|\bnumpy\b",
    r"\bpytest\b|\bunit tests?\b", r"\bdocker",
    r"\b(?:for|while) loop\b|\bmy loop\b|\blist comprehension\b", r"\bvariable\b",
    r"\basync(?:io)?\b|\bthread",
    r"\btype hints?\b|\bdataclass\b|\bdocstring\b", r"\bkeyword\b",
    r"(?<=\w)(?:error|exception)\b", r"\bimplement",
    r"\brefactor", r"\brace condition\b|\block-free\b",
    r"\b(?:http|websocket|api) (?:client|server|endpoint|call)\b|\bhandler\b|\bwebsocket\b",
    r"\bdjango\b|\bflask\b",
    r"\bquer(?:y|ies)\b|\bb-tree\b|\bdeploy",
    r"\btuples?\b|\bschema\b|\b(?:feature|key-value) store\b", r"สูตร excel",
    r"\bapi endpoint\b|\bstack trace\b|\bgit\b",
    r"\balgorithm\b|\bprogram\b",
    r"\bjava\b|\bgolang\b|\bhtml\b|\bcss\b|\bjson\b|\bcsv\b|\bnumpy\b|\bexcel formula\b",
    r"\b(?:array|tuple|dict(?:ionary)?|string|exception|decorator|method|pointer)\b",
    r"อัลกอริทึม|อัลกอริธึม|ฐานข้อมูล|คิวรี",
    r"ฟังก์ชัน(?!ความน่าจะเป็น)", r"โค้ด|โปรแกรม", r"บั๊ก|ดีบัก", r"สคริปต์", r"คอมไพเลอร์",
    r"คลาส", r"ลูป", r"ตัวแปร",
    r"เอนจิน",
)  # fmt: skip

_ANALYSIS = _any(
    r"\banaly[sz]e\b", r"\bportfolio\b|\bmy (?:[\w,]+ )*(?:positions?|holdings|stocks?|shares)\b",
    r"\boverbought\b|\boversold\b", r"\bsupport and resistance\b", r"\bbullish\b|\bbearish\b",
    r"\bbuy, hold or sell\b|\bhold or sell\b|\bshould i (?:buy|sell|hold)\b",
    r"\b(?:these|this) (?:candles|chart|trade|position)\b", r"\bstop and (?:a )?target\b",
    r"\bmargin call\b",
    r"\bregime|\bwhole market\b", r"\b(?:up|down)trend\b|\bbreakout\b",
    r"\bentry (?:point|price)\b",
    r"\b(?:stock|share)'?s? (?:trend|momentum|valuation)\b",
    r"^วิเคราะห์|ช่วยวิเคราะห์", r"พอร์ต", r"แนวรับแนวต้าน", r"ขาขึ้น|ขาลง",
    r"ควรซื้อ|ควรขาย|ซื้อ ถือ|ขายหรือถือ",
    r"ซื้อมากเกิน|ขายมากเกิน", r"(?:กราฟ|แท่ง)\S*นี้", r"การซื้อขายนี้", r"เรียกหลักประกัน",
    r"ทั้งตลาด",
)  # fmt: skip

_TICKER = re.compile(r"(?<![\w'/.])([A-Z]{3,6})(?='s\b|(?![\w'(/]))")
_NO_TICKER = re.compile(
    r"RSI|MACD|ATR|EMA|SMA|ADX|VWAP|OBV|SQL|CSV|JSON|HTML|HTTP|API|ISO|LLVM|GPU|CPU|ASAP|URGENT|USA|USD|EUR|THB|GDP|CPI|ETF|IPO|"
    r"CEO|CFO|ESG|FAQ|PDF|AND|NOT|THE"
)

_GENERAL = _any(
    r"^(?:hi|hello|thanks?|ok(?:ay)?|good morning)\b",
    r"^(?:please )?(?:explain|summari[sz]e|define)\b",
    r"^what (?:is|are) (?:a|an|the (?:difference|idea|meaning))\b",
    r"\bmean\?", r"^(?:who|why)\b", r"คืออะไร|หมายความว่า|ต่างกันอย่างไร|^ทำไม|^อธิบาย|^สรุป",
)  # fmt: skip

_SMALL_TALK = _any(
    r"^(?:hi|hello|hey|thanks?|thank you|ok(?:ay)?|good (?:morning|evening|night)|bye)\b",
    r"^(?:สวัสดี|ขอบคุณ|โอเค|อรุณสวัสดิ์)",
)

_AT_ONCE = _any(
    r"\burgent", r"\bimmediately\b", r"\bemergency\b", r"\basap\b", r"\bat once\b",
    r"\bthis (?:minute|instant|second)\b",
    r"\bhacked\b", r"นาทีนี้|ตอนนี้เลย|โดนแฮ็ก",
    r"\b(?:this|it|fix|out|fixed|account) right now\b|\bright now[,!]",
    r"^(?!what\b|how (?:much|many|is)\b).*\bnow[?!]",
    r"\b(?:production|system|site) is down\b", r"\bmargin call\b|\bwithin the hour\b",
    r"\bflash crash\b", r"ด่วน", r"ทันที",
    r"เดี๋ยวนี้", r"ฉุกเฉิน", r"ภายในหนึ่งชั่วโมง", r"^ระบบล่ม",
)  # fmt: skip
_SOON = _any(
    r"\bquick(?:ly)?\b",
    r"\bin (?:a|one|two|five|ten) minutes?\b",
    r"เร็วหน่อย|รีบหน่อย|เร็ว ๆ",
    r"(?:ภายใน|อีก)\S{1,6}นาที",
)
_TODAY = _any(
    r"\b(?:before|by) (?:noon|the close|lunch|tonight)\b", r"\btonight\b|คืนนี้|เที่ยงนี้",
    r"\bthis (?:morning|afternoon|evening)\b",
    r"\btoday,|\bby today\b|\btoday\b(?=.*\bneed)|\bneed\b.*\btoday\b",
    r"ก่อนเที่ยง|ก่อนตลาดปิด|ก่อนปิดตลาด", r"(?:เช้า|บ่าย|เย็น)นี้", r"ขอวันนี้|ภายในวันนี้",
)  # fmt: skip
_WHENEVER = _any(
    r"\bno (?:hurry|rush)\b",
    r"\bwhen(?:ever)? (?:you have time|convenient)\b",
    r"\bsome ?time\b",
    r"ไม่รีบ",
    r"ว่างเมื่อไร|มีเวลา",
    r"เมื่อไรก็ได้",
)

_PARTS = re.compile(r",|;| and | และ|กับ|พร้อม|(?<=[\u0e00-\u0e7f]) (?=[\u0e00-\u0e7f])")
"""What joins the parts of a request. Thai puts a space where English has a comma."""

_CONSTANT, _WORD, _PART, _MOST_PARTS = -1.57, 1.47, 0.53, 6
_KIND: Mapping[QueryType, float] = {
    "chat": 0.0,
    "translation": -0.56,
    "code": 0.23,
    "analysis": 0.18,
}
"""Complexity = constant + _WORD · log2(1 + words) + _PART · parts + kind: least squares on the
questions called "tuning"."""


@dataclass(frozen=True, slots=True)
class QueryClassification:
    """What the words of a text say about it."""

    type: QueryType
    complexity: int
    urgency: int
    language: str


def classify(text: str) -> QueryClassification:
    """Type, complexity, urgency (1 to 10) and language ("en" or "th") of a text."""
    read = text[:CLASSIFIED_CHARACTERS].strip()
    request = QUOTED.sub(" ", read)
    head, colon, tail = request.partition(":")
    head = head if colon and len(head) > 8 else request
    kind = _type(request, read)
    return QueryClassification(
        kind,
        _complexity(request, kind),
        _urgency(head, tail if head is not request else ""),
        _language(head, request),
    )


def complete_query(
    text: str,
    *,
    type: QueryType | None = None,
    complexity: int | None = None,
    urgency: int | None = None,
    language: str | None = None,
    data_length: int | None = None,
    privacy: Privacy = "any",
    model: str = "auto",
    feature: str = "chat",
    needs: frozenset[str] = frozenset(),
) -> Query:
    """A query with what the caller says, and guesses for the rest; `Query.estimated` names those.

    Args:
        text: the request in words; its length stands in for a `data_length` that nobody gives.
    """
    guessed = classify(text)
    missing = {"type": type, "complexity": complexity, "urgency": urgency, "language": language}
    return Query(
        type=type or guessed.type,
        complexity=guessed.complexity if complexity is None else complexity,
        urgency=guessed.urgency if urgency is None else urgency,
        language=language or guessed.language,
        data_length=len(text) if data_length is None else data_length,
        privacy=privacy,
        model=model,
        feature=feature,
        needs=needs,
        estimated=frozenset(name for name, given in missing.items() if given is None),
    )


def _type(request: str, read: str) -> QueryType:
    """Translation says so itself; code has its own words; an analysis has a symbol or speaks of
    what one holds."""
    words = request.lower()
    if _TRANSLATION.search(words):
        return "translation"
    if _CODE.search(read.lower()):
        return "code"
    symbol = any(not _NO_TICKER.fullmatch(word) for word in _TICKER.findall(request))
    if symbol or (_ANALYSIS.search(words) and not _GENERAL.search(words)):
        return "analysis"
    return "chat"


def _complexity(request: str, kind: QueryType) -> int:
    """How much is asked for, by length and number of parts: words that speak of hard work were
    tried and told less."""
    words = request.lower()
    if len(words) < 40 and _SMALL_TALK.search(words):
        return 1
    parts = min(len(_PARTS.findall(words)), _MOST_PARTS)
    return max(
        1,
        min(
            10,
            round(_CONSTANT + _WORD * math.log2(1 + _words(request)) + _PART * parts + _KIND[kind]),
        ),
    )


def _words(text: str) -> int:
    """English words, and Thai ones reckoned at five characters each: Thai is written without
    spaces."""
    return len(re.findall(r"[A-Za-z0-9_.%]+", text)) + len(_THAI.findall(text)) // 5


def _urgency(head: str, tail: str) -> int:
    """Words of haste, before the material that follows a colon; short lead-ins like "URGENT:" are
    no material."""
    words = (head if not tail or len(head) > 8 else f"{head} {tail}").lower()
    at_once = len(_AT_ONCE.findall(words))
    if at_once:
        return 10 if at_once > 1 else 9
    if _SOON.search(words):
        return 8
    if _TODAY.search(words):
        return 6
    return 2 if _WHENEVER.search(words) else 3


def _language(head: str, request: str) -> str:
    """The language that is asked in: a Thai word to be translated does not make a question Thai."""
    words = head if _LETTER.search(head) else request
    first = _LETTER.search(words)
    if not first or not _THAI.search(words):
        return "en"
    return "th" if _THAI.match(first.group()) or not _ENGLISH.search(words) else "en"
