"""`stock-llm import FILE…`: previews exports against the ledger, and copies them into the folder of
trades, where the next collect reads them.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow.parquet as pq

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.importers.engine import Import
from stock_llm.ledger.instruments import load_instruments
from stock_llm.pipeline import exports
from stock_llm.pipeline.input_files import TRADE_SUFFIXES, name_of
from stock_llm.portfolio import merging, positions
from stock_llm.portfolio.matching import LedgerName, match_names
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings
from stock_llm.storage import parquet
from stock_llm.storage.atomic import atomic_path
from stock_llm.storage.checksums import file_sha256
from stock_llm.storage.findings import Finding

if TYPE_CHECKING:
    from rich.table import Table

    from stock_llm.storage.quarantine import QuarantinedRow

_MAX_LINES = 8
"""Reasons and differences that are shown of one file."""


@dataclass(frozen=True)
class ExportPreview:
    """A file and what the ledger makes of it.

    Attributes:
        added: entries that the ledger does not have yet.
        conflicts: rows whose id stands for another trade in a file that is there already, or in
            another of these.
        duplicates: trades that another format reports as well.
    """

    file: Path
    imported: Import
    added: int
    conflicts: int
    duplicates: list[Finding]

    @property
    def mostly_bad(self) -> bool:
        """Whether a collect would refuse the file: more than half of its rows are bad."""
        return len(self.imported.quarantined) > self.imported.rows_kept


def preview_exports(files: Sequence[Path], settings: Settings) -> list[ExportPreview]:
    """Read each file and compare it with the exports that are there and with those before it.

    Raises:
        InputError: a file cannot be read, or no format knows it.
    """
    hash_account = partial(account_hash, folder=settings.secrets)
    own_formats = settings.path(settings.formats)
    previews: list[ExportPreview] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ledger = folder / "ledger.parquet"
        tables = _own_exports(settings)
        before = merging.merge_ledger(tables, ledger) if tables else None
        known = set(_duplicates(ledger, settings)) if tables else set()
        for number, file in enumerate(files):
            if not file.is_file():
                raise InputError("no such file", file=file)
            imported = engine.read_export(file, hash_account, f"{file.name} (new)", own_formats)
            table = folder / f"{number}.parquet"
            pq.write_table(imported.table, table)
            tables = [*tables, table]
            after = merging.merge_ledger(tables, ledger)
            duplicates = [item for item in _duplicates(ledger, settings) if item not in known]
            known.update(duplicates)
            added = after.entries - (before.entries if before else 0)
            conflicts = len(after.conflicts) - (len(before.conflicts) if before else 0)
            previews.append(ExportPreview(file, imported, max(added, 0), conflicts, duplicates))
            before = after
    return previews


def _own_exports(settings: Settings) -> list[Path]:
    """Return the parsed exports that the folder of trades holds."""
    root = trades_folder(settings)
    files = [
        file
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in TRADE_SUFFIXES and file.is_file()
    ]
    return [exports.read_export(file, name_of(file, root), settings).path for file in files]


def _duplicates(ledger: Path, settings: Settings) -> list[Finding]:
    with parquet.connect(ledger.parent) as connection:
        rows = connection.execute(
            f"select distinct symbol, isin, name from {parquet.rows_of([ledger])}"
        ).fetchall()
    known = load_instruments(settings.path(settings.instruments))
    matches = match_names([LedgerName(*row) for row in rows], frozenset(), known)
    return merging.suspected_duplicates(ledger, positions.names_table(matches.instrument))


def trades_folder(settings: Settings) -> Path:
    """Return the folder that exports are copied to.

    It is the folder of trades, or data/trades while that setting names the sample or one file.
    """
    given = settings.path(settings.trades)
    return given if given.is_dir() and not settings.uses_sample else settings.path("data/trades")


def copy_to_trades(file: Path, settings: Settings) -> Path:
    """Copy an export into the folder of trades, unless a file with the same bytes is there."""
    folder = trades_folder(settings)
    digest, size = file_sha256(file), file.stat().st_size
    for other in folder.rglob("*"):
        if other.is_file() and other.stat().st_size == size and file_sha256(other) == digest:
            return other
    suffix = file.suffix if file.suffix.lower() in TRADE_SUFFIXES else ".txt"
    target = folder / f"{file.stem}{suffix}"
    if target.exists():
        target = folder / f"{file.stem}-{digest[:8]}{suffix}"
    with atomic_path(target) as temporary:
        shutil.copyfile(file, temporary)
    return target


@dataclass(frozen=True)
class PreviewLine:
    """A line about a file: what kind of thing, how many (or which row), and what it is."""

    label: str
    count: str
    text: str
    severity: Literal["", "yellow", "red"] = ""


def preview_title(preview: ExportPreview) -> str:
    """The formats that a file was recognised as."""
    return ", ".join(dict.fromkeys(form.title for form in preview.imported.formats))


def preview_lines(preview: ExportPreview) -> list[PreviewLine]:
    """Rows, entries by kind, quarantined rows, differences."""
    imported = preview.imported
    lines = [PreviewLine("rows", str(imported.rows_read), f"{imported.rows_kept} are events")]
    for kind, count in sorted(Counter(imported.table["kind"].to_pylist()).items()):
        lines.append(PreviewLine("entries", str(count), kind))
    new = f"of {len(imported.table)} entries are not in the ledger yet"
    lines.append(PreviewLine("new", str(preview.added), new))
    if preview.conflicts:
        text = "rows have the id of another trade; all of them are quarantined"
        lines.append(PreviewLine("contradict", str(preview.conflicts), text, "red"))
    lines += _row_lines(imported, "quarantined", imported.quarantined, "yellow")
    lines += _row_lines(imported, "no event", imported.skipped, "")
    for difference in imported.differences[:_MAX_LINES]:
        stated, computed = difference.stated.normalize(), difference.computed.normalize()
        text = f"{difference.what}: the file says {stated:f}, its rows {computed:f}"
        place = f"{difference.file}, row {difference.row}".removeprefix(f"{imported.file}, ")
        lines.append(PreviewLine("differs", place, text, "yellow"))
    if (more := len(imported.differences) - _MAX_LINES) > 0:
        lines.append(PreviewLine("differs", str(more), "more", "yellow"))
    for note in imported.notes[:_MAX_LINES]:
        lines.append(PreviewLine(note.rule, str(note.rows), note.text, "yellow"))
    for duplicate in preview.duplicates[:_MAX_LINES]:
        about = f"{duplicate.symbol}: {duplicate.text}"
        lines.append(PreviewLine("duplicate", str(duplicate.rows), about, "yellow"))
    return lines


def _row_lines(
    imported: Import,
    label: str,
    rows: "Sequence[QuarantinedRow]",
    severity: Literal["", "yellow"],
) -> list[PreviewLine]:
    """A line for each reason that rows have, the most frequent first."""
    lines = []
    reasons = Counter(row.reason for row in rows).most_common()
    for reason, count in reasons[:_MAX_LINES]:
        first = next(row for row in rows if row.reason == reason)
        place = f"{first.file}, row {first.row}".removeprefix(f"{imported.file}, ")
        more = ", …" if count > 1 else ""
        lines.append(PreviewLine(label, str(count), f"{reason} ({place}{more})", severity))
    if rest := sum(count for _, count in reasons[_MAX_LINES:]):
        text = f"for {len(reasons) - _MAX_LINES} other reasons"
        lines.append(PreviewLine(label, str(rest), text, severity))
    return lines


def preview_table(preview: ExportPreview) -> "Table":
    """Return a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    title = f"{preview.file.name}: {preview_title(preview)}"
    table = Table("", "", "", title=title, title_justify="left", show_header=False)
    for line in preview_lines(preview):
        table.add_row(Text(line.label, style=line.severity), line.count, Text(line.text))
    return table
