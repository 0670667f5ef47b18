"""The user's exports, each read once: the brokers' engine in front of files that were read before.

In: files. Out: `Part`s of ledger entries, and what is to be told about each. Run alone: `stock-llm import FILE`. Does not merge
them.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.artifacts import digest_of, file_sha256, files_sha256
from stock_llm.findings import Finding
from stock_llm.inputs import format_files
from stock_llm.parts import Parsed, Part, code_digest, part
from stock_llm.quarantine import refuse_if_mostly_bad
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings

if TYPE_CHECKING:
    from stock_llm.brokers.engine import Import


def read(file: Path, name: str, settings: Settings) -> Part:
    """The entries of an export that is called `name` in the ledger.

    Raises:
        InputError: no format knows the file, or more than half of its rows are bad.
    """
    from stock_llm.brokers import engine

    def work() -> Parsed:
        found = engine.read(file, partial(account_hash, settings=settings), name, settings.path(settings.formats))
        refuse_if_mostly_bad(found.quarantined, found.rows_kept + len(found.quarantined), file)
        return parsed(found)

    formats = format_files(settings)
    digest = digest_of(
        file=file_sha256(file),
        name=name,
        formats=files_sha256(formats, settings.path(settings.formats)) if formats else "",
        accounts=account_hash("accounts", settings),
        code=code_digest(),
    )
    return part(settings.artifacts / "parts", digest, work)


def parsed(found: "Import") -> Parsed:
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
            {"row": one.row, "what": one.what, "said": f"{one.said.normalize():f}", "computed": f"{one.computed.normalize():f}"}
            for one in found.differences
        ],
    }
    return Parsed(found.table, found.quarantined, facts)


def differences(parts: Iterable[Part]) -> list[Finding]:
    """Where exports' own amounts and totals are not what their rows add up to."""
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
    ]
