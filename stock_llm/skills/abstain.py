"""Abstain: a question without the numbers that it needs gets one sentence that says which they are
and where they come from; small talk gets one on what the model is for."""

import json
import re
from dataclasses import dataclass
from importlib import resources

from stock_llm.evaluation.answers import DISCLAIMER, VERDICTS, Language
from stock_llm.evaluation.numbers_in_text import find_numbers
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of
from stock_llm.skills.statements import pieces

NAME = "abstain"

ANSWERS: dict[str, dict[Language, str]] = {
    "INDICATORS": {
        "en": "I need the stock's indicators below the question: stock-llm ask adds them for your "
        "symbols.",
        "th": "ต้องมีตัวชี้วัดของหุ้นต่อท้ายคำถาม คำสั่ง stock-llm ask จะใส่ให้สำหรับหุ้นของคุณ",
    },
    "LEDGER": {
        "en": "I need your positions or trades below the question: stock-llm ask adds them for "
        "your portfolio.",
        "th": "ต้องมีรายการที่ถืออยู่หรือการซื้อขายต่อท้ายคำถาม คำสั่ง stock-llm ask จะใส่ให้สำหรับพอร์ตของคุณ",
    },
    "TEXT": {
        "en": "I need the text that you mean below the question.",
        "th": "ต้องมีข้อความที่ถามถึงต่อท้ายคำถาม",
    },
    "PURPOSE": {
        "en": "I read the numbers of stocks, trades and portfolios: put some below a question, or "
        "use stock-llm ask.",
        "th": "ต้องมีตัวเลขของหุ้นหรือพอร์ตต่อท้ายคำถาม คำสั่ง stock-llm ask จะใส่ให้",
    },
}
"""What is missing → the sentence that says so; small talk misses nothing and gets the purpose."""


@dataclass(frozen=True)
class UnanswerableQuestion:
    """A question that nothing can be computed for.

    Attributes:
        missing: a key of `ANSWERS`.
    """

    text: str
    language: Language
    missing: str


def row(question: UnanswerableQuestion, ref: str) -> Row:
    """Builds one row; it is about no stock and no time."""
    return Row(
        skill=NAME,
        language=question.language,
        symbol="",
        as_of="",
        instruction=question.text,
        input="",
        output=ANSWERS[question.missing][question.language],
        source={"kind": "rule", "ref": ref},
        label=question.missing,
        label_from="",
        label_until="",
    )


FROZEN = "abstention_questions.jsonl"
"""In stock_llm/evaluation: 200 questions without numbers, written before any wording that is taught
by somebody who knew none of them. They are never trained on and never change."""

_FROZEN_KINDS = {"stock": "INDICATORS", "own": "LEDGER", "smalltalk": "PURPOSE"}


def frozen_rows() -> list[Row]:
    """The frozen questions."""
    text = resources.files("stock_llm.evaluation").joinpath(FROZEN).read_text(encoding="utf-8")
    return [
        row(
            UnanswerableQuestion(values["text"], values["language"], _FROZEN_KINDS[values["kind"]]),
            f"frozen {values['id']}",
        )
        for values in map(json.loads, text.splitlines())
    ]


_NAMED = {
    "INDICATORS": r"\b(?:indicators?|numbers?|figures|prices?|candles?|data)\b"
    r"|ตัวชี้วัด|ตัวเลข|ข้อมูล|ราคา",
    "LEDGER": r"\b(?:positions?|holdings?|portfolio|trades?|purchases?|sales?)\b"
    r"|ที่ถือ|พอร์ต|สถานะ|การซื้อขาย|รายการซื้อ|ราคาซื้อ",
    "TEXT": r"\b(?:text|article|news|headline)\b|ข้อความ|ข่าว",
}
"""What is missing → what it may be called."""
_NEED = re.compile(
    r"\bneed(?:s|ed)?\b|\bwithout\b|\bmissing\b|\black|\b(?:no|not)\b.{0,30}\b(?:given|have|see|"
    r"provided)\b|n[’']t (?:given|have|see)|\bhave no\b|\bplease (?:give|add|send|paste|provide)\b"
    r"|ต้อง(?:มี|ใช้|การ)|จำเป็น|ไม่มี|ขาด(?!ทุน)|ยังไม่ได้|กรุณา|โปรด",
    re.IGNORECASE,
)
_PURPOSE = re.compile(
    r"\bI (?:can |only |can only |am here to |am made to )?(?:read|analy[sz]e|review|explain)\b"
    r"|(?:ฉัน|ผม|ดิฉัน|โมเดลนี้)(?:ช่วย|ใช้|สามารถ)?(?:อ่าน|วิเคราะห์|ทบทวน|อธิบาย)"
    r"|ตัวเลขของหุ้นหรือพอร์ต",
    re.IGNORECASE,
)
_STATES = re.compile(
    rf"\b(?:{'|'.join(sorted({word for words in VERDICTS.values() for word in words}))})\b"
    r"|(?i:\b(?:bullish|bearish|overbought|oversold|uptrend|downtrend|undervalued|overvalued)\b"
    r"|\b(?:you should|better|I(?: would|'d)?(?: recommend| suggest| advise)?(?: to)?) "
    r"(?:buy|sell|hold)|\bis (?:above|below)\b|\bhas (?:gained|lost)\b)"
    r"|(?:แนะนำให้|ควร)(?:ซื้อ|ขาย|ถือ)|ขาขึ้น|ขาลง|กำไร|ขาดทุน|สูงกว่า|ต่ำกว่า"
)
"""A verdict, a recommendation, or a claim about what was not given."""


def abstains(text: str) -> bool:
    """Whether an answer abstains: one sentence, the disclaimer apart, that states no number, no
    verdict and no recommendation, and names what is missing or what the model is for."""
    for disclaimer in DISCLAIMER.values():
        text = text.strip().removesuffix(disclaimer)
    sentences = pieces(text.strip())
    return (
        len(sentences) == 1
        and not find_numbers(text)
        and not _STATES.search(text)
        and any(_names(text, missing) for missing in ANSWERS)
    )


def _names(text: str, missing: str) -> bool:
    """Whether a sentence says that this is missing."""
    if missing == "PURPOSE":
        return bool(_PURPOSE.search(text))
    return bool(_NEED.search(text) and re.search(_NAMED[missing], text, re.IGNORECASE))


def score(row: Row, text: str) -> Score:
    """Scores an answer by abstaining, naming what is missing, the language of the question; nothing
    for one that does not abstain."""
    if not abstains(text):
        return UNPARSED
    thai = bool(re.search(r"[\u0e00-\u0e7f]", text))
    return mean_of(
        row.label,
        abstains=1.0,
        missing=float(_names(text, row.label)),
        language=float(thai == (row.language == "th")),
    )
