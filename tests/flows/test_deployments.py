"""The deployments on a real Prefect server with a process worker, set off as its UI does it. `pytest -m server`; minutes."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from factories.ports import free_port
from prefect.client.base import PrefectHttpxSyncClient

from stock_llm.pipeline import registry
from stock_llm.settings import load_settings

pytestmark = [pytest.mark.server, pytest.mark.timeout(1500)]

PROJECT = Path(__file__).parents[2]
PREFECT = [str(Path(sys.executable).with_name("prefect"))]


class Server:
    """A server, a worker, and what the UI asks of them."""

    def __init__(self, url, environment):
        self.api = PrefectHttpxSyncClient(
            base_url=url, timeout=60
        )  # asks again when the server's database is busy (503)
        self.environment = environment

    def prefect(self, *arguments):
        done = subprocess.run(
            [*PREFECT, *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def set_off(self, name, parameters):
        deployment = self.api.get(f"/deployments/name/{name}/{name}").raise_for_status().json()
        run = self.api.post(
            f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": parameters}
        )
        return run.raise_for_status().json()["id"]

    def end_of(self, run, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self.api.get(f"/flow_runs/{run}").raise_for_status().json()["state"]
            if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return state
            time.sleep(1)
        pytest.fail(f"still {state} after {seconds} s")

    def artifact_of(self, run):
        asked = {"artifacts": {"flow_run_id": {"any_": [run]}, "type": {"any_": ["markdown"]}}}
        (artifact,) = self.api.post("/artifacts/filter", json=asked).raise_for_status().json()
        return artifact["data"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefect")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": url,
        "STOCK_LLM_SCHEDULE__TIMEZONE": "Asia/Bangkok",
        "STOCK_LLM_SECRETS": str(folder / "secrets"),
    }
    environment["PREFECT_LOGGING_LEVEL"] = "INFO"
    started = []

    def start(name, *arguments):
        log = (folder / f"{name}.log").open("w")
        started.append(
            subprocess.Popen(
                [*PREFECT, *arguments], cwd=PROJECT, env=environment, stdout=log, stderr=log
            )
        )

    try:
        start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        running = Server(url, environment)
        for _ in range(240):
            try:
                running.api.get("/health").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.5)
        running.prefect("work-pool", "create", "--type", "process", "stock-llm")
        running.prefect("--no-prompt", "deploy", "--all")
        start("worker", "worker", "start", "--pool", "stock-llm", "--name", "test")
        yield running
        for log in folder.glob("*.log"):
            print(f"--- {log.name}", log.read_text()[-6000:], sep="\n")
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(20)
            except (
                subprocess.TimeoutExpired
            ):  # a worker may wait longer for what its server has to say
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def dials(tmp_path_factory, tiny_base):
    """Settings of a private folder with the sample and a random base of 0.4 M parameters: the whole line in little time."""
    home = tmp_path_factory.mktemp("deployed") / "home"
    shutil.copytree(tiny_base, home)
    shutil.copytree(PROJECT / "data" / "sample", home / "data" / "sample")
    return {
        "home": str(home),
        "profile": "tiny",
        "train_rows": 50,
        "ollama_host": "",
    }


def test_the_schedules_are_active_and_in_the_time_zone_that_is_set(server):
    for name in ("train", "collect", "retrain"):
        (schedule,) = (
            server.api.get(f"/deployments/name/{name}/{name}")
            .raise_for_status()
            .json()["schedules"]
        )
        assert schedule["active"] and schedule["schedule"]["timezone"] == "Asia/Bangkok"


def test_collect_ends_well(server, dials):
    run = server.set_off("collect", {"overrides": dials})
    state = server.end_of(run, 180)
    assert state["type"] == "COMPLETED", state
    assert "| trades | 700 |" in server.artifact_of(run)


def test_retrain_with_too_little_feedback_ends_well(server, dials):
    run = server.set_off("retrain", {"overrides": dials | {"retrain_after": 100_000}})
    state = server.end_of(run, 180)
    assert state["type"] == "COMPLETED", state
    assert "No retrain yet." in server.artifact_of(run)


def test_train_ends_well_and_a_second_run_of_it_at_the_same_time_is_cancelled(server, dials):
    run = server.set_off("train", {"overrides": dials, "why": "the UI"})
    second = server.set_off("train", {"overrides": dials, "why": "the UI, impatient"})
    states = [server.end_of(started, 900) for started in (run, second)]
    assert sorted(state["type"] for state in states) == ["CANCELLED", "COMPLETED"], states
    done = run if states[0]["type"] == "COMPLETED" else second
    assert "# stock-llm:v1" in server.artifact_of(done) and "| challenger |" in server.artifact_of(
        done
    )
    settings = load_settings(**dials)
    assert [version.number for version in registry.versions(settings)] == [1]

    again = server.set_off("train", {"overrides": dials})
    assert server.end_of(again, 180)["type"] == "COMPLETED"
    assert server.artifact_of(again).startswith("Nothing new")
