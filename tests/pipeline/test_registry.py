"""Versions and aliases, on a real MLflow with SQLite."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partialmethod

import pytest
from factories.judged_candidate import line

from stock_llm.errors import InputError
from stock_llm.pipeline import registry
from stock_llm.settings import load_settings
from tasks.register import register


@pytest.fixture
def settings(registry_home):
    return load_settings(home=registry_home, profile="tiny")


def put(settings, *names, **changes):
    return [
        register.fn(
            settings, *(part for part in vars(line(settings.home, name, **changes)).values())
        ).number
        for name in names
    ]


def test_the_library_is_imported_not_our_folder_of_the_same_name():
    import mlflow

    assert mlflow.__file__ and "site-packages" in mlflow.__file__


def test_where_nothing_was_registered_nothing_is_made(tmp_path):
    """Neither a database nor the import of MLflow, which takes seconds."""
    asked = (
        "import sys; from stock_llm.pipeline import registry; from stock_llm.settings import load_settings\n"
        f"settings = load_settings(home={str(tmp_path)!r})\n"
        "assert (registry.versions(settings), registry.champion(settings), registry.find(settings, 'x')) == ([], None, None)\n"
        "assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", asked], check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg://me:hidden@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("http://me:hidden@host:5000/path", "http://me:***@host:5000/path"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:///mlflow/mlflow.db", "sqlite:///mlflow/mlflow.db"),
    ],
)
def test_a_uri_is_kept_without_its_password(uri, shown):
    assert registry.without_password(uri) == shown


def test_versions_on_several_pages_are_all_there(settings, monkeypatch):
    from mlflow import MlflowClient

    search = MlflowClient.search_model_versions
    put(settings, "one", "two", "three")
    monkeypatch.setattr(MlflowClient, "search_model_versions", partialmethod(search, max_results=1))
    assert [version.number for version in registry.versions(settings)] == [3, 2, 1]


def test_versions_have_their_scores_and_artifacts(settings):
    assert put(settings, "one", "two") == [1, 2]
    second, first = registry.versions(settings)
    assert (second.number, first.number) == (2, 1)
    assert (second.aliases, first.aliases) == (("challenger",), ())
    assert (first.verdict, first.profile, first.feedback, first.candidate, first.dataset) == (
        "promote",
        "tiny",
        2,
        "one",
        "dataset-one",
    )
    assert first.scores == {"base": 0.2, "challenger": 0.7}
    assert first.champion_then is None
    assert first.gguf.read_bytes() == b"GGUFone"
    assert registry.find(settings, "one") == first
    assert registry.find(settings, "three") is None


def test_the_champion_is_who_was_promoted_last(settings):
    put(settings, "one", "two")
    assert registry.champion(settings) is None
    registry.promote(settings, 2)
    registry.promote(settings, 1)
    registry.promote(settings, 1)
    assert registry.champion(settings).number == 1
    assert registry.champion(settings).replaced == 2
    with pytest.raises(InputError, match="no version 9"):
        registry.promote(settings, 9)
    assert registry.champion(settings).number == 1


def test_reasons_and_what_a_version_was_made_of_are_read_again(settings):
    put(settings, "one")
    registry.mark(settings, 1, registry.ROLLBACK_REASON, "it invents numbers")
    version = registry.find(settings, "one")
    assert (version.rollback_reason, version.promote_reason) == ("it invents numbers", "")
    assert (version.adapter, version.scorecard) == ("adapter-one", "scorecard-one-promote")


def test_a_deleted_run_keeps_its_version_and_a_removed_one_leaves_it_out(settings, capsys):
    put(settings, "one", "two")
    client = registry.connect(settings)
    client.delete_run(registry.find(settings, "one").run_id)
    assert [version.number for version in registry.versions(settings)] == [2, 1]
    registry.promote(settings, 2)
    registry.promote(settings, 1)
    assert (registry.champion(settings).number, registry.champion(settings).replaced) == (1, 2)
    client.restore_run(registry.find(settings, "one").run_id)
    client.delete_registered_model_alias(registry.MODEL, registry.CHAMPION)
    registry.promote(settings, 1)
    assert registry.champion(settings).replaced is None, "the run's tag is not hidden by an old one"
    with closing(sqlite3.connect(settings.home / "mlflow" / "mlflow.db")) as raw, raw:
        raw.execute("DELETE FROM tags WHERE run_uuid = ?", (registry.find(settings, "two").run_id,))
    assert [version.number for version in registry.versions(settings)] == [1]
    assert "v2 is left out" in capsys.readouterr().err


def test_a_moved_home_finds_its_files(settings, tmp_path):
    put(settings, "one")
    settings.home.rename(tmp_path / "moved home")
    moved = load_settings(home=tmp_path / "moved home")
    version = registry.find(moved, "one")
    assert version.gguf.is_relative_to(tmp_path / "moved home") and version.gguf.exists()


def test_a_file_that_is_no_registry_is_an_error_of_one_line(tmp_path):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").write_text(
        "not a database, and longer than the header of one. " * 9
    )
    with pytest.raises(InputError, match=r"mlflow\.db"):
        registry.versions(load_settings(home=tmp_path))


@pytest.mark.parametrize("moment", ["a first table", "a migration under way"])
def test_a_database_that_was_killed_while_it_was_made_is_made_again(registry_home, moment, capsys):
    """MLflow makes its tables one by one and cannot open a file that has only some of them."""
    file = registry_home / "mlflow" / "mlflow.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("DELETE FROM experiments")
        kept = {
            "a first table": ("runs",),
            "a migration under way": ("runs", "experiments", "alembic_version"),
        }[moment]
        for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ).fetchall():
            if name not in kept:
                database.execute(f"DROP TABLE {name}")
        if "alembic_version" in kept:
            database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        database.commit()
    settings = load_settings(home=registry_home, profile="tiny")
    assert put(settings, "one") == [1]
    assert "made again" in capsys.readouterr().err
    assert [version.number for version in registry.versions(settings)] == [1]
