"""Files that were read once: a table as Parquet with the facts beside it, found again by the digest of what it was made from.

In: a digest, and what makes the table. Out: `Part`. A part is there whole or not at all, and the same for the same digest. Does
not know what a file holds.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stock_llm.storage.checksums import files_sha256
from stock_llm.storage.parquet import BATCH_ROWS
from stock_llm.storage.quarantine import QuarantinedRow

_KEPT_DAYS = 30
"""A part that no run has asked for in so many days is thrown away."""


@dataclass(frozen=True)
class ParseResult:
    """A file, read.

    Attributes:
        facts: what else there is to know, as JSON has it.
    """

    table: pa.Table
    rejected: list[QuarantinedRow]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CachedParse:
    """The same on disk."""

    path: Path
    rejected: list[QuarantinedRow]
    facts: dict[str, Any]
    fresh: bool
    """Whether it was read now."""


def load_or_parse(folder: Path, digest: str, read: Callable[[], ParseResult]) -> CachedParse:
    """The part of a digest: from disk, or made by `read`."""
    table, beside = folder / f"{digest}.parquet", folder / f"{digest}.json"
    fresh = not table.exists()
    if fresh:
        folder.mkdir(parents=True, exist_ok=True)
        parsed = read()
        written = folder / f"{digest}.{os.getpid()}.partial"
        written.write_text(
            json.dumps(
                {"facts": parsed.facts, "rejected": [asdict(one) for one in parsed.rejected]}
            )
        )
        written.replace(beside)
        pq.write_table(parsed.table, written, compression="zstd", row_group_size=BATCH_ROWS)
        written.replace(table)
    else:
        os.utime(table)
    found = json.loads(beside.read_text())
    return CachedParse(
        table, [QuarantinedRow(**one) for one in found["rejected"]], found["facts"], fresh
    )


def prune(folder: Path, used: Iterable[Path]) -> None:
    """Throws away parts that are not used and have not been for a month, and what killed runs left."""
    keep = {path.stem for path in used}
    old = time.time() - _KEPT_DAYS * 86_400
    for path in folder.glob("*"):
        if path.name.split(".")[0] not in keep and path.stat().st_mtime < old:
            path.unlink(missing_ok=True)


@cache
def code_digest(*parsers: str) -> str:
    """Digest of the code and formats that parse: what they made is stale once they change.

    `parsers` are folders and files below the package, such as `importers` or `market/calendars.py`.
    """
    package = Path(__file__).parents[1]
    places = [package / parser for parser in parsers]
    files = [place for place in places if place.is_file()]
    files += [
        file for place in places for suffix in ("py", "toml") for file in place.rglob(f"*.{suffix}")
    ]
    return files_sha256(files, package)
