"""Broken exports, made from whole ones: what a file may suffer on its way, each case the same for the same seed.

In: a seed, the bytes of a sample. Out: the bytes after one to three accidents, and their names. Does not know what should become
of them.
"""

import json
import random
from collections.abc import Callable

NASTY = (
    "", " ", "-", "--", "abc", "NaN", "inf", "-inf", "1e999", "1e-999", "-0", "0", "0.0000000000000000000001", "(5)", "5-",
    "1,234", "1.234", "1,234,567", "1.234.567,89", "1 234,5", "1'234.50", "99999999999999999999999999",
    "-99999999999.999999999999999", "0x10", "1_000", "٣٤", "９９", "½", "=1+1", "@cmd", "+", "-", "$", "€5", "5 EUR",
    "(1,500.00)", "2024-02-30", "31/31/2024", "2/3/2024", "2024-13-01", "0000-00-00", "9999-12-31", "1800-01-01",
    "24:00:00", "12:60", "29.02.2023", "2024-06-30T23:59:60Z", "2024-01-01 00:00:00+99:99", "\x00", "\u202e", "\ufeff",
    "Ω≈ç√", "🤓", '"', '""', "'", "a\nb", "a\r\nb", "\t", ";", ",", "|", "\\", "%s", "{}", "null", "true", "BUY", "sell",
    "XXX", "usd", "GBp", "US0378331005", "x" * 5000,
)  # fmt: skip
"""What may stand in a cell: nothing, wrong numbers, wrong dates, signs that mean something elsewhere."""

Accident = Callable[[random.Random, bytes], bytes]


def mutated(seed: int, sample: bytes, other: bytes) -> tuple[bytes, list[str]]:
    """A sample after the accidents of a seed; `other` is a second sample, for files that were pasted together."""
    chance = random.Random(seed)
    document = sample.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"[", b"<")
    content, names = sample, []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        accident = chance.choice(
            OF_BYTES if chance.random() < 0.35 else OF_DOCUMENTS if document else OF_TABLES
        )
        content = (
            pasted(chance, content + b"\n" + other)
            if accident is pasted
            else accident(chance, content)
        )
        names.append(accident.__name__)
    return content, names


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", "surrogateescape").split("\n")


def _bytes(lines: list[str]) -> bytes:
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _separator(lines: list[str]) -> str:
    return max(",;\t|", key=lambda sign: sum(line.count(sign) for line in lines))


def cut(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def beheaded(chance: random.Random, content: bytes) -> bytes:
    return content[chance.randrange(len(content) + 1) :]


def nul_bytes(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + b"\x00" * chance.choice((1, 1, 50)) + content[at:]


def stray_bytes(chance: random.Random, content: bytes) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.randbytes(chance.choice((1, 3, 40))) + content[at:]


def stray_quotes(chance: random.Random, content: bytes) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(content) + 1)
        content = content[:at] + b'"' + content[at:]
    return content


def line_ends(chance: random.Random, content: bytes) -> bytes:
    ends = (b"\r\n", b"\r", b"\n\n", b"\r\r\n", b"\x0b\n", b"\xc2\x85\n", b"\xe2\x80\xa8\n")
    if chance.random() < 0.5:
        return content.replace(b"\n", chance.choice(ends))
    return b"".join(line + chance.choice((*ends, b"\n", b"\n")) for line in content.split(b"\n"))


def encodings(chance: random.Random, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    name = chance.choice(
        (
            "utf-16",
            "utf-16-le",
            "utf-16-be",
            "utf-8-sig",
            "cp1252",
            "latin-1",
            "utf-32",
            "utf-7",
            "cp037",
        )
    )
    return text.encode(name, "replace")


def flipped_bits(chance: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 5, 50)) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def lost_lines(chance: random.Random, content: bytes) -> bytes:
    share = chance.choice((0.05, 0.3, 0.9))
    return _bytes([line for line in _lines(content) if chance.random() > share])


def repeated_lines(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    for _ in range(chance.choice((1, 2, 10))):
        lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    return _bytes(lines)


def shuffled_lines(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    keep = chance.choice((0, 1, 1, 1))
    tail = lines[keep:]
    chance.shuffle(tail)
    return _bytes(lines[:keep] + tail)


def joined_lines(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    at = chance.randrange(len(lines))
    return _bytes([*lines[:at], "".join(lines[at : at + 2]), *lines[at + 2 :]])


def broken_lines(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    at = chance.randrange(len(lines))
    place = chance.randrange(len(lines[at]) + 1)
    return _bytes([*lines[:at], lines[at][:place], lines[at][place:], *lines[at + 1 :]])


def nasty_cells(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    separator = _separator(lines)
    for _ in range(chance.choice((1, 3, 12))):
        at = chance.randrange(len(lines))
        values = lines[at].split(separator)
        values[chance.randrange(len(values))] = chance.choice(NASTY)
        lines[at] = separator.join(values)
    return _bytes(lines)


def nasty_column(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    separator = _separator(lines)
    place, value = chance.randrange(lines[0].count(separator) + 1), chance.choice(NASTY)
    changed = lines[:1]
    for line in lines[1:]:
        values = line.split(separator)
        if place < len(values):
            values[place] = value
        changed.append(separator.join(values))
    return _bytes(changed)


def swapped_cells(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    separator = _separator(lines)
    for _ in range(chance.choice((1, 5))):
        at = chance.randrange(len(lines))
        values = lines[at].split(separator)
        first, second = chance.randrange(len(values)), chance.randrange(len(values))
        values[first], values[second] = values[second], values[first]
        lines[at] = separator.join(values)
    return _bytes(lines)


def moved_columns(chance: random.Random, content: bytes) -> bytes:
    """Header and rows alike: the meaning is the same, where quotes hold no separators."""
    lines = _lines(content)
    separator = _separator(lines)
    width = max(line.count(separator) for line in lines) + 1
    order = list(range(width))
    chance.shuffle(order)
    return _bytes([_reordered(line, separator, order) for line in lines])


def _reordered(line: str, separator: str, order: list[int]) -> str:
    values = line.split(separator)
    return separator.join(values[place] for place in order if place < len(values))


def lost_column(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    separator = _separator(lines)
    place = chance.randrange(max(line.count(separator) for line in lines) + 1)
    return _bytes(
        [
            separator.join(value for at, value in enumerate(line.split(separator)) if at != place)
            for line in lines
        ]
    )


def repeated_column(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    separator = _separator(lines)
    place = chance.randrange(max(line.count(separator) for line in lines) + 1)
    return _bytes(
        [
            separator.join([*line.split(separator), *line.split(separator)[place : place + 1]])
            for line in lines
        ]
    )


def other_separator(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    return content.replace(
        _separator(lines).encode(), chance.choice((b",", b";", b"\t", b"|", b" ", b", "))
    )


def other_decimals(chance: random.Random, content: bytes) -> bytes:
    if chance.random() < 0.5:
        return content.replace(b".", b",")
    return content.translate(bytes.maketrans(b".,", b",."))


def other_case(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    change = chance.choice((str.upper, str.lower, str.title, str.swapcase))
    first = chance.choice((0, 1))
    return _bytes(lines[:first] + [change(line) for line in lines[first:]])


def header_again(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    lines.insert(chance.randrange(len(lines) + 1), lines[0])
    return _bytes(lines)


def wrong_header(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    at = chance.randrange(len(lines[0]) + 1)
    lines[0] = lines[0][:at] + chance.choice(("x", " ", '"', ",", "")) + lines[0][at + 1 :]
    return _bytes(lines)


def many_rows(chance: random.Random, content: bytes) -> bytes:
    lines = _lines(content)
    return _bytes(lines[:1] + lines[1:] * chance.choice((2, 30)))


def pasted(chance: random.Random, content: bytes) -> bytes:
    """Two exports in one file, perhaps the second into the first."""
    if chance.random() < 0.7:
        return content
    lines = _lines(content)
    at = chance.randrange(len(lines))
    return _bytes(lines[at:] + lines[:at])


def nasty_values(chance: random.Random, content: bytes) -> bytes:
    """JSON with other values, kinds of values, missing and repeated records; anything else is left to `nasty_text`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return nasty_text(chance, content)
    for _ in range(chance.choice((1, 3, 10))):
        holders = [document, *_inner(document)]
        holder = chance.choice(holders)
        if isinstance(holder, dict) and holder:
            key = chance.choice(list(holder))
            if chance.random() < 0.2:
                del holder[key]
            else:
                holder[key] = chance.choice(
                    (
                        *NASTY,
                        None,
                        True,
                        [],
                        {},
                        [[]],
                        [1, "a"],
                        {"a": {"b": 1}},
                        1e308,
                        -5,
                        10**40,
                        holder[key],
                    )
                )
        elif isinstance(holder, list) and holder:
            at = chance.randrange(len(holder))
            holder[at : at + 1] = chance.choice(
                ([], [holder[at]] * 2, [None], ["text"], [[holder[at]]], [{}])
            )
    return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _inner(document: object) -> list[object]:
    values = (
        list(document.values())
        if isinstance(document, dict)
        else document
        if isinstance(document, list)
        else []
    )
    holders = [value for value in values if isinstance(value, dict | list)]
    return holders + [inner for value in holders for inner in _inner(value)]


def nasty_text(chance: random.Random, content: bytes) -> bytes:
    """A stretch of the file becomes something else."""
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(NASTY).encode() + content[at + chance.choice((0, 1, 10)) :]


def nested(chance: random.Random, content: bytes) -> bytes:
    depth = chance.choice((1, 2, 5000))
    return b"[" * depth + content + b"]" * depth


OF_BYTES: tuple[Accident, ...] = (
    cut, beheaded, nul_bytes, stray_bytes, stray_quotes, line_ends, encodings, flipped_bits, nasty_text,
)  # fmt: skip
OF_TABLES: tuple[Accident, ...] = (
    lost_lines, repeated_lines, shuffled_lines, joined_lines, broken_lines, nasty_cells, nasty_cells, nasty_column,
    swapped_cells, moved_columns, lost_column, repeated_column, other_separator, other_decimals, other_case,
    header_again, wrong_header, many_rows, pasted,
)  # fmt: skip
OF_DOCUMENTS: tuple[Accident, ...] = (
    nasty_values,
    nasty_values,
    nasty_values,
    nasty_text,
    nested,
    lost_lines,
    repeated_lines,
)
