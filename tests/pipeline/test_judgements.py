"""A run that was killed between publishing and settling its feedback: what its version learnt counts once."""

import pytest
from factories.published_versions import published

from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore
from stock_llm.operations.retraining import decide
from stock_llm.pipeline.publication.judgements import Judgement, note, settle_published
from stock_llm.settings import load_settings


@pytest.fixture
def settings(tmp_path):
    return load_settings(home=tmp_path, trades="t.csv", ollama_host="", retrain_after=2)


@pytest.fixture
def killed(settings):
    """The store after a run that took three items and died with its lease long over."""
    store = FeedbackStore(settings.url(settings.feedback_url))
    store.add(
        FeedbackItem(id=name, instruction=name, response=f"answer {name}", thumb="up")
        for name in "abc"
    )
    store.claim("plan", ["a", "b", "c"])
    store.settle("plan", "failed", "as if nobody had settled it")
    assert store.unused(sample=False) == 3
    return store


def test_what_a_published_champion_learnt_is_used_and_starts_no_retrain(settings, killed, registry):
    published(settings, registry, 1)
    registry.promote(settings, 1)
    note(settings, "plan", Judgement(1, "promote", "better"))
    assert not decide(settings).due
    assert killed.unused(sample=False) == 0
    assert list(settings.path("data/runs/judged").iterdir()) == []


def test_a_version_that_was_to_be_promoted_and_is_no_champion_was_not_published(
    settings, killed, registry
):
    published(settings, registry, 1)
    note(settings, "plan", Judgement(1, "promote", "better"))
    settle_published(settings, killed)
    assert killed.unused(sample=False) == 3
    registry.promote(settings, 1)
    settle_published(settings, killed)
    assert killed.unused(sample=False) == 0


@pytest.mark.parametrize(("verdict", "unused"), [("keep", 0), ("reject", 3)])
def test_a_version_that_was_only_listed_is_settled_as_it_was_judged(
    settings, killed, registry, verdict, unused
):
    note(settings, "plan", Judgement(1, verdict, "why"))
    settle_published(settings, killed)
    assert killed.counts(sample=False).refusal is None, "it is not published yet"
    published(settings, registry, 1)
    settle_published(settings, killed)
    assert killed.unused(sample=False) == unused
    assert (killed.counts(sample=False).refusal is not None) == (verdict == "reject")


def test_a_note_of_a_store_that_is_gone_or_a_damaged_one_stops_nothing(settings, registry, capsys):
    published(settings, registry, 1)
    note(settings, "plan", Judgement(1, "keep", "why"))
    damaged = settings.path("data/runs/judged/other.json")
    damaged.write_text("{")
    settle_published(settings, FeedbackStore(settings.url(settings.feedback_url)))
    assert [file.name for file in damaged.parent.iterdir()] == ["other.json"]
    assert "is damaged" in capsys.readouterr().err
