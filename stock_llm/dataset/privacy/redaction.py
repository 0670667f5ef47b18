"""Redacts what identifies a person before anything is written.

Structured fields pass by an allow-list (`Redactor.item`), free text through `recognizers`, which
read it without line breaks, invisible characters or other scripts' digits. Tickers, prices, dates
and indicator values stay. No pattern finds everything: a name or an address in prose stays.
Presidio takes seconds to import and is imported when a text has something to find.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import lru_cache

from stock_llm.dataset.privacy import pseudonyms
from stock_llm.dataset.privacy.recognizers import IdentityMatch, find_identities
from stock_llm.feedback.item import FeedbackItem
from stock_llm.unicode import fold

MARKS = ("EMAIL", "IBAN", "CARD", "THAI_ID", "PHONE", "WALLET", "SSN", "PASSPORT", "ID", "ACCOUNT")
"""What stands in brackets in place of what was found; where two finds overlap, the one that comes
first here."""

_SYMBOL = re.compile(r"(?!.*\d{7})[A-Z0-9^][A-Z0-9.^=&-]{0,14}")
"""A ticker, with a market's or a currency's sign; exchanges that number their stocks use six digits
at most."""

_WORTH_A_LOOK = re.compile(r"[@＠﹫\d]|<<|[(\[{]\s*at\b|\bdot\b", re.IGNORECASE)
"""Without one of these there is nothing that a recognizer could find."""


class Redactor:
    """Takes identities out of text; the same text gives the same text, and what was redacted stays
    as it is.

    Args:
        accounts: hashes of the user's own accounts, as the ledger has them: these are found in
            whatever form they have.
        hashed: an account id to its hash, as `secrets.account_hash` does.

    Attributes:
        counts: mark → how often it was set so far.
    """

    def __init__(self, accounts: Collection[str] = (), hashed: Callable[[str], str] | None = None):
        self.counts: Counter[str] = Counter()
        self._accounts = accounts
        self._hashed = lru_cache(maxsize=1 << 16)(hashed) if hashed else None

    def text(self, text: str) -> str:
        """The text with a mark in place of every find; untouched, to the byte, where there is
        none."""
        while _WORTH_A_LOOK.search(text) and (matches := self._finds(text)):
            pieces, end = [], 0
            for find in matches:
                pieces += [text[end : find.start], f"[{find.mark}]"]
                self.counts[find.mark] += 1
                end = find.end
            text = "".join([*pieces, text[end:]])
        return text

    def item(self, item: FeedbackItem) -> FeedbackItem:
        """The item as it may be learnt from: texts and id redacted, a symbol only if it is one, not
        who gave it and where."""
        fits = _SYMBOL.fullmatch(item.symbol) and self.text(item.symbol) == item.symbol
        return replace(
            item,
            id=self.ref(item.id),
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

    def ref(self, name: str) -> str:
        """The id or file name as rows may have it: itself, or the hash that `pseudonyms.resolve`
        leads back."""
        tells = _WORTH_A_LOOK.search(name) and not _RANDOM.fullmatch(name) and self._finds(name)
        return pseudonyms.pseudonym(name, self._hashed) if tells else name

    def trade_ref(self, entry_id: str) -> str:
        """What stands for a trade's id in rows: always its hash, which leads back as well."""
        return pseudonyms.pseudonym(entry_id, self._hashed)

    def _finds(self, text: str) -> list[IdentityMatch]:
        """The matches in order, overlapping ones merged."""
        shadow = _Shadow(text)
        merged: list[IdentityMatch] = []
        for find in sorted([*find_identities(shadow.text), *self._own_accounts(shadow.text)]):
            if merged and find.start < merged[-1].end:
                last = merged.pop()
                mark = min(last.mark, find.mark, key=MARKS.index)
                merged.append(IdentityMatch(last.start, max(last.end, find.end), mark))
            else:
                merged.append(find)
        return [IdentityMatch(*shadow.place(find.start, find.end), find.mark) for find in merged]

    def _own_accounts(self, text: str) -> Iterator[IdentityMatch]:
        """The user's own accounts, whatever they are joined to with a hyphen or a slash."""
        if not self._accounts:
            return
        for token in _TOKEN.finditer(text):
            parts = [
                (token.start() + part.start(), token.start() + part.end())
                for part in _PART.finditer(token[0])
            ]
            for first in range(len(parts)):
                for last in range(first, min(first + _LONGEST_ID, len(parts))):
                    start, end = parts[first][0], parts[last][1]
                    if self._is_own(text[start:end].replace(" ", "")):
                        yield IdentityMatch(start, end, "ACCOUNT")

    def _is_own(self, form: str) -> bool:
        if (
            self._hashed is None
            or len(form) < 4
            or _NUMBER.fullmatch(form)
            or not any(character.isdigit() for character in form)
        ):
            return False
        return any(self._hashed(written) in self._accounts for written in {form, form.upper()})


_RANDOM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id that a program made up."""

_TOKEN = re.compile(r"[A-Za-z0-9]+(?: ?[-_/] ?[A-Za-z0-9]+)*")
_PART = re.compile(r"[A-Za-z0-9]+")
_LONGEST_ID = 6
"""Parts, as DEMO-0001 has two."""
_NUMBER = re.compile(r"\d{1,3}|\d{4}-\d\d-\d\d")


class _Shadow:
    """The text as recognizers read it: digits of any script as ASCII, any dash as a hyphen, one
    space where there is space, nothing that cannot be seen."""

    def __init__(self, text: str):
        self._places: list[int] | None = None
        self.text = text
        if not _TO_FOLD.search(text):
            return
        self.text = text.translate(_FOLDED)
        if len(self.text) == len(text) and "  " not in self.text:
            return
        self._places = []
        folded: list[str] = []
        for place, character in enumerate(text):
            if (plain := _FOLDED[ord(character)]) and not (
                plain == " " and folded and folded[-1] == " "
            ):
                folded.append(plain)
                self._places.append(place)
        self.text = "".join(folded)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where a find lies in the text as it was given."""
        return (
            (start, end)
            if self._places is None
            else (self._places[start], self._places[end - 1] + 1)
        )


_TO_FOLD = re.compile(r"[^ -~]|  ")

_SIGNS = {
    "\u2212": "-",
    "\u2043": "-",
    "\u02d7": "-",
    "\u2215": "/",
    "\u2044": "/",
    "\u00b7": ".",
    "\u2022": ".",
    "\u3002": ".",
    "\uff61": ".",
    "\u2800": " ",
}
"""Signs that look like those between the parts of a number."""


class _Folds(dict[int, str]):
    def __missing__(self, code: int) -> str:
        self[code] = folded = self._folded(chr(code))
        return folded

    def _folded(self, character: str) -> str:
        category = unicodedata.category(character)
        if character.isspace():
            return " "
        if category in ("Cf", "Me", "Cc") or not fold(character):
            return ""
        if category == "Mn" and not "\u0e00" <= character <= "\u0e7f":
            return ""
        if (digit := unicodedata.decimal(character, None)) is not None:
            return str(digit)
        if category == "Pd" or character in _SIGNS:
            return _SIGNS.get(character, "-")
        wide = unicodedata.normalize("NFKC", character)
        return wide if len(wide) == 1 and wide.isascii() else character


_FOLDED = _Folds()
