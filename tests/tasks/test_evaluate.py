"""Judging with real GGUFs of a tiny random model: the same code that judges a 7B, on answers that are all nonsense; and with
canned answers, where the marks can be counted by hand."""

import json
import shutil
from dataclasses import replace
from datetime import date

import pytest
from factories.rows import rows_of_all_skills
from fakes.loopback_ollama import LoopbackOllama

from stock_llm.artifacts import Candidate, Dataset
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.llm.quantization import quantize_gguf
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.pipeline.judging import (
    asking,
    contestants,
    holdout_table,
    own_runtime,
    speed,
    timing,
)
from stock_llm.settings import load_settings
from stock_llm.skills import SKILLS, abstain
from stock_llm.skills.row import write_rows
from stock_llm.truth.verdicts import false_sentences
from tasks import evaluate as stage


@pytest.fixture
def settings(tiny_base, tmp_path, monkeypatch):
    """Of the frozen questions the first two: a random model answers each at full length."""
    bare = abstain.frozen_rows()[:2]
    monkeypatch.setattr(abstain, "frozen_rows", lambda: bare)
    (tmp_path / "models").symlink_to(tiny_base / "models")
    return load_settings(home=tmp_path, profile="tiny", ollama_host="", threads=1)


@pytest.fixture(scope="module")
def gguf(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("candidate")
    write_gguf(tiny_base / "models" / "tiny", folder / "f16.gguf", "tiny", MISTRAL_V3.jinja)
    quantize_gguf(folder / "f16.gguf", folder / "q.gguf", "Q8_0", threads=1)
    return folder / "q.gguf"


def dataset(folder, holdout):
    rows = [
        replace(row, label="BUY") if row.skill in holdout_table.DECISIONS else row
        for row in rows_of_all_skills(20, seed=5)
    ]
    paths = {name: folder / f"{name}.jsonl" for name in ("train", "holdout", "corrections")}
    write_rows(rows, paths["train"])
    write_rows(holdout, paths["holdout"])
    write_rows([], paths["corrections"])
    return Dataset(
        digest="d", folder=folder, **paths, card=folder / "card.md", holdout_from="2025-01-01", train_until="2024-12-01",
        horizon_days=10, prompt_version=1, train_rows=20, holdout_rows=len(holdout), correction_rows=0, counts={}, purged=0,
        holdout_digest="h", feedback_ids=[],
    )  # fmt: skip


def candidate(gguf):
    return Candidate(
        digest="c", folder=gguf.parent, gguf=gguf, gguf_sha256="0" * 64, gguf_bytes=1, quantization="Q8_0", merge_base="original",
        prompts_checked=0, losses={},
    )  # fmt: skip


def test_nonsense_is_marked_as_such_by_the_whole_line(settings, gguf, tmp_path):
    holdout = list(rows_of_all_skills(10))
    card = stage.evaluate.fn(settings, dataset(tmp_path, holdout), candidate(gguf))
    speeds = card.table["challenger"]
    assert speeds["tokens/s"] > 1 and 0 < speeds["first word s"] < 60
    assert 20 < speeds["memory MiB"] < 1000, "that of a process with the model, not of this one"
    assert card.table["challenger"]["parsed"] == 0.0
    assert card.table["challenger"]["score"] == card.table["base"]["score"] == 0.0
    assert card.verdict == "keep"
    assert "not enough evidence, difference from the untuned base" in card.reasons[0]
    items = [json.loads(line) for line in card.items.read_text().splitlines()]
    assert [item["id"] for item in items if item["model"] == "base"] == [row.id for row in holdout]
    assert not any(name.endswith("both parsed") for name in card.differences)


def test_looks_are_counted_and_what_the_base_may_have_read_is_named(settings, gguf, tmp_path):
    """The material's closes are in 2024."""
    holdout = list(rows_of_all_skills(10))
    given, profile = dataset(tmp_path, holdout), stage.load_profile(settings.home, settings.profile)
    early = sum(row.as_of <= "2024-06-30" for row in holdout)
    assert 0 < early < 10
    for cutoff, name, look, warned in (
        ("2020-12-31", "c", 1, False),
        ("2024-06-30", "d", 2, True),
        ("2024-06-30", "c", 2, True),
    ):
        knowing = profile.model_copy(update={"knowledge_cutoff": date.fromisoformat(cutoff)})
        said = stage._caveats(
            settings, knowing, given, replace(candidate(gguf), digest=name), holdout
        )
        assert said[0] == f"look {look} at the holdout of 2025-01-01 to the end"
        assert (
            said[1:]
            == [
                f"in-sample: {early} of 10 holdout rows are from before the base's knowledge cutoff, {cutoff}"
            ]
            * warned
        )


def test_answers_of_the_same_file_are_asked_for_once(settings, gguf, tmp_path, monkeypatch):
    holdout = list(rows_of_all_skills(5))
    first = stage.evaluate.fn(settings, dataset(tmp_path, holdout), candidate(gguf))
    monkeypatch.setattr(stage, "RECIPE", stage.RECIPE + 1)
    for module, name in ((asking, "LlamaModel"), (own_runtime, "Weights"), (speed, "subprocess")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("asked again"))
    assert (
        stage.evaluate.fn(settings, dataset(tmp_path, holdout), candidate(gguf)).table
        == first.table
    )


def test_another_knowledge_cutoff_is_another_scorecard(settings, gguf, tmp_path, monkeypatch):
    """Its caveats say what of the holdout is from before it."""
    digests = []
    monkeypatch.setattr(stage, "load_or_make", lambda *given: digests.append(given[2]))
    profile = stage.load_profile(settings.home, settings.profile)
    given = dataset(tmp_path, list(rows_of_all_skills(5)))
    for cutoff in ("2020-12-31", "2024-06-30", "2020-12-31"):
        known = profile.model_copy(update={"knowledge_cutoff": date.fromisoformat(cutoff)})
        monkeypatch.setattr(stage, "load_profile", lambda *_, known=known: known)
        stage.evaluate.fn(settings, given, candidate(gguf))
    assert digests[0] == digests[2] != digests[1]


def test_where_the_whole_holdout_takes_too_long_a_part_of_it_judges(canned, monkeypatch, tmp_path):
    """Of every model the same part, and the same on another day."""
    monkeypatch.setattr(timing, "rows_in_time", lambda *_: 10)  # of the profile's 20
    holdout = list(rows_of_all_skills(60))
    card = canned(tmp_path, holdout, lambda _, rows: [row.output for row in rows])
    items = [json.loads(line) for line in card.items.read_text().splitlines()]
    asked = {
        name: [item["id"] for item in items if item["model"] == name]
        for name in ("base", "challenger")
    }
    assert asked["base"] == asked["challenger"] == [row.id for row in timing.part(holdout, 0.5)]
    assert len(asked["base"]) == 30
    assert any(reason.startswith("30 of 60 holdout rows judged: ") for reason in card.reasons)


def add_to_profile(settings, lines):
    """Adds to the last table of the profile, in a copy of the models that other tests share."""
    models = settings.home / "models"
    source = models.readlink()
    models.unlink()
    shutil.copytree(source, models)
    with (models / "profiles" / "tiny.toml").open("a") as profile:
        profile.write(lines)


def test_an_ollama_judges_where_the_profile_says_so(settings, gguf, tmp_path):
    """One that does not answer is told, and this process judges."""
    add_to_profile(settings, 'judge = "ollama"\n')
    holdout = list(rows_of_all_skills(4))
    given = dataset(tmp_path, holdout)
    card = stage.evaluate.fn(settings, given, candidate(gguf))
    assert any("no Ollama answers" in reason for reason in card.reasons)
    with LoopbackOllama(tmp_path / "ollama") as ollama:
        served = settings.model_copy(update={"ollama_host": ollama.host})
        theirs = stage.evaluate.fn(served, given, candidate(gguf))
        assert ollama.store.list_models() == []
    assert theirs.digest != card.digest
    assert theirs.table["challenger"]["score"] == card.table["challenger"]["score"]
    said = (
        f"judged by Ollama 0.32.15 at {ollama.host}: of 4 sampled questions 4 answers and 4 prompts"
    )
    assert any(said in reason for reason in theirs.reasons)


def answered(name, holdout, texts):
    scores = [SKILLS[row.skill].score(row, text) for row, text in zip(holdout, texts, strict=True)]
    false = [false_sentences(row, text) for row, text in zip(holdout, texts, strict=True)]
    return stage.ModelAnswers(name, texts, scores, false)


SPEED = speed.Speed(0.5, 99.0, 2**27, 0, asked=8, same=8)


@pytest.fixture
def canned(settings, gguf, monkeypatch):
    """Judges with answers that a function gives instead of a model."""

    def judge(folder, holdout, answers):
        def ask(_settings, _profile, contestant, rows, _server):
            return answered(contestant.name, rows, answers(contestant.name, rows))

        monkeypatch.setattr(asking, "ask", ask)
        monkeypatch.setattr(speed, "measure", lambda *_: SPEED)
        return stage.evaluate.fn(settings, dataset(folder, holdout), candidate(gguf))

    return judge


def test_right_answers_promote_and_the_lift_beyond_format_is_told(canned, tmp_path):
    holdout = list(rows_of_all_skills(60))

    def answers(name, rows):
        return [
            row.output if name == "challenger" or number % 3 == 0 else "no idea"
            for number, row in enumerate(rows)
        ]

    card = canned(tmp_path, holdout, answers)
    assert card.verdict == "promote"
    assert card.table["challenger"]["score"] == 1.0
    assert card.table["base"]["parsed"] == pytest.approx(1 / 3)
    assert card.differences["challenger - base"]["low"] > 0
    assert card.differences["challenger - base, both parsed"]["mean"] == 0.0, (
        "the whole lift was format, and it shows"
    )


def test_a_verdict_says_what_it_can_tell_from_chance(canned, settings, tmp_path):
    def answers(name, rows):
        return [row.output if name == "challenger" or row.id[-1] > "7" else "?" for row in rows]

    def reasons(folder):
        folder.mkdir()
        card = canned(folder, list(rows_of_all_skills(60)), answers)
        points = 100 * card.differences["challenger - base"]["detectable"]
        assert 2 < points < 50
        assert (
            f"with 60 rows and this spread only differences above {points:.1f} points can be seen (80% power)"
            in card.reasons
        )
        return card.reasons

    assert "the training's own spread over seeds is not measured" in reasons(tmp_path / "one")
    add_to_profile(settings, "seed_spread = 0.0149\nseeds = 10\n")
    said = "the training's own spread over 10 seeds is ±1.5 points"
    assert said in reasons(tmp_path / "two"), "a spread that was measured since makes a new card"


@pytest.mark.parametrize(("rise", "verdict"), [(0.1, "promote"), (0.6, "blocked")])
def test_a_challenger_that_forgets_what_the_base_knows_is_not_promoted(
    canned, monkeypatch, tmp_path, rise, verdict
):
    """Of twelve general questions the base knows ten; what becomes of the other two does not count."""

    def losses(_settings, _profile, contestant):
        worse = rise if contestant.name == "challenger" else 0.0
        return [*(0.5 + place / 10 + worse for place in range(10)), 3.0 + 9 * worse, 8.0]

    monkeypatch.setattr(asking, "general_losses", losses)
    card = canned(
        tmp_path,
        list(rows_of_all_skills(60)),
        lambda name, rows: [row.output if name == "challenger" else "?" for row in rows],
    )
    assert card.verdict == verdict
    assert card.table["base"]["general loss"] == pytest.approx(0.95)
    assert card.table["challenger"]["general loss"] == pytest.approx(0.95 + rise)
    assert card.differences["general loss, challenger - base"]["mean"] == pytest.approx(rise)
    assert any("it forgets" in reason for reason in card.reasons) == (verdict == "blocked")


def test_a_challenger_that_says_more_that_is_false_is_not_promoted(canned, tmp_path):
    """It gains by code alone; elsewhere both have the same score, one by a false value, the other by a value of nothing."""
    holdout = [
        row for row in rows_of_all_skills(60) if row.skill in ("code", *holdout_table.DECISIONS)
    ]

    def answers(name, rows):
        mine = name == "challenger"
        return [
            row.output.replace("ATR14 ", "ATR14 9" if mine else "It is 9")
            if row.skill != "code"
            else row.output
            if mine
            else "?"
            for row in rows
        ]

    card = canned(tmp_path, holdout, answers)
    assert card.table["challenger"]["score"] > card.table["base"]["score"]
    assert (card.table["challenger"]["false answers"], card.table["base"]["false answers"]) == (
        1,
        0,
    )
    assert card.differences["false answers, challenger - base"]["low"] > 0
    assert card.verdict == "keep"
    assert card.reasons[1].startswith("more answers have a false sentence: +1.000")
    items = [json.loads(line) for line in card.items.read_text().splitlines()]
    assert [item["false"] for item in items if item["skill"] == "code"] == [None] * 24
    assert all(
        "ATR14 9" in item["false"][0]
        for item in items
        if item["model"] == "challenger" and item["false"]
    )


def test_a_worse_challenger_is_rejected(canned, tmp_path):
    card = canned(
        tmp_path,
        list(rows_of_all_skills(60)),
        lambda name, rows: [row.output if name == "base" else "?" for row in rows],
    )
    assert card.verdict == "reject"


def test_baselines_are_told_beside_the_models(canned, tmp_path):
    holdout = [
        replace(row, label="BUY")
        for row in rows_of_all_skills(40)
        if row.skill in holdout_table.DECISIONS
    ]
    card = canned(tmp_path, holdout, lambda _, rows: [row.output for row in rows])
    assert card.table["majority (BUY)"]["signal accuracy"] == 1.0
    assert 0 <= card.table["textbook (RSI 30/70)"]["signal accuracy"] < 1


def test_a_champion_is_asked_with_the_prompt_it_was_published_with(gguf):
    modelfile = Modelfile(
        from_="./q.gguf",
        template=MISTRAL_V3.go,
        system="An older system text.",
        parameters={"stop": ("<end>",)},
        license=(),
    )
    gguf.with_name("Modelfile").write_text(modelfile.write())
    champion = contestants.as_published("champion", gguf, "0")
    (row,) = rows_of_all_skills(1)
    turns = messages(row.instruction, row.input)
    assert champion.stop == ("<end>",)
    assert champion.prompt(turns) == MISTRAL_V3.render(
        [{"role": "system", "content": "An older system text."}, *turns[1:]]
    )
