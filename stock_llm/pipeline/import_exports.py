"""`stock-llm import FILE…`: what an export holds, whether the ledger knows it already, and its place in the folder of trades.

In: files, settings. Out: a `Look` at each, tables for the terminal, copies in the folder of trades. A file that is kept is read
by the next collect. Does not know Prefect, candles or positions.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.importers.engine import Import
from stock_llm.ledger.instruments import load_instruments
from stock_llm.pipeline import exports
from stock_llm.pipeline.inputs import TRADE_SUFFIXES
from stock_llm.portfolio import merging, positions
from stock_llm.portfolio.matching import LedgerName, match_names
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings
from stock_llm.storage import parquet
from stock_llm.storage.atomic import atomic_path
from stock_llm.storage.checksums import file_sha256
from stock_llm.storage.findings import Finding

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHOWN = 8
"""Reasons and differences that are shown of one file."""


@dataclass(frozen=True)
class ExportPreview:
    """A file and what the ledger makes of it.

    Attributes:
        added: entries that the ledger does not have yet.
        conflicts: rows whose id stands for another trade in a file that is there already, or in another of these.
        suspects: the same trades told by another format.
    """

    file: Path
    found: Import
    added: int
    conflicts: int
    suspects: list[Finding]

    @property
    def mostly_bad(self) -> bool:
        """Whether a collect would refuse the file: more than half of its rows are bad."""
        return len(self.found.quarantined) > self.found.rows_kept


def preview_exports(files: Sequence[Path], settings: Settings) -> list[ExportPreview]:
    """Reads each file and compares it with the exports that are there and with those before it.

    Raises:
        InputError: a file cannot be read, or no format knows it.
    """
    hashed = partial(account_hash, folder=settings.secrets)
    looks: list[ExportPreview] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts = _there(settings)
        before = merging.merge_ledger(parts, folder / "ledger.parquet") if parts else None
        told = set(_suspects(folder / "ledger.parquet", settings)) if parts else set()
        for number, file in enumerate(files):
            if not file.is_file():
                raise InputError("no such file", file=file)
            found = engine.read_export(
                file, hashed, f"{file.name} (new)", settings.path(settings.formats)
            )
            part = folder / f"{number}.parquet"
            pq.write_table(found.table, part)
            parts = [*parts, part]
            after = merging.merge_ledger(parts, folder / "ledger.parquet")
            suspects = [
                one for one in _suspects(folder / "ledger.parquet", settings) if one not in told
            ]
            told.update(suspects)
            added = after.entries - (before.entries if before else 0)
            conflicts = len(after.conflicts) - (len(before.conflicts) if before else 0)
            looks.append(ExportPreview(file, found, max(added, 0), conflicts, suspects))
            before = after
    return looks


def _there(settings: Settings) -> list[Path]:
    """Parts of the exports that the folder of trades holds."""
    if not trades_folder(settings).is_dir():
        return []
    root = trades_folder(settings)
    files = [
        file for file in root.rglob("*") if file.suffix.lower() in TRADE_SUFFIXES and file.is_file()
    ]
    return [
        exports.read_export(file, file.relative_to(root).as_posix(), settings).path
        for file in sorted(files)
    ]


def _suspects(ledger: Path, settings: Settings) -> list[Finding]:
    with parquet.connect(ledger.parent) as connection:
        rows = connection.execute(
            f"select distinct symbol, isin, name from {parquet.rows_of([ledger])}"
        ).fetchall()
    known = load_instruments(settings.path(settings.instruments))
    return merging.suspected_duplicates(
        ledger,
        positions.names_table(
            match_names([LedgerName(*row) for row in rows], frozenset(), known).instrument
        ),
    )


def trades_folder(settings: Settings) -> Path:
    """Where exports are kept: the folder of trades, or data/trades while that setting names the sample or one file."""
    given = settings.path(settings.trades)
    return given if given.is_dir() and not settings.uses_sample else settings.path("data/trades")


def copy_to_trades(file: Path, settings: Settings) -> Path:
    """Copies an export into the folder of trades, whole or not at all; a file that is there already stays the only one."""
    folder = trades_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    digest = file_sha256(file)
    for other in folder.rglob("*"):
        if (
            other.is_file()
            and other.stat().st_size == file.stat().st_size
            and file_sha256(other) == digest
        ):
            return other
    suffix = file.suffix if file.suffix.lower() in TRADE_SUFFIXES else ".txt"
    target = folder / f"{file.stem}{suffix}"
    if target.exists():
        target = folder / f"{file.stem}-{digest[:8]}{suffix}"
    with atomic_path(target) as temporary:
        shutil.copyfile(file, temporary)
    return target


def preview_table(one: ExportPreview) -> "RenderableType":
    """A file for the terminal: its rows, its entries by kind, what was set aside and why, what does not add up."""
    from rich.table import Table
    from rich.text import Text

    found = one.found
    formats = ", ".join(dict.fromkeys(form.title for form in found.formats))
    table = Table(
        "", "", "", title=f"{one.file.name}: {formats}", title_justify="left", show_header=False
    )
    table.add_row("rows", str(found.rows_read), f"{found.rows_kept} are events")
    for kind, count in sorted(Counter(found.table["kind"].to_pylist()).items()):
        table.add_row("entries", str(count), kind)
    table.add_row("new", str(one.added), f"of {len(found.table)} entries are not in the ledger yet")
    if one.conflicts:
        table.add_row(
            "[red]contradict",
            str(one.conflicts),
            "rows have the id of another trade; all of them are set aside",
        )
    for label, some in (("[yellow]set aside", found.quarantined), ("no event", found.skipped)):
        reasons = Counter(row.reason for row in some).most_common()
        for reason, count in reasons[:_SHOWN]:
            first = next(row.row for row in some if row.reason == reason)
            table.add_row(
                label, str(count), Text(f"{reason} (row {first}{', …' if count > 1 else ''})")
            )
        if len(reasons) > _SHOWN:
            rest = sum(count for _, count in reasons[_SHOWN:])
            table.add_row(label, str(rest), f"for {len(reasons) - _SHOWN} other reasons")
    for gap in found.differences[:_SHOWN]:
        table.add_row(
            "[yellow]differs",
            f"row {gap.row}",
            f"{gap.what}: the file says {gap.stated.normalize():f}, its rows {gap.computed.normalize():f}",
        )
    if len(found.differences) > _SHOWN:
        table.add_row("[yellow]differs", str(len(found.differences) - _SHOWN), "more")
    for note in found.notes[:_SHOWN]:
        table.add_row(f"[yellow]{note.rule}", str(note.rows), Text(note.text))
    for suspect in one.suspects[:_SHOWN]:
        table.add_row(
            "[yellow]suspect", str(suspect.rows), Text(f"{suspect.symbol}: {suspect.text}")
        )
    return table
