"""The logic of the flows on a real Prefect: what joins stages, not what is in them. The feedback store is real as well."""

import errno
import json
import sqlite3
import threading
import time
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from factories.judged_candidate import line
from factories.parrot_gguf import write_parrot
from mlflow import MlflowClient
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.testing.utilities import prefect_test_harness

import flows.collect
import flows.retrain
import flows.train
import tasks.register
from stock_llm.artifacts import Release, Version
from stock_llm.errors import InputError, LeakageError, ParityError, StoreError
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore
from stock_llm.ollama.model_name import LATEST
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline import registry
from stock_llm.pipeline.inputs import input_digest
from stock_llm.pipeline.run_record import finished
from stock_llm.settings import load_settings


@pytest.fixture(scope="module", autouse=True)
def _prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


class Stages:
    """Stages that hand on a small candidate at once, and what was asked of them."""

    def __init__(self, settings):
        self.settings = settings
        self.store = OllamaStore(settings.path(settings.ollama_store))
        self.verdict = "promote"
        self.trained = 0
        self.fails: Exception | None = None
        self.during = lambda: None

    def _made(self):
        made = line(self.settings.home, f"number{self.trained}", self.verdict, feedback=[])
        write_parrot(made.candidate.gguf, "hello")
        return made

    def collect(self, settings):
        items = FeedbackStore(settings.url(settings.feedback_url)).all(settings.uses_sample)
        return replace(
            self._made().history,
            digest=input_digest(settings),
            feedback_ids=[item.id for item in items],
        )

    def build_dataset(self, _, history):
        return replace(
            self._made().dataset,
            feedback_ids=[name for name in history.feedback_ids if not name.startswith("waits")],
        )

    def finetune(self, *_):
        self.trained += 1
        self.during()
        if self.fails:
            raise self.fails
        return self._made().adapter

    def align(self, _settings, _dataset, adapter):
        return adapter

    def quantize(self, *_):
        return self._made().candidate

    def evaluate(self, *_):
        return self._made().scorecard

    def register(self, *_):
        return Version("candidate", self.trained, "run", "sqlite:///mlflow/mlflow.db")

    def publish(self, _settings, _dataset, _adapter, candidate, scorecard, version):
        name = f"stock-llm:v{version.number}"
        self.store.write_model(
            name,
            candidate.gguf,
            Modelfile(from_="./m.gguf", template="{{ .Prompt }}"),
            replace=False,
        )
        promoted = scorecard.verdict == "promote"
        if promoted:
            self.store.tag(name, LATEST)
        names = [name, LATEST] if promoted else [name]
        return Release(names, str(self.store.root), {}, "", "", 0.1, promoted)


@pytest.fixture
def settings(registry_home):
    (registry_home / "candles").mkdir()
    (registry_home / "candles" / "ABC.csv").write_text(
        "Date,Open,High,Low,Close,Volume\n2024-03-01,10,12,9,11,500\n"
    )
    (registry_home / "trades.csv").write_text(
        "date,symbol,side,quantity,price\n2024-03-01,ABC,BUY,3,10.5\n"
    )
    return load_settings(
        home=registry_home, profile="tiny", trades="trades.csv", candles="candles", retrain_after=2
    )


@pytest.fixture
def stages(settings, monkeypatch):
    stages = Stages(settings)
    for name in (
        "collect",
        "build_dataset",
        "finetune",
        "align",
        "quantize",
        "evaluate",
        "register",
        "publish",
    ):
        monkeypatch.setattr(flows.train, name, getattr(stages, name))
    return stages


@pytest.fixture
def store(settings):
    store = FeedbackStore(settings.url(settings.feedback_url))
    store.add(
        FeedbackItem(id=name, instruction="q", response=f"answer {name}", thumb="up")
        for name in ("a", "b", "waits")
    )
    return store


def overrides(settings):
    return settings.model_dump(mode="json", exclude_unset=True)


def artifact(key):
    """The newest Markdown artifact of this key, as the UI shows it."""
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        return client.request(
            "POST",
            "/artifacts/filter",
            json={"artifacts": wanted.model_dump(mode="json"), "sort": "CREATED_DESC", "limit": 1},
        ).json()[0]["data"]


def newest_run(flow):
    """The run of this flow that began last."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )[0]


def test_a_run_reports_its_outcome_and_the_next_has_nothing_new(settings, stages, store):
    outcome = flows.train.train_with(settings, why="a test")
    assert (outcome.version, outcome.verdict, outcome.promoted, outcome.why) == (
        1,
        "promote",
        True,
        "a test",
    )
    shown = artifact("train")
    assert (
        "# stock-llm:v1: promote" in shown
        and "| challenger | 0.700 |" in shown
        and "`stock-llm:v1`" in shown
    )
    assert shown.index("promote") < shown.index("| model |") < shown.index("set off by: a test")
    assert "http://127.0.0.1:5000/#/models/stock-llm/versions/1?" in shown
    assert "http://127.0.0.1:11435/pages/model" in shown
    run = newest_run("train")
    assert run.name == "v1: promote (a test)" and {"promote", "tiny"} <= set(run.tags)
    counts = store.counts(sample=False)
    assert (counts.ready, counts.passed_over) == (0, 1), "one waits for the holdout to end"
    assert finished(settings) == outcome

    assert flows.train.train_with(settings, why="again") == outcome
    assert stages.trained == 1
    assert artifact("train").startswith("Nothing new")
    store.add([FeedbackItem(instruction="q", response="another", rating=1)])
    assert flows.train.train_with(settings, why="feedback").version == 2


def test_a_rejected_candidate_gives_its_feedback_back(settings, stages, store):
    stages.verdict = "reject"
    flows.train.train_with(settings, why="a test")
    assert store.unused(sample=False) == 3


def test_feedback_counts_as_taken_while_it_trains_and_is_given_back_when_that_fails(
    settings, stages, store
):
    unused = []
    stages.during = lambda: unused.append(store.unused(sample=False))
    stages.fails = ParityError("token 3 differs")
    with pytest.raises(ParityError):
        flows.train.train_with(settings, why="a test")
    assert unused == [0]
    counts = store.counts(sample=False)
    assert counts.ready == 3 and counts.refusal.verdict == "blocked"
    assert counts.refusal.reason == "token 3 differs"
    assert artifact("train") == "# blocked\n\ntoken 3 differs\n"
    assert finished(settings) is None
    stages.fails = None
    assert flows.train.train_with(settings, why="again").version == 2
    assert store.unused(sample=False) == 0


class Outage:
    """A disk without room, for the stage that registers."""

    def __init__(self, monkeypatch):
        self.failures = 0
        write = MlflowClient.log_batch

        def log_batch(client, *args, **kwargs):
            if threading.current_thread().name != "MLflow" and self.failures:
                self.failures -= 1
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(client, *args, **kwargs)

        monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
        at_once = [0] * len(registry.WAIT_SECONDS)
        patient = tasks.register.register.with_options(retry_delay_seconds=at_once)
        monkeypatch.setattr(flows.train, "register", patient)


def test_a_disk_that_is_full_is_waited_for_and_the_candidate_kept(
    settings, stages, store, monkeypatch
):
    outage = Outage(monkeypatch)
    outage.failures = 2
    assert flows.train.train_with(settings, why="a test").version == 1
    assert outage.failures == 0

    store.add([FeedbackItem(instruction="q", response="another", rating=1)])
    outage.failures = 1000
    with pytest.raises(
        StoreError, match=r"^a disk is full.*No space left on device.* candidate number2 is kept"
    ):
        flows.train.train_with(settings, why="a test")
    assert store.unused(sample=False) == 1, "given back"
    assert [version.number for version in registry.versions(settings)] == [1]

    outage.failures = 0
    stages.trained = 1  # what was made is found again
    again = flows.train.train_with(settings, why="the disk is back")
    assert (again.version, store.unused(sample=False)) == (2, 0)
    assert [version.candidate for version in registry.versions(settings)] == ["number2", "number1"]
    client = registry.connect(settings)
    experiment = client.get_experiment_by_name("stock-llm").experiment_id
    assert {run.info.run_name: run.info.status for run in client.search_runs([experiment])} == {
        "v1": "FINISHED", "v2": "FINISHED",
    }  # fmt: skip


class Webhook(HTTPServer):
    """Takes what a custom webhook block sends."""

    def __init__(self):
        self.told = []
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.told.append(
                json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass


def test_people_are_told_of_promotions_and_failures_and_not_of_the_rest(settings, stages, store):
    webhook = Webhook()
    CustomWebhookNotificationBlock(
        name="test",
        url=f"http://127.0.0.1:{webhook.server_port}",
        json_data={"subject": "{{subject}}", "text": "{{body}}"},
    ).save("people", overwrite=True)
    settings = settings.model_copy(update={"notify": "custom-webhook/people"})
    flows.train.train_with(settings, why="a test")
    (message,) = webhook.told
    assert message["subject"] == "v1 of stock-llm: promote"
    assert "published as stock-llm:v1" in message["text"]

    stages.verdict = "keep"
    store.add([FeedbackItem(instruction="q", response="another", rating=1)])
    flows.train.train_with(settings, why="a test")
    assert len(webhook.told) == 1

    stages.fails = ParityError("token 3 differs")
    store.add([FeedbackItem(instruction="q", response="a third", rating=1)])
    with pytest.raises(ParityError):
        flows.train.train_with(settings, why="a test")
    assert "was blocked" in webhook.told[1]["subject"] and "token 3" in webhook.told[1]["text"]
    stages.fails = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        flows.retrain.retrain(now=True, overrides=overrides(settings))
    assert len(webhook.told) == 3, "told once, of the run inside and the one around it"
    assert "retrain" in webhook.told[2]["subject"] and "failed" in webhook.told[2]["subject"]
    webhook.shutdown()
    webhook.server_close()


def test_leakage_blocks_and_gives_everything_back(settings, stages, store, monkeypatch):
    def leak(*_):
        raise LeakageError({"rows repeat the holdout": ["r1"]})

    monkeypatch.setattr(flows.train, "build_dataset", leak)
    with pytest.raises(LeakageError):
        flows.train.train_with(settings, why="a test")
    counts = store.counts(sample=False)
    assert (counts.ready, counts.refusal.verdict, counts.refusal.fresh) == (3, "blocked", 0)
    assert "rows repeat the holdout" in artifact("train")
    assert stages.trained == 0


def test_the_lease_is_renewed_while_a_stage_runs(settings, stages, store, monkeypatch):
    monkeypatch.setattr(flows.train, "LEASE", timedelta(seconds=0.5))
    ends = []

    def during():
        for _ in range(2):
            with sqlite3.connect(settings.home / "data" / "feedback.db") as raw:
                ends.append(raw.execute("SELECT lease_until FROM batch").fetchone()[0])
            time.sleep(1)

    stages.during = during
    flows.train.train_with(settings, why="a test")
    assert ends[0] < ends[1]
    assert store.counts(sample=False).training == 0


def test_a_run_killed_before_it_settled_is_settled_by_the_next(
    settings, stages, store, monkeypatch
):
    """New feedback gives the next run another plan: it never comes back to the first one's."""
    stages.verdict = "keep"
    with monkeypatch.context() as killed:
        killed.setattr(flows.train.judgements, "settle", lambda *_: None)
        flows.train.train_with(settings, why="a test")
    assert store.counts(sample=False).training == 2
    store.add([FeedbackItem(instruction="q", response="another", rating=1)])
    stages.verdict = "reject"
    assert flows.train.train_with(settings, why="a test").version == 2
    counts = store.counts(sample=False)
    assert (counts.ready, counts.training) == (1, 0), "only the new item was given back"


def test_concurrent_runs_become_one(settings, stages):
    """The second is started while the first one trains."""
    ended = []
    training = threading.Event()

    def during():
        training.set()
        time.sleep(1)

    stages.during = during
    threads = [
        threading.Thread(
            target=lambda: ended.append(flows.train.train_with(settings, why="a test"))
        )
        for _ in range(2)
    ]
    threads[0].start()
    assert training.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert stages.trained == 1
    assert ended[0] == ended[1]


def test_retrain_reports_how_much_is_missing_then_trains(settings, stages, store):
    settings = settings.model_copy(update={"retrain_after": 3})
    assert flows.retrain.retrain(overrides=overrides(settings) | {"retrain_after": 3}) is None
    assert "3 items of feedback are ready, of 4 needed. 1 more is missing." in artifact("retrain")
    assert stages.trained == 0
    store.add([FeedbackItem(instruction="q", response="another", rating=5)])
    outcome = flows.retrain.retrain(overrides=overrides(settings) | {"retrain_after": 3})
    assert (outcome.version, outcome.why) == (1, "4 feedback items")
    assert flows.retrain.retrain(overrides=overrides(settings) | {"retrain_after": 3}) is None
    assert "0 items of feedback are ready" in artifact("retrain")
    assert "1 item does not count" in artifact("retrain")


@pytest.mark.usefixtures("store")
def test_retrain_does_not_try_a_rejected_plan_again(settings, stages):
    stages.verdict = "reject"
    assert flows.retrain.retrain(overrides=overrides(settings)).verdict == "reject"
    assert flows.retrain.retrain(overrides=overrides(settings)) is None
    assert "The last candidate was rejected on" in artifact("retrain")
    assert stages.trained == 1
    assert flows.retrain.retrain(now=True, overrides=overrides(settings)).verdict == "reject"
    assert stages.trained == 1, "the same inputs were judged"


@pytest.mark.usefixtures("store")
def test_collect_shows_what_was_read_and_set_aside(settings):
    with (settings.home / "trades.csv").open("a") as trades:
        trades.write("2024-03-01,ABC,BUY,4,10.5\n2024-03-01,ABC,PERHAPS,3,10.5\n")
    history = flows.collect.collect(overrides(settings))
    assert history.rows_quarantined["trades"] == 1
    shown = artifact("collect")
    assert (
        "| trades | 3 | 2 | 1 | 0 | 0 |" in shown
        and "3 items of feedback are ready" in shown
        and "ABC" not in shown
    )
    assert "The first time: 2 entries and 1 candles." in shown
    with (settings.home / "trades.csv").open("a") as trades:
        trades.write("2024-03-01,ABC,SELL,4,10.5\n")
    flows.collect.collect(overrides(settings))
    assert "UTC: entries 1 added." in artifact("collect")
    flows.collect.collect(overrides(settings))
    assert "UTC: nothing new." in artifact("collect")


def test_a_profile_given_to_the_flow_wins(settings):
    with pytest.raises(InputError, match="no profile 'other'"):
        flows.train.train(profile="other", overrides=overrides(settings))
