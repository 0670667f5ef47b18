"""How long judging takes, before it begins: computed, then as seen."""

import shutil
from pathlib import Path

import pytest
from factories.rows import rows_of_all_skills

from stock_llm.llm.profiles import load_profile
from stock_llm.pipeline.judging import timing
from stock_llm.settings import load_settings

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """On a machine without a GPU."""
    monkeypatch.setattr(timing, "_has_device", lambda: False)
    monkeypatch.setattr(timing, "find_gpu", lambda: None)
    shutil.copytree(PROJECT / "models" / "profiles", tmp_path / "models" / "profiles")
    return load_settings(home=tmp_path, threads=2)


@pytest.fixture
def profile(settings):
    return load_profile(settings.home, "mistral-7b")


def test_a_large_model_is_judged_by_what_ends_within_an_hour_here(settings, profile, monkeypatch):
    """On two cores it is a small part of what a GPU does."""
    rows = timing.rows_in_time(settings, profile)
    assert timing.LEAST_ROWS <= rows < 200
    assert timing.seconds(settings, profile, rows) <= 3600 or rows == timing.LEAST_ROWS
    monkeypatch.setattr(timing, "_has_device", lambda: True)
    assert timing.rows_in_time(settings, profile) == 1000
    assert timing.seconds(settings, profile, 1000) < 3600


@pytest.mark.parametrize("name", ["stock-tiny", "smollm2-135m"])
def test_the_small_bases_are_judged_by_the_whole_holdout(settings, name):
    shutil.copytree(PROJECT / "models" / "stock-tiny", settings.home / "models" / "stock-tiny")
    profile = load_profile(settings.home, name)
    assert timing.rows_in_time(settings, profile) == profile.evaluation.holdout_rows


def test_more_minutes_are_more_rows(settings, profile):
    longer = profile.evaluation.model_copy(update={"minutes": 600})
    patient = profile.model_copy(update={"evaluation": longer})
    assert timing.rows_in_time(settings, patient) > timing.rows_in_time(settings, profile)


def test_what_was_seen_here_counts_more_than_what_was_computed(settings, profile, monkeypatch):
    timer = timing.Timer(settings, profile, "challenger")
    computed = timer.expected(100)
    assert computed > 60
    now = iter([100.0, 140.0])
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(now))
    with timer.timing(20):
        pass
    assert timer.expected(100) == pytest.approx(200)
    assert timing.Timer(settings, profile, "base").expected(100) > computed, "a base rambles on"
    other = settings.model_copy(update={"threads": 1})
    assert timing.Timer(other, profile, "challenger").expected(100) == pytest.approx(2 * computed)


def test_an_ollama_elsewhere_is_taken_to_have_a_gpu_until_it_was_seen(settings, profile):
    asked = profile.evaluation.model_copy(update={"judge": "ollama"})
    served = profile.model_copy(update={"evaluation": asked})
    near = settings.model_copy(update={"ollama_host": "127.0.0.1:11434"})
    far = settings.model_copy(update={"ollama_host": "http://192.0.2.7:11434"})
    assert timing.rows_in_time(near, served) < timing.rows_in_time(far, served) == 1000
    here = timing.Timer(far, served, "challenger", here=True).expected(100)
    assert here > timing.Timer(far, served, "challenger").expected(100)


def test_an_address_counts_as_ollama_reads_it(settings, profile):
    """0.0.0.0 is where a server listens: this machine."""
    asked = profile.evaluation.model_copy(update={"judge": "ollama"})
    served = profile.model_copy(update={"evaluation": asked})
    for host, elsewhere in (("0.0.0.0", False), ("gpu-box:11434", True), ("[::]:11434", False)):
        given = settings.model_copy(update={"ollama_host": host})
        assert timing.Timer(given, served, "base")._on_gpu == elsewhere, host


def test_a_candidate_is_judged_by_the_same_share_after_it_showed_how_fast_this_machine_is(
    settings, profile, monkeypatch
):
    def share(candidate="c", holdout="h", profile=profile):
        return timing.share(settings, profile, candidate, holdout)

    first = share()
    assert first < 1
    monkeypatch.setattr(timing, "_ENOUGH", 1)
    with timing.Timer(settings, profile, "challenger").timing(1000):
        pass  # a thousand rows in no time
    with timing.Timer(settings, profile, "base").timing(1000):
        pass
    assert share() == first, "the same candidate is judged once"
    assert share(candidate="the next") == share(holdout="another") == 1
    hasty = profile.evaluation.model_copy(update={"minutes": 600})
    assert share(profile=profile.model_copy(update={"evaluation": hasty})) == 1


def test_an_interrupted_measurement_and_a_handful_of_rows_count_for_nothing(settings, profile):
    timer = timing.Timer(settings, profile, "challenger")
    computed = timer.expected(100)
    with pytest.raises(KeyboardInterrupt), timer.timing(100):
        raise KeyboardInterrupt
    with timer.timing(3):
        pass
    assert timer.expected(100) == computed


def test_a_part_of_the_rows_is_the_same_every_day_and_inside_a_larger_part():
    rows = list(rows_of_all_skills(60))
    half, quarter = timing.part(rows, 0.5), timing.part(rows, 0.25)
    assert (len(half), len(quarter)) == (30, 15)
    assert [row for row in rows if row in half] == half == timing.part(rows[::-1], 0.5)[::-1]
    assert all(row in half for row in quarter)
    assert timing.part(rows, 1.0) == rows and len(timing.part(rows, 0.001)) == 1
