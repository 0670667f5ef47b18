"""Reads the user's exports, each of them once: importers behind the cache of parsed files."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.pipeline.input_files import format_files
from stock_llm.pipeline.private_folder import parse_cache
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings
from stock_llm.storage.checksums import digest_of, file_sha256, files_sha256
from stock_llm.storage.findings import Finding
from stock_llm.storage.parse_cache import CachedParse, ParseResult, code_digest, load_or_parse
from stock_llm.storage.quarantine import refuse_if_mostly_bad

if TYPE_CHECKING:
    from stock_llm.importers.engine import Import

PARSERS = ("importers", "tabular", "ledger", "storage/quarantine.py", "pipeline/exports.py")
"""The code that parses exports and databases; see `code_digest`."""


def read_export(file: Path, name: str, settings: Settings) -> CachedParse:
    """Parse an export, or read what the cache has of it.

    Args:
        name: what the file is called in the ledger.

    Raises:
        InputError: no format knows the file, or more than half of its rows are bad.
    """
    hash_account = partial(account_hash, folder=settings.secrets)
    own_formats = settings.path(settings.formats)

    def parse() -> ParseResult:
        from stock_llm.importers import engine

        imported = engine.read_export(file, hash_account, name, own_formats)
        rejected = imported.quarantined
        refuse_if_mostly_bad(rejected, imported.rows_kept + len(rejected), file)
        return as_parse_result(imported)

    formats = format_files(settings)
    digest = digest_of(
        file=file_sha256(file),
        name=name,
        formats=files_sha256(formats, own_formats) if formats else "",
        accounts=hash_account("accounts"),
        code=code_digest(*PARSERS),
    )
    return load_or_parse(parse_cache(settings), digest, parse)


def as_parse_result(imported: "Import") -> ParseResult:
    """Return an import as the cache holds it."""
    facts = {
        "file": imported.file,
        "formats": [form.name for form in imported.formats],
        "rows_read": imported.rows_read,
        "rows_kept": imported.rows_kept,
        "skipped": Counter(row.reason for row in imported.skipped),
        "differences": [
            {
                "file": difference.file,
                "row": difference.row,
                "what": difference.what,
                "said": f"{difference.stated.normalize():f}",
                "computed": f"{difference.computed.normalize():f}",
            }
            for difference in imported.differences
        ],
        "notes": [
            {"rule": note.rule, "rows": note.rows, "text": note.text} for note in imported.notes
        ],
    }
    return ParseResult(imported.table, imported.quarantined, facts)


def difference_findings(exports: Iterable[CachedParse]) -> list[Finding]:
    """Report amounts, cash and totals of exports that differ from what is booked, and what of them
    was not read or compared."""
    return [
        Finding(
            rule="difference",
            symbol="",
            first_day="",
            last_day="",
            rows=1,
            factor=1.0,
            text=f"{difference['file']}, row {difference['row']}: {difference['what']} is"
            f" {difference['said']} there, but computed {difference['computed']}",
        )
        for export in exports
        for difference in export.facts["differences"]
    ] + [
        Finding(note["rule"], "", "", "", note["rows"], 1.0, note["text"])
        for export in exports
        for note in export.facts["notes"]
    ]
