"""The run of a line in a real MLflow while it is under way, and when it is killed, fails, or MLflow is away."""

import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from factories.judged_candidate import line

from stock_llm import progress
from stock_llm.errors import ParityError
from stock_llm.pipeline import registry, tracking
from stock_llm.pipeline.tracking import tracked_run
from stock_llm.settings import load_settings
from tasks.register import register

STAGES = ("collect", "finetune", "register", "publish")
BEGAN = datetime(2026, 5, 4, 3, 0, tzinfo=UTC)


@pytest.fixture
def settings(registry_home, monkeypatch):
    monkeypatch.setattr(tracking, "WRITE_SECONDS", 0.05)
    return load_settings(home=registry_home, profile="tiny")


@pytest.fixture
def client(settings):
    return registry.connect(settings)


def stage(name, work=lambda: None):
    def run():
        return work()

    run.__name__ = name
    return progress.timed(run)()


def measure(*steps):
    """What a training tells of these steps, as the line of `judged_candidate` has them."""
    for step in steps:
        values = {"loss": 1 / step, "learning_rate": 1e-3, "seconds": float(step), "epoch": 0.1}
        progress.measured("fine-tuning", step, values)
        progress.measured("preference tuning", step, values)


def runs(client):
    return client.search_runs([client.get_experiment_by_name("stock-llm").experiment_id])


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def curve(client, run, name="training/loss"):
    return [
        (point.step, point.value, point.timestamp)
        for point in client.get_metric_history(run.info.run_id, name)
    ]


def test_the_loss_is_there_while_it_trains_and_the_version_takes_the_run_over(settings, client):
    def train():
        measure(1, 2)
        until(lambda: client.get_experiment_by_name("stock-llm") and runs(client))
        until(lambda: len(curve(client, runs(client)[0])) == 2)
        (run,) = runs(client)
        assert (run.info.status, run.data.tags["stage"]) == ("RUNNING", "finetune")
        assert run.info.run_name == "under way: 2026-05-04 03:00 UTC"
        measure(3)

    with tracked_run(settings, STAGES, BEGAN) as run:
        stage("collect")
        run.begin("a plan")
        stage("finetune", train)
        run.flush()
        given = vars(line(settings.home))
        version = stage(
            "register", lambda: register.fn(settings, **given, started_at=BEGAN, plan="a plan")
        )
        stage("publish", lambda: time.sleep(0.2))

    (run,) = runs(client)
    assert (run.info.run_id, run.info.status) == (version.run_id, "FINISHED")
    assert run.info.run_name == "v1" and "stage" not in run.data.tags
    assert run.info.start_time == round(BEGAN.timestamp() * 1000)
    assert {name for name in run.data.metrics if name.startswith("seconds/")} == {
        f"seconds/{name}" for name in STAGES
    }
    assert run.data.metrics["seconds/publish"] >= 0.2
    # written while it trained and when it was registered, and there once
    assert curve(client, run) == [
        (step, 1 / step, run.info.start_time + 1000 * step) for step in (1, 2, 3)
    ]
    assert not [name for name in run.data.metrics if "preference" in name or "epoch" in name]


def test_a_line_that_was_killed_goes_on_in_its_run_and_others_are_marked(settings, client):
    abandoned = tracking.TrackedRun(settings, STAGES, BEGAN)
    abandoned.begin("an older plan")
    killed = tracking.TrackedRun(settings, STAGES, BEGAN)
    killed.begin("a plan")
    until(lambda: client.get_experiment_by_name("stock-llm") and len(runs(client)) == 2)
    (older,) = [run for run in runs(client) if run.data.tags["plan"] == "an older plan"]
    client.set_tag(older.info.run_id, "stage", "finetune")
    for each in (abandoned, killed):  # as a kill does: nothing is written any more
        each._write = lambda: True
        each._thread.join(10)

    with pytest.raises(KeyboardInterrupt), tracked_run(settings, STAGES, BEGAN) as run:
        run.begin("a plan")
        run.flush()
        raise KeyboardInterrupt
    with tracked_run(settings, STAGES, BEGAN + timedelta(days=1)) as run:
        run.begin("a plan")
        run.flush()
        register.fn(settings, **vars(line(settings.home)), plan="a plan")

    states = {run.data.tags["plan"]: (run.info.status, run.info.run_name) for run in runs(client)}
    assert states["a plan"] == ("FINISHED", "v1")
    assert states["an older plan"] == ("KILLED", "ended: 2026-05-04 03:00 UTC")
    assert "stage" not in next(run for run in runs(client) if run.info.run_name == "v1").data.tags
    assert len(runs(client)) == 2


@pytest.mark.parametrize(
    ("error", "word"), [(ParityError("other tokens"), "blocked"), (OSError("no space"), "failed")]
)
def test_a_run_without_a_version_says_why(settings, client, error, word):
    def line_that_fails():
        with tracked_run(settings, STAGES, BEGAN) as run:
            run.begin("a plan")
            stage("finetune", lambda: measure(1))
            raise error

    with pytest.raises(type(error)):
        line_that_fails()
    (run,) = runs(client)
    assert run.info.status == "FAILED"
    assert run.info.run_name == f"{word}: 2026-05-04 03:00 UTC"
    assert run.data.tags["verdict"] == word
    assert str(error) in run.data.tags["mlflow.note.content"]


def test_a_candidate_that_has_a_version_keeps_its_run(settings, client):
    first = register.fn(settings, **vars(line(settings.home)))
    with tracked_run(settings, STAGES, BEGAN) as run:
        run.begin("another plan")
        run.flush()
        again = register.fn(settings, **vars(line(settings.home)), plan="another plan")
    assert again == first
    assert [run.info.run_id for run in runs(client)] == [first.run_id]


def test_a_version_whose_run_was_set_under_way_again_keeps_it(settings, client):
    with tracked_run(settings, STAGES, BEGAN) as run:
        run.begin("a plan")
        run.flush()
        version = register.fn(settings, **vars(line(settings.home)), plan="a plan")
        client.update_run(version.run_id, "RUNNING")  # as a write that comes late does
    assert [(run.info.run_id, run.info.status) for run in runs(client)] == [
        (version.run_id, "FINISHED")
    ]


def test_an_mlflow_that_does_not_answer_stops_nothing_and_holds_nothing_up(
    settings, monkeypatch, capsys
):
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        elsewhere = load_settings(home=settings.home, profile="tiny", mlflow_uri=uri)
        with tracked_run(elsewhere, STAGES, BEGAN) as run:
            run.begin("a plan")
            asked, _ = silent.accept()
            started = time.monotonic()
            stage("finetune", lambda: measure(*range(1, 2000)))
            assert time.monotonic() - started < 15
        assert run._thread.is_alive(), "it waits for an answer"
        asked.close()
    run._thread.join(60)
    assert not run._thread.is_alive()
    assert capsys.readouterr().out.count("MLflow does not show this run") == 1
