import dataclasses
import re
import shutil

import pytest
from factories.rows import rows_of_all_skills

from stock_llm.artifacts import Dataset
from stock_llm.dataset import preferences
from stock_llm.dataset.preferences import DpoRow, KtoRow
from stock_llm.dataset.tuning_data import tuning_data
from stock_llm.errors import StockLLMError
from stock_llm.llm.base import load_base
from stock_llm.llm.profiles import PreferencesConfig, load_profile
from stock_llm.llm.prompts import messages
from stock_llm.settings import Settings, load_settings
from stock_llm.skills.row import Row, write_rows
from tasks import align, finetune
from tasks.align import SliceScore

ROWS = [
    dataclasses.replace(row, input=row.input[:160], output=row.output[:120])
    for row in rows_of_all_skills(96)
    if row.skill != "code"
]


@pytest.fixture
def home(tiny_base, tmp_path) -> Settings:
    """A home of its own with the tiny base, its threads limited to one so that numbers repeat."""
    shutil.copytree(tiny_base / "models", tmp_path / "models")
    return load_settings(home=tmp_path, profile="tiny", threads=1)


def dataset(settings: Settings, rows: list[Row], opinions: list[DpoRow | KtoRow]) -> Dataset:
    path = settings.home / "train.jsonl"
    write_rows(rows, path)
    preferences.write(opinions, settings.home / "preference.jsonl")
    return Dataset(
        digest=f"{len(rows)} rows", folder=path.parent, train=path, holdout=path, corrections=path, card=path,
        holdout_from="2024-06-01", train_until="2024-05-20", horizon_days=5, prompt_version=1, train_rows=len(rows),
        holdout_rows=0, correction_rows=0, counts={}, purged=0, holdout_digest="", feedback_ids=[],
    )  # fmt: skip


def said(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


def corrections(count: int) -> list[DpoRow]:
    return [
        DpoRow(f"c{number}", messages(f"Question {number}?", row.input), said("Wanted."), said(row.output), None)
        for number, row in enumerate(ROWS[:count])
    ]  # fmt: skip


def thumbs(count: int, evidence: str = "thumb") -> list[KtoRow]:
    return [
        KtoRow(f"t{number}", messages(f"Asked {number}?", row.input), said(row.output), number % 3 == 0, evidence, None)
        for number, row in enumerate(ROWS[:count])
    ]  # fmt: skip


def test_with_too_few_opinions_the_fine_tuned_adapter_is_handed_on_and_says_so(home):
    corrected = [dataclasses.replace(row, feedback=f"c{at}") for at, row in enumerate(thumbs(15))]
    opinions = [*corrections(15), *corrected, *thumbs(12), *thumbs(40, "outcome")]
    few = dataset(home, ROWS, opinions)
    adapter = finetune.finetune.fn(home, few)
    assert adapter.rows == len(ROWS)
    tuned = align.align.fn(home, few, adapter)
    assert tuned == dataclasses.replace(adapter, alignment=tuned.alignment)
    assert tuned.alignment == [
        "no preference tuning: 15 corrections and 12 thumbs, 16 of a kind are needed"
    ]


def test_the_slice_is_the_end_of_the_training_time_and_nobody_trains_on_it(home):
    asked = max(ROWS, key=lambda row: row.as_of)
    vote = KtoRow("f", messages(asked.instruction, asked.input), said("No."), False, "thumb", None)
    feedback = dataclasses.replace(
        ROWS[3], as_of="2024-12-31", source={"kind": "feedback", "ref": "f"}
    )
    undated = dataclasses.replace(ROWS[4], as_of="")
    rows = [feedback, undated, *ROWS]
    tuning = PreferencesConfig(at_least=16, validation_rows=12)
    data = tuning_data(dataset(home, rows, [*thumbs(16), vote]), tuning)

    assert len(data.validation) == len(rows) // 10
    assert sorted(row.id for row in [*data.rows, *data.validation]) == sorted(
        row.id for row in rows
    )
    ids = {row.id for row in data.validation}
    assert not ids & {asked.id, feedback.id, undated.id}
    earlier = [row.as_of for row in ROWS if row.id not in ids and row is not asked]
    assert max(earlier) <= min(row.as_of for row in data.validation)
    assert finetune.finetune.fn(home, dataset(home, rows, [*thumbs(16), vote])).rows == len(
        data.rows
    )
    assert tuning_data(dataset(home, rows, thumbs(15)), tuning).rows == rows


def test_preferences_are_read_as_they_were_written(home):
    outcome = preferences.RealizedOutcome("BUY", "2024-01-09", None)
    rows = [*corrections(2), dataclasses.replace(thumbs(1)[0], outcome=outcome)]
    file = home.home / "preference.jsonl"
    preferences.write(rows, file)
    assert preferences.read(file) == rows
    assert preferences.read(file.with_name("none.jsonl")) == []


@pytest.fixture
def tuned(home):
    """A fine-tuned adapter, and the parts that a trainer is made of."""
    some = dataset(home, ROWS[:32], [])
    return load_profile(home.home, home.profile), finetune.finetune.fn(home, some)


def some_replay(profile, base, count):
    return align._replayed(ROWS[:count], profile.format, base.tokenizer)


def test_pairs_have_the_tokens_of_fine_tuning_and_training_begins_at_its_adapter(
    home, tuned, tmp_path
):
    import torch

    from stock_llm.llm.preference_trainer import REPLAY, make_preference_trainer

    profile, adapter = tuned
    base = load_base(profile, home.home, four_bit=True)
    rows = corrections(8)
    pairs = align.pairs_of(rows, profile.format, base.tokenizer, 640)
    replay = some_replay(profile, base, 16)
    trainer = make_preference_trainer(
        base, adapter.weights, profile, pairs, replay, tmp_path / "out", "x", 1
    )
    batch = next(iter(trainer.get_train_dataloader()))
    half = len(batch["input_ids"]) // 2
    answers = [row.chosen for row in rows[:half]] + [row.rejected for row in rows[:half]]
    asked = [*rows[:half], *rows[:half]]
    for (answer,), row, ids, attended, answered in zip(
        answers,
        asked,
        batch["input_ids"],
        batch["attention_mask"],
        batch["completion_mask"],
        strict=True,
    ):
        whole = base.tokenizer(profile.format.render([*row.prompt, answer])).input_ids
        prompt = base.tokenizer(profile.format.render(row.prompt)).input_ids
        assert ids[attended == 1].tolist() == whole
        assert ids[answered == 1].tolist() == whole[len(prompt) :]
    for labels, row in zip(batch[REPLAY]["labels"], replay[: 2 * half], strict=True):
        assert labels[labels != -100].tolist() == row.ids[row.prompt :]

    trainer.model.eval()  # no dropout: the loss is the sum of what the model says of each part
    logits = trainer.model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits
    wanted = batch["completion_mask"][:half, 1:] == 1
    wanted_loss = torch.nn.functional.cross_entropy(
        logits[:half, :-1][wanted], batch["input_ids"][:half, 1:][wanted]
    )
    again = batch[REPLAY]
    logits = trainer.model(
        input_ids=again["input_ids"], attention_mask=again["attention_mask"]
    ).logits
    replay_loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), again["labels"][:, 1:].flatten(), ignore_index=-100
    )
    loss = trainer.compute_loss(trainer.model, dict(batch))
    assert loss.item() == pytest.approx(
        0.0693147 + wanted_loss.item() + replay_loss.item(), rel=1e-3
    )
    trained = {
        name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad
    }
    assert trained and all(".default." in name for name in trained)
    assert all(weight.dtype == torch.float32 for weight in trained.values())


def test_what_is_longer_than_fine_tuning_would_take_is_left_out(home, tuned):
    profile, _ = tuned
    base = load_base(profile, home.home, four_bit=True)
    long = dataclasses.replace(corrections(1)[0], rejected=said("much too long " * 400))
    assert len(align.pairs_of([*corrections(2), long], profile.format, base.tokenizer, 640)) == 2


@pytest.mark.parametrize("text", ["Sold. [INST] Why?", "Sold. [/INST]", "Sold.</s> More."])
def test_what_the_prompt_format_is_made_of_is_left_out_wherever_it_stands(home, tuned, text):
    """Fine-tuning refuses such a row: a model would learn to end its turn in the middle."""
    profile, _ = tuned
    base = load_base(profile, home.home, four_bit=True)
    row, other = corrections(2)
    places = (
        dataclasses.replace(row, chosen=said(text)),
        dataclasses.replace(row, rejected=said(text)),
        dataclasses.replace(row, prompt=messages(f"{text} Question?", "x")),
    )
    for planted in places:
        pairs = align.pairs_of([planted, other], profile.format, base.tokenizer, 640)
        assert pairs == align.pairs_of([other], profile.format, base.tokenizer, 640)


def test_too_little_memory_for_it_is_said_before_fine_tuning(home, monkeypatch):
    from stock_llm.llm.bases import needs
    from stock_llm.machine import Machine

    profile = load_profile(home.home, home.profile)
    shape = needs.find_shape(profile, home.home)
    # fine-tuning alone would have enough
    free = needs.fine_tuning(profile, shape).memory
    assert free < needs.preference_tuning(profile, shape).memory
    monkeypatch.setattr(needs, "this_machine", lambda: Machine(free, None))
    finetune.finetune.fn(home, dataset(home, ROWS[:32], []))
    with pytest.raises(StockLLMError, match=r"preference tuning needs .* or raise at_least of"):
        finetune.finetune.fn(home, dataset(home, ROWS, thumbs(16)))
    with pytest.raises(StockLLMError, match="preference tuning needs"):
        align.tune(home, profile, None, None, "x", home.home)


def test_pairs_go_through_the_model_as_memory_allows_and_steps_stay(tuned):
    from stock_llm.llm.bases.needs import TOKENS_AT_ONCE
    from stock_llm.llm.preference_trainer import _share_out

    profile, _ = tuned
    training = profile.training.model_copy(update={"batch": 8, "accumulate": 2})
    profile = profile.model_copy(update={"training": training})
    assert _share_out(profile, TOKENS_AT_ONCE // 4) == (4, 4)
    assert _share_out(profile, TOKENS_AT_ONCE // 4 + 1) == (2, 8)  # three do not divide a step
    assert _share_out(profile, 2 * TOKENS_AT_ONCE) == (1, 16)


def test_a_base_that_has_answered_has_no_adapter_any_more(home, tuned):
    from stock_llm.llm.adapter_answers import write_answers

    profile, adapter = tuned
    base = load_base(profile, home.home, four_bit=True)
    for _ in range(2):
        write_answers(base, adapter.weights, ["1"], profile.format.stop, 2, 1)
        assert not any("lora" in name for name, _ in base.model.named_parameters())


def test_a_thumb_is_paired_with_another_sound_answer_of_the_model(tuned, monkeypatch, tmp_path):
    from stock_llm.llm import adapter_answers

    profile, adapter = tuned
    row = next(row for row in rows_of_all_skills(96) if row.skill == "analyse")
    other_row = next(
        other
        for other in rows_of_all_skills(96)
        if other.skill == "analyse" and other.output != row.output
    )
    prompt = messages(row.instruction, row.input)
    down = KtoRow("down", prompt, said(row.output), False, "thumb", None)
    up = KtoRow("up", prompt, said(row.output), True, "thumb", None)
    sound = row.output.replace("Insights:", "Insights:\n- Not a fact.", 1)
    without_levels = re.sub(r"(?m)^(Levels|ระดับราคา):.*\n", "", row.output)
    assert without_levels != row.output
    asked = []

    def write(*given):
        prompts, temperature = given[2], given[6]
        asked.append((len(prompts), temperature))
        useless = [row.output, other_row.output, without_levels]  # the same, false, incomplete
        return [row.output, "No form at all.", sound, *useless, other_row.output, sound, sound][
            : len(prompts)
        ]

    monkeypatch.setattr(adapter_answers, "write_answers", write)
    known = tmp_path / "thumbs" / "pairs.json"
    given = [down, dataclasses.replace(down, feedback="useless"), up]
    pairs = align.contrasts(profile, lambda: None, given, adapter.weights, 1, known)
    assert pairs == [
        DpoRow("down", prompt, said(sound), said(row.output), None),
        DpoRow("up", prompt, said(row.output), said(sound), None),
    ]
    assert align.contrasts(profile, lambda: None, given, adapter.weights, 1, known) == pairs
    assert asked == [(9, 1.0)], "kept, so that a killed run does not sample other answers"


def test_each_kind_is_learnt_judged_and_recorded(home, monkeypatch):
    loads = []

    def load_and_count(*given, **choice):
        loads.append(given)
        return load_base(*given, **choice)

    monkeypatch.setattr(align, "load_base", load_and_count)
    opinions = [*corrections(16), *thumbs(16)]
    both = dataset(home, ROWS, opinions)
    adapter = finetune.finetune.fn(home, both)
    made = align.align.fn(home, both, adapter)

    assert len(loads) == 1, "two trainings and three judgements share one base"
    corrected, judged = (note.partition(",")[0] for note in made.alignment)
    assert corrected == "corrections: 16 learnt"
    # of the tiny model's own answers, some hold a token of the prompt format
    assert re.fullmatch(r"thumbs: (16 learnt|1?\d learnt of 16)", judged)
    assert {"fine-tuned/tokens", "corrections/score", "thumbs/tokens"} <= set(
        made.alignment_metrics
    )
    assert made.digest != adapter.digest
    assert {path.name for path in made.folder.iterdir()} == {
        "adapter", "artifact.json", "checksums.json", "finetuned.json", "corrections.json", "thumbs.json",
    }  # fmt: skip
    from safetensors.torch import load_file

    before, after = (
        load_file(one.weights / "adapter_model.safetensors") for one in (adapter, made)
    )
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)
    assert str(home.home) not in (made.weights / "adapter_config.json").read_text()
    assert align.align.fn(home, both, adapter) == made


def test_what_the_slice_speaks_against_does_not_come_into_the_candidate(home, monkeypatch):
    opinions = [*corrections(16), *thumbs(16)]
    both = dataset(home, ROWS, opinions)
    adapter = finetune.finetune.fn(home, both)
    scores = iter([SliceScore(0.8, 0.3, 100), SliceScore(0.9, 0.3, 125), SliceScore(0.78, 0.4, 90)])
    monkeypatch.setattr(align, "_judge", lambda *_: next(scores))
    made = align.align.fn(home, both, adapter)
    corrected, judged = made.alignment
    assert corrected == (
        "corrections: 16 learnt, left out, answers grew by more than 20%; on the validation slice "
        "score 0.800 → 0.900, false answers 30.0% → 30.0%, length +25%"
    )
    assert judged.startswith("thumbs: ") and judged.endswith(
        " left out, the score fell and more answers have a false sentence; on the "
        "validation slice score 0.800 → 0.780, false answers 30.0% → 40.0%, length -10%"
    )
    weights = "adapter_model.safetensors"
    assert (made.weights / weights).read_bytes() == (adapter.weights / weights).read_bytes()


@pytest.mark.parametrize(
    ("after", "against"),
    [
        (SliceScore(0.8, 0.3, 100), []),
        (SliceScore(0.79, 0.31, 119), []),
        (SliceScore(0.78, 0.2, 100), ["the score fell"]),
        (SliceScore(0.9, 0.32, 100), ["more answers have a false sentence"]),
        (SliceScore(0.9, None, 100), []),
        (SliceScore(0.9, 0.1, 121), ["answers grew by more than 20%"]),
    ],
)
def test_score_truth_and_length_may_not_get_worse(after, against):
    assert align.objections(SliceScore(0.8, 0.3, 100), after) == against


def test_killed_and_run_again_it_ends_where_it_would_have(home, tuned, monkeypatch):
    from safetensors.torch import load_file

    from stock_llm.llm.training import watch

    rows = corrections(16)
    profile, adapter = tuned

    base = load_base(profile, home.home, four_bit=True)

    def train(folder, base):
        work = home.home / folder
        done, count = align._train(
            home, profile, base, rows, ROWS[:32], adapter.weights, "same", work
        )
        assert count == len(rows)
        return load_file(done / "adapter_model.safetensors")

    whole = train("whole", base)
    monkeypatch.setattr(watch, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(watch, "CHECKPOINT_SHARE", 1e9)
    on_save = watch.TrainingWatch.on_save

    def killed(self, args, state, control, **kwargs):
        on_save(self, args, state, control, **kwargs)
        if state.global_step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.TrainingWatch, "on_save", killed)
    with pytest.raises(KeyboardInterrupt):
        train("killed", base)  # the base was left as it was before
    monkeypatch.setattr(watch.TrainingWatch, "on_save", on_save)
    assert (home.home / "killed/checkpoints/checkpoint-2/sealed.json").exists()
    assert not (home.home / "killed/adapter").exists()
    resumed = train("killed", load_base(profile, home.home, four_bit=True))
    for name, weight in whole.items():
        assert (resumed[name] - weight).abs().max() < 1e-6, name
