"""The flows `train` and `retrain` over a line whose training takes seconds: for tests of what is around it, which is all real.

History, feedback, registry and published models are real as well. The candidate is a parrot that answers every question with one
text. The first is promoted; each further one is judged by its digest: three of five are promoted, the others kept out or rejected.
"""

import time
from dataclasses import replace

from factories.judged_candidate import Line, line
from factories.parrot_gguf import write_parrot

import flows.train
from flows.retrain import retrain
from stock_llm.artifacts import Adapter, Candidate, Dataset, History, Scorecard
from stock_llm.market.situation import Situation
from stock_llm.pipeline import registry
from stock_llm.settings import Settings
from stock_llm.skills import signal
from stock_llm.skills.decision_point import BaseRates, DecisionPoint
from stock_llm.skills.row import write_rows
from stock_llm.storage.checksums import file_sha256

train = flows.train.train
__all__ = ["retrain", "train"]  # the deployments' flows

STAGE_SECONDS = 1.0

VERDICTS = ("promote", "promote", "promote", "keep", "reject")

_SITUATION = Situation(
    "ORCA", "2025-03-14", 104.2, 101.35, 99.1, 58.3, 0.84, 0.61, 2.1, 97.2, 105.5, 1.2, 98.4, 106.0
)
_POINT = DecisionPoint(
    _SITUATION, "BUY", "2025-03-17", "2025-03-28", {"kind": "day", "ref": "ORCA 2025-03-14"}
)
QUESTION = signal.row(_POINT, BaseRates([_POINT]), "en", 0)


def _line(settings: Settings, name: str) -> Line:
    made = line(settings.home, name, feedback=[])
    write_rows([QUESTION], made.dataset.holdout)
    gguf = write_parrot(made.candidate.gguf, QUESTION.output, name=name)
    return replace(
        made,
        candidate=replace(
            made.candidate, gguf_sha256=file_sha256(gguf), gguf_bytes=gguf.stat().st_size
        ),
    )


def _name(dataset: Dataset) -> str:
    return dataset.digest.removeprefix("dataset-")


def _build_dataset(settings: Settings, history: History) -> Dataset:
    dataset = _line(settings, history.digest).dataset
    return replace(dataset, feedback_ids=history.feedback_ids, history=history.digest)


def _finetune(settings: Settings, dataset: Dataset) -> Adapter:
    time.sleep(STAGE_SECONDS)
    return _line(settings, _name(dataset)).adapter


def _align(_settings: Settings, _dataset: Dataset, adapter: Adapter) -> Adapter:
    return adapter


def _quantize(settings: Settings, dataset: Dataset, _adapter: Adapter) -> Candidate:
    time.sleep(STAGE_SECONDS)
    return _line(settings, _name(dataset)).candidate


def _evaluate(settings: Settings, dataset: Dataset, candidate: Candidate) -> Scorecard:
    time.sleep(STAGE_SECONDS)
    champion = registry.champion(settings)
    by_chance = VERDICTS[int(candidate.digest[:8], 16) % len(VERDICTS)]
    verdict = by_chance if champion else "promote"
    scorecard = _line(settings, _name(dataset)).scorecard
    return replace(
        scorecard,
        digest=f"scorecard-{candidate.digest}",
        verdict=verdict,
        champion=champion.number if champion else None,
    )


flows.train.build_dataset = _build_dataset
flows.train.finetune = _finetune
flows.train.align = _align
flows.train.quantize = _quantize
flows.train.evaluate = _evaluate
