"""`stock-llm status`: what there is, what is missing, and which databases the next start would migrate."""

import json
import shutil
import sqlite3
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from stock_llm.cli import main
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore
from stock_llm.operations.databases import database_versions, newest_revision
from stock_llm.operations.status import project_status, status_view
from stock_llm.settings import load_settings

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def settings(bare_home):
    return load_settings(home=bare_home, profile="tiny", trades="trades.csv", retrain_after=100)


def shown(settings):
    console = Console(file=StringIO(), width=100)
    console.print(status_view(project_status(settings), "UTC"))
    return console.file.getvalue()


def test_an_empty_folder(settings):
    text = shown(settings)
    assert "none run here: stock-llm up" in text and "none yet: stock-llm run" in text
    assert "0 of 100 ready" in text
    assert "MLflow: not made yet" in text


def test_feedback_that_is_ready_and_a_store_that_would_be_migrated(settings):
    url = settings.url(settings.feedback_url)
    FeedbackStore(url, daily_limit=1000).add(
        FeedbackItem(id=f"i{n}", instruction="q", response=f"a{n}", thumb="up") for n in range(87)
    )
    assert "87 of 100 ready" in shown(settings)
    newest = {each.name: each for each in database_versions(settings)}["feedback"]
    assert newest.current == newest.newest and not newest.is_behind

    file = settings.home / "data" / "feedback.db"
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '0004'")
        raw.execute("ALTER TABLE batch_item DROP COLUMN learnt")
    text = shown(settings)
    assert f"0004, the next start migrates it to {newest.newest}" in " ".join(text.split())
    assert "feedback    not read" in text
    with sqlite3.connect(file) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0004",)


def test_the_registry_of_mlflow_is_up_to_date(registry_home):
    settings = load_settings(home=registry_home, profile="tiny")
    versions = {each.name: each for each in database_versions(settings)}
    assert versions["MLflow"].current == versions["MLflow"].newest != ""
    assert versions["Prefect"].current == "" and versions["Prefect"].newest


def test_a_database_whose_driver_is_missing_is_told_without_its_password(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    url = "postgresql+asyncpg://me:hidden@127.0.0.1/prefect"
    services = settings.services.model_copy(update={"prefect_database": url})
    found = database_versions(settings.model_copy(update={"services": services}))
    (prefect,) = [each for each in found if each.name == "Prefect"]
    assert "psycopg" in prefect.problem
    assert "hidden" not in prefect.place + prefect.problem


def test_the_newest_revision_is_that_which_none_follows(tmp_path):
    for name, before in (("a1", None), ("b2", "a1"), ("c3", "b2")):
        (tmp_path / f"{name}.py").write_text(f"revision = '{name}'\ndown_revision = {before!r}\n")
    assert newest_revision(tmp_path) == "c3"
    (tmp_path / "d.py").write_text('revision: str = "d4"\ndown_revision: str | None = "c3"\n')
    assert newest_revision(tmp_path) == "d4"


def test_a_damaged_database_is_told_and_the_rest_is_shown(settings):
    (settings.home / "data").mkdir()
    (settings.home / "data" / "costs.db").write_bytes(b"no database at all" * 100)
    text = shown(settings)
    assert "costs: file is not a database" in text and "0 of 100 ready" in text


def test_json(settings, monkeypatch, capfd):
    shutil.copytree(PROJECT / "data" / "sample", settings.home / "data" / "sample")
    monkeypatch.setenv("STOCK_LLM_HOME", str(settings.home))
    monkeypatch.setattr(sys, "argv", ["stock-llm", "status", "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    found = json.loads(capfd.readouterr().out)
    assert ended.value.code == 0
    assert found["feedback"]["counts"]["ready"] > 0 and found["feedback"]["needed"] == 101
    assert found["up"] is None and found["champion"] is None and found["disk_free"] > 0
