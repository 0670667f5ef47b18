"""The main job: a trading history and feedback become `stock-llm:latest`, if a paired test agrees.

Returns a `RunRecord`, also as a Markdown artifact. Runs in Prefect's embedded mode or on a worker,
weekly; see prefect.yaml. Two at once become one: the second waits, and then finds nothing new.
Killed anywhere and run again it continues, because every stage finds what it finished. The feedback
in the dataset counts as used from before the training until the verdict, and is released when the
training fails or the candidate is rejected.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.embedded_server import prepare_embedded_server
from stock_llm import environment
from stock_llm.artifacts import Adapter, Candidate, Dataset, History, Release, Scorecard, Version
from stock_llm.dataset.privacy import pseudonyms
from stock_llm.feedback.store import FeedbackStore
from stock_llm.pipeline import preflight, report
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.pipeline.run_record import RunRecord, finished, record, run_digest, run_lock
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings, load_settings
from stock_llm.skills import follow
from tasks.align import align
from tasks.build_dataset import build_dataset
from tasks.collect import collect
from tasks.evaluate import evaluate
from tasks.finetune import finetune
from tasks.publish import publish
from tasks.quantize import quantize
from tasks.register import register

ARTIFACT = "train"


def train_with(settings: Settings, why: str) -> RunRecord:
    """The flow with these settings, which a flow can only be given as JSON."""
    prepare_embedded_server()
    return train(why=why, overrides=json.loads(settings.model_dump_json(exclude_unset=True)))


@flow(name="train", flow_run_name="train: {why}")
def train(
    profile: str | None = None, why: str = "manual", overrides: dict[str, Any] | None = None
) -> RunRecord:
    """Collect, build the dataset, fine-tune, align, quantize, evaluate, register, publish.

    Args:
        profile: base model, a file models/profiles/NAME.toml. Default: the setting.
        why: what set it off, for those who look at the runs.
        overrides: settings by name that win over environment and stock-llm.toml, as {"trades":
            "mine.csv"}.
    """
    environment.prepare()
    settings = load_settings(**(overrides or {}) | ({"profile": profile} if profile else {}))
    with run_lock(settings):
        if known := finished(settings):
            create_markdown_artifact(
                report.nothing_new(known), key=ARTIFACT, description="nothing new"
            )
            return known

        preflight.require(settings)
        history = collect(settings)
        dataset = build_dataset(settings, history)
        plan = run_digest(settings, history.digest)
        with _taken(settings, plan, history, dataset) as feedback:
            adapter = align(settings, dataset, finetune(settings, dataset))
            candidate = quantize(settings, dataset, adapter)
            scorecard = evaluate(settings, dataset, candidate)
            version = register(settings, history, dataset, adapter, candidate, scorecard)
            release = publish(settings, dataset, candidate, scorecard, version)
            feedback.settle(plan, scorecard.verdict, "; ".join(scorecard.reasons))

        outcome = _outcome(
            why, plan, history, dataset, adapter, candidate, scorecard, version, release
        )
        create_markdown_artifact(
            report.markdown(outcome),
            key=ARTIFACT,
            description=f"v{version.number}: {scorecard.verdict}",
        )
        record(settings, outcome)
        return outcome


@contextmanager
def _taken(
    settings: Settings, plan: str, history: History, dataset: Dataset
) -> Iterator[FeedbackStore]:
    """The feedback of the dataset counts as taken inside; an error gives it back, unless it was
    settled before.
    """
    feedback = open_feedback(settings)
    hashed = partial(account_hash, folder=settings.secrets)
    feedback.claim(plan, pseudonyms.resolve_all(dataset.feedback_ids, history.feedback_ids, hashed))
    try:
        yield feedback
    except BaseException as error:
        feedback.settle(plan, "failed", f"{type(error).__name__}: {error}")
        raise


def _outcome(
    why: str,
    plan: str,
    history: History,
    dataset: Dataset,
    adapter: Adapter,
    candidate: Candidate,
    scorecard: Scorecard,
    version: Version,
    release: Release,
) -> RunRecord:
    return RunRecord(
        why=why,
        plan=plan,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        profile=adapter.profile,
        version=version.number,
        run_id=version.run_id,
        registry=version.registry,
        train_rows=dataset.train_rows,
        holdout_rows=dataset.holdout_rows,
        feedback=dataset.counts["train"].get(follow.NAME, 0),
        tokens=adapter.tokens,
        seconds=adapter.seconds,
        loss=adapter.train_loss,
        alignment=adapter.alignment,
        table=scorecard.table,
        differences=scorecard.differences,
        verdict=scorecard.verdict,
        reasons=scorecard.reasons,
        names=release.names,
        where=release.where,
        promoted=release.promoted,
        notes=release.reasons,
        gguf=str(candidate.gguf),
        modelfile=str(candidate.gguf.with_name("Modelfile")),
        symbol=history.symbols[0],
    )
