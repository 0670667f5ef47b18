"""The feedback commands: what they print, and that a person decides about what waits."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stock_llm.cli.main import app
from stock_llm.errors import InputError
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore

CASES = Path(__file__).parents[1] / "feedback" / "cases"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return FeedbackStore(f"sqlite:///{tmp_path}/data/feedback.db")


def command(*words):
    result = CliRunner().invoke(app, ["feedback", *words])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def flood(store, user, ticker):
    when = datetime(2026, 3, 2, tzinfo=UTC)
    store.add(
        FeedbackItem(
            id=f"{user}-{ticker}-{number}", instruction=f"{ticker} {number}?", response="Wait.",
            correction="Buy.", user=user, symbol=ticker, created_at=when,
        )
        for number in range(52)
    )  # fmt: skip


def test_an_import_prints_its_counts_and_rejected_rows(store):
    output = command("import", str(CASES / "feedback_null_response.jsonl"))
    assert (
        output.startswith("3 items: 2 new, 1 quarantined\n") and "row 2: response is null" in output
    )
    assert command("import", str(CASES / "open_webui_export.json")) == "2 items: 2 new\n"
    assert command("import", str(CASES / "open_webui_export.json")) == "2 items: 2 known already\n"
    assert command("count").startswith("4 items, 4 ready")
    assert len(store.all(sample=True)) == 4


def test_the_user_of_a_file_may_be_named(store):
    command("import", str(CASES / "open_webui_export.json"), "--user", "Ann")
    assert {item.user for item in store.all(sample=True)} == {"ann"}


def test_what_waits_is_shown_accepted_and_dropped(store):
    assert command("review") == "no items wait\n"
    flood(store, "mallory", "KESTRO")
    flood(store, "ann", "KESTRO")
    flood(store, "ann", "ORCA")
    assert "6 more wait: stock-llm feedback review" in command("count")
    lines = command("review").splitlines()
    assert lines[1].split() == ["ann", "KESTRO", "2026-03-02", "2"] and len(lines) == 5
    assert "mallory-KESTRO-51  Buy." in command("review", "--items")
    assert command("accept", "ann-ORCA-50") == "1 items count from now on\n"
    assert command("accept", "--user", "ann", "--ticker", "KESTRO").startswith("2 items")
    assert command("drop", "--user", "mallory").startswith("2 items are dropped")
    assert [len(group.items) for group in store.waiting()] == [1]
    assert len(store.all(sample=True)) == 153


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("accept",), "no items are named"),
        (("drop", "--user", "nobody"), "no waiting item fits"),
        (("accept", "gone"), "no waiting item 'gone'"),
    ],
)
def test_what_does_not_wait_is_refused(store, words, reason):
    flood(store, "mallory", "KESTRO")
    with pytest.raises(InputError, match=reason):
        command(*words)


def test_names_are_compared_as_items_have_them(store):
    flood(store, "Ann", "kestro")
    assert command("accept", "--user", "ANN", "--ticker", "kestro").startswith("2 items")
    with pytest.raises(InputError, match="user has 201 characters"):
        command("drop", "--user", "a" * 201)
