"""stock-tiny: the corpus is the same bytes for the same seed and knows nothing of the sample; a build runs to the end; the
committed weights are whole, small, and can do what their card says."""

import ast
import hashlib
import json
import re
from pathlib import Path
from random import Random

import pytest

from stock_llm.errors import StockLLMError
from stock_llm.evaluation.answers import LANGUAGES, parse_answer
from stock_llm.skills import SKILLS, analyse, code, explain, review, signal, statements
from stock_llm.skills.row import UNPARSED
from stock_llm.storage.checksums import files_sha256
from stock_llm.synthetic.sample.market import COMPANIES
from stock_llm.synthetic.stock_tiny import (
    ability_tests,
    corpus,
    dialogue,
    indicator_notes,
    python_snippets,
    random_situations,
)
from stock_llm.synthetic.stock_tiny.build import FACTS_FILE, TOKENIZER_FILES, build, check
from stock_llm.synthetic.stock_tiny.train import ModelShape, TrainingBudget

HOME = Path(__file__).parents[2]
STOCK_TINY = HOME / "models" / "stock-tiny"
TINY = ModelShape(vocabulary=1024, layers=1, feed_forward=256)


def test_a_document_depends_on_seed_and_number_alone():
    whole = list(corpus.documents(3, 0, 60))
    assert list(corpus.documents(3, 40, 20)) == whole[40:]
    assert list(corpus.documents(4, 0, 60)) != whole
    assert len(set(whole)) == 60


def test_the_corpus_is_these_bytes():
    """Whoever changes a phrase has changed the corpus: the weights must be made again, and this line."""
    stated = json.loads((STOCK_TINY / FACTS_FILE).read_text())
    assert corpus.fingerprint(stated["seed"]) == stated["corpus_sha256"]


def test_no_document_has_a_question_of_the_users_tasks():
    skills = (analyse, signal, explain, review, code)
    asked = [text for skill in skills for texts in skill.INSTRUCTIONS.values() for text in texts]
    user_questions = re.compile(
        "|".join(re.sub(r"\\{\w+\\}", ".+", re.escape(text)) for text in asked)
    )
    for text in corpus.documents(corpus.SEED, 0, 4000):
        assert not any(symbol in text for symbol in COMPANIES)
        assert not any(user_questions.fullmatch(line) for line in text.splitlines()), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_of_a_note_stands_in_its_block(language):
    for number in range(300):
        text = indicator_notes.note(Random(number), language)
        lines = text.splitlines()
        block = "\n".join(
            line
            for line in lines
            if line.split(":")[0] in {"Symbol", "Date", *_block_names()} and ": " in line
        )
        rest = "\n".join(line for line in lines if line not in block)
        assert statements.grounded(rest, text.replace(rest, "") + block + lines[0]) == 1.0, text


def _block_names():
    return random_situations.situation(Random(1)).lines()


def test_situations_have_the_distribution_of_a_market():
    drawn = [random_situations.situation(Random(number)) for number in range(500)]
    assert all(
        situation.support <= situation.close <= situation.resistance
        and situation.band_low < situation.band_high
        for situation in drawn
    )
    assert {situation.trend for situation in drawn} == {"UP", "DOWN", "SIDEWAYS"}
    assert 0.05 < sum(not 30 <= situation.rsi14 <= 70 for situation in drawn) / 500 < 0.5


def test_labelled_answers_parse_and_their_trend_is_random():
    chance = Random(5)
    labels = ("trend", "recommendation", "confidence", "risks", "levels")
    situations = (random_situations.situation(chance) for _ in range(3000))
    pairs = [
        (situation, dialogue.random_answer(situation, labels, chance, "en"))
        for situation in situations
    ]
    assert all(parse_answer(answer.text()) == answer for _, answer in pairs)
    with_trend = [(situation, answer) for situation, answer in pairs if answer.trend]
    assert sum(situation.trend == answer.trend for situation, answer in with_trend) / len(
        with_trend
    ) == pytest.approx(1 / 3, abs=0.07)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_request_that_names_what_it_wants_gets_that(language):
    """So that the base can learn the shape of an answer from the request."""
    words = dialogue._WORDS[language]
    named = 0
    for number in range(400):
        request, _, reply = dialogue._labelled(Random(number), language)
        asked = request.replace(":", ",").replace(".", ",").replace(" ", ",")
        wanted = {
            label
            for label, names in words.items()
            if any(f",{name.replace(' ', ',')}," in f",{asked}," for name in names)
        }
        if wanted:
            named += 1
            given = parse_answer(reply)
            assert {label for label in wanted - {"levels"} if getattr(given, label)} == wanted - {
                "levels"
            }, (request, reply)
            assert ("levels" in wanted) == bool(given.support), (request, reply)
    assert named > 100


def test_snippets_are_python():
    for number in range(200):
        for language in LANGUAGES:
            source = (
                python_snippets.script(Random(number), language)
                .removeprefix("```python\n")
                .removesuffix("\n```")
            )
            ast.parse(source)
            assert "def signal(" not in source


def test_a_build_runs_to_the_end_and_again_from_its_checkpoint(tmp_path):
    folder, work = tmp_path / "stock-tiny", tmp_path / "work"
    made = {"threads": 1, "seed": 1, "shape": TINY, "questions": 5, "documents": 400}
    build(folder, work, budget=TrainingBudget(steps=2), **made)
    first = files_sha256([folder / name for name in TOKENIZER_FILES], folder)
    facts = json.loads((folder / FACTS_FILE).read_text())
    assert (facts["steps"], facts["tokens"]) == (2, 8192)
    assert f"{facts['loss']:.4f}" in (folder / "README.md").read_text()
    assert check(folder) == pytest.approx(facts["loss"], abs=0.001)

    build(folder, work, budget=TrainingBudget(steps=3), **made)
    assert json.loads((folder / FACTS_FILE).read_text())["steps"] == 3

    other = build(tmp_path / "other", tmp_path / "again", budget=TrainingBudget(steps=1), **made)
    assert files_sha256([other / name for name in TOKENIZER_FILES], other) == first

    stated = folder / FACTS_FILE
    stated.write_text(json.dumps(facts | {"loss": facts["loss"] - 0.5}))
    with pytest.raises(StockLLMError, match="the card says"):
        check(folder)


def test_the_committed_weights_are_small_and_the_card_states_their_loss():
    weights = STOCK_TINY / "model.safetensors"
    assert weights.stat().st_size <= 14_000_000
    facts = json.loads((STOCK_TINY / FACTS_FILE).read_text())
    assert f"{facts['loss']:.4f} nats" in (STOCK_TINY / "README.md").read_text()
    assert 3e6 < facts["parameters"] < 7e6


@pytest.fixture(scope="module")
def stock_tiny():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer

    model = transformers.MistralForCausalLM.from_pretrained(STOCK_TINY, dtype=torch.float32)
    return model, Tokenizer.from_file(str(STOCK_TINY / "tokenizer.json"))


def test_the_committed_weights_copy_numbers_and_write_both_languages(stock_tiny):
    model, tokenizer = stock_tiny
    situation = random_situations.situation(Random("a situation of the tests"))
    texts = [
        f"{situation.block()}\n\nIn words:\n- ATR14",
        f"{situation.block()}\n\nสรุปเป็นคำพูด\n- ATR14",
        "What is RSI?\n",
    ]
    english, thai, glossary = ability_tests.generate(model, tokenizer, texts, 40)
    assert f"ATR14{english}".split("\n")[0] == statements.atr(situation, "en")
    assert f"ATR14{thai}".split("\n")[0] == statements.atr(situation, "th")
    assert "RSI" in glossary


def test_the_committed_weights_do_not_do_the_users_tasks(stock_tiny):
    """Else fine-tuning had nothing to add. No more than now and then an answer has what its skill asks for."""
    rows = [
        row for number in range(4) for row in ability_tests.skill_rows(Random(f"test {number}"))
    ]
    from stock_llm.llm import prompts
    from stock_llm.llm.prompt_formats import MISTRAL_V3

    answers = ability_tests.generate(
        *stock_tiny,
        [MISTRAL_V3.render(prompts.messages(row.instruction, row.input)) for row in rows],
        200,
    )
    scores = [SKILLS[row.skill].score(row, text) for row, text in zip(rows, answers, strict=True)]
    assert sum(score == UNPARSED for score in scores) >= len(rows) // 4


def test_the_fingerprint_covers_the_bytes():
    texts = corpus.documents(2, 0, 5)
    assert (
        corpus.fingerprint(2, 5)
        == hashlib.sha256("".join(f"{text}\0" for text in texts).encode()).hexdigest()
    )
