"""A project folder in which `stock-llm up` runs everything real, and the commands that people give there."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
from factories.ports import free_ports
from prefect.client.base import PrefectHttpxSyncClient

from stock_llm.feedback.store import FeedbackStore
from stock_llm.gateway.accounting.answer_log import AnswerLog, AnswerRecord
from stock_llm.secrets import signing_key
from stock_llm.services import processes
from stock_llm.services.supervisor import ServiceState, read_state
from stock_llm.settings import Settings, load_settings

PROJECT = Path(__file__).parents[2]

UNDER_WAY = ("RUNNING", "PENDING", "CANCELLING")

RUN_SETTINGS = {
    "ollama_host": "",
    "trades": "mine/trades.csv",
    "candles": "mine/candles",
    "exchange": "24/5",
}

LINE = "factories.quick_line"
"""The module of the deployed flows `train` and `retrain`: `make run` is the test of a whole training, which takes minutes."""


class Project:
    """A project folder and its servers.

    Args:
        home: is made.
        databases: URLs by what is in them: feedback, costs, mlflow, prefect. SQLite for those that
            are not named.
        settings: at the top of stock-llm.toml, in place of `RUN_SETTINGS` or beside them.
    """

    def __init__(self, home: Path, databases: dict[str, str] | None = None, **settings):
        self.home = home
        shutil.copytree(PROJECT / "models" / "stock-tiny", home / "models" / "stock-tiny")
        shutil.copytree(PROJECT / "models" / "profiles", home / "models" / "profiles")
        shutil.copytree(PROJECT / "data" / "sample", home / "mine")
        deployments = (PROJECT / "prefect.yaml").read_text()
        for name in ("train", "retrain"):
            assert f" flows.{name}.{name}\n" in deployments
            deployments = deployments.replace(f" flows.{name}.{name}\n", f" {LINE}.{name}\n")
        (home / "prefect.yaml").write_text(deployments)
        prefect, mlflow, gateway = free_ports(3)
        self.gateway = f"http://127.0.0.1:{gateway}"
        self.variables = {
            "STOCK_LLM_HOME": str(home),
            "STOCK_LLM_SECRETS": str(home / "secrets"),
        }
        self.environment = (
            os.environ | self.variables | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"}
        )
        urls = databases or {}
        top = {"feedback_url": urls.get("feedback"), "mlflow_uri": urls.get("mlflow")}
        tables = {
            "": RUN_SETTINGS | settings | top,
            "services": {
                "prefect_port": prefect,
                "mlflow_port": mlflow,
                "prefect_database": urls.get("prefect"),
            },
            "gateway": {"port": gateway, "costs_url": urls.get("costs")},
            "schedule": {"timezone": "Asia/Bangkok"},
        }
        (home / "stock-llm.toml").write_text("\n".join(_toml(tables)) + "\n")

    def start(self, *arguments: str, **options) -> "subprocess.Popen[str]":
        """One command of stock-llm, in a process of its own."""
        command = [sys.executable, "-m", "stock_llm.cli.main", *arguments]
        return subprocess.Popen(
            command, cwd=self.home, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def run(self, *arguments: str) -> str:
        """The same to its end; what it printed."""
        process = self.start(*arguments)
        printed, errors = process.communicate()
        assert "Traceback" not in errors, errors
        assert process.returncode == 0, printed + errors + self.logs()
        return printed

    def logs(self) -> str:
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
            for log in (self.home / "data" / "logs").glob("*.log")
        )

    def up(self) -> str:
        return self.run("up", "--detach")

    def down(self) -> float:
        """Ends everything; returns the seconds that it took, without what the command takes where there
        is nothing to end: on a busy machine Python is slow to start.
        """
        began = time.monotonic()
        self.run("down")
        ended = time.monotonic()
        assert processes.marked(self.home) == []
        assert read_state(self.home) is None
        assert "nothing runs here" in self.run("down")
        return ended - began - (time.monotonic() - ended)

    def service(self, name: str) -> ServiceState:
        return next(service for service in read_state(self.home).services if service.name == name)

    def is_ready(self) -> bool:
        """Whether everything runs."""
        state = read_state(self.home)
        return bool(state) and all(s.health in ("runs", "done") for s in state.services)

    def wait_for(self, condition, seconds: float = 900) -> None:
        end = time.monotonic() + seconds
        while True:
            with suppress(httpx.HTTPError):  # a server is just away
                if condition():
                    return
            assert time.monotonic() < end, self.logs()
            time.sleep(0.5)

    def settings(self) -> Settings:
        """Those of the folder; in a test whose environment has `variables`."""
        settings = load_settings()
        assert settings.home == self.home
        return settings

    def store(self) -> FeedbackStore:
        settings = self.settings()
        return FeedbackStore(settings.url(settings.feedback_url))

    def prefect(self) -> PrefectHttpxSyncClient:
        """Prefect's API, asked again where it is busy."""
        return PrefectHttpxSyncClient(base_url=read_state(self.home).api_url, timeout=60)

    def runs(self, flow: str, *states: str) -> list[dict]:
        """The runs of a flow in these states; without any named, all that a schedule or somebody
        has begun.
        """
        wanted = {"any_": list(states)} if states else {"not_any_": ["SCHEDULED"]}
        asked = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"state": {"type": wanted}}}
        return self.prefect().post("/flow_runs/filter", json=asked).raise_for_status().json()

    def put_answers(self, count: int) -> list[str]:
        """Answers in the gateway's log as if it had given them; returns their signed ids."""
        settings = self.settings()
        url, key = settings.url(settings.gateway.costs_url), signing_key(settings.secrets)

        async def write() -> list[str]:
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

    def give(self, response_id: str, user: str) -> int:
        """Somebody's thumb for an answer, through the gateway; returns how many items are unused."""
        answer = httpx.post(
            f"{self.gateway}/feedback",
            json={"response_id": response_id, "thumb": "up"},
            headers={"X-User": user},
            timeout=60,
        )
        return answer.raise_for_status().json()["unused"]


def _toml(tables: dict[str, dict[str, object]]) -> Iterator[str]:
    for table, values in tables.items():
        if table:
            yield f"[{table}]"
        for name, value in values.items():
            if value is not None:
                yield f"{name} = {json.dumps(value)}"
