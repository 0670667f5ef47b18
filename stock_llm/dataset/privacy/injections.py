"""Detects instructions hidden in text that is only to be read, and neutralizes prompt tokens.

Covers English and Thai. A match is a sign, not a proof, and a text without a match may still be an
injection. So such text stands in rows as quoted data, with an answer that does not follow it, and
no row teaches an answer that was flagged.
"""

import re
import unicodedata

from stock_llm.unicode import fold, fold_blanks

_WITHIN = r"[^.!?\n]{0,40}?"
"""Words between, in the same sentence."""

_PATTERNS = {
    "sets earlier instructions aside": (
        rf"\b(?:ignore|disregard|forget|override|bypass|do not follow|don't follow)\b{_WITHIN}"
        r"\b(?:instructions?|prompts?|rules|guidelines|directions|training|(?:all|any|"
        r"every)(?:thing)? (?:above|before))\b",
        r"(?:ไม่ต้องสนใจ|อย่าสนใจ|เพิกเฉย(?:ต่อ)?|ละเว้น|ลืม|ยกเลิก|ไม่ต้องทำตาม|อย่าทำตาม|"
        r"ข้าม)[^\n]{0,30}?"
        r"(?:คำสั่ง|คำแนะนำ(?:ก่อนหน้า|ข้างต้น|เดิม|ทั้งหมด)|กฎ|ข้อกำหนด|ที่ผ่านมาทั้งหมด|"
        r"ทุกอย่างก่อนหน้า)",
    ),
    "gives new instructions": (
        r"\b(?:new|updated|real|actual|additional) (?:system )?(?:instructions?|prompt)\b\s*(?::|"
        r"are\b|is\b)",
        r"\bfrom now on,? (?:you|always|only|answer|say|reply)\b",
        r"คำสั่งใหม่\s*(?::|คือ)",
        r"(?:จากนี้ไป|ต่อจากนี้)\s*(?:ให้|คุณ|ต้อง|จง)",
    ),
    "gives the model another role": (
        r"\byou are (?:now|no longer)\b",
        r"\b(?:act|behave|pretend|roleplay) (?:as if|as though|to be|as an? (?:unrestricted|"
        r"uncensored|jailbroken|evil))\b"
        rf"{_WITHIN}\b(?:no|without|different|unrestricted|another)\b",
        r"\b(?:jailbreak|developer mode|dan mode|do anything now)\b",
        r"(?:ตอนนี้|บัดนี้)\s*(?:คุณ|เธอ|เจ้า)คือ",
        r"(?:แกล้งทำเป็น|สวมบทบาท(?:เป็น)?|ทำตัวเป็น)[^\n]{0,30}(?:ไม่มีข้อจำกัด|ไม่มีกฎ|"
        r"ไร้ข้อจำกัด)",
    ),
    "asks for what is hidden": (
        rf"\b(?:reveal|print|show|repeat|output|leak|tell)\b (?:me |us )?(?:the|your|all|any|"
        rf"its)\b{_WITHIN}"
        r"\b(?:system prompt|hidden prompt|initial instructions|api[ _-]?keys?|passwords?|"
        r"credentials|secrets?)\b",
        r"(?:เปิดเผย|แสดง|พิมพ์|บอก)[^\n]{0,30}(?:system prompt|พรอมป์ระบบ|พรอมต์ระบบ|คำสั่งระบบ|"
        r"รหัสผ่าน|คีย์ลับ|api key)",
    ),
    "dictates the answer": (
        r"\b(?:always|only|just|must|simply)\b (?:answer|say|reply|respond|recommend|output|print|"
        r"write)\b"
        rf"{_WITHIN}\b(?:buy|sell|hold|positive|negative|neutral)\b",
        rf"\b(?:answer|reply|respond|recommend|rate)\b{_WITHIN}\b(?:buy|sell|positive|negative)\b"
        rf"{_WITHIN}\b(?:regardless|no matter|whatever)\b",
        rf"\b(?:regardless of|no matter|whatever)\b{_WITHIN}\b(?:answer|say|recommend|output|"
        rf"respond)\b"
        rf"{_WITHIN}\b(?:buy|sell|positive|negative)\b",
        r"ตอบ(?:ว่า)?\s*(?:เสมอ|เท่านั้น)",
        r"(?:ตอบ|แนะนำ)[^\n]{0,20}(?:BUY|SELL|ซื้อ|ขาย)[^\n]{0,15}(?:เสมอ|เท่านั้น|ทุกครั้ง)",
    ),
    "fakes a turn of the conversation": (
        r"\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\]|<</?SYS>>|"
        r"<\|[a-z_]{2,30}\|>|</?s>",
        r"^\s*(?:#{1,4}\s*)?(?:system|assistant)\s*(?:prompt|message)?\s*:\s*\S",
    ),
}
"""What a text tries → the forms that it takes."""

_COMPILED = {
    tries: [
        re.compile(unicodedata.normalize("NFKC", pattern), re.IGNORECASE | re.MULTILINE)
        for pattern in patterns
    ]
    for tries, patterns in _PATTERNS.items()
}

_TOKENS = re.compile(
    r"\[(/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|IMG|IMG_BREAK|IMG_END|"
    r"PREFIX|MIDDLE|SUFFIX|THINK|ARGS|CALL_ID|TOOL_CONTENT|MODEL_SETTINGS)|control_\d+)\]"
    r"|<(/?s|unk|pad)>|<<(/?SYS)>>|<\|([A-Za-z_]{2,30})\|>|<｜([A-Za-z_▁]{2,30})｜>"
)


def detect(text: str) -> list[str]:
    """What the text tries, in the words of `_PATTERNS`; empty for text that only says something.

    Invisible characters are left out; a letter that is drawn as a blank may also part two words.
    """
    plain = {
        unicodedata.normalize("NFKC", seen).replace("’", "'")
        for seen in (fold(text), fold_blanks(text))
    }
    return [
        tries
        for tries, patterns in _COMPILED.items()
        if any(pattern.search(seen) for pattern in patterns for seen in plain)
    ]


def neutralize(text: str) -> str:
    """The text with round brackets in tokens that begin or end a turn: `[INST]` is `(INST)`.

    Invisible characters that can carry a whole hidden message are left out.
    """
    while (plain := _TOKENS.sub(_in_round_brackets, _HIDDEN.sub("", text))) != text:
        text = plain
    return text


def _in_round_brackets(token: re.Match[str]) -> str:
    return f"({next(filter(None, token.groups()))})"


_HIDDEN = re.compile("[\U000e0000-\U000e007f]|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}")
"""The tag block, and variation selectors in a row: both can carry a message that nobody sees."""
