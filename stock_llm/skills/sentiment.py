"""Financial sentiment of a text: POSITIVE, NEGATIVE or NEUTRAL, the three classes of FinGPT.

The label is that of the source; nothing is computed. The text is somebody else's: it stands in the
row as quoted data, and what it may ask for is not done.
"""

import re
from dataclasses import dataclass

from stock_llm.evaluation.answers import Language, SkillAnswer
from stock_llm.skills.decision_rows import parse_complete, pick_wording
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of

NAME = "sentiment"

CLASSES = ("POSITIVE", "NEGATIVE", "NEUTRAL")

LONGEST = 400
"""Characters of a text; a longer one would not leave room for the answer in a small model, and is
not cut."""

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "What is the sentiment of this text?",
        "Is this news positive, negative or neutral for the stock?",
        "How would an investor read the quoted text?",
    ),
    "th": ("ข้อความนี้มีทิศทางอย่างไร", "ข่าวนี้เป็นบวก ลบ หรือเป็นกลางต่อหุ้น", "นักลงทุนจะอ่านข้อความที่ยกมานี้อย่างไร"),
}


@dataclass(frozen=True)
class LabeledText:
    """A text with the sentiment that its source gives it.

    Attributes:
        sentiment: one of `CLASSES`.
        kind, ref: what source it is from, and which row of it.
        as_of: ISO date of the text; empty where the source has none.
        symbol: the stock that it is about; empty where the source does not say.
    """

    text: str
    sentiment: str
    kind: str
    ref: str
    as_of: str = ""
    symbol: str = ""


def quoted(text: str) -> str:
    """The text on one line between quotation marks that it cannot close, its prompt tokens taken
    apart."""
    line = " ".join(text.split()).replace('"', "'")
    return '"' + re.sub(r"\[(/?INST)\]|<(/?s)>", r"(\1\2)", line) + '"'


def row(labelled: LabeledText, language: Language, phrasing: int) -> Row | None:
    """Builds one row, which looks at nothing later than the text; None for a text that is empty or
    too long.

    Raises:
        ValueError: the sentiment is not one of the three.
    """
    if labelled.sentiment not in CLASSES:
        raise ValueError(f"sentiment is {labelled.sentiment!r}, not one of {', '.join(CLASSES)}")
    if not labelled.text.strip() or len(labelled.text) > LONGEST:
        return None
    return Row(
        skill=NAME,
        language=language,
        symbol=labelled.symbol,
        as_of=labelled.as_of,
        instruction=pick_wording(INSTRUCTIONS[language], phrasing),
        input=f"Text: {quoted(labelled.text)}",
        output=SkillAnswer(language=language, sentiment=labelled.sentiment).text(),
        source={"kind": labelled.kind, "ref": labelled.ref},
        label=labelled.sentiment,
        label_from=labelled.as_of,
        label_until=labelled.as_of,
    )


def score(row: Row, text: str) -> Score:
    """Scores an answer by the source's class, the language of the question."""
    given = parse_complete(text, "sentiment")
    if given is None:
        return UNPARSED
    return mean_of(
        given.sentiment,
        sentiment=float(given.sentiment == row.label),
        language=float(given.language == row.language),
    )
