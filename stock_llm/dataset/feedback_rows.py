"""Sorts feedback into rows to train on, frozen corrections, and items that wait.

Items of a chain (see `splits.chains`) go the same way: all are trained on, frozen, or wait until
the holdout that judges their event is over. Prompt tokens in texts are neutralized, identities are
redacted, repeated texts are learnt once, and an answer that looks like an injection is left out.
Every item that is left out is counted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stock_llm.dataset import splits
from stock_llm.dataset.leakage.duplicates import DuplicateIndex
from stock_llm.dataset.leakage.free_text import free_text, shows_later_day
from stock_llm.dataset.leakage.overlap import OverlapIndex, row_identity
from stock_llm.dataset.privacy import injections
from stock_llm.dataset.privacy.redaction import Redactor
from stock_llm.feedback.item import FeedbackItem
from stock_llm.skills import follow
from stock_llm.skills.row import Row

WAITS = "wait: the holdout judges the same event"
FLAGGED = "are not learnt: the answer looks like an injection"
LATER = "are not learnt: what they show is of a later day than their own"
REPEATED = "are not learnt: they repeat another's words"
REVISED = "are not learnt: somebody judged the same answer otherwise later"


@dataclass(frozen=True)
class FeedbackRows:
    """Feedback, sorted by its use.

    Attributes:
        learnt: rows to be trained on.
        frozen: corrections that are never trained on.
        preferred: items that preferences may be made of, redacted.
        left_out: reason → items.
    """

    learnt: list[Row]
    frozen: list[Row]
    preferred: list[FeedbackItem]
    left_out: Counter[str]


def feedback_rows(
    items: Sequence[FeedbackItem], judging: OverlapIndex, redactor: Redactor
) -> FeedbackRows:
    """Sorts items by their use; `judging` has the rows of the holdout."""
    first = splits.chains(items)
    edited = {first[item.id] for item in items if item.edit}
    frozen_chains = {name for name in edited if splits.is_frozen(name)}
    chain = {redactor.ref(name): root for name, root in first.items()}
    pairs = [(item, _row(item)) for item in (_clean(item, redactor) for item in items)]
    waiting = {
        chain[item.id] for item, row in pairs if judging.shares_event(row) or repeats(item, judging)
    }

    result = FeedbackRows([], [], [], Counter())
    open_to_all: list[tuple[FeedbackItem, Row]] = []
    for item, row in pairs:
        if chain[item.id] in waiting:
            result.left_out[WAITS] += follow.wanted(item) is not None
        elif injections.detect(row.output):
            result.left_out[FLAGGED] += 1
        elif shows_later_day(row):
            result.left_out[LATER] += 1
        elif chain[item.id] not in frozen_chains:
            open_to_all.append((item, row))
        elif item.edit:
            result.frozen.append(row)

    revised = _revised(item for item, _ in open_to_all)
    earlier, texts, marks = OverlapIndex(result.frozen), DuplicateIndex(), set()
    for item, row in open_to_all:
        text = free_text(row)
        if repeats(item, earlier):
            result.left_out[REPEATED] += 1
            continue
        result.preferred.append(item)
        if follow.wanted(item) is None:
            continue
        if item.edit is None and item.response in revised.get(_asked(item), ()):
            result.left_out[REVISED] += 1
            continue
        if row_identity(row) in marks or (
            text and texts.add(item.id, f"{row.instruction}\n{row.input}\n{text}")
        ):
            result.left_out[REPEATED] += 1
            continue
        marks.add(row_identity(row))
        result.learnt.append(row)
    return result


def repeats(item: FeedbackItem, judging: OverlapIndex) -> bool:
    """Whether the question judges, or any words of the item do, in the answer that is wished for or
    in the one that was given."""
    row = _row(item)
    return (
        judging.asks(row)
        or judging.says(row)
        or (item.edit is not None and judging.says(follow.row(item, item.response)))
    )


def _revised(items: Iterable[FeedbackItem]) -> dict[tuple[str, str], set[str]]:
    """Question → answers to it that the latest opinion dislikes or corrects."""
    revised: dict[tuple[str, str], set[str]] = {}
    for item in sorted(items, key=lambda item: (item.created_at, item.id)):
        answers = revised.setdefault(_asked(item), set())
        if item.edit is not None or item.liked is False:
            answers.add(item.response)
        elif follow.wanted(item) is not None:
            answers.discard(item.response)
    return revised


def _asked(item: FeedbackItem) -> tuple[str, str]:
    return item.instruction, item.input


def _clean(item: FeedbackItem, redactor: Redactor) -> FeedbackItem:
    """The item as it may be written: redacted last, when nothing joins the parts of a number any
    more."""
    item = replace(
        item,
        instruction=injections.neutralize(item.instruction),
        input=injections.neutralize(item.input),
        response=injections.neutralize(item.response),
        correction=None if item.correction is None else injections.neutralize(item.correction),
        comment=injections.neutralize(item.comment),
    )
    return redactor.item(item)


def _row(item: FeedbackItem) -> Row:
    """The row of an item, of its response where nobody wanted it: such a row is only looked at,
    never written."""
    row = follow.row(item, follow.wanted(item) or item.response.strip())
    flags = injections.detect(f"{item.instruction}\n{item.input}")
    return replace(row, facts={"flags": flags}) if flags else row
