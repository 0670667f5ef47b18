"""Settles the feedback of a version that was published by a run which did not live to say so.

A run notes its verdict before it publishes, one small file per run: data/runs/judged/PLAN.json. A
kill between publishing and settling leaves the note, and new feedback gives the next run another
plan, so that it would never come back to this one. Without the note, what a published version has
learnt would count once more.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from stock_llm.errors import InputError
from stock_llm.feedback.store import FeedbackStore
from stock_llm.ollama.model_name import version_name
from stock_llm.pipeline import registry
from stock_llm.pipeline.publication.places import folder_of
from stock_llm.settings import Settings
from stock_llm.storage.checksums import read_record, write_record


@dataclass(frozen=True)
class Judgement:
    """What is to be said of a run's feedback once its version is published.

    Attributes:
        version: its number.
        verdict, reason: as `FeedbackStore.settle` takes them.
    """

    version: int
    verdict: str
    reason: str


def note(settings: Settings, plan: str, judgement: Judgement) -> None:
    """Remembers a judgement, before its version is published."""
    write_record(_file(settings, plan), asdict(judgement))


def settle(settings: Settings, feedback: FeedbackStore, plan: str, judgement: Judgement) -> None:
    """Ends a batch of feedback whose version is published.

    Raises:
        InputError: nothing was claimed under this name.
    """
    feedback.settle(plan, judgement.verdict, judgement.reason)
    _file(settings, plan).unlink(missing_ok=True)


def settle_published(settings: Settings, feedback: FeedbackStore) -> None:
    """Settles what runs noted that were ended after they had published.

    A version counts as published when it is in the folder of models and, where it was to be
    promoted, is the champion.
    """
    for file in sorted(_folder(settings).glob("*.json")):
        values = read_record(file)
        if values is None:
            continue
        judgement = Judgement(**values)
        if not _is_published(settings, judgement):
            continue
        try:
            settle(settings, feedback, file.stem, judgement)
        except InputError:  # a store that was begun anew knows no such batch
            file.unlink(missing_ok=True)


def _is_published(settings: Settings, judgement: Judgement) -> bool:
    if folder_of(settings).store.digest(version_name(judgement.version)) is None:
        return False
    if judgement.verdict != "promote":
        return True
    champion = registry.champion(settings)
    return champion is not None and champion.number == judgement.version


def _file(settings: Settings, plan: str) -> Path:
    return _folder(settings) / f"{plan}.json"


def _folder(settings: Settings) -> Path:
    return settings.path("data/runs/judged")
