"""Measures what stock-tiny can do: copying, comparing, reading a block, the answer format.

Prompts are drawn from a stream of their own, with situations like the corpus's, never the sample's.
Decoding is greedy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from stock_llm.evaluation.answers import Language
from stock_llm.llm import prompts
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.market.situation import format_price
from stock_llm.skills import (
    SKILLS,
    analyse,
    code,
    explain,
    review,
    signal,
    statements,
)
from stock_llm.skills.decision_point import BaseRates, DecisionPoint
from stock_llm.skills.row import Row
from stock_llm.synthetic.stock_tiny import random_situations

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import MistralForCausalLM

BATCH = 25


@dataclass(frozen=True)
class Question:
    """A prompt, and the texts one of which the first line of the continuation must be."""

    ability: str
    prompt: str
    right: tuple[str, ...]


def measure(
    model: "MistralForCausalLM", tokenizer: "Tokenizer", seed: int, count: int = 100
) -> dict[str, float]:
    """Ability → share of right answers, out of `count` questions each; "format": of `count` prompts
    of the skills."""
    questions = [
        question
        for number in range(count)
        for question in _questions(Random(f"probe {seed} {number}"))
    ]
    # equal lengths share a batch
    questions.sort(key=lambda question: (question.ability, len(question.prompt)))
    line_end = tokenizer.encode("\n").ids[-1]
    continuations = generate(
        model, tokenizer, [question.prompt for question in questions], 48, stop=line_end
    )
    hits: dict[str, list[bool]] = {}
    for question, text in zip(questions, continuations, strict=True):
        hits.setdefault(question.ability, []).append(text.strip().rstrip(".") in question.right)
    rows = [
        row
        for number in range(count // 5)
        for row in skill_rows(Random(f"probe rows {seed} {number}"))
    ]
    rows.sort(key=lambda row: len(row.input))
    answers = generate(
        model,
        tokenizer,
        [MISTRAL_V3.render(prompts.messages(row.instruction, row.input)) for row in rows],
        320,
    )
    hits["format"] = [
        SKILLS[row.skill].score(row, text).parsed for row, text in zip(rows, answers, strict=True)
    ]
    return {ability: sum(right) / len(right) for ability, right in sorted(hits.items())}


def _questions(chance: Random) -> Iterator[Question]:
    """One question for each ability."""
    seen = random_situations.situation(chance)
    a = random_situations.amount(chance)
    b = float(
        format_price(max(0.01, a * (1 + chance.choice((-1, 1)) * chance.uniform(0.002, 0.2))))
    )
    larger = "above" if a > b else "below"
    for language, head in (("en", "In words:\n- "), ("th", "สรุปเป็นคำพูด\n- ")):
        block = f"{seen.block()}\n\n{head}"
        for name, fact in (
            ("atr", statements.atr),
            ("support", statements.support),
            ("rsi", statements.rsi),
        ):
            sentence = fact(seen, _as_language(language))
            start = " ".join(sentence.split(" ")[:1])
            yield Question(
                f"block {name} {language}",
                block + start,
                (sentence.removeprefix(start).strip().rstrip("."),),
            )
        for name, fact in (("average", statements.sma50), ("macd", statements.macd)):
            sentence = fact(seen, _as_language(language))
            start, _, end = sentence.partition(" (")
            right = f"({end}".rstrip(".")
            yield Question(f"side of {name} {language}", block + start, (right,))
    yield Question("copy symbol", f"Repeat: {seen.symbol}\n-", (seen.symbol,))
    yield Question(
        "copy price",
        f"Close: {format_price(a)}\nSupport: {format_price(b)}\nThe value of Close:",
        (format_price(a),),
    )
    if a != b:
        yield Question(
            "compare two prices",
            f"Which is larger, {format_price(a)} or {format_price(b)}?",
            (format_price(max(a, b)),),
        )
        yield Question(
            "compare, above or below",
            f"Close: {format_price(a)}\nSMA20: {format_price(b)}\nClose is",
            (f"{larger} SMA20",),
        )


def _as_language(language: str) -> Language:
    return "th" if language == "th" else "en"


def skill_rows(chance: Random) -> list[Row]:
    """One prompt of each skill about a drawn situation, with a drawn outcome."""
    language: Language = "th" if chance.random() < 0.2 else "en"
    seen = random_situations.situation(chance)
    decision = DecisionPoint(
        seen,
        chance.choice(("BUY", "HOLD", "SELL")),
        seen.as_of,
        seen.as_of,
        {"kind": "day", "ref": seen.symbol},
    )
    phrasing = chance.randrange(6)
    sold = float(format_price(seen.close * chance.uniform(0.8, 1.25)))
    days = chance.randint(2, 60)
    trade = review.ClosedTrade(seen, seen.close, sold, seen.as_of, seen.as_of, days, seen.symbol)
    return [
        analyse.row(decision, BaseRates([]), language, phrasing),
        signal.row(decision, BaseRates([]), language, phrasing),
        explain.row(seen, chance.choice(tuple(explain.TEXTBOOK)), language, phrasing),
        review.row(trade, language, phrasing),
        code.row(code.draw(f"probe {seen.symbol}"), seen.as_of, language, phrasing),
    ]


def generate(
    model: "MistralForCausalLM",
    tokenizer: "Tokenizer",
    texts: list[str],
    max_tokens: int,
    stop: int | None = None,
) -> list[str]:
    """The greedy continuation of each text, up to the end token or the token `stop`."""
    import torch

    made: list[str] = []
    model.eval()  # type: ignore[no-untyped-call]
    for begin in range(0, len(texts), BATCH):
        encoded = [tokenizer.encode(text).ids for text in texts[begin : begin + BATCH]]
        width = max(map(len, encoded))
        rows = torch.tensor([[0] * (width - len(ids)) + ids for ids in encoded])
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in encoded])
        ends = [2] if stop is None else [2, stop]
        with torch.inference_mode():
            out = model.generate(  # type: ignore[misc]
                rows,
                attention_mask=mask,
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=ends,
                pad_token_id=0,
            )
        made += [tokenizer.decode(row[width:].tolist(), skip_special_tokens=True) for row in out]
    return made
