"""Leaks of every kind are planted into a dataset that has none; each must be found, with the id of its row."""

import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from test_skills import item

from stock_llm.dataset.decisions import Market
from stock_llm.dataset.leakage import check
from stock_llm.dataset.rows import read_rows, write_rows
from stock_llm.errors import LeakageError
from stock_llm.settings import load_settings
from stock_llm.skills import analyse, follow, sentiment, signal
from tasks.build_dataset import build_dataset, split_of
from tasks.collect import collect

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
NAMES = ("train", "holdout", "corrections")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("STOCK_LLM_SECRETS", str(folder / "secrets"))
        shutil.copytree(SAMPLE, folder / "data" / "sample")
        settings = load_settings(home=folder, train_rows=200, holdout_rows=80)
        history = collect.fn(settings)
        dataset = build_dataset.fn(settings, history)
        rows = {name: list(read_rows(getattr(dataset, name))) for name in NAMES}
        return rows, split_of(settings, history), Market.of(history)


@pytest.fixture
def planted(built, tmp_path):
    """Plants rows and says what the check finds."""
    rows, split, market = built

    def look(**more):
        paths = {name: tmp_path / f"{name}.jsonl" for name in NAMES}
        for name in NAMES:
            write_rows([*rows[name], *more.get(name, ())], paths[name])
        check(paths["train"], paths["holdout"], paths["corrections"], split, market)

    return look


def decision(rows, kind="day"):
    return next(row for row in rows if row.skill == signal.NAME and row.source["kind"] == kind)


def test_the_dataset_itself_has_no_leak(planted):
    planted()


def test_the_same_symbol_and_window_with_other_numbers(built, planted):
    row = decision(built[0]["holdout"])
    later = (date.fromisoformat(row.as_of) + timedelta(days=2)).isoformat()
    perturbed = replace(row, as_of=later, input=row.input.replace("1", "7"), instruction="And now?")
    with pytest.raises(LeakageError, match="about an event of the holdout") as error:
        planted(train=[perturbed])
    assert perturbed.id in error.value.found["train rows are about an event of the holdout"]


def test_a_label_that_reaches_into_the_holdout_or_its_embargo(built, planted):
    row = decision(built[0]["train"])
    for day in ("2025-07-03", "2025-06-27"):
        late = replace(row, label_until=day, instruction="Signal, please.", input=row.input + "\n")
        with pytest.raises(LeakageError, match="train rows reach into the holdout") as error:
            planted(train=[late])
        assert late.id in error.value.found["train rows reach into the holdout"]


def test_a_holdout_row_from_the_training_time(built, planted):
    early = replace(decision(built[0]["holdout"]), as_of="2025-06-30")
    with pytest.raises(LeakageError, match="holdout rows lie outside of it") as error:
        planted(holdout=[early])
    assert error.value.found["holdout rows lie outside of it"] == [early.id]


def test_the_same_question_at_another_time(built, planted):
    copied = replace(decision(built[0]["holdout"]), symbol="", as_of="2024-01-02", label_until="2024-01-03")
    with pytest.raises(LeakageError, match="ask what the holdout asks"):
        planted(train=[copied])


def test_a_copied_feedback_text(planted):
    wish = "Never buy a stock the day before its earnings, however good the chart may look to you."
    frozen = follow.row(item(correction=wish), wish)
    for text in (wish, wish.upper(), wish.replace("Never buy", "Never  buy").replace("to you", "to us")):
        learnt = follow.row(item(id="f2", instruction="What about WREN?", input="", correction=text), text)
        with pytest.raises(LeakageError, match="say what a frozen correction says") as error:
            planted(train=[learnt], corrections=[frozen])
        assert error.value.found["train rows say what a frozen correction says"] == [learnt.id]


def test_a_correction_of_a_frozen_question(built, planted):
    frozen = built[0]["corrections"][0]
    with pytest.raises(LeakageError, match="ask what a frozen correction answers"):
        planted(train=[replace(frozen, output="HOLD, I say.", source={"kind": "feedback", "ref": "other"})])


def test_a_text_of_another_source_on_both_sides(planted):
    said = "ORCA beats the forecasts of all analysts for the third time"
    train = sentiment.row(sentiment.Labelled(said + " (1)", "POSITIVE", "news", "1"), "en", 0)
    holdout = sentiment.row(sentiment.Labelled(said + " (2)", "POSITIVE", "news", "2"), "en", 1)
    with pytest.raises(LeakageError, match="say what the holdout says"):
        planted(train=[train], holdout=[holdout])


def test_a_future_candle(built, planted):
    """The next session's close stands in place of the known one, in the numbers and in the text alike."""
    rows, _, market = built
    row = decision(rows["train"])
    series = market.named(row.symbol)
    tomorrow = series.at(series.last_before(date.fromisoformat(row.as_of) + timedelta(days=1)) + 1)
    today = row.facts["situation"]
    shown = row.input.replace(f"{today['close']:.2f}", f"{tomorrow.close:.2f}")
    assert shown != row.input
    knowing = replace(row, facts={"situation": today | {"close": tomorrow.close}}, input=shown)
    with pytest.raises(LeakageError, match="do not show what was known") as error:
        planted(train=[knowing])
    assert knowing.id in error.value.found["rows do not show what was known at their close"]
    with pytest.raises(LeakageError, match="do not show what was known"):
        planted(train=[replace(row, input=shown)])


def test_a_later_day_in_a_text(built, planted):
    row = next(row for row in built[0]["train"] if row.skill == "review")
    with pytest.raises(LeakageError, match="rows show a later day"):
        planted(train=[replace(row, input=f"{row.input}\nNext: 2026-01-05")])


def test_a_fill_that_knows_its_own_days_close(built, planted):
    rows, _, market = built
    row = next(row for row in rows["train"] if row.skill in (signal.NAME, analyse.NAME) and row.source["kind"] == "trade")
    fill = next(fill for fill in market.fills if fill.ref == row.source["ref"])
    series = market.named(row.symbol)
    place = series.last_before(fill.day + timedelta(days=1))
    seen = series.at(place, market.held[row.symbol].before(fill.day))
    knowing = replace(row, as_of=seen.as_of, input=seen.block(), facts={"situation": vars(seen) | {"position": None}})
    with pytest.raises(LeakageError, match="know the day of their fill") as error:
        planted(train=[knowing])
    assert error.value.found["decisions know the day of their fill"] == [knowing.id]


def test_a_row_twice(built, planted):
    row = decision(built[0]["train"])
    with pytest.raises(LeakageError, match="stand there twice"):
        planted(train=[replace(row, instruction="In other words: buy, hold or sell?")])
