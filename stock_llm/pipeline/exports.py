"""The user's exports, each read once: the brokers' engine in front of files that were read before.

In: files. Out: `Part`s of ledger entries, and what is to be told about each. Run alone: `stock-llm import FILE`. Does not merge
them.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.pipeline.inputs import format_files
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings
from stock_llm.storage.checksums import digest_of, file_sha256, files_sha256
from stock_llm.storage.findings import Finding
from stock_llm.storage.parse_cache import CachedParse, ParseResult, code_digest, load_or_parse
from stock_llm.storage.quarantine import refuse_if_mostly_bad

if TYPE_CHECKING:
    from stock_llm.importers.engine import Import


PARSERS = ("importers", "tabular", "ledger", "storage/quarantine.py", "pipeline/exports.py")
"""The code that exports and databases are read by; see `code_digest`."""


def read_export(file: Path, name: str, settings: Settings) -> CachedParse:
    """The entries of an export that is called `name` in the ledger.

    Raises:
        InputError: no format knows the file, or more than half of its rows are bad.
    """
    from stock_llm.importers import engine

    def work() -> ParseResult:
        found = engine.read_export(
            file,
            partial(account_hash, folder=settings.secrets),
            name,
            settings.path(settings.formats),
        )
        refuse_if_mostly_bad(found.quarantined, found.rows_kept + len(found.quarantined), file)
        return as_parse_result(found)

    formats = format_files(settings)
    digest = digest_of(
        file=file_sha256(file),
        name=name,
        formats=files_sha256(formats, settings.path(settings.formats)) if formats else "",
        accounts=account_hash("accounts", settings.secrets),
        code=code_digest(*PARSERS),
    )
    return load_or_parse(settings.artifacts / "parts", digest, work)


def as_parse_result(found: "Import") -> ParseResult:
    """An import as it is kept."""
    skipped: dict[str, int] = {}
    for one in found.skipped:
        skipped[one.reason] = skipped.get(one.reason, 0) + 1
    facts = {
        "file": found.file,
        "formats": [form.name for form in found.formats],
        "rows_read": found.rows_read,
        "rows_kept": found.rows_kept,
        "skipped": skipped,
        "differences": [
            {
                "row": one.row,
                "what": one.what,
                "said": f"{one.stated.normalize():f}",
                "computed": f"{one.computed.normalize():f}",
            }
            for one in found.differences
        ],
        "notes": [
            {"rule": note.rule, "rows": note.rows, "text": note.text} for note in found.notes
        ],
    }
    return ParseResult(found.table, found.quarantined, facts)


def difference_findings(parts: Iterable[CachedParse]) -> list[Finding]:
    """Where exports' own amounts, cash and totals are not what is booked, and what was not read or
    compared."""
    return [
        Finding(
            rule="difference",
            symbol="",
            first_day="",
            last_day="",
            rows=1,
            factor=1.0,
            text=f"{one.facts['file']}, row {gap['row']}: {gap['what']} is {gap['said']} there, but computed {gap['computed']}",
        )
        for one in parts
        for gap in one.facts["differences"]
    ] + [
        Finding(note["rule"], "", "", "", note["rows"], 1.0, note["text"])
        for one in parts
        for note in one.facts["notes"]
    ]
