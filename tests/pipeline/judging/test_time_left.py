"""The time that a bar says is left, where several items are worked on at once and end in bursts."""

import pytest

from stock_llm import progress
from stock_llm.pipeline.judging import time_left
from stock_llm.pipeline.judging.time_left import clock, seconds_left


def test_before_anything_ended_it_is_what_was_expected():
    assert seconds_left(0, 0, 0, 100, 16, expected=1000) == pytest.approx(1000)
    assert seconds_left(10, 0, 0, 100, 16, expected=1000) == pytest.approx(990)
    assert seconds_left(10, 0, 0, 100, 16, expected=None) is None


def burst(elapsed):
    """400 items of 40 seconds, 16 at once, which begin and end together: 1000 seconds in all."""
    rounds = elapsed // 40
    return elapsed, 40 * rounds, 16 * rounds, 400, 16


def stream(elapsed):
    """The same one by one: each ends 2.5 seconds after the one before."""
    done = max(0, int((elapsed - 20) / 2.5))
    return elapsed, 20 + 2.5 * done if done else 0, done, 400, 16


@pytest.mark.parametrize("way", [burst, stream])
@pytest.mark.parametrize("expected", [None, 250, 1000, 4000])
def test_by_half_time_it_errs_by_a_ninth_of_the_whole_at_most(way, expected):
    for elapsed in range(500, 900, 7):
        assert seconds_left(*way(elapsed), expected) == pytest.approx(1000 - elapsed, abs=110)


def test_between_two_ends_it_falls_as_time_passes():
    for elapsed in range(0, 1000, 5):
        left = seconds_left(*burst(elapsed), 1000)
        assert left == pytest.approx(1000 - elapsed)
    assert seconds_left(1000, 1000, 400, 400, 16, 1000) == 0


def test_where_no_terminal_is_watching_lines_say_how_long_it_takes(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    told = []
    with (
        progress.listening(lambda what, share: told.append((what, share))),
        time_left.progress(2, "asking the base", 1, seconds=7500) as ended,
    ):
        ended()
        ended()
    assert told == [("asking the base", 0.5), ("asking the base", 1.0)]
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.endswith(" asking the base: 2, about 2 h 05 min")
    assert "asking the base: 1 of 2, " in second and second.endswith(" left")
    assert third.endswith("asking the base: 2 of 2, 0 s left")


def test_a_clock_carries_seconds_into_minutes():
    assert (clock(0), clock(59.6), clock(3599.6)) == ("0:00:00", "0:01:00", "1:00:00")
