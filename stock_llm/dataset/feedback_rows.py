"""What is learnt from feedback, what is frozen to measure whether corrections are followed, and
what waits.

In: feedback items, a redactor, the rows that judge. Out: rows, and the items that preferences may
be made of. The items of a chain go one way: all of them are learnt, frozen, or wait until the
holdout that judges their event is over. Texts are freed of tokens of the prompt format, redacted,
and learnt once; an answer that looks like an injection is not learnt. Nothing is left out without
being counted. Does not know the market.
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
    """What became of the feedback.

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
    """Sorts the items out; `judging` are the rows of the holdout."""
    first = splits.chains(items)
    edited = {first[item.id] for item in items if item.edit}
    frozen_chains = {name for name in edited if splits.is_frozen(name)}
    chain = {redactor.ref(name): root for name, root in first.items()}
    pairs = [(item, _row(item)) for item in (_clean(item, redactor) for item in items)]
    waiting = {
        chain[item.id] for item, row in pairs if judging.shares_event(row) or repeats(item, judging)
    }

    said = FeedbackRows([], [], [], Counter())
    open_to_all: list[tuple[FeedbackItem, Row]] = []
    for item, row in pairs:
        if chain[item.id] in waiting:
            said.left_out[WAITS] += follow.wanted(item) is not None
        elif injections.detect(row.output):
            said.left_out[FLAGGED] += 1
        elif shows_later_day(row):
            said.left_out[LATER] += 1
        elif chain[item.id] not in frozen_chains:
            open_to_all.append((item, row))
        elif item.edit:
            said.frozen.append(row)

    revised = _revised(item for item, _ in open_to_all)
    kept, texts, marks = OverlapIndex(said.frozen), DuplicateIndex(), set()
    for item, row in open_to_all:
        text = free_text(row)
        if repeats(item, kept):
            said.left_out[REPEATED] += 1
            continue
        said.preferred.append(item)
        if follow.wanted(item) is None:
            continue
        if item.edit is None and item.response in revised.get(_asked(item), ()):
            said.left_out[REVISED] += 1
            continue
        if row_identity(row) in marks or (
            text and texts.add(item.id, f"{row.instruction}\n{row.input}\n{text}")
        ):
            said.left_out[REPEATED] += 1
            continue
        marks.add(row_identity(row))
        said.learnt.append(row)
    return said


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
    """Question → the answers to it that were disliked, or corrected, by those who judged last."""
    found: dict[tuple[str, str], set[str]] = {}
    for item in sorted(items, key=lambda item: (item.created_at, item.id)):
        answers = found.setdefault(_asked(item), set())
        if item.edit is not None or item.liked is False:
            answers.add(item.response)
        elif follow.wanted(item) is not None:
            answers.discard(item.response)
    return found


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
