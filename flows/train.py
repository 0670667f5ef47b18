"""The main job: a trading history and feedback become `stock-llm:latest`, if a paired test agrees.

Returns a `RunRecord`, also as a Markdown artifact. Runs in Prefect's embedded mode or on a worker,
weekly; see prefect.yaml. Two at once become one: the second waits, and then finds nothing new.
Killed anywhere and run again it continues, because every stage finds what it finished. The feedback
in the dataset counts as used from before the training until the verdict, and is released when the
training fails or the candidate is rejected or blocked.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.embedded_server import prepare_embedded_server
from flows.notification import notify, notify_failure
from flows.run_page import ProfileName, name_run, run_progress
from stock_llm import environment
from stock_llm.artifacts import Adapter, Candidate, Dataset, History, Release, Scorecard, Version
from stock_llm.dataset.privacy import pseudonyms
from stock_llm.errors import LeakageError, ParityError, StockLLMError, StoreError
from stock_llm.feedback.store import LEASE, FeedbackStore
from stock_llm.pipeline import preflight, registry, report
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.pipeline.publication import judgements
from stock_llm.pipeline.publication.judgements import Judgement
from stock_llm.pipeline.publication.places import announce_absence
from stock_llm.pipeline.run_record import RunRecord, finished, record, run_digest, run_lock
from stock_llm.pipeline.tracking import tracked_run
from stock_llm.progress import timed
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

STAGES = (
    "collect",
    "build_dataset",
    "finetune",
    "align",
    "quantize",
    "evaluate",
    "register",
    "publish",
)


def train_with(settings: Settings, why: str) -> RunRecord:
    """The flow with these settings, which a flow can only be given as JSON."""
    prepare_embedded_server()
    return train(why=why, overrides=json.loads(settings.model_dump_json(exclude_unset=True)))


@flow(
    name="train",
    flow_run_name="train: {why}",
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
def train(
    profile: ProfileName = None, why: str = "manual", overrides: dict[str, Any] | None = None
) -> RunRecord:
    """Collect, build the dataset, fine-tune, align, quantize, evaluate, register, publish.

    Args:
        profile: Base model, one of models/profiles. Without one, that of the settings.
        why: What set it off; the run is named so while it is under way.
        overrides: Settings for this run alone, which win over environment and stock-llm.toml, as
            {"trades": "mine.csv", "train_rows": 500}.
    """
    environment.prepare()
    settings = load_settings(**(overrides or {}) | ({"profile": profile} if profile else {}))
    started_at = datetime.now(UTC)
    with (
        run_lock(settings),
        run_progress(STAGES) as shown,
        tracked_run(settings, STAGES, started_at) as tracked,
    ):
        judgements.settle_published(settings, open_feedback(settings))
        if known := finished(settings):
            create_markdown_artifact(
                report.nothing_new(known), key=ARTIFACT, description="nothing new"
            )
            name_run(f"nothing new since v{known.version}", "nothing new")
            shown.end("nothing new")
            return known

        preflight.require(settings)
        announce_absence(settings)
        history = timed(collect)(settings)
        plan = run_digest(settings, history.digest)
        tracked.begin(plan)
        with _blocked_by_leakage(settings, plan, history):
            dataset = timed(build_dataset)(settings, history)
        with _taken(settings, plan, history, dataset) as feedback:
            tuned = timed(finetune)(settings, dataset)
            adapter = timed(align)(settings, dataset, tuned)
            candidate = timed(quantize)(settings, dataset, adapter)
            with _parked(settings, candidate):
                scorecard = timed(evaluate)(settings, dataset, candidate)
                tracked.flush()
                version = timed(register)(
                    settings, history, dataset, adapter, candidate, scorecard, started_at, plan
                )
                reasons = "; ".join(scorecard.reasons)
                judgement = Judgement(version.number, scorecard.verdict, reasons)
                judgements.note(settings, plan, judgement)
                release = timed(publish)(settings, dataset, adapter, candidate, scorecard, version)
            judgements.settle(settings, feedback, plan, judgement)

        outcome = _outcome(
            why, plan, history, dataset, adapter, candidate, scorecard, version, release
        )
        create_markdown_artifact(
            report.markdown(outcome, settings),
            key=ARTIFACT,
            description=f"v{version.number}: {scorecard.verdict}",
        )
        record(settings, outcome)
        if scorecard.verdict != "keep":
            notify(
                settings, f"v{version.number} of stock-llm: {scorecard.verdict}", _message(outcome)
            )
        name_run(
            f"v{version.number}: {scorecard.verdict} ({why})", scorecard.verdict, outcome.profile
        )
        shown.end(f"v{version.number}: {scorecard.verdict}")
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
    learnt = pseudonyms.resolve_all(dataset.feedback_ids, history.feedback_ids, hashed)
    feedback.claim(plan, learnt, left_out=history.feedback_ids)
    try:
        with _renewed(feedback, plan):
            yield feedback
    except ParityError as error:
        _block(feedback, plan, error)
        raise
    except BaseException as error:
        feedback.settle(plan, "failed", f"{type(error).__name__}: {error}")
        raise


@contextmanager
def _renewed(feedback: FeedbackStore, plan: str) -> Iterator[None]:
    """The lease of the items lives as long as the block, however long a stage takes."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE.total_seconds() / 5):
            try:
                feedback.renew(plan)
            except StoreError as error:
                print(f"the lease of the feedback could not be renewed, again soon: {error}")

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _blocked_by_leakage(settings: Settings, plan: str, history: History) -> Iterator[None]:
    """Notes that no dataset may be made of these items, so that they are not tried again alone."""
    try:
        yield
    except LeakageError as error:
        feedback = open_feedback(settings)
        feedback.claim(plan, [], left_out=history.feedback_ids)
        _block(feedback, plan, error)
        raise


@contextmanager
def _parked(settings: Settings, candidate: Candidate) -> Iterator[None]:
    """Says what became of a candidate whose registry, disk or database stayed away."""
    try:
        yield
    except Exception as error:
        what = None if isinstance(error, StockLLMError) else registry.outage(error)
        if what is None:
            raise
        uri = registry.without_password(settings.mlflow_uri)
        problem = {
            "registry": f"the registry {uri} is away",
            "disk": "a disk is full or away",
            "database": "a database is locked",
        }[what]
        first = (str(error).splitlines() or [""])[0]
        raise StoreError(
            f"{problem}: {first}. The candidate {candidate.digest} is kept; once that is mended, "
            "run again: it goes on from here"
        ) from error


def _block(feedback: FeedbackStore, plan: str, error: StockLLMError) -> None:
    """Gives the items back with the reason, and shows it on the run's page."""
    feedback.settle(plan, "blocked", str(error))
    create_markdown_artifact(f"# blocked\n\n{error}\n", key=ARTIFACT, description="blocked")
    name_run("blocked", "blocked")


def _message(outcome: RunRecord) -> str:
    """What people are told of a run that ended."""
    return "\n".join([*outcome.reasons[:3], f"published as {', '.join(outcome.names)}"])


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
