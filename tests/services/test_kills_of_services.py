"""Run, worker, Prefect's server and gateway are killed with SIGKILL while a retrain is under way: feedback counts once, one champion,
no slot of a deployment is held for longer than Prefect's lease, and the next run succeeds.

All that is started by `stock-llm up` is real, and the flow too, but for a training of seconds (factories/quick_line.py). Feedback, costs,
MLflow and Prefect are in SQLite or in PostgreSQL. MOMENTS sets how often each of the four is killed (20), SEED the moments. Runs only
with -m soak: a moment takes about a minute.
"""

import os
import random
import signal
import threading
import time
from contextlib import suppress

import httpx
import psutil
import pytest
import sqlalchemy as sa
from factories.project_with_servers import UNDER_WAY, Project

from stock_llm.feedback.batches import USING_VERDICTS
from stock_llm.feedback.tables import BATCH, BATCH_ITEM
from stock_llm.ollama.model_name import LATEST, version_name
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline import registry
from stock_llm.services import processes
from stock_llm.services.prefect_api import PrefectApi
from stock_llm.services.supervisor import read_state

pytestmark = [pytest.mark.soak, pytest.mark.timeout(12 * 3600)]

VICTIMS = ("run", "worker", "prefect", "gateway")
LEASE_SECONDS = 300
ITEMS = 5
"""Items of feedback that each moment begins with."""

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@pytest.fixture(params=["sqlite", "postgresql"])
def project(request, tmp_path, monkeypatch):
    databases = {}
    if request.param == "postgresql":
        make = request.getfixturevalue("postgres_databases")
        databases = make("feedback", "costs", "mlflow", "prefect")
        databases["prefect"] = databases["prefect"].replace("+psycopg:", "+asyncpg:")
    made = Project(tmp_path / "home", databases, retrain_after=100_000)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    yield made
    made.run("down")
    assert processes.marked(made.home) == []


class Retrains:
    """Retrains that a person sets off, and what must hold when no more is under way."""

    def __init__(self, project: Project, answers: int):
        self.project = project
        self.response_ids = iter(project.put_answers(answers))
        self.given = 0
        project.up()
        self.api = PrefectApi(read_state(project.home).api_url)

    def give(self, count: int) -> None:
        """Feedback, sent until the gateway has taken it: the same opinion twice is one item."""
        for id in (next(self.response_ids) for _ in range(count)):
            while True:
                with suppress(httpx.HTTPError):
                    self.project.give(id, f"user{self.given % 5}")
                    break
                time.sleep(0.2)
            self.given += 1

    def set_off(self) -> str:
        with self.project.prefect() as api:
            found = api.get("/deployments/name/retrain/retrain").raise_for_status().json()
            parameters = {"parameters": {"why": "a kill", "now": True}}
            made = api.post(f"/deployments/{found['id']}/create_flow_run", json=parameters)
            return made.raise_for_status().json()["id"]

    def state(self, run: str) -> str:
        with self.project.prefect() as api:
            return api.get(f"/flow_runs/{run}").raise_for_status().json()["state_type"]

    def process(self, run: str) -> psutil.Process | None:
        """The process of a run, once the worker has started one."""
        with suppress(OSError, psutil.Error):
            for current in self.api.current_runs():
                if current.id == run and current.pid:
                    return psutil.Process(current.pid)
        return None

    def wait_for_end(self, run: str) -> str:
        ended: list[str] = []
        self.project.wait_for(
            lambda: (state := self.state(run)) in ENDED and ended.append(state) is None, 1200
        )
        return ended[0]

    def complete(self) -> float:
        """Sets off runs until one gets the slot; seconds until that. It completes."""
        began = time.monotonic()
        while True:
            set_off = time.monotonic()
            ended = self.wait_for_end(self.set_off())
            if ended != "CANCELLED":
                assert ended == "COMPLETED", self.project.logs()
                return set_off - began
            assert time.monotonic() - began < LEASE_SECONDS + 60, "its slot is still taken"

    def check(self) -> None:
        """What must hold when nothing is under way."""
        assert self.project.runs("retrain", *UNDER_WAY) == []
        assert self.project.runs("train", *UNDER_WAY) == []
        settings, store = self.project.settings(), self.project.store()
        items = store.all(sample=False)
        assert len({item.response_id for item in items}) == len(items) == self.given

        engine = sa.create_engine(settings.url(settings.feedback_url))
        with engine.connect() as connection:
            batches = connection.execute(sa.select(BATCH)).all()
            taken = connection.execute(
                sa.select(BATCH_ITEM.c.feedback)
                .join(BATCH, BATCH.c.key == BATCH_ITEM.c.batch)
                .where(BATCH.c.verdict.in_(USING_VERDICTS))
            ).scalars()
            used = set(taken)
        engine.dispose()
        assert [batch.key for batch in batches if batch.verdict is None] == []
        counts = store.counts(sample=False)
        assert (counts.ready, counts.training) == (len({item.id for item in items} - used), 0)

        versions = registry.versions(settings)
        assert len({version.candidate for version in versions}) == len(versions)
        models = OllamaStore(settings.path(settings.ollama_store))
        champion = registry.champion(settings)
        expected = models.digest(version_name(champion.number)) if champion else None
        assert models.digest(LATEST) == expected


def test_what_a_kill_leaves(project):
    moments = int(os.environ.get("MOMENTS", "20"))
    chance = random.Random(int(os.environ.get("SEED", "1")))
    retrains = Retrains(project, answers=(len(VICTIMS) * moments + 1) * 2 * ITEMS)
    retrains.give(ITEMS)
    began = time.monotonic()
    retrains.complete()
    whole = time.monotonic() - began
    retrains.check()
    print(f"\na whole retrain takes {whole:.0f} s", flush=True)
    for number, victim in enumerate(VICTIMS * moments, 1):
        print(f"{number}: {victim} {kill(retrains, victim, whole, chance)}", flush=True)
    retrains.complete()
    retrains.check()
    assert registry.champion(project.settings()), "no candidate was promoted"


def kill(retrains: Retrains, victim: str, whole: float, chance: random.Random) -> str:
    """One moment; what happened, in words."""
    project = retrains.project
    retrains.give(ITEMS)
    run = retrains.set_off()
    meanwhile = threading.Thread(target=retrains.give, args=(ITEMS,))
    if victim == "run":
        project.wait_for(lambda: retrains.process(run) or retrains.state(run) in ENDED)
    moment = chance.uniform(0, whole)
    time.sleep(moment)
    if victim == "run":
        process = retrains.process(run)
        if process is None:
            return f"had ended after {moment:.0f} s"
        process.kill()
    else:
        if victim == "gateway":
            meanwhile.start()
            time.sleep(chance.uniform(0, 0.2))
        os.kill(project.service(victim).pid, signal.SIGKILL)
    killed = time.monotonic()
    if victim == "gateway":
        meanwhile.join()
    ended = retrains.wait_for_end(run)
    seconds = time.monotonic() - killed
    assert seconds < LEASE_SECONDS + whole
    project.wait_for(project.is_ready)
    outcome = f"killed after {moment:.0f} s; its run was {ended.lower()} {seconds:.0f} s later"
    if ended != "COMPLETED":  # else the run of the next moment is the one that needs the slot
        waited = retrains.complete()
        assert waited <= LEASE_SECONDS
        outcome += f", the next one had the slot after {waited:.0f} s"
    retrains.check()
    return outcome
