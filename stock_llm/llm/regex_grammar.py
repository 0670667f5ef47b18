"""Converts a regular expression, as `pattern` of a JSON schema has it, to a part of a GBNF grammar.

What the part accepts is what stands between the quotes of a JSON string. Known are the parts of
ECMA-262 that describe a regular language: characters, classes, groups, alternatives, counts, and
`^` and `$` at the ends. Look-around, back references and word boundaries are refused.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stock_llm.errors import StockLLMError

MAX_PATTERN = 2000
MAX_COUNT = 1000
MAX_SIZE = 2000
"""Characters that the counts of a pattern spell out."""

MAX_GROUPS = 30
"""Groups inside each other."""

MAX_OPTIONAL = 30
"""Parts that may be missing: llama.cpp follows every combination at each token."""

Ranges = list[tuple[int, int]]
"""Code points, first and last included."""

_LAST = 0x10FFFF
_NOT_PLAIN: Ranges = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]
"""What a JSON string holds as an escape only, or not at all."""

_ESCAPES = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_DIGIT: Ranges = [(0x30, 0x39)]
_WORD: Ranges = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_SPACE: Ranges = [
    (0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
]  # fmt: skip
_NEWLINE: Ranges = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]


class RegexError(StockLLMError):
    """The expression is wrong, or not regular."""


def regex_grammar(pattern: str) -> str:
    """The grammar of the strings that a pattern is found in.

    Raises:
        RegexError: says what is wrong or not known.
    """
    if len(pattern) > MAX_PATTERN:
        raise RegexError(f"it has more than {MAX_PATTERN:,} characters")
    return _Parser(pattern).whole()


def literal(text: str) -> str:
    """A text as a literal of the grammar."""
    return '"' + "".join(_escaped(character, '"\\') for character in text) + '"'


def character_class(characters: Iterable[str], *, negated: bool = False) -> str:
    """A class of characters that need no escape in a JSON string."""
    ranges = sorted((ord(character), ord(character)) for character in characters)
    return _class(_without(_complement(ranges) if negated else ranges, _NOT_PLAIN))


class _Part(NamedTuple):
    """A part of an expression; `size`: the most characters that its counts spell out."""

    text: str
    may_be_empty: bool = False
    size: int = 1


class _Parser:
    def __init__(self, text: str):
        self._text, self._at = text, 0
        self._groups = self._optional = 0

    def whole(self) -> str:
        """Alternatives, each of which may be anchored at its ends."""
        branches = []
        while True:
            start = "" if self._take("^") else "char* "
            body = self._sequence()
            end = "" if self._take("$") else " char*"
            branches.append(f"{start}{body.text}{end}")
            if body.size > MAX_SIZE:
                raise RegexError(f"its counts make more than {MAX_SIZE:,} characters")
            if not self._take("|"):
                break
        if self._at < len(self._text):
            raise RegexError(f"unexpected {self._text[self._at :][:20]!r}")
        if self._optional > MAX_OPTIONAL:
            raise RegexError(f"more than {MAX_OPTIONAL} of its parts may be missing")
        return f"({' | '.join(branches)})"

    def _take(self, token: str) -> bool:
        matches = self._text.startswith(token, self._at)
        self._at += len(token) * matches
        return matches

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise RegexError("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _sequence(self) -> _Part:
        items = []
        while self._at < len(self._text) and self._text[self._at] not in "|)$":
            items.append(self._counted(self._atom()))
        text = " ".join(item.text for item in items) or '""'
        may_be_empty = all(item.may_be_empty for item in items)
        return _Part(text, may_be_empty, sum(item.size for item in items))

    def _atom(self) -> _Part:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return _Part(_characters(self._class_ranges()))
        if character == ".":
            return _Part(_characters(_complement(_NEWLINE)))
        if character == "\\":
            return _Part(_characters(self._escape()))
        if character in "*+?{^":
            raise RegexError(f"unexpected {character!r}")
        return _Part(_characters([(ord(character), ord(character))]))

    def _group(self) -> _Part:
        self._groups += 1
        if self._groups > MAX_GROUPS:
            raise RegexError(f"more than {MAX_GROUPS} groups inside each other")
        if self._take("?") and not self._take(":"):
            if not self._take("<") or self._text[self._at : self._at + 1] in ("=", "!"):
                raise RegexError("look-around is not known")
            while self._next() != ">":
                pass
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        if not self._take(")"):
            raise RegexError("a group is not closed, or an anchor stands inside it")
        self._groups -= 1
        text = " | ".join(branch.text for branch in branches)
        may_be_empty = any(branch.may_be_empty for branch in branches)
        self._optional += may_be_empty
        return _Part(f"({text})", may_be_empty, max(branch.size for branch in branches))

    def _counted(self, atom: _Part) -> _Part:
        """The atom with the count that follows it."""
        sign = next((sign for sign in "*+?" if self._take(sign)), "")
        least, most = (0 if sign in ("*", "?") else 1), 1
        if not sign and self._take("{"):
            least, most, sign = self._braces()
            if atom.may_be_empty and most > 1:
                raise RegexError("a count of what may be empty is not known; write * for it")
        if sign:
            self._take("?")  # lazy: the same texts
        self._optional += least == 0
        may_be_empty = least == 0 or atom.may_be_empty
        return _Part(atom.text + sign, may_be_empty, atom.size * max(most, 1))

    def _braces(self) -> tuple[int, int, str]:
        """A count in braces: the least, the most, and how the grammar writes it."""
        end = self._text.find("}", self._at)
        least, comma, most = self._text[self._at : end].partition(",")
        if end < 0 or not _is_count(least) or (most and not _is_count(most)):
            raise RegexError(f"a count must be numbers up to {MAX_COUNT:,}")
        if most and int(most) < int(least):
            raise RegexError("a count's first number is above its second")
        self._at = end + 1
        highest = int(most or least)
        return int(least), highest, f"{{{int(least)}{comma}{int(most) if most else ''}}}"

    def _escape(self, in_class: bool = False) -> Ranges:
        character = self._next()
        kinds = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
        if character in kinds:
            return kinds[character]
        if character.lower() in kinds:
            return _complement(kinds[character.lower()])
        if character in "xu":
            return self._code(2 if character == "x" else 4)
        if character in _CONTROLS:
            character = _CONTROLS[character]
        elif character == "b" and in_class:
            character = "\b"
        elif character.isalnum():
            raise RegexError(f"\\{character} is not known")
        return [(ord(character), ord(character))]

    def _code(self, size: int) -> Ranges:
        if size == 4 and self._take("{"):
            digits, _, _ = self._text[self._at :].partition("}")
            self._at += 1
        else:
            digits = self._text[self._at : self._at + size]
        self._at += len(digits)
        try:
            code = int(digits, 16)
        except ValueError:
            raise RegexError("an escape has no hexadecimal number") from None
        if code > _LAST or not digits.isalnum():
            raise RegexError("an escape is beyond the last character")
        return [(code, code)]

    def _class_ranges(self) -> Ranges:
        negated = self._take("^")
        ranges: Ranges = []
        while not self._take("]"):
            first = self._class_member()
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                last = self._class_member()
                if len(first) != 1 or len(last) != 1 or first[0][0] > last[0][1]:
                    raise RegexError("a range in a class is not in order")
                first = [(first[0][0], last[0][1])]
            ranges += first
        return _complement(ranges) if negated else ranges

    def _class_member(self) -> Ranges:
        character = self._next()
        if character == "\\":
            return self._escape(in_class=True)
        return [(ord(character), ord(character))]


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= MAX_COUNT


def _complement(ranges: Ranges) -> Ranges:
    result, start = [], 0
    for first, last in sorted(ranges):
        if first > start:
            result.append((start, first - 1))
        start = max(start, last + 1)
    return [*result, (start, _LAST)] if start <= _LAST else result


def _without(ranges: Ranges, others: Ranges) -> Ranges:
    return _complement([*_complement(ranges), *others])


def _characters(ranges: Ranges) -> str:
    """One character of these as a JSON string writes it."""
    plain = _without(ranges, _NOT_PLAIN)
    choices = [_class(plain)] if plain else []
    choices += [
        literal(f"\\{written}")
        for character, written in _ESCAPES.items()
        if any(first <= ord(character) <= last for first, last in ranges)
    ]
    if not choices:
        raise RegexError("it asks for a character that JSON texts hardly hold")
    return choices[0] if len(choices) == 1 else f"({' | '.join(choices)})"


def _class(ranges: Sequence[tuple[int, int]]) -> str:
    parts = (
        _escaped(chr(first), "") + (f"-{_escaped(chr(last), '')}" if last > first else "")
        for first, last in ranges
    )
    return f"[{''.join(parts)}]"


def _escaped(character: str, special: str) -> str:
    """A character as the grammar writes it: in literals (`special` given) plain where it can be."""
    code = ord(character)
    if (special and 0x20 <= code != 0x7F and character not in special) or (
        code < 0x80 and character.isalnum()
    ):
        return character
    return (
        f"\\x{code:02X}"
        if code < 0x80
        else f"\\u{code:04X}"
        if code < 0x10000
        else f"\\U{code:08X}"
    )
