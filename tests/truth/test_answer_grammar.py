"""What the grammar of true answers lets a model write, byte by byte, and what it does not."""

import random

import numpy as np
import pytest
from factories.rows import rows_of_all_skills
from llguidance import LLTokenizer, TokenizerWrapper

from stock_llm.evaluation.answers import LANGUAGES, parse_answer
from stock_llm.llm.grammar import GrammarConstraint, GrammarError
from stock_llm.llm.prompts import user_text
from stock_llm.skills import SKILLS, portfolio
from stock_llm.truth.answer_grammar import true_answers
from stock_llm.truth.verdicts import false_sentences


class Bytes:
    """A tokenizer whose tokens are the bytes, and one end token."""

    tokens = [bytes([byte]) for byte in range(256)] + [b"</s>"]
    eos_token_id, bos_token_id, special_token_ids = 256, None, [256]

    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())


TOKENIZER = LLTokenizer(TokenizerWrapper(Bytes()))


def allowed(constraint):
    logits = np.zeros(257, np.float32)
    constraint.mask(logits)
    return np.flatnonzero(np.isfinite(logits)).tolist()


def takes(grammar, text):
    constraint = GrammarConstraint(TOKENIZER, grammar)
    try:
        for token in [*text.encode(), Bytes.eos_token_id]:
            constraint.accept(token)
    except GrammarError:
        return False
    return True


def write(grammar, chance):
    """A random text within the grammar."""
    constraint, text = GrammarConstraint(TOKENIZER, grammar), bytearray()
    while (token := chance.choice(allowed(constraint))) != Bytes.eos_token_id:
        text.append(token)
        constraint.accept(token)
    return text.decode()


HELD = [
    portfolio.PortfolioHolding("BP.", 40.0, 95.1, 104.2),
    portfolio.PortfolioHolding("WREN", 10.0, 50.0, 45.0),
    portfolio.PortfolioHolding("AB1", 5.0, 30.0, 33.0),
]
ROWS = {
    (row.skill, row.language): row
    for row in (
        *(row for row in rows_of_all_skills(60) if row.skill != "code"),
        *(
            portfolio.row(portfolio.portfolio_of("2025-03-14", HELD), language, 0)
            for language in LANGUAGES
        ),
    )
}


def grammar_of(row):
    return true_answers(user_text(row.instruction, row.input))


def test_what_is_taught_can_be_written():
    assert len(ROWS) == 10
    for row in ROWS.values():
        assert takes(grammar_of(row), f" {row.output}"), row.output


@pytest.mark.parametrize("row", ROWS.values(), ids=map(" ".join, ROWS))
def test_whatever_is_written_is_a_true_answer_in_the_form_and_language_of_the_question(row):
    """Each of some random texts; where a block has several forms, those of the skill get a score."""
    chance, forms, sentences = random.Random(row.id), set(), set()
    for _ in range(6):
        text = write(grammar_of(row), chance)
        given = parse_answer(text)
        assert false_sentences(row, text) == []
        assert given.language == row.language
        assert len(set(given.bullets)) == len(given.bullets), "no sentence twice"
        score = SKILLS[row.skill].score(row, text)
        assert all(score.checks.get(name, 1.0) == 1.0 for name in ("trend", "levels", "reading", "outcome", "concentration"))  # fmt: skip
        forms.add(score.parsed)
        sentences.update(given.bullets)
    assert True in forms
    assert len(sentences) > 1


def test_nothing_false_can_be_written():
    row = ROWS["analyse", "en"]
    grammar, text = grammar_of(row), row.output
    for old, new in ((" above ", " below "), (" below ", " above "), ("Trend: ", "Trend: NOT"), ("ATR14 ", "ATR14 9"),
                     ("support ", "support 9"), ("Close", "Price"), ("Insights:\n", "Insights:\n- Buy it.\n"),
                     ("Not investment", "Investment"), ("\nNot", "\nOne more.\nNot")):  # fmt: skip
        if old in text:
            assert not takes(grammar, text.replace(old, new)), new


def test_a_question_without_known_numbers_has_no_grammar():
    assert true_answers("Analyze KESTRO.") == ""
    assert true_answers("Close: 104.20, what now?") == ""


def test_a_wrong_grammar_is_said_so():
    with pytest.raises(GrammarError, match="grammar: "):
        GrammarConstraint(TOKENIZER, "start: nothing_of_that_name")
