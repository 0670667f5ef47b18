"""Leaks of every kind are planted into a dataset that has none; each must be found, with the id of its row."""

import shutil
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest
from factories.profiles import write_profile
from skills.test_skills import item

from stock_llm.dataset.decisions import Market
from stock_llm.dataset.leakage.check import DatasetFiles, check
from stock_llm.dataset.preferences import OutcomeLookup, preferences, write
from stock_llm.dataset.privacy.pseudonyms import pseudonym
from stock_llm.dataset.sources.mixing import GENERAL
from stock_llm.errors import LeakageError
from stock_llm.secrets import account_hash
from stock_llm.settings import load_settings
from stock_llm.skills import analyse, code, explain, follow, portfolio, review, sentiment, signal
from stock_llm.skills.row import Row, read_rows, write_rows
from tasks.build_dataset import build_dataset, split_of
from tasks.collect import collect

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
NAMES = ("train", "holdout", "corrections")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("STOCK_LLM_SECRETS", str(folder / "secrets"))
        shutil.copytree(SAMPLE, folder / "data" / "sample")
        write_profile(folder, holdout_rows=80)
        settings = load_settings(home=folder, train_rows=200)
        history = collect.fn(settings)
        dataset = build_dataset.fn(settings, history)
        rows = {name: list(read_rows(getattr(dataset, name))) for name in NAMES}
        preferred = (dataset.folder / "preference.jsonl").read_bytes()
        hashed = partial(account_hash, folder=settings.secrets)
        market = Market.of(history, ref=lambda entry_id: pseudonym(entry_id, hashed))
        return rows, split_of(settings, history), market, preferred


@pytest.fixture
def planted(built, tmp_path):
    """Adds rows to the dataset and runs the leakage check on it."""
    rows, split, market, preferred = built

    def check_planted(**more):
        paths = {name: tmp_path / f"{name}.jsonl" for name in (*NAMES, "preference")}
        for name in NAMES:
            write_rows([*rows[name], *more.get(name, ())], paths[name])
        preference_rows = preferences(
            more.get("liked", ()), OutcomeLookup(market, split.train_before)
        )
        write(preference_rows, paths["preference"])
        paths["preference"].write_bytes(preferred + paths["preference"].read_bytes())
        check(DatasetFiles(**paths), split, market)

    return check_planted


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
    copied = replace(
        decision(built[0]["holdout"]), symbol="", as_of="2024-01-02", label_until="2024-01-03"
    )
    with pytest.raises(LeakageError, match="ask what the holdout asks"):
        planted(train=[copied])


def test_a_copied_feedback_text(planted):
    correction = (
        "Never buy a stock the day before its earnings, however good the chart may look to you."
    )
    frozen = follow.row(item(correction=correction), correction)
    for text in (
        correction,
        correction.upper(),
        correction.replace("Never buy", "Never  buy").replace("to you", "to us"),
    ):
        learnt = follow.row(
            item(id="f2", instruction="What about WREN?", input="", correction=text), text
        )
        with pytest.raises(LeakageError, match="say what a frozen correction says") as error:
            planted(train=[learnt], corrections=[frozen])
        assert error.value.found["train rows say what a frozen correction says"] == [learnt.id]


def test_a_correction_of_a_frozen_question(built, planted):
    frozen = built[0]["corrections"][0]
    with pytest.raises(LeakageError, match="ask what a frozen correction answers"):
        planted(
            train=[
                replace(frozen, output="HOLD, I say.", source={"kind": "feedback", "ref": "other"})
            ]
        )


def test_a_text_of_another_source_on_both_sides(planted):
    text = "ORCA beats the forecasts of all analysts for the third time"
    train = sentiment.row(sentiment.LabeledText(text + " (1)", "POSITIVE", "news", "1"), "en", 0)
    holdout = sentiment.row(sentiment.LabeledText(text + " (2)", "POSITIVE", "news", "2"), "en", 1)
    with pytest.raises(LeakageError, match="say what the holdout says"):
        planted(train=[train], holdout=[holdout])


def test_a_future_candle(built, planted):
    """The next session's close stands in place of the known one, in the numbers and in the text alike."""
    rows, _, market, _ = built
    row = decision(rows["train"])
    series = market.series_of(row.symbol)
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
    rows, _, market, _ = built
    row = next(
        row
        for row in rows["train"]
        if row.skill in (signal.NAME, analyse.NAME) and row.source["kind"] == "trade"
    )
    fill = next(fill for fill in market.fills if fill.ref == row.source["ref"])
    series = market.series_of(row.symbol)
    place = series.last_before(fill.day + timedelta(days=1))
    situation = series.at(place, market.held[row.symbol].before(fill.day))
    knowing = replace(
        row,
        as_of=situation.as_of,
        input=situation.block(),
        facts={"situation": vars(situation) | {"position": None}},
    )
    with pytest.raises(LeakageError, match="know the day of their fill") as error:
        planted(train=[knowing])
    assert error.value.found["decisions know the day of their fill"] == [knowing.id]


KNOWS = "rows do not show what was known at their close"
LABEL = "labels are not what came of it"
ANSWER = "rows ask or answer what their builder does not"


def traded(row, market):
    """The row with the position after its own fill."""
    fill = next(fill for fill in market.fills if fill.ref == row.source["ref"])
    series = market.series_of(row.symbol)
    later = series.at(series.last_before(fill.day), market.held[row.symbol].after(fill.day))
    situation = vars(later) | {"position": vars(later.position) if later.position else None}
    return replace(row, input=later.block(), facts={"situation": situation})


def valued_later(row, market):
    """The portfolio of the day at the closes of twenty sessions later."""
    day = date.fromisoformat(row.as_of)
    later = market.days[market.days.index(day) + 20] + timedelta(days=1)
    held = []
    for holding in row.facts["held"]:
        series = market.series_of(holding["symbol"])
        held.append(
            portfolio.PortfolioHolding(
                **holding
                | {"close": float(f"{series.candles.close[series.last_before(later)]:.2f}")}
            )
        )
    return replace(
        portfolio.row(portfolio.portfolio_of(row.as_of, held), row.language, 0),
        instruction=row.instruction,
    )


def flipped(row, _):
    other = "SELL" if row.label == "BUY" else "BUY"
    return replace(row, label=other, output=row.output.replace(f"{row.label}\n", f"{other}\n", 1))


def resold(row, _):
    shown = [
        f"Sold: {row.as_of} at 9999.99" if line.startswith("Sold: ") else line
        for line in row.input.splitlines()
    ]
    return replace(row, input="\n".join(shown))


LATER_CLOSE = "On 2025-12-30 the close will be 777.77."
BULLET = "The close of tomorrow will be 777.77."


def last_bullet(row, text):
    return replace(
        row,
        output="\n".join([*row.output.splitlines()[:-1], f"- {text}", row.output.splitlines()[-1]]),
    )


PLANTS = {
    "the position after its own fill": ((signal.NAME, analyse.NAME), "trade", traded, KNOWS),
    "a portfolio at later closes": ((portfolio.NAME,), "positions", valued_later, KNOWS),
    "label and recommendation flipped": ((signal.NAME,), "day", flipped, LABEL),
    "the recommendation flipped alone": (
        (signal.NAME,), "day", lambda row, market: replace(flipped(row, market), label=row.label), ANSWER,
    ),
    "a label that ends where it begins": (
        (signal.NAME,), "day", lambda row, _: replace(row, label_until=row.label_from), LABEL,
    ),
    "a sale at another price": ((review.NAME,), "trade", resold, KNOWS),
    "an output with a later day": ((analyse.NAME,), "day", lambda row, _: last_bullet(row, LATER_CLOSE), "rows show a later day"),
    "an instruction with a later day": (
        (signal.NAME,), "day", lambda row, _: replace(row, instruction=f"{row.instruction} {LATER_CLOSE}"), "rows show a later day",
    ),
    "an output with a later close": ((explain.NAME,), "rule", lambda row, _: last_bullet(row, BULLET), ANSWER),
    "an instruction with a later close": (
        (review.NAME,), "trade", lambda row, _: replace(row, instruction=f"{row.instruction} {BULLET}"), ANSWER,
    ),
    "a function of another strategy": (
        (code.NAME,), "rule", lambda row, _: replace(row, output=row.output.replace('"BUY"', '"SELL"')), ANSWER,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTS)
def test_a_row_that_the_market_does_not_give(built, planted, name):
    rows, _, market, _ = built
    skills, kind, plant, problem = PLANTS[name]
    row = next(
        changed for original in rows["train"]
        if original.skill in skills and original.source["kind"] == kind and (changed := plant(original, market)) != original
        and (changed.input != original.input or problem != KNOWS)
    )  # fmt: skip
    with pytest.raises(LeakageError) as error:
        planted(train=[row])
    assert error.value.found[problem] == [row.id]


def test_a_future_candle_among_many_rows(built, planted):
    """However many rows there are, each is made again; those that are looked at more closely are a thousand."""
    rows, _, market, _ = built
    row = decision(rows["train"])
    series = market.series_of(row.symbol)
    tomorrow = series.at(series.last_before(date.fromisoformat(row.as_of) + timedelta(days=1)) + 1)
    knowing = replace(
        row, input=row.input.replace(row.input.splitlines()[2], f"Close: {tomorrow.close:.2f}")
    )
    assert knowing.input != row.input
    many = [
        Row(
            GENERAL,
            "en",
            "",
            "",
            f"What is {number} and 1?",
            "",
            str(number),
            {"kind": "t", "ref": str(number)},
            "TEXT",
            "",
            "",
        )
        for number in range(
            2401 - len(rows["train"]) % 2
        )  # its row has an odd number, and every second is looked at closely
    ]
    with pytest.raises(LeakageError, match="do not show what was known") as error:
        planted(train=[*many, knowing])
    assert error.value.found == {KNOWS: [knowing.id]}


def perturbed(row):
    return row.input.replace("1", "7").replace(
        f"Date: {row.as_of.replace('1', '7')}", f"Date: {row.as_of}"
    )


FORMS = {
    "no symbol and no day": {},
    "the symbol in small letters": {"symbol": str.lower},
    "the symbol alone": {"symbol": str},
}


@pytest.mark.parametrize("form", FORMS)
def test_feedback_about_a_judged_event_in_another_form(built, planted, form):
    row = decision(built[0]["holdout"])
    fields = {name: change(row.symbol) for name, change in FORMS[form].items()}
    feedback = item(
        symbol="",
        as_of="",
        instruction="And this one?",
        input=perturbed(row),
        correction="HOLD it.",
    )
    learnt = follow.row(replace(feedback, **fields), "HOLD it.")
    with pytest.raises(LeakageError) as error:
        planted(train=[learnt])
    assert error.value.found["train rows are about an event of the holdout"] == [learnt.id]


@pytest.mark.parametrize(
    "asked",
    [
        lambda row: perturbed(row),
        lambda row: perturbed(row).replace("Symbol: ", "symbol:  ").lower(),
        lambda row: (
            f"ราคาหุ้น{row.symbol}วันที่ {int(row.as_of[:4]) + 543}/{row.as_of[5:7]}/{row.as_of[8:]} ปิดที่ 77.77"
        ),
        lambda row: f"{row.symbol.lower()} closed at 77.77 on {row.as_of}.",
    ],
)
def test_a_general_row_about_a_judged_event(built, planted, asked):
    row = decision(built[0]["holdout"])
    general = Row(
        GENERAL,
        "en",
        "",
        "",
        "And this one?",
        asked(row),
        "Sell.",
        {"kind": "source", "ref": "1"},
        "TEXT",
        "",
        "",
    )
    with pytest.raises(LeakageError) as error:
        planted(train=[general])
    assert error.value.found["train rows are about an event of the holdout"] == [general.id]


def test_a_judged_question_with_another_space(built, planted):
    row = decision(built[0]["holdout"])
    same = Row(
        GENERAL,
        "en",
        "",
        "",
        f" {row.instruction}",
        f"{row.input} \n",
        "Sell.",
        {"kind": "source", "ref": "1"},
        "TEXT",
        "",
        "",
    )
    with pytest.raises(LeakageError) as error:
        planted(train=[same])
    assert error.value.found["train rows ask what the holdout asks"] == [same.id]


def test_feedback_that_shows_a_later_day(planted):
    feedback = item(
        as_of="2024-12-16", symbol="", input="Next close 2024-12-30: 777.77", correction="Buy it."
    )
    row = follow.row(feedback, "Buy it.")
    with pytest.raises(LeakageError) as error:
        planted(train=[row])
    assert error.value.found == {"rows show a later day": [row.id]}


CORRECTION = (
    "Never buy a stock the day before its earnings, however good the chart may look to you."
)
HOLD_ANSWER = (
    f"Recommendation: HOLD\nConfidence: 50%\nInsights:\n- {CORRECTION}\nNot investment advice."
)
REWORDED = {
    "byte for byte": CORRECTION,
    "reworded": "Never buy a stock on the day before earnings, however good the chart may look to you.",
    "invisible characters": CORRECTION.replace("e", "e\u200b"),
    "Cyrillic letters": CORRECTION.replace("e", "е").replace("o", "о"),
    "commas": CORRECTION.replace(" ", ", "),
}


@pytest.mark.parametrize("again", REWORDED)
@pytest.mark.parametrize("form", ["text", "answer", "among others", "a general answer"])
def test_a_frozen_correction_in_other_words(planted, again, form):
    frozen = follow.row(item(correction=HOLD_ANSWER), HOLD_ANSWER)
    correction = {
        "text": REWORDED[again],
        "answer": HOLD_ANSWER.replace("50", "60").replace(CORRECTION, REWORDED[again]),
        "among others": f"I would wait for another week or two. {REWORDED[again]} That is all there is to it.",
        "a general answer": REWORDED[again],
    }[form]
    learnt = follow.row(
        item(
            id="f2", instruction="What about WREN?", input="", symbol="WREN", correction=correction
        ),
        correction,
    )
    if form == "a general answer":
        learnt = replace(learnt, skill=GENERAL)
    with pytest.raises(LeakageError) as error:
        planted(train=[learnt], corrections=[frozen])
    assert error.value.found == {"train rows say what a frozen correction says": [learnt.id]}


def test_sentences_of_the_projects_own_templates_are_not_leaks(planted):
    frozen = follow.row(item(correction=(own := item().response.replace("BUY", "HOLD"))), own)
    other = own.replace("104.20", "33.10").replace("HOLD", "SELL")
    planted(
        train=[
            follow.row(
                item(id="f2", instruction="Signal for WREN?", input="", symbol="WREN"), other
            )
        ],
        corrections=[frozen],
    )


def test_a_frozen_question_in_other_words(planted):
    asked = "Should I sell all of my shares before a long weekend, or only some of them?"
    frozen = follow.row(item(instruction=asked, input="", correction="Only some."), "Only some.")
    learnt = follow.row(
        item(id="f2", instruction=asked.replace("Should", "Shall"), input="", symbol="", as_of=""),
        "All of them.",
    )
    with pytest.raises(LeakageError) as error:
        planted(train=[learnt], corrections=[frozen])
    assert error.value.found == {"train rows ask what a frozen correction answers": [learnt.id]}


@pytest.mark.parametrize(
    "fields",
    [
        {"correction": CORRECTION},
        {"response": CORRECTION, "thumb": "up"},
        {"response": CORRECTION, "rating": 1},
    ],
)
def test_a_preference_with_the_text_of_a_frozen_correction(planted, fields):
    frozen = follow.row(item(correction=HOLD_ANSWER), HOLD_ANSWER)
    liked = item(id="f2", instruction="What about WREN?", input="", symbol="WREN", **fields)
    with pytest.raises(LeakageError) as error:
        planted(corrections=[frozen], liked=[liked])
    assert error.value.found == {"preference rows say what a frozen correction says": ["f2"]}


def test_a_preference_of_a_frozen_item_or_about_a_judged_event(built, planted):
    frozen = built[0]["corrections"][0]
    same = item(id=frozen.source["ref"], instruction="And WREN?", input="", thumb="up")
    with pytest.raises(LeakageError) as error:
        planted(liked=[same])
    assert error.value.found == {"preference rows are of a frozen correction": [same.id]}
    about = item(
        id="f2",
        instruction="And this one?",
        input=perturbed(decision(built[0]["holdout"])),
        thumb="up",
    )
    with pytest.raises(LeakageError) as error:
        planted(liked=[about])
    assert error.value.found == {"preference rows are about an event of the holdout": ["f2"]}


def test_a_row_twice(built, planted):
    row = decision(built[0]["train"])
    with pytest.raises(LeakageError, match="stand there twice"):
        planted(train=[replace(row, instruction="In other words: buy, hold or sell?")])
