"""Registering on a real MLflow with SQLite: everything is there, once, whatever interrupts it."""

import errno
import json
import socket
import sqlite3
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import requests
from factories.judged_candidate import line
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from prefect.states import Failed

from stock_llm.cli import main
from stock_llm.errors import InputError, PublishError
from stock_llm.parity.divergence import Divergence
from stock_llm.parity.report import ParityReport, Step, write_report
from stock_llm.pipeline import registry
from stock_llm.pipeline.tracking import EXPERIMENT
from stock_llm.settings import load_settings
from tasks import register as stage
from tasks.evaluate import evaluate
from tasks.publish import publish
from tasks.register import register


@pytest.fixture
def settings(registry_home):
    return load_settings(home=registry_home, profile="tiny")


@pytest.fixture
def client(settings):
    return registry.connect(settings)


def runs(client):
    return client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])


def models(client):
    return client.search_logged_models([client.get_experiment_by_name(EXPERIMENT).experiment_id])


def test_a_version_links_all_its_inputs(settings, client):
    given = line(settings.home)
    version = register.fn(settings, **vars(given))
    assert (version.number, version.digest) == (1, "one")

    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert (
        run.data.params["lora.rank"] == "4" and run.data.params["training.learning_rate"] == "0.005"
    )
    assert run.data.params["holdout_from"] == "2025-07-01"
    assert run.data.metrics["challenger/score"] == 0.7 and run.data.metrics["base/signal"] == 0.1
    assert run.data.metrics["difference/challenger - base/low"] == 0.4
    assert run.data.metrics["majority/signal accuracy"] == 0.4
    assert not [name for name in run.data.metrics if name.endswith(("/rows", "/detectable"))]
    assert run.data.metrics["loss after/quantized"] == 0.51
    curve = client.get_metric_history(version.run_id, "training/loss")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    tags = run.data.tags
    lineage = {
        name: tags[name]
        for name in ("history", "dataset", "adapter", "candidate", "base", "scorecard", "holdout")
    }
    assert lineage == {
        "history": "history-one", "dataset": "dataset-one", "adapter": "adapter-one", "candidate": "one", "base": "b" * 64,
        "scorecard": "scorecard-one-promote", "holdout": "h",
    }  # fmt: skip
    assert tags["library.torch"] and tags["library.llama-cpp-python"]
    logged = {used.tags[0].value: used.dataset for used in run.inputs.dataset_inputs}
    assert {context: used.digest for context, used in logged.items()} == {
        "training": "dataset-one", "evaluation": "h", "evaluation of corrections": "dataset-one",
    }  # fmt: skip
    assert [json.loads(used.profile)["num_rows"] for used in logged.values()] == [10, 2, 0]

    names = {item.path: item.file_size for item in client.list_artifacts(version.run_id)}
    assert set(names) == {
        "holdout.md",
        "holdout.png",
        "dataset.md",
        "feedback_ids.txt",
        "report.html",
    }
    assert all(names.values())
    folder = settings.home / "mlflow" / "artifacts"
    assert next(folder.rglob("feedback_ids.txt")).read_text() == "f1\nf2\n"
    assert "| challenger | 0.700 |" in next(folder.rglob("holdout.md")).read_text()
    assert next(folder.rglob("holdout.png")).read_bytes().startswith(b"\x89PNG")
    assert not list(folder.rglob("*.gguf")), "the weights stay where they are"

    registered = client.get_model_version_by_alias(registry.MODEL, "challenger")
    assert (int(registered.version), registered.run_id) == (1, version.run_id)
    assert registered.tags == {
        "verdict": "promote",
        "base": "tiny",
        "score": "0.700",
        "interval": "+0.40 to +0.60 vs base",
        "feedback": "2",
    }
    assert tags["gguf.uri"] == given.candidate.gguf.as_uri()
    assert tags["gguf.sha256"] == given.candidate.gguf_sha256
    assert tags["gguf.bytes"] == "7"
    assert registered.description == f"promote: {given.scorecard.reasons[0]}"
    assert run.info.run_name == "v1" and "| challenger | 0.700 |" in tags["mlflow.note.content"]
    page = next(folder.rglob("report.html")).read_text()
    assert "<h1>stock-llm:v1</h1>" in page and "http" not in page.replace("http://www.w3.org", "")
    (model,) = models(client)
    assert (model.status, registered.source) == (
        LoggedModelStatus.READY,
        f"models:/{model.model_id}",
    )


def test_the_run_spans_the_whole_line(settings, client):
    began = datetime.now(UTC) - timedelta(hours=2)
    version = register.fn(settings, **vars(line(settings.home)), started_at=began)
    info = client.get_run(version.run_id).info
    assert info.start_time == round(began.timestamp() * 1000)
    assert info.end_time - info.start_time >= 7_200_000
    register.fn(settings, **vars(line(settings.home)))
    assert client.get_run(version.run_id).info.start_time == info.start_time


def raised_over(error, cause):
    """`error` as it is raised `from None` while `cause` is handled."""
    try:
        try:
            raise cause
        except type(cause):
            raise error from None
    except type(error) as raised:
        return raised


def refused_by_httpx():
    """What a connection through httpx to a port that nobody listens on raises."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError) as refused:
            httpx.get(f"http://127.0.0.1:{free.getsockname()[1]}", trust_env=False)
    return refused.value


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (
            raised_over(
                InputError("the registry cannot be opened"),
                requests.exceptions.ConnectionError("refused"),
            ),
            "registry",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.ESTALE, "Stale file handle"), "disk"),
        (sqlite3.OperationalError("database or disk is full"), "disk"),
        (sqlite3.OperationalError("database is locked"), "database"),
        (
            raised_over(PublishError("Ollama went away"), ConnectionRefusedError(111, "refused")),
            None,
        ),
        (refused_by_httpx(), None),
        (ValueError("a bug"), None),
        (FileNotFoundError("x"), None),
        (sqlite3.OperationalError("no such table"), None),
    ],
)
def test_only_a_registry_or_a_disk_that_is_away_is_waited_for(error, outage):
    assert registry.outage(error) == outage
    for waits in (stage.register, evaluate, publish):
        assert waits.retries == len(registry.WAIT_SECONDS)
        assert waits.retry_condition_fn(None, None, Failed(data=error)) == (outage is not None)


def test_registering_twice_makes_one_version(settings, client):
    given = line(settings.home)
    assert register.fn(settings, **vars(given)) == register.fn(settings, **vars(given))
    assert len(runs(client)) == len(models(client)) == len(registry.versions(settings)) == 1
    assert len(client.get_metric_history(runs(client)[0].info.run_id, "training/loss")) == 3


STEPS = (
    "create_registered_model", "create_run", "log_batch", "log_inputs", "log_artifacts", "log_model_artifacts",
    "finalize_logged_model", "create_model_version", "update_model_version", "set_registered_model_alias", "set_terminated",
)  # fmt: skip


def test_killed_at_any_step_it_goes_on_and_ends_in_one_version(settings, client, monkeypatch):
    """The process dies right after each step in turn; then it is run again."""
    for number, step in enumerate(STEPS, start=1):
        given = line(settings.home, step)
        real = getattr(MlflowClient, step)

        def dies(*arguments, real=real, **named):
            real(*arguments, **named)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(MlflowClient, step, dies)
            register.fn(settings, **vars(given))
        version = register.fn(settings, **vars(given))
        assert version.number == number
        assert [registered.candidate for registered in registry.versions(settings)].count(step) == 1
        finished = [run for run in runs(client) if run.data.tags["candidate"] == step]
        assert [run.info.status for run in finished] == ["FINISHED"]
        assert finished[0].data.metrics["training/tokens"] == 900
        assert len(client.list_artifacts(version.run_id)) == 5
        assert [model.status for model in models(client) if model.tags["candidate"] == step] == [
            LoggedModelStatus.READY
        ]
        assert (
            int(client.get_model_version_by_alias(registry.MODEL, "challenger").version) == number
        )


def test_judged_again_it_is_the_same_version_with_the_new_verdict(settings, client):
    register.fn(settings, **vars(line(settings.home)))
    again = line(settings.home, verdict="keep", champion=1)
    worse = again.scorecard.table | {
        "challenger": again.scorecard.table["challenger"] | {"score": 0.3}
    }
    version = register.fn(
        settings, **vars(replace(again, scorecard=replace(again.scorecard, table=worse)))
    )
    (known,) = registry.versions(settings)
    assert (known.verdict, known.champion_then, known.scores["challenger"]) == ("keep", 1, 0.3)
    assert client.get_model_version(registry.MODEL, "1").description.startswith("keep: ")
    assert client.get_run(version.run_id).data.metrics["challenger/score"] == 0.3
    assert (
        "| challenger | 0.300 |" in next((settings.home / "mlflow").rglob("holdout.md")).read_text()
    )


def test_outside_of_a_checkout_there_is_no_commit(monkeypatch, tmp_path):
    assert len(stage._origin()["mlflow.source.git.commit"].removesuffix("-dirty")) == 40
    monkeypatch.setattr(stage, "__file__", str(tmp_path / "register.py"))
    assert "mlflow.source.git.commit" not in stage._origin()


def test_the_parity_report_is_kept_with_the_version_and_printed(settings, client, monkeypatch, capsys):  # fmt: skip
    given = line(settings.home)
    steps = [Step("adapter", 0.5), Step("merged", 0.6, Divergence(0.01, 0.2, 0.97, 40), None, 0.25)]
    report = ParityReport(
        model="stock-llm one", base="tiny", quantization="Q4_K_M", merge_base="original", prompts=12, fuzzed=64,
        limits={"num_ctx": 1024}, rows=32, score_rows=8, steps=steps, merge={"original": 0.6, "dequantized": 0.7},
    )  # fmt: skip
    monkeypatch.setenv("STOCK_LLM_HOME", str(settings.home))

    def printed(*arguments):
        monkeypatch.setattr(sys, "argv", ["stock-llm", "parity", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, error = capsys.readouterr()
        return ended.value.code, " ".join((out + error).split())

    assert printed() == (1, "error: there is no version yet. Run: stock-llm run")
    write_report(report, given.candidate.folder)
    version = register.fn(settings, **vars(given))
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["parity/merged/mean_kl"] == 0.01 and metrics["parity/merged/score"] == 0.25
    assert "parity.json" in {item.path for item in client.list_artifacts(version.run_id)}
    code, said = printed("1")
    assert code == 0 and "12 questions and 64 of a fuzz" in said and "97.0%" in said
    code, said = printed("--json")
    assert code == 0 and json.loads(said)["steps"][1]["from_before"]["tokens"] == 40
    assert printed("7") == (1, "error: there is no version 7. See which there are: stock-llm history")  # fmt: skip
    (given.candidate.folder / "parity.json").unlink()
    code, said = printed()
    assert code == 1 and "parity.json: there is no parity report" in said
