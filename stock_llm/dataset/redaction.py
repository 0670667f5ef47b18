"""What tells who somebody is, taken out before anything is written.

In: text that people wrote, and the account hashes of the ledger. Out: the same text with marks such as [EMAIL] in place of what
was found, and how often. Structured fields pass by an allow-list (`Redactor.item`); free text goes through Presidio's pattern
recognisers, which need no language model, and ours for accounts, phone numbers and Thai identity cards. Tickers, prices, dates
and indicator values stay. No pattern finds everything: a name or an address in prose stays. Presidio takes seconds to import
and is imported when the first text has something that could be found. Does not know rows or files.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from stock_llm.feedback_item import FeedbackItem

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer

MARKS = ("EMAIL", "IBAN", "CARD", "THAI_ID", "PHONE", "WALLET", "SSN", "ACCOUNT")
"""What stands in brackets in place of what was found; where two finds overlap, the one that comes first here."""

_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.^=&-]{0,14}")

_WORTH_A_LOOK = re.compile(r"[@＠﹫\d]")
"""Without one of these there is nothing that a recogniser could find."""


class Redactor:
    """Takes identities out of text; the same text gives the same text, and what was redacted stays as it is.

    Args:
        accounts: hashes of the user's own accounts, as the ledger has them: these are found in whatever form they have.
        hashed: an account id to its hash, as `secrets.account_hash` does.

    Attributes:
        counts: mark → how often it was set so far.
    """

    def __init__(self, accounts: Collection[str] = (), hashed: Callable[[str], str] | None = None):
        self.counts: Counter[str] = Counter()
        self._accounts = accounts
        self._hashed = lru_cache(maxsize=1 << 16)(hashed) if hashed else None

    def text(self, text: str) -> str:
        """The text with a mark in place of every find; untouched, to the byte, where there is none."""
        while _WORTH_A_LOOK.search(text) and (finds := self._finds(text)):
            pieces, end = [], 0
            for start, stop, mark in finds:
                pieces += [text[end:start], f"[{mark}]"]
                self.counts[mark] += 1
                end = stop
            text = "".join([*pieces, text[end:]])
        return text

    def item(self, item: FeedbackItem) -> FeedbackItem:
        """The item as it may be learnt from: texts redacted, a symbol that is none left out, who gave it and where forgotten."""
        fits = _SYMBOL.fullmatch(item.symbol) and self.text(item.symbol) == item.symbol
        return replace(
            item,
            instruction=self.text(item.instruction),
            input=self.text(item.input),
            response=self.text(item.response),
            correction=self.text(item.correction) if item.correction is not None else None,
            comment=self.text(item.comment),
            symbol=item.symbol if fits else "",
            skill=self.text(item.skill),
            source="user",
            response_id="",
            model_version="",
        )

    def _finds(self, text: str) -> list[tuple[int, int, str]]:
        """Start, end and mark of what is to go, in order, not overlapping."""
        shadow = _Shadow(text)
        found = [(one.start, one.end, one.entity_type) for one in _analyse(shadow)] + self._own_accounts(shadow.text)
        merged: list[tuple[int, int, str]] = []
        for start, end, mark in sorted(found):
            if merged and start < merged[-1][1]:
                last = merged.pop()
                merged.append((last[0], max(last[1], end), min(last[2], mark, key=MARKS.index)))
            else:
                merged.append((start, end, mark))
        return [(*shadow.place(start, end), mark) for start, end, mark in merged]

    def _own_accounts(self, text: str) -> list[tuple[int, int, str]]:
        if self._hashed is None or not self._accounts:
            return []
        return [
            (match.start(), match.end(), "ACCOUNT")
            for match in _TOKEN.finditer(text)
            if len(match[0]) >= 4
            and any(character.isdigit() for character in match[0])
            and not _NUMBER.fullmatch(match[0])
            and any(self._hashed(form) in self._accounts for form in {match[0], match[0].upper()})
        ]


_TOKEN = re.compile(r"[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)*")
_NUMBER = re.compile(r"\d{1,3}|\d{4}-\d\d-\d\d")


class _Shadow:
    """The text as recognisers read it: digits of any script as ASCII, any dash as a hyphen, any space as a space, no invisible
    characters."""

    def __init__(self, text: str):
        self._places: list[int] | None = None
        self.text = text
        if text.isascii():
            return
        self.text = text.translate(_FOLDED)
        if _HIDDEN.search(self.text):
            self._places = [place for place, character in enumerate(self.text) if not _HIDDEN.match(character)]
            self._places.append(len(self.text))
            self.text = _HIDDEN.sub("", self.text)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where a find lies in the text as it was given."""
        return (start, end) if self._places is None else (self._places[start], self._places[end - 1] + 1)


_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")


class _Folds(dict[int, str]):
    def __missing__(self, code: int) -> str:
        character = chr(code)
        folded = character
        if (digit := unicodedata.decimal(character, None)) is not None:
            folded = str(digit)
        elif (category := unicodedata.category(character)) in ("Pd", "Zs"):
            folded = "-" if category == "Pd" else " "
        elif len(wide := unicodedata.normalize("NFKC", character)) == 1 and wide.isascii():
            folded = wide
        self[code] = folded
        return folded


_FOLDED = _Folds()


def _analyse(shadow: _Shadow) -> list:
    """What the recognisers find. Presidio's `\\b` sees no border between a Thai letter and a digit: it gets bars for letters."""
    text = shadow.text
    bare = text if text.isascii() else re.sub(r"[^\W\d_]", lambda match: match[0] if match[0].isascii() else "|", text)
    bare = bare.replace("_", "|")
    found = []
    for recogniser, on_bare, needs in _recognisers():
        if needs in text:
            # no recogniser here looks at Presidio's language analysis
            found += recogniser.analyze(bare if on_bare else text, recogniser.supported_entities, None)  # type: ignore[arg-type]
    return found


_START, _END = r"(?<!\d)(?<!\d\.)", r"(?!\d|\.\d|%)"
"""Around a number that stands alone: it is neither the decimals of a price nor what comes before them."""

_IS = r"(?:\s*(?:number|num\b|no\b\.?|nr\b\.?|id\b|is\b|[#:=]|เลขที่|หมายเลข|เลข|คือ|ที่))*\s*"
"""What stands between the word and the number; `\\K` then leaves the word where it is."""

_NO_AMOUNT = r"(?!\s*(?:shares|units|usd|thb|eur|dollars?|baht|บาท|หุ้น|ดอลลาร์|%))"

_ACCOUNT = {
    "named": rf"(?:\b(?:account|acct|acc|a/c|portfolio(?=\s+(?:no|num|id|#)))\b|บัญชี|พอร์ต){_IS}"
    rf"\K(?!\d{{4}}-\d\d-\d\d)[A-Z]{{0,6}}-?(?:\d[A-Z]{{0,2}}[ -]?){{3,}}\d[A-Z\d]*{_END}{_NO_AMOUNT}",
    "broker's form": r"(?<![A-Z\d])(?:DU|DF|U|F)\d{6,9}(?!\d)",
    "long": rf"{_START}(?!\d{{1,4}}0+(?!\d))\d{{10,}}{_END}",
    "in groups": r"(?<![\d.-])(?!\d{4}-\d\d-\d\d)(?=(?:-?\d){10,19}(?![\d-]))\d{1,6}(?:-\d{1,6}){2,5}(?![\d-]|\.\d)",
}

_PHONE = {
    "Thai mobile": rf"{_START}0[689](?:\d[ .-]?\d{{3}}[ .-]?\d{{4}}|[ .-]?\d{{4}}[ .-]?\d{{4}}){_END}",
    "Thai landline": rf"{_START}0(?:2[ .-]?\d{{3}}[ .-]?\d{{4}}|[3-57]\d[ .-]?\d{{3}}[ .-]?\d{{3}}){_END}",
    "North American": rf"{_START}(?:\(\d{{3}}\) ?\d{{3}}-\d{{4}}|\d{{3}}([.-])\d{{3}}\1\d{{4}}){_END}",
    "abroad": rf"(?<![\d.])\+(?=(?:[ ()-]{{0,2}}\d){{9,15}}(?!\d))\d{{1,3}}(?:[ -]?\(?\d{{1,12}}\)?){{1,5}}{_END}",
    "named": r"(?:\b(?:phone|tel|telephone|mobile|cell|whatsapp|fax|call (?:me|us)(?: at| on)?)\b|โทรศัพท์|โทร|มือถือ|เบอร์)\.?"
    rf"{_IS}\K\+?\(?\d(?:[ ()-]{{0,2}}\d){{6,14}}{_END}",
}

_EMAIL = {
    "any domain": r"[^\s@,;:<>()\[\]\"'\u0e00-\u0e7f]{1,64}@[^\s@,;:<>()\[\]\"'\u0e00-\u0e7f]{1,190}\.[A-Z0-9-]{2,63}",
    "Thai": r"[^\s@,;:<>()\[\]\"']{0,63}[\u0e00-\u0e7f]@[^\s@,;:<>()\[\]\"']{1,190}\.[^\s@,;:<>()\[\]\"']{1,63}",
    "one word": r"[A-Z0-9._%+-]{1,64}@(?:localhost|[A-Z0-9-]{2,63}(?![A-Z0-9.-]))",
}

_IBAN_SHAPE = {"no check": r"(?<![A-Z\d])[A-Z]{2}\d{2}(?=[A-Z]{0,8}\d{6})[A-Z\d]{11,30}(?![A-Z\d])"}
_WALLET = {"Ethereum": r"(?<![A-Z\d])0x[\dA-F]{40}(?![A-Z\d])"}
_SSN = {"social security": r"(?<![\d-])\d{3}-\d\d-\d{4}(?![\d-])"}
_THAI_ID = rf"{_START}[1-8](?:\d{{12}}|([ -])\d{{4}}\1\d{{5}}\1\d\d\1\d){_END}"


@cache
def _recognisers() -> list[tuple["EntityRecognizer", bool, str]]:
    """Each with whether it reads the text with bars, and what a text must have for it to find anything."""
    from presidio_analyzer import Pattern, PatternRecognizer
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        CryptoRecognizer,
        IbanRecognizer,
        PhoneRecognizer,
        ThTninRecognizer,
    )

    def ours(mark: str, patterns: dict[str, str]) -> PatternRecognizer:
        return PatternRecognizer(mark, patterns=[Pattern(name, regex, 0.5) for name, regex in patterns.items()])

    any_case = re.DOTALL | re.MULTILINE | re.IGNORECASE
    thai_id = [Pattern("with separators", _THAI_ID, 0.5)]
    apart = [("-", ""), (" ", "")]
    return [
        (ours("EMAIL", _EMAIL), False, "@"),
        (IbanRecognizer(supported_entity="IBAN", regex_flags=any_case), True, ""),
        (ours("IBAN", _IBAN_SHAPE), True, ""),
        (CreditCardRecognizer(supported_entity="CARD"), True, ""),
        (ThTninRecognizer(supported_entity="THAI_ID", patterns=thai_id, replacement_pairs=apart), True, ""),
        (PhoneRecognizer(supported_entity="PHONE", supported_regions=(None,)), True, "+"),
        (ours("PHONE", _PHONE), False, ""),
        (CryptoRecognizer(supported_entity="WALLET"), True, ""),
        (ours("WALLET", _WALLET), True, "0x"),
        (ours("SSN", _SSN), True, "-"),
        (ours("ACCOUNT", _ACCOUNT), False, ""),
    ]
