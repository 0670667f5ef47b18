"""Decides whether it is time to retrain, and says why in plain words.

Feedback that is ready is the first reason. New trades (`retrain_after_trades`) and a champion whose
recommendations turn out wrong (`retrain_below_accuracy`) are others where they are set. One is
enough.
"""

from dataclasses import dataclass

from stock_llm.artifacts import Dataset, History, load
from stock_llm.feedback.batches import FeedbackCounts
from stock_llm.feedback.event import FRESH_AFTER_REFUSAL
from stock_llm.pipeline import registry
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.pipeline.private_folder import private_folder
from stock_llm.pipeline.publication.judgements import settle_published
from stock_llm.settings import Settings


@dataclass(frozen=True)
class Trigger:
    """One reason to retrain.

    Attributes:
        due: whether it is given.
        short: for the name of a run.
        text: the state in a sentence, with its figures.
    """

    name: str
    due: bool
    short: str
    text: str


@dataclass(frozen=True)
class Decision:
    """Whether to retrain, with every reason that was looked at."""

    triggers: list[Trigger]

    @property
    def due(self) -> bool:
        return any(trigger.due for trigger in self.triggers)

    @property
    def why(self) -> str:
        """The given reasons, for the name of a run."""
        return " and ".join(trigger.short for trigger in self.triggers if trigger.due)

    @property
    def text(self) -> str:
        """A sentence for each trigger, below the decision."""
        head = "It is time to retrain." if self.due else "No retrain yet."
        return "\n".join([head, *(trigger.text for trigger in self.triggers)])


def decide(settings: Settings) -> Decision:
    """Looks at all triggers that are switched on.

    Raises:
        StoreError: the feedback store cannot be read.
    """
    feedback = open_feedback(settings)
    settle_published(settings, feedback)
    counts = feedback.counts(settings.uses_sample)
    triggers = [feedback_trigger(counts, settings.retrain_after)]
    if settings.retrain_after_trades:
        triggers.append(_trades_trigger(settings))
    if settings.retrain_below_accuracy:
        triggers.append(_drift_trigger(settings))
    return Decision(triggers)


def feedback_trigger(counts: FeedbackCounts, retrain_after: int) -> Trigger:
    """Whether enough feedback is ready: more than `retrain_after` items, and 20 that the last
    candidate did not have where that was rejected or blocked.
    """
    needed = retrain_after + 1
    lines = [f"{_items(counts.ready)} of feedback {_are(counts.ready)} ready, of {needed} needed."]
    missing = max(0, needed - counts.ready)
    due = missing == 0
    if missing:
        lines.append(f"{missing} more {_are(missing)} missing.")
    refusal = counts.refusal
    if due and refusal and refusal.fresh < FRESH_AFTER_REFUSAL:
        due = False
        lines.append(
            f"The last candidate was {_PARTICIPLE[refusal.verdict]} on "
            f"{refusal.settled_at[:16]} UTC ({refusal.reason or 'no reason was noted'}) and gave "
            f"its items back; {_items(refusal.fresh)} {_are(refusal.fresh)} new since, of "
            f"{FRESH_AFTER_REFUSAL} needed."
        )
    if counts.training:
        lines.append(f"{_items(counts.training)} {_are(counts.training)} in a training under way.")
    if counts.passed_over:
        does = "does" if counts.passed_over == 1 else "do"
        lines.append(
            f"{_items(counts.passed_over)} {does} not count: the last datasets left them out, "
            "because they wait for the holdout to end or teach nothing."
        )
    return Trigger("feedback", due, f"{counts.ready} feedback items", " ".join(lines))


def _trades_trigger(settings: Settings) -> Trigger:
    """Whether enough entries of the ledger are newer than those of the newest version."""
    from stock_llm.pipeline.history import current

    needed = settings.retrain_after_trades
    before = _entries_of_newest_version(settings)
    if before is None:
        text = "New trades: there is no version yet to compare with."
        return Trigger("trades", False, "new trades", text)
    new = max(0, sum(current(settings).entries.values()) - before)
    text = f"{new} entries of the ledger are newer than the newest version, of {needed} needed."
    return Trigger("trades", new >= needed, f"{new} new trades", text)


def _drift_trigger(settings: Settings) -> Trigger:
    """Whether too few of the champion's recommendations came true since it was registered."""
    from stock_llm.operations.drift import FEWEST, resolved_answers

    champion = registry.champion(settings)
    if champion is None:
        return Trigger("drift", False, "drift", "Drift: there is no champion yet.")
    found, bound = resolved_answers(settings, champion), settings.retrain_below_accuracy
    text = (
        f"Of {found.known} recommendations of v{champion.number} through the gateway whose outcome "
        f"is known, {found.right} came true"
    )
    if found.known < FEWEST:
        text += f"; fewer than {FEWEST} say nothing."
        return Trigger("drift", False, "drift", text)
    text += f": {found.share:.0%}, with a bound of {bound:.0%}."
    short = f"{found.share:.0%} of recommendations came true"
    return Trigger("drift", found.share < bound, short, text)


def _entries_of_newest_version(settings: Settings) -> int | None:
    """Ledger entries that the newest version learnt from; None where there is none, or its files
    are gone.
    """
    versions = registry.versions(settings)
    if not versions:
        return None
    dataset = load(Dataset, settings.artifacts / "dataset" / versions[0].dataset)
    folder = private_folder(settings) / "history"
    history = load(History, folder / dataset.history) if dataset else None
    return sum(history.entries.values()) if history else None


_PARTICIPLE = {"reject": "rejected", "blocked": "blocked"}


def _items(count: int) -> str:
    return f"{count} item{'s' * (count != 1)}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
