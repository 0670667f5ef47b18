"""Broken exports: whatever happened to a file, it is read or refused in words, and no row is lost
or imported twice.

`make test` takes a slice of the cases, `make soak` ten thousand (FUZZ says how many). A case that
fails names its number: `PYTHONPATH=tests:. python tests/importers/test_fuzz.py 4711` shows it.
"""

import json
import os
import random
import re
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from factories.broken_exports import mutated
from factories.further_samples import SHARED

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.importers.engine import Import
from stock_llm.importers.format_spec import Header, best_format, bundled_formats, load_format
from stock_llm.importers.scaffold.draft import draft_format
from stock_llm.importers.table_reader import first_header
from stock_llm.ledger.entries import content_keys
from stock_llm.portfolio import merging
from stock_llm.tabular.table import split_record
from stock_llm.tabular.text import read_text

CASES = int(os.environ.get("FUZZ", "300"))
PARTS = 20

_HERE = Path(__file__).parents[1]
_KINDS = (".csv", ".json", ".xml")
SAMPLES = sorted(
    path
    for folder in (_HERE / "exports", SHARED / "brokers")
    for path in folder.rglob("*")
    if path.suffix in _KINDS
)


def case(number: int) -> tuple[Path, bytes, list[str]]:
    """The sample of a case, what became of it, and how."""
    chance = random.Random(number * 7919)
    sample, other = chance.choice(SAMPLES), chance.choice(SAMPLES)
    broken, accidents = mutated(number, sample.read_bytes(), other.read_bytes())
    return sample, broken, accidents


def _read(path: Path) -> Import | None:
    try:
        return engine.read_export(path, lambda account: f"hash of {account}")
    except InputError as error:
        assert str(error)
        assert error.problem
        return None


@cache
def _whole(sample: Path) -> Import:
    imported = _read(sample)
    assert imported is not None, sample
    return imported


@pytest.mark.parametrize("part", range(PARTS))
def test_broken_exports(part, tmp_path):
    read = refused = 0
    for number in range(part, CASES, PARTS):
        sample, broken, accidents = case(number)
        path = tmp_path / "broken"
        path.write_bytes(broken)
        try:
            imported = _read(path)
            if imported is None:
                refused += 1
                continue
            read += 1
            _every_row_is_accounted_for(imported, path)
            _nothing_twice(imported)
            original = _whole(sample)
            _same_row_same_id(original, sample, imported, path)
            if number // PARTS % 25 == 0:
                _merging_takes_the_most_that_one_file_has(original, imported, tmp_path)
        except Exception as error:
            raise AssertionError(
                f"case {number}, {sample.name} after {', '.join(accidents)}"
            ) from error
    assert read + refused == len(range(part, CASES, PARTS))
    assert read, "no broken export could be read at all"


def test_drafts_of_broken_exports(tmp_path):
    """Under a header that no format knows, broken or not, a table gets a draft that loads, or is
    refused in words."""
    drafted = 0
    for number in range(0, CASES, 10):
        sample, broken, accidents = case(number)
        path = tmp_path / f"{number}.csv"
        path.write_bytes(_under_an_unknown_header(broken))
        try:
            text = draft_format(path)
        except InputError as error:
            assert error.problem
            continue
        except Exception as error:
            raise AssertionError(
                f"case {number}, {sample.name} after {', '.join(accidents)}"
            ) from error
        drafted += 1
        saved = tmp_path / "draft.toml"
        saved.write_text(text, encoding="utf-8")
        assert load_format(saved).columns, f"case {number}"
    assert drafted


def _under_an_unknown_header(content: bytes) -> bytes:
    lines = content.decode("utf-8", "replace").split("\n")
    recognised = first_header(lines, bundled_formats())
    if recognised is not None:
        lines[recognised.at] = recognised.separator.join(
            f"My {cell}" for cell in recognised.header.cells
        )
    return "\n".join(lines).encode()


def _every_row_is_accounted_for(broken: Import, path: Path) -> None:
    entries = set(broken.table["source_row"].to_pylist())
    aside = [row.row for row in broken.quarantined] + [row.row for row in broken.skipped]
    assert all(row.reason for row in broken.quarantined + broken.skipped)
    assert not entries & set(aside), "a row is an entry and none"
    assert len(aside) == len(set(aside)), "a row is set aside twice"
    assert len(entries) == broken.rows_kept
    accounted = entries | set(aside)
    text = read_text(path)
    if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        assert accounted == set(range(1, len(accounted) + 1)), "a record is missing"
        assert len(accounted) in _counts_of_records(json.loads(text.lstrip("\ufeff \t\r\n")))
        return
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        assert accounted == set(range(1, len(accounted) + 1)), "an element is missing"
        return
    _every_line_is_accounted_for(text, accounted)


def _every_line_is_accounted_for(text: str, accounted: set[int]) -> None:
    """A line is a row or a header, has nothing in it, or stands inside the quotes of the row before
    it."""
    quotes, last = 0, 0
    for number, line in enumerate(re.split("\r\n|\r|\n", text), start=1):
        if number in accounted:
            quotes, last = line.count('"'), number
            continue
        inside = last and quotes % 2
        if inside:
            quotes += line.count('"')
            continue
        assert not line.strip(' ,;|\t"\ufeff') or _is_header(line), (
            f"line {number} is lost: {line[:200]!r}"
        )


def _is_header(line: str) -> bool:
    return any(
        best_format(bundled_formats(), Header(split_record(line, sign)), "csv")
        for sign in ",;\t|"
        if sign in line
    )


def _counts_of_records(document: object) -> set[int]:
    """How many records a document may have: those of any list in it, orders within orders
    included."""
    if isinstance(document, list):
        return {_with_legs(document)}
    if isinstance(document, dict):
        return {1} | {_with_legs(value) for value in document.values() if isinstance(value, list)}
    return set()


def _with_legs(records: list) -> int:
    legs = [
        record["legs"]
        for record in records
        if isinstance(record, dict) and isinstance(record.get("legs"), list)
    ]
    return len(records) + sum(_with_legs(inner) for inner in legs)


_HASHED = re.compile(r"^(.*:[0-9a-f]{16})-(\d+)((?::.*)?)$")
_COUNTED = re.compile(r"-(\d+)((?::.*)?)$")


def _nothing_twice(imported: Import) -> None:
    """Ids are unique, and those of equal contents are numbered without a gap: files that overlap
    then agree on them."""
    ids = imported.table["entry_id"].to_pylist()
    assert len(ids) == len(set(ids)), [
        entry_id for entry_id, count in Counter(ids).items() if count > 1
    ][:3]
    counters: dict[str, list[int]] = {}
    for entry_id in ids:
        if hashed := _HASHED.match(entry_id):
            counters.setdefault(hashed[1] + hashed[3], []).append(int(hashed[2]))
    for key, numbers in counters.items():
        assert sorted(numbers) == list(range(1, len(numbers) + 1)), f"{key}: {numbers}"


def _rows(imported: Import, path: Path) -> dict[str, set[tuple[str, str]]]:
    """Line of the file → (content, id but for its counter) of its entries."""
    lines = re.split("\r\n|\r|\n", read_text(path))
    columns = {name: imported.table[name].combine_chunks() for name in imported.table.column_names}
    rows: dict[str, set[tuple[str, str]]] = {}
    for row, text, entry in zip(
        columns["source_row"].to_pylist(),
        content_keys(columns).to_pylist(),
        columns["entry_id"].to_pylist(),
        strict=True,
    ):
        if row <= len(lines):
            rows.setdefault(lines[row - 1], set()).add((text, _COUNTED.sub(r"\2", entry)))
    return rows


def _headers(path: Path) -> list[list[str]]:
    """The headers of a file; one that lost the name of its column of ids makes other ids."""
    lines = re.split("\r\n|\r|\n", read_text(path))
    headers = (first_header([line], bundled_formats()) for line in lines)
    return [recognised.header.cells for recognised in headers if recognised]


def _same_row_same_id(original: Import, sample: Path, broken: Import, path: Path) -> None:
    """A line that is in both files, under the same header, and means the same has the same id: it
    is in the ledger once."""
    if (
        sample.suffix != ".csv"
        or original.formats[0] != broken.formats[0]
        or _headers(sample) != _headers(path)
    ):
        return
    before, after = _rows(original, sample), _rows(broken, path)
    for line in before.keys() & after.keys():
        contents = {text for text, _ in before[line]} & {text for text, _ in after[line]}
        assert {entry for entry in before[line] if entry[0] in contents} == {
            entry for entry in after[line] if entry[0] in contents
        }, line


def _merging_takes_the_most_that_one_file_has(
    original: Import, broken: Import, folder: Path
) -> None:
    parts = []
    for name, imported in (("original", original), ("broken", broken)):
        parts.append(folder / f"{name}.parquet")
        pq.write_table(imported.table, parts[-1])
    merged = merging.merge_ledger(parts, folder / "ledger.parquet")
    rows = original.rows_kept + broken.rows_kept
    assert merged.rows + merged.repeated + len(merged.conflicts) <= rows
    ids = set(original.table["entry_id"].to_pylist()) | set(broken.table["entry_id"].to_pylist())
    assert merged.entries <= len(ids)
    assert merging.merge_ledger(parts[::-1], folder / "again.parquet").digest == merged.digest


if __name__ == "__main__":
    from stock_llm import environment

    environment.prepare()
    for number in map(int, sys.argv[1:]):
        sample, broken, accidents = case(number)
        print(f"case {number}: {sample} after {', '.join(accidents)}")
        sys.stdout.flush()
        sys.stdout.buffer.write(broken[:3000] + b"\n")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "broken"
            path.write_bytes(broken)
            imported = _read(path)
        print(imported and (imported.rows_kept, imported.quarantined[:5], imported.skipped[:5]))
