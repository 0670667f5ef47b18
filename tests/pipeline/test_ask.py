"""Asking a published model; it is a parrot, so that what it says is known, and its prompt is rendered from what was published."""

import re
import shutil
from pathlib import Path

import pytest
from factories.parrot_gguf import write_parrot

from stock_llm.dataset.sources import definitions
from stock_llm.errors import InputError, PublishError
from stock_llm.evaluation.answers import DISCLAIMER, parse_answer
from stock_llm.llm import prompts
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline.ask import ask, own_data
from stock_llm.settings import load_settings
from stock_llm.truth.answer_check import marked
from stock_llm.truth.subjects import read_subject
from stock_llm.truth.verdicts import sentence_verdicts

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
MODEL = "stock-llm:latest"


def known_numbers(settings, question):
    block = own_data(settings).block_for(question)
    return block.text if block else ""


def parrot(tmp_path, answer, **options):
    settings = load_settings(home=tmp_path, ollama_host="", **options)
    shutil.copytree(SAMPLE, tmp_path / "data" / "sample", dirs_exist_ok=True)
    gguf = write_parrot(tmp_path / "parrot.gguf", answer)
    parameters = {"num_ctx": 1024, "num_predict": 400, "stop": ("</s>",)}
    made = Modelfile(
        from_=f"./{gguf.name}",
        template=MISTRAL_V3.go,
        system=prompts.SYSTEM,
        parameters=parameters,
    )
    OllamaStore(settings.path(settings.ollama_store)).write_model(MODEL, gguf, made, replace=True)
    return settings


def test_a_known_symbol_gets_its_numbers_and_any_other_text_goes_verbatim(tmp_path):
    settings = parrot(tmp_path, "hello")
    block = known_numbers(settings, "What about kestro?")
    assert block.startswith("Symbol: KESTRO\nDate: 2025-12-31\nClose: ")
    asked = ask(settings, "What about kestro?", MODEL)
    assert asked.prompt == MISTRAL_V3.render(
        prompts.messages("What about kestro?", block)
    ).removeprefix("<s>")
    assert ask(settings, " Tell me a story. ", MODEL).prompt == MISTRAL_V3.render(
        prompts.messages("Tell me a story.", "")
    ).removeprefix("<s>")


def test_a_question_about_one_indicator_gets_the_lines_that_explaining_it_was_trained_with(
    tmp_path,
):
    settings = parrot(tmp_path, "hello")
    names = [
        line.split(":")[0]
        for line in known_numbers(settings, "Explain MACD of KESTRO.").splitlines()
    ]
    assert names == ["Symbol", "Date", "Close", "MACD"]


ROOT = SAMPLE.parents[1]
EXAMPLE = re.compile(r'stock-llm ask (?:--[a-z-]+ (?:[a-z:0-9-]+ )?)*"(.+?)"')


def test_every_question_of_the_readme_and_the_help_can_be_answered(tmp_path):
    """It gets a block whose true sentences are known, or asks for a term's meaning as it is taught."""
    settings = load_settings(home=tmp_path, ollama_host="")
    shutil.copytree(SAMPLE, tmp_path / "data" / "sample")
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "stock_llm/cli").glob("*.py"),
    ]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    questions = {question for text in texts for question in EXAMPLE.findall(text)}
    assert {"Analyze KESTRO.", "Review my portfolio.", "What does RSI14 mean?"} <= questions
    taught = {row.instruction for row in definitions.rows(settings.seed, 1)}
    for question in questions:
        block = known_numbers(settings, question)
        assert question in taught if block == "" else read_subject(f"{question}\n\n{block}"), (
            question
        )


def test_what_is_held_is_among_the_numbers(tmp_path):
    settings = parrot(tmp_path, "hello")
    trades = tmp_path / "data" / "sample" / "trades.csv"
    trades.write_text("date,symbol,side,quantity,price\n2024-03-01,KESTRO,BUY,3,239.5\n")
    assert "Position: 3 at 239.50 (" in known_numbers(settings, "KESTRO?")


@pytest.mark.parametrize(
    "question", ["Review my portfolio.", "How is my whole portfolio doing?", "ทบทวนพอร์ตของฉัน"]
)
def test_a_question_about_the_portfolio_gets_what_it_is_made_of(tmp_path, question):
    settings = parrot(tmp_path, "hello")
    trades = tmp_path / "data" / "sample" / "trades.csv"
    trades.write_text(
        "date,symbol,side,quantity,price\n2024-03-01,KESTRO,BUY,3,239.5\n2024-03-01,LUMBRA,BUY,10,13.6\n2024-03-04,LUMBRA,SELL,4,13.5\n"
    )
    lines = known_numbers(settings, question).splitlines()
    assert lines[:2] == ["Portfolio: 2025-12-31", "Holdings: 2"]
    assert {line.split(":")[0] for line in lines[2:]} == {
        "- KESTRO",
        "- LUMBRA",
        "Best",
        "Worst",
        "Return",
        "Largest two",
        "Equal holdings",
    }
    assert any(line.startswith("- KESTRO: ") and ", 239.50 to " in line for line in lines)
    assert known_numbers(settings, "What is a portfolio?") == ""


def test_a_portfolio_that_cannot_be_reviewed_is_an_error(tmp_path):
    settings = parrot(tmp_path, "hello")
    trades = tmp_path / "data" / "sample" / "trades.csv"
    trades.write_text("date,symbol,side,quantity,price\n2024-03-01,KESTRO,BUY,3,239.5\n")
    assert "KESTRO: 100.0%, 239.50 to " in known_numbers(settings, "Review my portfolio.")
    trades.write_text(f"{trades.read_text()}2024-03-04,KESTRO,SELL,3,240.5\n")
    with pytest.raises(
        InputError, match=r"no portfolio to review on 2025-12-31.*stock-llm positions"
    ):
        known_numbers(settings, "Review my portfolio.")


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("Review my trade in KESTRO.", "Symbol: KESTRO\nBought: 2024-03-01 at 239.50\nSold: 2024-03-08 at 250.00"),
        ("How was my last trade?", "Symbol: LUMBRA\nBought: 2024-03-01 at 13.60\nSold: 2024-03-12 at 13.10"),
        ("การซื้อขาย KESTRO ของฉันเป็นอย่างไร", "Symbol: KESTRO\nBought: 2024-03-01"),
    ],
)  # fmt: skip
def test_a_question_about_a_trade_gets_the_last_closed_one(tmp_path, question, first):
    settings = parrot(tmp_path, "hello")
    trades = tmp_path / "data" / "sample" / "trades.csv"
    trades.write_text(
        "date,symbol,side,quantity,price\n2024-03-01,KESTRO,BUY,6,239.5\n2024-03-01,LUMBRA,BUY,10,13.6\n"
        "2024-03-05,KESTRO,SELL,3,240.5\n2024-03-08,KESTRO,SELL,3,250\n2024-03-12,LUMBRA,SELL,4,13.1\n"
    )
    assert known_numbers(settings, question).startswith(first)
    with pytest.raises(InputError, match=r"no closed trade in ALDREN to review.*positions"):
        known_numbers(settings, "Review my trade in ALDREN.")


def test_a_symbol_among_others_in_one_file(tmp_path):
    settings = parrot(tmp_path, "hello")
    folder = tmp_path / "data" / "sample" / "candles"
    block = known_numbers(settings, "KESTRO?")
    files = {file.stem: file.read_text().splitlines(keepends=True) for file in folder.glob("*.csv")}
    for name in files:
        (folder / f"{name}.csv").unlink()
    rows = "".join(f"{name},{line}" for name, lines in files.items() for line in lines[1:])
    (folder / "all.csv").write_text(f"Symbol,{files['KESTRO'][0]}{rows}")
    assert known_numbers(settings, "KESTRO?") == block


@pytest.mark.parametrize(
    ("question", "language"), [("Analyze KESTRO.", "en"), ("วิเคราะห์หุ้น KESTRO", "th")]
)
def test_every_answer_ends_with_the_disclaimer_in_the_language_of_the_question(
    tmp_path, question, language
):
    assert ask(parrot(tmp_path, "Close 1.23"), question, MODEL).text.endswith(
        f"\n{DISCLAIMER[language]}"
    )


def test_numbers_that_are_not_in_the_prompt_are_reported(tmp_path):
    for answer, invented in (("worth 987654.32", ["987654.32"]), ("above 70", [])):
        settings = parrot(tmp_path, answer, true_sentences=False)
        assert ask(settings, "Analyze KESTRO.", MODEL).invented == invented


def test_a_false_sentence_is_marked_and_the_true_one_stands_below_it(tmp_path):
    settings = parrot(tmp_path, "RSI14 99.9 is overbought.", true_sentences=False)
    reply = ask(settings, "Analyze KESTRO.", MODEL)
    assert [verdict.sentence for verdict in reply.check.false] == ["RSI14 99.9 is overbought."]
    assert reply.text.startswith("RSI14 99.9 is overbought.")  # as it was generated
    rsi = next(line for line in known_numbers(settings, "KESTRO").splitlines() if "RSI14" in line)
    shown = marked(reply.text, reply.check, "<", ">").splitlines()
    assert shown[0] == "<RSI14 99.9 is overbought.>"
    assert shown[1].startswith("  ^ not true; true is: RSI14 " + rsi.split()[1].rstrip(","))
    assert "the candles of KESTRO are old" in reply.note
    assert ask(settings, "Tell me a story.", MODEL).check is None


@pytest.mark.parametrize(
    "question", ["Analyze KESTRO.", "ควรซื้อ ถือ หรือขาย KESTRO", "Explain MACD of KESTRO."]
)
def test_no_model_can_write_a_false_sentence_about_known_numbers(tmp_path, question):
    """The parrot wants to say something else, and has no way to."""
    settings = parrot(tmp_path, "Close 1.23 is 99.9% above SMA50 0.50.")
    answer = ask(settings, question, MODEL)
    given = parse_answer(answer.text)
    assert given.language == ("th" if "ค" in question else "en")
    subject = read_subject(f"{question}\n\n{known_numbers(settings, question)}")
    judged = sentence_verdicts(answer.text, subject, given.language)
    assert len(judged) == len(given.bullets) > 0
    assert {verdict.verdict for verdict in judged} <= {"true", "unchecked"}
    assert answer.invented == []


def test_refusals_name_the_remedy(tmp_path):
    settings = parrot(tmp_path, "hello")
    with pytest.raises(InputError, match="the question is empty"):
        ask(settings, "  ", MODEL)
    with pytest.raises(PublishError, match="stock-llm:v9"):
        ask(settings, "Hello", "stock-llm:v9")
    candles = tmp_path / "data" / "sample" / "candles"
    short = candles / "KESTRO.csv"
    short.write_text("".join(short.read_text().splitlines(keepends=True)[:20]))
    with pytest.raises(InputError, match="KESTRO has 19 candles"):
        ask(settings, "KESTRO?", MODEL)
