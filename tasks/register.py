"""Stage 7: registers the judged candidate as a version in MLflow, with everything that led to it.

Returns a `Version`: a run with parameters, metrics, dataset, lineage and a report, a logged model,
and a model version with the alias `challenger` and a few tags that people read. The GGUF stays
where it is; its URI, SHA-256 and size are tags of the run. Every step first checks, by the
candidate's digest, whether it was done: killed anywhere and run again, it ends in one version.
"""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from stock_llm.artifacts import Adapter, Candidate, Dataset, History, Scorecard, Version
from stock_llm.llm.profiles import load_profile
from stock_llm.parity import report as parity_report
from stock_llm.pipeline import registry, report, tracking
from stock_llm.pipeline.registry import CANDIDATE, CHALLENGER, MODEL
from stock_llm.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "bitsandbytes",
    "llama-cpp-python",
    "gguf",
    "mlflow",
    "prefect",
)


@task(task_run_name="register", **registry.RETRY)
def register(
    settings: Settings,
    history: History,
    dataset: Dataset,
    adapter: Adapter,
    candidate: Candidate,
    scorecard: Scorecard,
    started_at: datetime | None = None,
    plan: str = "",
) -> Version:
    """The version of this candidate: a new one, or the one that it has.

    Args:
        started_at: when the whole line began, which the run in MLflow spans. Default: now.
        plan: digest of all that the line depends on; its run under way becomes the candidate's.
    """
    client = registry.connect(settings)
    tags = registry.version_tags(dataset, adapter, candidate, scorecard)
    run = _run(client, settings, candidate, started_at, plan)
    if run.info.status != "FINISHED" or run.data.tags.get("scorecard") != scorecard.digest:
        _log(client, run, settings, history, dataset, adapter, candidate, scorecard, tags)
    summary = registry.summary_tags(dataset, adapter, scorecard)
    number = _version(client, settings, run, candidate, summary)
    client.update_model_version(MODEL, str(number), description=report.headline(scorecard))
    _write_report(client, run, number, dataset, adapter, candidate, scorecard)
    client.set_registered_model_alias(MODEL, CHALLENGER, str(number))
    client.update_run(run.info.run_id, name=f"v{number}")
    client.set_terminated(run.info.run_id, "FINISHED")
    uri = registry.without_password(settings.mlflow_uri)
    return Version(candidate.digest, number, run.info.run_id, uri)


def _run(
    client: "MlflowClient",
    settings: Settings,
    candidate: Candidate,
    started_at: datetime | None,
    plan: str,
) -> "Run":
    """The candidate's run: the one of an earlier attempt, whole or not, else the one that is under
    way, else a new one.
    """
    experiment = tracking.experiment_id(client, settings)
    if runs := client.search_runs([experiment], f"tags.{CANDIDATE} = '{candidate.digest}'"):
        return runs[0]
    under_way = tracking.run_of_plan(client, experiment, plan) if plan else None
    if under_way and CANDIDATE not in under_way.data.tags:
        client.set_tag(under_way.info.run_id, CANDIDATE, candidate.digest)
        return under_way
    return client.create_run(
        experiment,
        start_time=round(started_at.timestamp() * 1000) if started_at else None,
        tags={CANDIDATE: candidate.digest, **({tracking.PLAN: plan} if plan else {})},
        run_name=f"candidate {candidate.digest}",
    )


def _log(
    client: "MlflowClient",
    run: "Run",
    settings: Settings,
    history: History,
    dataset: Dataset,
    adapter: Adapter,
    candidate: Candidate,
    scorecard: Scorecard,
    tags: dict[str, str],
) -> None:
    """Parameters, metrics, dataset, lineage and evidence of the run; done twice it is the same,
    unless it was judged anew.
    """
    from mlflow.entities import Param, RunTag
    from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

    run_id = run.info.run_id
    judged_again = run.data.tags.get("scorecard") not in (None, scorecard.digest)
    moment = round(time.time() * 1000) if judged_again else run.info.start_time
    client.update_run(run_id, "RUNNING")
    lineage = (
        tags
        | {
            "history": history.digest,
            "base": adapter.base_digest,
            "trained on": adapter.trained_on or "this machine",
            "holdout": dataset.holdout_digest,
        }
        | _origin()
    )
    lineage[MLFLOW_RUN_NOTE] = report.judgement(scorecard)
    client.log_batch(
        run_id,
        params=[Param(name, str(value)) for name, value in _parameters(settings, dataset)],
        tags=[RunTag(name, value) for name, value in lineage.items()],
    )
    metrics = list(_metrics(moment, adapter, candidate, scorecard))
    for entry in adapter.loss_curve:
        metrics += tracking.curve_points(run.info.start_time, entry)
    for start in range(0, len(metrics), 1000):  # MLflow's limit per call
        client.log_batch(run_id, metrics=metrics[start : start + 1000])
    client.log_inputs(run_id, list(_dataset_inputs(dataset)))
    with tempfile.TemporaryDirectory() as made:
        _write_evidence(Path(made), dataset, candidate, scorecard, adapter)
        client.log_artifacts(run_id, made)


def _parameters(settings: Settings, dataset: Dataset) -> Iterator[tuple[str, Any]]:
    profile = load_profile(settings.home, settings.profile)
    for name, value in profile.model_dump(mode="json").items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", setting) for inner, setting in value.items())
        else:
            yield name, value
    yield "seed", settings.seed
    yield "train_rows", dataset.train_rows
    yield "holdout_rows", dataset.holdout_rows
    yield "holdout_from", dataset.holdout_from
    yield "train_until", dataset.train_until
    yield "horizon_days", dataset.horizon_days
    yield "prompt_version", dataset.prompt_version


def _origin() -> dict[str, str]:
    """The commit of this code, where it lies in a checkout, and the libraries that did the work."""
    origin = {}
    for library in LIBRARIES:
        try:
            origin[f"library.{library}"] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if described.returncode == 0:
        origin["mlflow.source.git.commit"] = described.stdout.strip()
    return origin


def _metrics(
    moment: int, adapter: Adapter, candidate: Candidate, scorecard: Scorecard
) -> "Iterator[Metric]":
    """All at one moment (milliseconds since 1970), because MLflow takes the same value at the same
    moment once.
    """
    from mlflow.entities import Metric

    def metric(name: str, value: float, step: int = 0) -> Metric:
        return Metric(re.sub(r"[^\w./ -]", "", name), float(value), moment, step)

    for model, row in scorecard.table.items():
        same = model.partition(" (")[0]  # "majority (HOLD)" is another class in another version
        yield from (
            metric(f"{same}/{name}", value) for name, value in row.items() if value is not None
        )
    for name, gap in scorecard.differences.items():
        for part in ("mean", "low", "high"):
            yield metric(f"difference/{name}/{part}", gap[part])
    yield from (metric(f"loss after/{step}", value) for step, value in candidate.losses.items())
    for name, value in adapter.alignment_metrics.items():
        yield metric(f"preferences/{name}", value)
    yield metric("training/tokens", adapter.tokens)
    yield metric("training/total seconds", adapter.seconds)
    yield metric("training/final loss", adapter.train_loss)
    yield metric("prompts proven equal", candidate.prompts_checked)
    if (candidate.folder / parity_report.FILE).exists():
        for step in parity_report.read_report(candidate.folder).steps:
            yield metric(f"parity/{step.name}/perplexity", step.perplexity)
            if step.score is not None:
                yield metric(f"parity/{step.name}/score", step.score)
            if step.from_before is not None:
                for name, value in asdict(step.from_before).items():
                    yield metric(f"parity/{step.name}/{name}", value)


def _dataset_inputs(dataset: Dataset) -> "Iterator[DatasetInput]":
    """The rows stay in their files; MLflow is told where they are, their digests and how many."""
    from mlflow.entities import Dataset as LoggedDataset
    from mlflow.entities import DatasetInput, InputTag

    for file, digest, rows, context in (
        (dataset.train, dataset.digest, dataset.train_rows, "training"),
        (dataset.holdout, dataset.holdout_digest, dataset.holdout_rows, "evaluation"),
        (dataset.corrections, dataset.digest, dataset.correction_rows, "evaluation of corrections"),
    ):
        profile = {
            "num_rows": rows,
            "counts": dataset.counts.get(file.stem, {}),
            "history": dataset.history,
        }
        yield DatasetInput(
            LoggedDataset(
                name=file.name,
                digest=digest,
                source_type="local",
                source=json.dumps({"uri": file.as_uri()}),
                profile=json.dumps(profile, ensure_ascii=False),
            ),
            [InputTag("mlflow.data.context", context)],
        )


def _write_evidence(
    folder: Path, dataset: Dataset, candidate: Candidate, scorecard: Scorecard, adapter: Adapter
) -> None:
    """Small files that a person wants beside the numbers."""
    if (parity := candidate.folder / parity_report.FILE).exists():
        (folder / parity.name).write_bytes(parity.read_bytes())
    (folder / "holdout.md").write_text(report.judgement(scorecard), encoding="utf-8")
    (folder / "dataset.md").write_bytes(dataset.card.read_bytes())
    if (plots := dataset.card.with_suffix(".png")).exists():
        (folder / plots.name).write_bytes(plots.read_bytes())
    (folder / "feedback_ids.txt").write_text(
        "".join(f"{name}\n" for name in dataset.feedback_ids), encoding="utf-8"
    )
    _plot(scorecard, adapter).savefig(folder / "holdout.png", dpi=120)


def _write_report(
    client: "MlflowClient",
    run: "Run",
    number: int,
    dataset: Dataset,
    adapter: Adapter,
    candidate: Candidate,
    scorecard: Scorecard,
) -> None:
    """The page of the version, one file that needs no other; it bears the version's number, which
    the rest of the evidence does not know yet.
    """
    from stock_llm.operations.reports.version import version_page

    title = f"{MODEL}:v{number}"
    page = version_page(title, dataset, adapter, candidate, scorecard)
    client.log_text(run.info.run_id, page, "report.html")


def _plot(scorecard: Scorecard, adapter: Adapter) -> "Figure":
    """Left the scores per model and metric, right the loss of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    scores, loss = figure.subplots(1, 2, width_ratios=(2, 1))
    models = [name for name, row in scorecard.table.items() if row.get("score") is not None]
    metrics = [name for name in scorecard.table[models[0]] if name not in report.NOT_SHARES]
    width = 0.8 / len(models)
    for at, model in enumerate(models):
        values = [scorecard.table[model].get(metric) or 0.0 for metric in metrics]
        scores.bar(
            [place + at * width for place in range(len(metrics))], values, width, label=model
        )
    scores.set_xticks(
        [place + 0.4 - width / 2 for place in range(len(metrics))], metrics, rotation=30, ha="right"
    )
    scores.set_ylim(0, 1)
    scores.set_title(f"holdout: {scorecard.verdict}")
    scores.legend()
    loss.plot(
        [entry["step"] for entry in adapter.loss_curve],
        [entry["loss"] for entry in adapter.loss_curve],
    )
    loss.set_title("training loss (nats/token)")
    loss.set_xlabel("step")
    return figure


def _version(
    client: "MlflowClient",
    settings: Settings,
    run: "Run",
    candidate: Candidate,
    tags: dict[str, str],
) -> int:
    """The number of the candidate's version; its tags say how it was judged last."""
    known = registry.find(settings, candidate.digest)
    if known and known.gguf_sha256 == candidate.gguf_sha256:
        for name, value in tags.items():
            client.set_model_version_tag(MODEL, str(known.number), name, value)
        return known.number
    _ensure_model(client)
    model_id = _logged_model(client, run, candidate, tags | {CANDIDATE: candidate.digest})
    made = client.create_model_version(
        MODEL, source=f"models:/{model_id}", run_id=run.info.run_id, model_id=model_id, tags=tags
    )
    return int(made.version)


def _ensure_model(client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            MODEL,
            description="Fine-tuned on the user's own trades and feedback. @champion is what "
            "`stock-llm:latest` is in Ollama, @challenger the newest. Why a version was judged so: "
            "its run, and report.html among the run's artifacts.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _logged_model(
    client: "MlflowClient", run: "Run", candidate: Candidate, tags: dict[str, str]
) -> str:
    """Id of the candidate's logged model, made as external: its weights are outside of MLflow."""
    import mlflow
    from mlflow.entities import LoggedModelStatus

    experiment = run.info.experiment_id
    for model in client.search_logged_models(
        [experiment], f"tags.{CANDIDATE} = '{candidate.digest}'"
    ):
        if model.status == LoggedModelStatus.READY:
            return model.model_id
        client.delete_logged_model(model.model_id)  # killed before it was whole
    made = mlflow.create_external_model(
        name=MODEL,
        source_run_id=run.info.run_id,
        tags=tags,
        model_type="gguf",
        experiment_id=experiment,
    )
    return made.model_id
