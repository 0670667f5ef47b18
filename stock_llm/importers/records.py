"""Lines below a header become columns, a block at a time: quotes undone, also stray ones, and wrong counts of values told."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.headers import HeaderMatch, blank, cells

_BLOCK = 65_536
_TOO_MANY_LINES = 20
"""A value in quotes does not run on longer: a quote that does was never closed."""


@dataclass
class Block:
    rows: np.ndarray
    columns: list[pa.Array]
    bad: list[tuple[int, str]]


def blocks(
    lines: Sequence[str], found: HeaderMatch, end: int, aside: dict[int, str]
) -> Iterator[Block]:
    at = found.at + 1
    width = len(found.header.cells)
    while at < end:
        stop = min(at + _BLOCK, end)
        places = [
            place
            for place in range(at, stop)
            if lines[place] and place not in aside and not blank(lines[place])
        ]
        part = [lines[place] for place in places]
        if not any('"' in line for line in part):
            yield _unquoted(places, part, found, width)
        elif (records := _line_by_line(part, found.separator)) is not None:
            yield _block(places, records, found, width)
        else:
            places, records, stop = _with_stray_quotes(
                lines, at, stop, end, aside, found.separator, width
            )
            yield _block(places, records, found, width)
        at = stop


def _unquoted(places: list[int], part: list[str], found: HeaderMatch, width: int) -> Block:
    texts = pa.array(part, pa.string())
    split = pc.split_pattern(texts, found.separator)
    fitting = pc.equal(pc.list_value_length(split), width).to_numpy(zero_copy_only=False)
    if not fitting.all():
        return _block(places, [line.split(found.separator) for line in part], found, width)
    return Block(
        np.array(places, np.int64) + 1,
        [pc.list_element(split, place) for place in range(width)],
        [],
    )


def _line_by_line(part: list[str], separator: str) -> list[list[str]] | None:
    """One record a line, None where a value in quotes runs over several."""
    try:
        records = list(csv.reader(part, delimiter=separator))
    except csv.Error:
        return None
    return records if len(records) == len(part) and part[-1].count('"') % 2 == 0 else None


def _with_stray_quotes(
    lines: Sequence[str],
    start: int,
    stop: int,
    end: int,
    aside: dict[int, str],
    separator: str,
    width: int,
) -> tuple[list[int], list[list[str]], int]:
    """Records from `start` on, and where they end. A stray quote spoils its own line only, never those behind it."""
    places, records = [], []
    at = start
    while at < stop:
        if at in aside or blank(lines[at]):
            at += 1
            continue
        after, raw = at + 1, lines[at]
        while raw.count('"') % 2 and after < min(end, at + _TOO_MANY_LINES):
            raw += "\n" + lines[after]
            after += 1
        values = cells(raw, separator)
        if after > at + 1 and (
            raw.count('"') % 2
            or len(values) != width
            or any(line in aside for line in range(at, after))
        ):
            values, after = lines[at].split(separator), at + 1
        places.append(at)
        records.append(values)
        at = after
    return places, records, at


def _block(places: list[int], records: list[list[str]], found: HeaderMatch, width: int) -> Block:
    kept, good, bad = [], [], []
    for place, values in zip(places, records, strict=True):
        while len(values) > width and not values[-1].strip():
            values.pop()
        if len(values) < width and (
            found.format.ragged or all(not cell for cell in found.header.cells[len(values) :])
        ):
            values = values + [""] * (width - len(values))
        if len(values) != width:
            bad.append((place + 1, f"{len(values)} values under {width} columns"))
            continue
        kept.append(place + 1)
        good.append(values)
    columns = list(zip(*good, strict=True)) if good else [()] * width
    return Block(
        np.array(kept, np.int64), [pa.array(column, pa.string()) for column in columns], bad
    )
