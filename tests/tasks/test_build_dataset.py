"""On the committed sample: time is respected, labels are outcomes, every taught number is true, the bytes are the same."""

import csv
import json
import shutil
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from factories.profiles import write_profile

from stock_llm.dataset import splits
from stock_llm.dataset.privacy.pseudonyms import pseudonym
from stock_llm.dataset.sources import general_questions
from stock_llm.dataset.sources.mixing import GENERAL
from stock_llm.errors import InputError
from stock_llm.feedback.item import FeedbackItem, read_parquet, write_parquet
from stock_llm.secrets import account_hash
from stock_llm.settings import load_settings
from stock_llm.skills import SKILLS, abstain, follow, sentiment
from stock_llm.skills.row import read_rows
from tasks.build_dataset import build, build_dataset
from tasks.collect import collect

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


def home_with_sample(folder):
    shutil.copytree(SAMPLE, folder / "data" / "sample")
    write_profile(folder, holdout_rows=120)
    return load_settings(home=folder, train_rows=400)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("STOCK_LLM_SECRETS", str(folder / "secrets"))
        settings = home_with_sample(folder)
        history = collect.fn(settings)
        return settings, history, build_dataset.fn(settings, history)


@pytest.fixture(scope="module")
def rows(built):
    _, _, dataset = built
    return (
        list(read_rows(dataset.train)),
        list(read_rows(dataset.holdout)),
        list(read_rows(dataset.corrections)),
    )


def test_no_label_of_training_touches_the_holdout(built, rows):
    _, _, dataset = built
    train, holdout, _ = rows
    assert dataset.holdout_from == "2025-07-01"
    assert max(row.label_until for row in train if row.skill != follow.NAME) < dataset.holdout_from
    dated = [row for row in holdout if row.skill != abstain.NAME]
    assert min(row.as_of for row in dated) >= dataset.holdout_from
    assert min(row.label_from for row in dated) >= dataset.holdout_from
    assert dataset.purged > 0


def test_every_taught_answer_is_true_to_its_input(rows):
    for row in (*rows[0], *rows[1]):
        if row.skill not in (follow.NAME, GENERAL):  # there somebody else is right by definition
            assert SKILLS[row.skill].score(row, row.output).value == 1.0, row


def test_all_skills_and_languages_are_there(built, rows):
    _, _, dataset = built
    assert set(dataset.counts["holdout"]) == set(SKILLS) - {follow.NAME, sentiment.NAME}
    assert {row.language for row in rows[1]} == {"en", "th"}
    assert {row.label for row in rows[0] if row.skill == "signal"} == {"BUY", "HOLD", "SELL"}


def test_frozen_corrections_are_never_trained_on(rows):
    train, _, frozen = rows
    assert len(frozen) >= 20
    asked = {(row.instruction, row.input) for row in train if row.skill == follow.NAME}
    assert not asked & {(row.instruction, row.input) for row in frozen}
    assert all(row.weight == follow.CORRECTION_WEIGHT for row in frozen)


def test_a_decision_knows_only_the_close_before_its_fill(built, rows):
    settings, _, _ = built
    with (settings.path("data/sample") / "trades.csv").open() as stream:
        hashed = partial(account_hash, folder=settings.secrets)
        fills = {
            pseudonym(f"generic:{line['trade_id']}", hashed): line
            for line in csv.DictReader(stream)
        }
    seen = 0
    for row in rows[0]:
        if row.source["kind"] == "trade" and row.skill in ("signal", "analyse"):
            assert row.as_of < fills[row.source["ref"]]["date"][:10]
            seen += 1
    assert seen >= 5


def test_later_candles_change_nothing_that_was_known_before(built, tmp_path, monkeypatch):
    before, _, dataset = built
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(before.secrets))
    settings = home_with_sample(tmp_path)
    for file in settings.path("data/sample/candles").iterdir():
        lines = file.read_text().splitlines()
        changed = [line if line[:10] < "2025-12-01" else _doubled(line) for line in lines[1:]]
        file.write_text("\n".join([lines[0], *changed]) + "\n")
    other = build_dataset.fn(settings, collect.fn(settings))
    assert other.train.read_bytes() == dataset.train.read_bytes()


def _doubled(line):
    day, *prices, volume = line.split(",")
    return ",".join([day, *(f"{float(price) * 2:.2f}" for price in prices), volume])


def test_the_same_inputs_give_the_same_bytes_in_any_order(built, tmp_path, monkeypatch):
    before, _, dataset = built
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(before.secrets))
    settings = home_with_sample(tmp_path)
    trades = settings.path("data/sample/trades.csv")
    header, *lines = trades.read_text().splitlines()
    trades.write_text("\n".join([header, *reversed(lines)]) + "\n")
    for number, file in enumerate(
        sorted(settings.path("data/sample/candles").iterdir(), reverse=True)
    ):
        text = file.read_text().splitlines()
        file.write_text(
            "\n".join([text[0], *reversed(text[1:])]) + "\n"
            if number % 2
            else "\n".join(text) + "\n"
        )
    other = build_dataset.fn(settings, collect.fn(settings))
    names = {file.name for file in dataset.folder.iterdir()} - {"artifact.json", "checksums.json"}
    assert names >= {
        "train.jsonl",
        "holdout.jsonl",
        "corrections.jsonl",
        "preference.jsonl",
        "card.md",
        "card.png",
    }
    for name in names:
        assert (other.folder / name).read_bytes() == (dataset.folder / name).read_bytes(), name


def test_a_frozen_correction_about_a_drawn_row_takes_its_place(built, rows, tmp_path):
    """The user asks about a day that was drawn, in the words that were drawn; the correction is frozen, the row is not learnt."""
    settings, history, _ = built
    items = read_parquet(history.feedback)
    drawn = next(row for row in rows[0] if row.skill == "signal")
    name = next(f"user-{number}" for number in range(100) if splits.is_frozen(f"user-{number}"))
    about = replace(
        items[0], id=name, symbol=drawn.symbol, as_of=drawn.as_of, instruction=drawn.instruction, input=drawn.input,
        response=drawn.output, correction="Never on a Friday, whatever the numbers say.",
    )  # fmt: skip
    write_parquet([*items, about], tmp_path / "feedback.parquet")
    (tmp_path / "out").mkdir()
    made = build(
        settings, replace(history, feedback=tmp_path / "feedback.parquet"), "d", tmp_path / "out"
    )
    assert name in {row.source["ref"] for row in read_rows(made.corrections)}
    assert (drawn.instruction, drawn.input) not in {
        (row.instruction, row.input) for row in read_rows(made.train)
    }


def test_a_general_question_and_its_answer_are_never_trained_on(built, tmp_path):
    """A user asks one, in other letters, and another gives the answer of one to a question of their own."""
    settings, history, _ = built
    first, second = general_questions.rows()[:2]
    names = [f"user-{number}" for number in range(9) if not splits.is_frozen(f"user-{number}")]
    asked = FeedbackItem(
        id=names[0],
        instruction=first.instruction.upper(),
        response="?",
        correction="Ask a broker, I do not know such things.",
    )
    said = FeedbackItem(
        id=names[1],
        instruction="Where do buyers wait?",
        response="?",
        correction=second.output,
    )
    other = FeedbackItem(
        id=names[2],
        instruction="Where do sellers wait?",
        response="?",
        correction="Where the price has turned down twice before.",
    )
    write_parquet(
        [*read_parquet(history.feedback), asked, said, other], tmp_path / "feedback.parquet"
    )
    (tmp_path / "out").mkdir()
    history = replace(history, feedback=tmp_path / "feedback.parquet")
    made = build(settings, history, "d", tmp_path / "out")
    learnt = {row.source["ref"] for row in read_rows(made.train)}
    assert learnt & set(names[:3]) == {other.id}


def test_the_error_for_too_short_a_history_names_what_is_missing(tmp_path):
    settings = home_with_sample(tmp_path).model_copy(update={"holdout_from": date(2025, 12, 30)})
    with pytest.raises(InputError, match="in the holdout that begins on 2025-12-30"):
        build_dataset.fn(settings, collect.fn(settings))
    assert not list(settings.artifacts.glob("dataset/*[!l]"))


def test_rows_are_the_documented_json(built):
    _, _, dataset = built
    row = json.loads(dataset.train.read_text().splitlines()[0])
    assert set(row) == {
        "id", "skill", "language", "symbol", "as_of", "instruction", "input", "output", "source", "label", "label_from",
        "label_until", "weight", "facts",
    }  # fmt: skip
