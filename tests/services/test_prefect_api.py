"""Which runs are marked as crashed, asked of a server that answers as Prefect's does (recorded shapes)."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from stock_llm.services.prefect_api import PrefectApi, answers


class PrefectLike(HTTPServer):
    """Runs by id; a run that is inside another, or was started by hand, has no pool."""

    def __init__(self):
        self.runs = {}
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/api"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def add(self, id, state, pid=None, inside=False, due=None, by_hand=False):
        self.runs[id] = {
            "id": id, "name": id, "state_type": state, "infrastructure_pid": pid, "inside": inside,
            "in_pool": not (inside or by_hand), "deployment_id": "d1", "next_scheduled_start_time": due,
        }  # fmt: skip

    def find(self, asked):
        chosen = asked["flow_runs"]
        found = [
            run
            for run in self.runs.values()
            if run["state_type"] in chosen["state"]["type"]["any_"]
        ]
        if "work_pools" in asked:
            found = [run for run in found if run["in_pool"]]
        if "parent_task_run_id" in chosen:
            is_null = chosen["parent_task_run_id"]["is_null_"]
            found = [run for run in found if run["inside"] != is_null]
        return found

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/set_state"):
                assert asked["force"]
                run = self.path.split("/")[-2]
                self.server.runs[run]["state_type"] = asked["state"]["type"]
                given = {"status": "ACCEPT"}
            elif self.path == "/api/deployments/filter":
                given = [{"id": "d1", "name": "collect"}]
            elif self.path == "/api/flow_runs/filter":
                given = self.server.find(asked)
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(given).encode())

        def log_message(self, *_):
            pass


@pytest.fixture
def server():
    made = PrefectLike()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def ended():
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


@pytest.fixture
def living():
    """The number of the process of the run "lives-on", as Prefect's worker starts it."""
    variables = os.environ | {"PREFECT__FLOW_RUN_ID": "lives-on"}
    process = subprocess.Popen([sys.executable, "-c", "input()"], env=variables, stdin=-1)
    yield str(process.pid)
    process.communicate(b"\n")


def states(server):
    return {id: run["state_type"] for id, run in server.runs.items()}


def test_without_a_worker_a_run_without_a_process_is_nobodys(server, ended, living):
    server.add("killed", "RUNNING", f"host:{ended}")
    server.add("never-started", "PENDING")
    server.add("lives-on", "RUNNING", living)
    server.add("its-number-is-anothers-now", "RUNNING", str(os.getpid()))
    server.add("part-of-it", "RUNNING", inside=True)
    lost = {"killed", "never-started", "its-number-is-anothers-now"}
    assert set(PrefectApi(server.url).crash_lost_runs()) == lost
    assert states(server) == {
        **dict.fromkeys(lost, "CRASHED"), "lives-on": "RUNNING", "part-of-it": "RUNNING",
    }  # fmt: skip


def test_a_run_inside_a_killed_one_is_marked_too(server, ended):
    server.add("killed", "RUNNING", ended)
    server.add("part-of-it", "RUNNING", inside=True)
    assert PrefectApi(server.url).crash_lost_runs() == ["killed", "part-of-it"]


def test_a_run_inside_one_that_was_started_by_hand_goes_on(server):
    api = PrefectApi(server.url)
    server.add("by-hand", "RUNNING", by_hand=True)
    server.add("part-of-it", "RUNNING", inside=True)
    assert api.crash_silent_runs() == api.crash_lost_runs() == []
    assert states(server) == {"by-hand": "RUNNING", "part-of-it": "RUNNING"}


def test_beside_a_worker_a_run_gets_the_time_to_be_reported(server, ended):
    api = PrefectApi(server.url)
    server.add("killed", "PENDING", ended)
    server.add("about-to-start", "PENDING")
    assert api.crash_silent_runs() == []
    assert api.crash_silent_runs() == ["killed"]
    assert states(server)["about-to-start"] == "PENDING"


def test_the_next_run_of_each_deployment(server):
    server.add("first", "SCHEDULED", due="2026-12-02T18:00:00+00:00")
    server.add("second", "SCHEDULED", due="2026-12-03T18:00:00+00:00")
    (run,) = PrefectApi(server.url).planned_runs()
    assert (run.deployment, run.at.day, run.at.hour) == ("collect", 2, 18)


def test_a_server_that_is_away_or_speaks_something_else(server):
    away = PrefectApi("http://127.0.0.1:1/api")
    assert not away.is_healthy() and not away.has_worker() and not answers("http://127.0.0.1:1")
    assert not PrefectApi(server.url).has_worker(), "this one knows no pools"
    with pytest.raises(OSError, match="refused"):
        away.current_runs()
