"""`stock-llm up` with everything real: Prefect's server, a worker, MLflow, the gateway. `pytest -m server`; minutes.

UP_AND_DOWN sets how often it is started and ended (2; `make soak` takes 5).
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest
from factories.ports import free_ports
from prefect.client.base import PrefectHttpxSyncClient

from stock_llm.feedback.event import post_event
from stock_llm.feedback.store import FeedbackStore
from stock_llm.gateway.accounting.answer_log import AnswerLog, AnswerRecord
from stock_llm.secrets import signing_key
from stock_llm.services import processes
from stock_llm.services.prefect_api import PrefectApi, answers
from stock_llm.services.supervisor import read_state
from stock_llm.settings import load_settings

pytestmark = [pytest.mark.server, pytest.mark.timeout(3600)]

PROJECT = Path(__file__).parents[2]


class Project:
    """A project folder whose base is a random model of 0.4 M parameters, and the commands in it."""

    def __init__(self, home):
        self.home = home
        prefect, mlflow, gateway = free_ports(3)
        self.gateway = f"http://127.0.0.1:{gateway}"
        (home / "stock-llm.toml").write_text(
            'profile = "tiny"\ntrain_rows = 50\nollama_host = ""\n'
            'trades = "mine/trades.csv"\ncandles = "mine/candles"\nexchange = "24/5"\n'
            f"[services]\nprefect_port = {prefect}\nmlflow_port = {mlflow}\n"
            f"[gateway]\nport = {gateway}\n"
            '[schedule]\ntimezone = "Asia/Bangkok"\n'
        )
        self.environment = os.environ | {
            "STOCK_LLM_HOME": str(home),
            "STOCK_LLM_SECRETS": str(home / "secrets"),
            "PYTHONPATH": str(PROJECT),
        }

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "stock_llm.cli.main", *arguments],
            cwd=self.home, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def logs(self):
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
            for log in (self.home / "data" / "logs").glob("*.log")
        )

    def up(self):
        return self.run("up", "--detach")

    def down(self):
        """Ends everything; returns the seconds that it took."""
        began = time.monotonic()
        self.run("down")
        seconds = time.monotonic() - began
        assert processes.marked(self.home) == []
        assert read_state(self.home) is None
        return seconds

    def service(self, name):
        return next(service for service in read_state(self.home).services if service.name == name)

    def wait_for(self, condition, seconds=900):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.logs()
            time.sleep(0.5)


@pytest.fixture
def project(tiny_base, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(tiny_base, home)
    shutil.copytree(PROJECT / "data" / "sample", home / "mine")
    shutil.copy(PROJECT / "prefect.yaml", home)
    made = Project(home)
    yield made
    made.run("down")
    assert processes.marked(home) == []


def test_up_starts_everything_once_restarts_what_dies_and_down_ends_it(project):
    shown = project.up()
    assert all(name in shown for name in ("prefect", "mlflow", "gateway", "worker", "deploy"))
    assert "next runs (Asia/Bangkok)" in shown
    assert "runs in" in project.run("up") and "stock-llm down" in project.run("up", "--detach")

    api = PrefectApi(read_state(project.home).api_url)
    assert set(api.deployments().values()) == {"train", "collect", "retrain"}
    nightly = next(run for run in api.planned_runs() if run.deployment == "collect")
    assert nightly.at.hour == 18, "01:00 in Bangkok"
    assert answers(f"{project.gateway}/healthz")

    for name in ("worker", "gateway", "mlflow", "prefect"):
        pid = project.service(name).pid
        os.kill(pid, signal.SIGKILL)
        project.wait_for(lambda: project.service(name).pid not in (None, pid))  # noqa: B023
        project.wait_for(lambda: project.service(name).health == "runs")  # noqa: B023
    assert project.down() <= 10


def test_up_and_down_again_and_again_leaves_nothing_running(project):
    before = {process.pid for process in psutil.process_iter()}
    for _ in range(int(os.environ.get("UP_AND_DOWN", "2"))):
        project.up()
        assert project.down() <= 10
    left = [process for process in psutil.process_iter() if process.pid not in before]
    assert [p for p in left if str(project.home) in " ".join(p.cmdline())] == []


def test_ctrl_c_ends_everything_without_a_traceback(project):
    process = subprocess.Popen(
        [sys.executable, "-m", "stock_llm.cli.main", "up"],
        cwd=project.home, env=project.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    project.wait_for(
        lambda: read_state(project.home) and project.service("prefect").health == "runs"
    )
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - began <= 10
    assert process.returncode == 0 and said.endswith("ended\n") and "Traceback" not in said
    assert processes.marked(project.home) == []


def put_answers(home, count):
    """Answers in the gateway's log as if it had given them; returns their signed ids."""
    settings = load_settings(home=home)
    url, key = settings.url(settings.gateway.costs_url), signing_key(home / "secrets")

    async def write():
        log = AnswerLog(url, key, 36_500)
        for number in range(count):
            log.add(
                AnswerRecord(
                    id=f"answer{number}", at=datetime.now(UTC), feature="chat", skill="",
                    language="en", symbol="", as_of="", instruction=f"What is term {number}?",
                    input="", response=f"Term {number} is {number * 7} words long.",
                    provider="ollama", model="stock-llm:latest",
                )
            )  # fmt: skip
        await log.close()
        return [log.sign(f"answer{number}") for number in range(count)]

    return asyncio.run(write())


def test_feedback_of_several_users_starts_one_retrain_and_no_more(project, monkeypatch):
    """101 items start it, 100 do not; events that come at once give one run."""
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(project.home / "secrets"))
    ids = put_answers(project.home, 101)
    project.up()
    api_url = read_state(project.home).api_url
    api = PrefectHttpxSyncClient(base_url=api_url, timeout=60)

    def runs(flow, *states):
        asked = {"flows": {"name": {"any_": [flow]}}}
        if states:
            asked["flow_runs"] = {"state": {"type": {"any_": list(states)}}}
        return api.post("/flow_runs/filter", json=asked).raise_for_status().json()

    def give(number):
        answer = httpx.post(
            f"{project.gateway}/feedback",
            json={"response_id": ids[number], "thumb": "up"},
            headers={"X-User": f"user{number % 5}"},
            timeout=60,
        )
        return answer.raise_for_status().json()["unused"]

    assert [give(number) for number in range(100)][-1] == 100
    time.sleep(15)
    assert runs("train") == []
    assert give(100) == 101
    for _ in range(3):
        assert post_event(api_url, 101)
    project.wait_for(lambda: runs("train", "COMPLETED"), 1800)
    project.wait_for(lambda: not runs("retrain", "RUNNING", "PENDING"))
    (trained,) = runs("train")
    assert trained["name"].startswith("v1: ")
    assert len(runs("retrain", "COMPLETED")) == 1
    store = FeedbackStore(f"sqlite:///{project.home}/data/feedback.db")
    counts = store.counts(sample=False)
    assert counts.ready + counts.passed_over < 101 or counts.refusal is not None
    assert project.down() <= 10
