"""Cache of parsed files: a table as Parquet and the facts beside it, addressed by the digest of
what they were made from, for their owner alone: exports name accounts, trades and people.

Both are checked against their digests when they are read. What is damaged or missing is parsed
again.
"""

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stock_llm.storage.atomic import atomic_path, make_private
from stock_llm.storage.checksums import file_sha256, files_sha256, read_record, write_record
from stock_llm.storage.parquet import BATCH_ROWS
from stock_llm.storage.quarantine import QuarantinedRow

_MAX_AGE_DAYS = 30
"""Entries that no run has asked for in so many days are deleted."""


@dataclass(frozen=True)
class ParseResult:
    """What a parser made of a file.

    Attributes:
        facts: what else there is to know, as JSON has it.
    """

    table: pa.Table
    rejected: list[QuarantinedRow]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CachedParse:
    """A `ParseResult` on disk.

    Attributes:
        path: Parquet file of the table.
        fresh: whether it was parsed just now.
    """

    path: Path
    rejected: list[QuarantinedRow]
    facts: dict[str, Any]
    fresh: bool


def load_or_parse(folder: Path, digest: str, parse: Callable[[], ParseResult]) -> CachedParse:
    """Return the cache entry of a digest, made by `parse` unless it is there and whole."""
    table, beside = folder / f"{digest}.parquet", folder / f"{digest}.json"
    record = read_record(beside)
    if record is None or not table.exists() or file_sha256(table) != record["table"]:
        result = parse()
        make_private(folder)
        with atomic_path(table, durable=False) as path:
            pq.write_table(result.table, path, compression="zstd", row_group_size=BATCH_ROWS)
        rejected = [asdict(row) for row in result.rejected]
        record = {"facts": result.facts, "rejected": rejected, "table": file_sha256(table)}
        write_record(beside, record, durable=False)
        for path in (table, beside):
            path.chmod(0o600)
        return CachedParse(table, result.rejected, result.facts, fresh=True)
    os.utime(table)
    os.utime(beside)
    quarantined = [QuarantinedRow(**row) for row in record["rejected"]]
    return CachedParse(table, quarantined, record["facts"], fresh=False)


def prune(folder: Path, used: Iterable[Path]) -> None:
    """Delete entries that are not in use and are older than a month, and what killed runs left."""
    keep = {path.stem for path in used}
    oldest = time.time() - _MAX_AGE_DAYS * 86_400
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):  # another run prunes the same folder
            if path.name.split(".")[0] not in keep and path.stat().st_mtime < oldest:
                path.unlink()


@cache
def code_digest(*parsers: str) -> str:
    """Return the digest of the code and formats that parse: what they made is stale if they change.

    Args:
        parsers: folders and files of the package, such as `importers` or `market/calendars.py`.
    """
    package = Path(__file__).parents[1]
    places = [package / parser for parser in parsers]
    files = [
        file
        for place in places
        for file in (place, *place.rglob("*"))
        if file.suffix in (".py", ".toml") and file.is_file()
    ]
    return files_sha256(files, package)
