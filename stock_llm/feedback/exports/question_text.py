"""What the text of a question says of itself: instruction and input, language, stock and day."""

import re
from typing import TypedDict

from stock_llm.evaluation.answers import Language


class QuestionFacts(TypedDict):
    """Fields of a `FeedbackItem`."""

    language: Language
    symbol: str
    as_of: str


def facts_of(instruction: str, block: str) -> QuestionFacts:
    """Language, stock and day of a question."""
    day = label_of("Date", block)
    return {
        "language": "th" if re.search("[\u0e01-\u0e5b]", instruction) else "en",
        "symbol": label_of("Symbol", block),
        "as_of": day if re.fullmatch(r"\d{4}-\d\d-\d\d", day) else "",
    }


def split_question(content: str) -> tuple[str, str]:
    """Instruction and input of a question: what follows the first empty line is the input."""
    instruction, _, block = content.replace("\r\n", "\n").partition("\n\n")
    return (instruction, block.strip()) if block.strip() else (content, "")


def label_of(name: str, block: str) -> str:
    """The value of a line such as `Symbol: KESTRO`; empty where there is none."""
    match = re.search(rf"^{name}: (\S+)", block, re.MULTILINE)
    return match[1] if match else ""
