"""Text as a reader sees it: `fold` takes out the characters that show nothing.

Source of the list: Default_Ignorable_Code_Point of the Unicode Character Database
(DerivedCoreProperties.txt, 16.0), and the three marks of interlinear annotation.
"""

import re

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)

_BLANK_LETTERS = re.compile("[\u115f\u1160\u2800\u3164\uffa0]+")


def fold(text: str) -> str:
    """The text without invisible characters, such as joiners, fillers and variation selectors."""
    return text if text.isascii() else _INVISIBLE.sub("", text)


def fold_blanks(text: str) -> str:
    """The text as `fold` gives it, with spaces for the letters that are drawn as a blank."""
    return text if text.isascii() else fold(_BLANK_LETTERS.sub(" ", text))
