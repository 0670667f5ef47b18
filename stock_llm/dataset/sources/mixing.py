"""Other people's data, mixed in: checked, cleaned and drawn.

In: the `[[dataset.source]]` entries. Out: as many rows of each as its weight asks for, drawn by a
hash so that the order of files and rows makes no difference; and every row that was quarantined,
with file, row and reason. A licence that forbids commercial use is refused unless it was allowed.
Texts are freed of tokens of the prompt format, redacted, and deduplicated. An input that looks like
an injection is quoted and flagged; an instruction or an answer that does is quarantined. Does not
know trades or candles.
"""

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stock_llm.dataset.config import SourceSettings
from stock_llm.dataset.leakage.duplicates import DuplicateIndex
from stock_llm.dataset.privacy import injections
from stock_llm.dataset.privacy.redaction import Redactor
from stock_llm.dataset.sources.files import SourceRecord, files, parse, records
from stock_llm.errors import InputError
from stock_llm.evaluation.answers import Language
from stock_llm.skills import sentiment
from stock_llm.skills.row import Row
from stock_llm.storage.checksums import digest_of, files_sha256
from stock_llm.storage.quarantine import QuarantinedRow, refuse_if_mostly_bad

GENERAL = "general"
"""The skill of rows that are about anything; they are learnt from and never judge."""

KIND = "source"
"""Where such a row comes from, as its `source` says."""

_SPARE = 1.5
"""Times as many rows are drawn as are wanted: some will be duplicates."""

_SHOWN = 300
"""Characters of a row that was quarantined that are kept to show it."""


@dataclass
class MixedRows:
    """Rows of other people's data, and what was left out.

    Attributes:
        rows: of all sources, in the order of the draw.
        rejected: what could not be read or used.
        left_out: reason → rows that were fit, and repeat another row or a row that judges.
        licences: name of a source → its licence.
        flagged: rows whose input looks like an injection.
    """

    rows: list[Row] = field(default_factory=list)
    rejected: list[QuarantinedRow] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    licences: dict[str, str] = field(default_factory=dict)
    flagged: int = 0


def mix(
    sources: Sequence[SourceSettings],
    redactor: Redactor,
    judging: DuplicateIndex,
    per_weight: int,
    seed: int,
) -> MixedRows:
    """Draws the rows of all sources.

    Args:
        sources: with paths from the root.
        judging: texts that judge a model; a row that repeats one of them is left out.
        per_weight: how many rows a source of weight 1 gives.
        seed: which rows these are.

    Raises:
        InputError: a licence is refused, a file is missing or is not what it should be.
    """
    mixed = MixedRows()
    seen = DuplicateIndex()
    for number, source in enumerate(sources):
        check_licence(source)
        root = source.path
        shown = redactor.ref(root.name)
        known = mixed.licences.get(shown, source.licence)
        mixed.licences[shown] = (
            known if known == source.licence else f"({known}) AND ({source.licence})"
        )
        wanted = max(1, round(source.weight * per_weight))
        taken = 0
        for example in _drawn(source, seed, round(wanted * _SPARE) + 20, mixed):
            if taken == wanted:
                break
            row = _row(_clean(example, redactor), source)
            if row is None:
                mixed.left_out["grew too long when they were redacted"] += 1
                continue
            text = f"{row.instruction}\n{row.input}" if row.skill == GENERAL else row.input
            if judging.find(text):
                mixed.left_out["say what a judging row says"] += 1
            elif seen.add(f"{number} {row.source['ref']}", _distinct_text(row)):
                mixed.left_out["repeat another row"] += 1
            else:
                mixed.rows.append(row)
                mixed.flagged += "flags" in row.facts
                taken += 1
    return mixed


def _distinct_text(row: Row) -> str:
    """The text that no two rows share.

    A text with a sentiment is compared without it: it has one sentiment, on one side of the split.
    """
    if row.skill == sentiment.NAME:
        return row.input
    return f"{row.instruction}\n{row.input}\n{row.output}"


def digest(sources: Sequence[SourceSettings]) -> str:
    """16 hex digits over entries and files, wherever they lie; empty if nothing is mixed in.

    Raises:
        InputError: a file is missing.
    """
    if not sources:
        return ""
    return digest_of(
        entries=[source.model_dump(mode="json", exclude={"path"}) for source in sources],
        files=[files_sha256(files(source), source.path.parent) for source in sources],
    )


def check_licence(source: SourceSettings) -> None:
    """Checks a licence: it must be an SPDX expression, or that forbids commercial use and was not
    allowed.

    Raises:
        InputError: it names the source and what to write.
    """
    from license_expression import get_spdx_licensing
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        known = canonicalize_license_expression(source.licence)
    except InvalidLicenseExpression:
        raise InputError(
            f"the licence '{source.licence}' is no SPDX expression",
            file=source.path,
            remedy="Write for example Apache-2.0 or CC-BY-4.0; LicenseRef-NAME where SPDX has none",
        ) from None
    if not source.allow_non_commercial and _forbids_commerce(get_spdx_licensing().parse(known)):
        raise InputError(
            f"its licence, {known}, forbids commercial use, and the model will be published",
            file=source.path,
            remedy="Take the entry out, or write allow_non_commercial = true in it "
            "if your model stays where the licence allows",
        )


def _forbids_commerce(licence: Any) -> bool:
    """Of licences joined by AND one is enough, of those joined by OR it takes all."""
    from boolean.boolean import DualBase
    from license_expression import AND

    if isinstance(licence, DualBase):
        join = any if isinstance(licence, AND) else all
        return join(_forbids_commerce(part) for part in licence.args)
    return bool(_NON_COMMERCIAL.search(str(licence)))


_NON_COMMERCIAL = re.compile(
    r"(?:[-_.]|CC-?BY)-?NC(?![A-Z])|^NCGL|^Aladdin|non-?commercial|not-?for-?commercial|research|"
    r"academic|educational|personal",
    re.IGNORECASE,
)
"""CC-BY-NC-…, PolyForm-Noncommercial, NCGL-UK-2.0, LicenseRef-…-research-only and their like."""


def _drawn(source: SourceSettings, seed: int, count: int, mixed: MixedRows) -> list[SourceRecord]:
    """The first `count` usable records in an order that depends on the seed and their texts
    alone."""

    def rank(record: SourceRecord) -> tuple[bytes, str, int]:
        texts = "\0".join((str(seed), record.instruction, record.input, record.output))
        return hashlib.blake2b(texts.encode(), digest_size=8).digest(), record.file, record.row

    usable = (record for path in files(source) for record in _usable(source, path, mixed))
    return heapq.nsmallest(count, usable, key=rank)


def _usable(source: SourceSettings, path: Path, mixed: MixedRows) -> Iterator[SourceRecord]:
    """The records of a file that can be learnt from; the others are quarantined."""
    name = _name(path, source.path)
    bad: list[QuarantinedRow] = []
    total = 0
    for row, record in records(path):
        total += 1
        try:
            example = parse(record, source, name, row)
        except ValueError as error:
            bad.append(QuarantinedRow(KIND, name, row, str(error), str(record)[:_SHOWN]))
            continue
        if reason := _unfit(example, source):
            mixed.rejected.append(QuarantinedRow(KIND, name, row, reason, str(record)[:_SHOWN]))
        else:
            yield example
    if not total:
        raise InputError(
            "there is no row in it",
            file=path,
            remedy="Correct the path of the [[dataset.source]] entry",
        )
    refuse_if_mostly_bad(bad, total, path)
    mixed.rejected += bad


def names(sources: Sequence[SourceSettings]) -> Iterator[str]:
    """The files of all sources, as rows name them.

    Raises:
        InputError: a source has no file any more.
    """
    for source in sources:
        for path in files(source):
            yield _name(path, source.path)


def _name(path: Path, root: Path) -> str:
    return path.name if path == root else path.relative_to(root.parent).as_posix()


def _unfit(example: SourceRecord, source: SourceSettings) -> str:
    """Why a record is not used; empty if it is."""
    if example.size > source.longest:
        return f"{example.size} bytes, longest is {source.longest}"
    if source.format == "sentiment":
        return (
            f"the text is longer than {sentiment.LONGEST} characters"
            if len(example.input) > sentiment.LONGEST
            else ""
        )
    for text, what in ((example.instruction, "instruction"), (example.output, "answer")):
        if tries := injections.detect(text):
            return f"the {what} looks like an injection: it {tries[0]}"
    return ""


def _clean(example: SourceRecord, redactor: Redactor) -> SourceRecord:
    """The record as it may be written: redacted last, when nothing joins the parts of a number any
    more."""
    texts = (
        redactor.text(injections.neutralize(text))
        for text in (example.instruction, example.input, example.output)
    )
    return SourceRecord(redactor.ref(example.file), example.row, *texts)


def general_row(
    language: Language, instruction: str, context: str, answer: str, kind: str, ref: str
) -> Row:
    """A row about anything: of no stock and no time, its answer is a plain text.

    Args:
        kind, ref: where it comes from.
    """
    return Row(
        skill=GENERAL,
        language=language,
        symbol="",
        as_of="",
        instruction=instruction,
        input=context,
        output=answer,
        source={"kind": kind, "ref": ref},
        label="TEXT",
        label_from="",
        label_until="",
    )


def _row(example: SourceRecord, source: SourceSettings) -> Row | None:
    """The row; None where the skill finds the text too long."""
    language: Language = (
        "th" if re.search("[\u0e01-\u0e5b]", example.instruction + example.input) else "en"
    )
    ref = f"{example.file} {example.row}"
    flags = injections.detect(example.input)
    if source.format == "sentiment":
        labelled = sentiment.LabeledText(example.input, example.output, KIND, ref)
        row = sentiment.row(
            labelled, language, int(hashlib.sha256(example.input.encode()).hexdigest()[:4], 16)
        )
        if row is None:
            return None
    else:
        text = sentiment.quoted(example.input) if flags else example.input
        row = general_row(language, example.instruction, text, example.output, KIND, ref)
    row.source["licence"] = source.licence
    if flags:
        row.facts["flags"] = flags
    return row
