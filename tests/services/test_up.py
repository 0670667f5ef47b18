"""`stock-llm up` with everything real: Prefect's server, a worker, MLflow, the gateway, runs to `:latest`. Only the training takes seconds
(factories/quick_line.py). `pytest -m server`; minutes.

UP_AND_DOWN=5, as in `make soak`, starts and ends it so many times more.
"""

import os
import signal
import time

import psutil
import pytest
from factories.project_with_servers import UNDER_WAY, Project

from stock_llm.feedback.event import post_event
from stock_llm.ollama.model_name import LATEST
from stock_llm.ollama.store import OllamaStore
from stock_llm.services import processes
from stock_llm.services.prefect_api import PrefectApi, answers
from stock_llm.services.supervisor import read_state

pytestmark = [pytest.mark.server, pytest.mark.timeout(3600)]


@pytest.fixture
def project(tmp_path, monkeypatch):
    made = Project(tmp_path / "home")
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    yield made
    made.run("down")
    assert processes.marked(made.home) == []


def test_up_starts_everything_once_restarts_what_dies_and_down_ends_it(project):
    second = project.start("up", "--detach")
    shown = project.up()
    also, errors = second.communicate()
    assert second.returncode == 0, errors
    for printed in (shown, also):
        assert all(name in printed for name in ("prefect", "mlflow", "gateway", "worker", "deploy"))
    assert "next runs (Asia/Bangkok)" in shown
    assert "runs in" in project.run("up") and "stock-llm down" in project.run("up", "--detach")

    api = PrefectApi(read_state(project.home).api_url)
    assert set(api.deployments().values()) == {"train", "collect", "retrain"}
    nightly = next(run for run in api.planned_runs() if run.deployment == "collect")
    assert nightly.at.hour == 18, "01:00 in Bangkok"
    assert answers(f"{project.gateway}/healthz")

    names = ("worker", "gateway", "mlflow", "prefect")
    pids = {name: project.service(name).pid for name in names}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in pids.items():
        project.wait_for(lambda: project.service(name).pid not in (None, pid))  # noqa: B023
        project.wait_for(lambda: project.service(name).health == "runs")  # noqa: B023
    assert project.down() <= 10


@pytest.mark.skipif("UP_AND_DOWN" not in os.environ, reason="UP_AND_DOWN is not set")
def test_up_and_down_again_and_again_leaves_nothing_running(project):
    before = {process.pid for process in psutil.process_iter()}
    for _ in range(int(os.environ["UP_AND_DOWN"])):
        project.up()
        seconds = project.down()
        print(f"down took {seconds:.1f} s", flush=True)
        assert seconds <= 10
    left = [process for process in psutil.process_iter() if process.pid not in before]
    assert [p for p in left if str(project.home) in " ".join(p.cmdline())] == []


def test_ctrl_c_ends_everything_without_a_traceback(project):
    process = project.start("up")
    project.wait_for(
        lambda: read_state(project.home) and project.service("prefect").health == "runs"
    )
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert time.monotonic() - began <= 10
    assert process.returncode == 0 and printed.endswith("ended\n") and errors == ""
    assert processes.marked(project.home) == []


def test_feedback_of_several_users_starts_one_retrain_and_no_more(project):
    """101 items start it, 100 do not; events that come at once give one run."""
    ids = project.put_answers(101)
    project.up()
    api_url = read_state(project.home).api_url

    def give(number):
        return project.give(ids[number], f"user{number % 5}")

    assert [give(number) for number in range(100)][-1] == 100
    time.sleep(10)
    assert project.runs("train") == []
    assert give(100) == 101
    for _ in range(3):
        assert post_event(api_url, 101)
    project.wait_for(lambda: project.runs("train", "COMPLETED", "FAILED", "CRASHED"))
    project.wait_for(lambda: not project.runs("retrain", *UNDER_WAY))
    (trained,) = project.runs("train")
    assert trained["name"] == "v1: promote (101 feedback items)", project.logs()
    names = {run["name"] for run in project.runs("retrain", "COMPLETED")}
    assert "retrained: v1 promote" in names, "the others were cancelled, or found nothing to do"
    models = OllamaStore(project.home / "models" / "ollama")
    assert models.digest(LATEST) == models.digest("stock-llm:v1") is not None
    assert project.store().unused(sample=False) == 0
    assert project.down() <= 10
