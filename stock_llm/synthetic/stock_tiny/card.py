"""Writes the model card of stock-tiny: what it is, how it was trained, what was measured."""

from collections.abc import Callable, Mapping
from typing import Any

from stock_llm.synthetic.stock_tiny import corpus

_KINDS = {
    "indicator_notes.note": "blocks of indicator values and true sentences about them",
    "holding_notes.note": "tables of a portfolio or a trade and true sentences about them",
    "arithmetic.drill": "numbers: copying, comparing, percent, thresholds, dates",
    "arithmetic.signed_table": "tables of signed numbers, repeated to the sign",
    "arithmetic.repeats": "lines of letters, each twice (half of the first 4,000 documents)",
    "prose.story": "market reports, company news, small stories",
    "glossary.entry": "glossary of charts and markets",
    "python_snippets.script": "small Python functions",
    "dialogue.chat": "questions and answers",
    "dialogue.instruct": "requests in the product's instruct format, other than the product's own",
}


def _name(make: Callable[..., str]) -> str:
    return f"{make.__module__.rpartition('.')[2]}.{make.__name__}"


def card(facts: Mapping[str, Any], samples: Mapping[str, str]) -> str:
    """README.md of the model's folder."""
    shape = facts["shape"]
    shares = "\n".join(
        f"| {_KINDS[_name(make)]} | {share:.0%} |" for make, share in corpus.SHARES.items()
    )
    abilities = "\n".join(f"| {name} | {share:.0%} |" for name, share in facts["abilities"].items())
    shown = "\n\n".join(
        f"```text\n{begun}⟶{continuation}\n```" for begun, continuation in samples.items()
    )
    return f"""# stock-tiny

The embedded base model of stock-llm: a Mistral of {facts["parameters"] / 1e6:.1f} million parameters, trained from nothing on
synthetic text, English and Thai. It is there so that the whole line runs on a machine without a GPU and without a download. It
knows the look of the language, finds a value in a block of numbers and copies it to the digit; how well, and how badly it
compares, is measured below. It is no analyst, and without fine-tuning what it recommends is drawn by chance. Licence: Apache-2.0.

| | |
|---|---|
| Architecture | MistralForCausalLM: hidden {shape["hidden"]}, feed-forward {shape["feed_forward"]}, {shape["layers"]} layers, \
{shape["heads"]} heads, {shape["key_value_heads"]} key-value heads, tied embeddings, bfloat16 |
| Tokenizer | SentencePiece BPE, {shape["vocabulary"]} pieces, digits split, byte fallback |
| Context | 1024 tokens (four fifths of the training at 512) |
| Training | {facts["steps"]:,} steps of 4096 tokens: {facts["tokens"] / 1e6:.1f} million tokens, each once; \
Muon and AdamW, float32 |
| Time | {facts["minutes"]:.0f} minutes on {facts["threads"]} CPU threads |
| Loss of the last hundred steps | {facts["train_loss"]:.3f} nats per token |
| Held-out loss of the weights in the file | {facts["loss"]:.4f} nats per token, on {corpus.HELD_OUT} documents |

Make it again: `stock-llm base build`. Hold the weights against the stated loss: `stock-llm base build --check`. The corpus and
the tokenizer come out byte for byte the same; weights differ with the processor, their loss by less than 0.02.

## What it was trained on

Text made by stock_llm/synthetic/stock_tiny from seed {facts["seed"]} (SHA-256 of the first 2,000 documents: `{facts["corpus_sha256"]}`), \
{corpus.THAI_SHARE:.0%} of the documents Thai:

| kind of document | share |
|---|---|
{shares}

Tickers, prices and situations are drawn at random. It has seen no candle, trade, ticker or feedback of data/sample, none of the
product's own instructions, and no rule that leads from a situation to a trend, a reading or a recommendation: in its
corpus these words are drawn.

## What it can do

Measured at the end of the build, greedy, on prompts that it was not trained on (stock_llm/synthetic/stock_tiny/ability_tests.py):

| ability | right |
|---|---|
{abilities}

"block …": a sentence about a value of a situation's block, complete and exact. "format": the share of answers to the skills' own
questions that have the labels which the skill asks for, whatever they say.

How it continues some texts (⟶):

{shown}
"""
