"""How many questions an hour a quantized model answers: one at a time, and 4, 8, 16 and 32 at once.

Two models: a Mistral of 1.0 billion random weights (hidden size 2048, 22 layers, 32 heads, 8 of keys, feed-forward part 5632,
Mistral's vocabulary v3), written and quantized to Q4_K_M by the project's own code, and stock-tiny. For each the first table has
what a call of llama.cpp takes that gives every row its next token, what a prompt takes, and the questions an hour that follow for
prompts of 174 and answers of 116 tokens, which is what rows have. The second has real answers: every question one at a time, then
several at once, seconds of both, and how many texts are the same. Random weights choose between words that are almost equally
likely far more often than a trained model.

    python benchmarks/judging.py                                # a quarter of an hour on two cores that are free
    python benchmarks/judging.py --threads 1 --questions 8 --answer 16 --prompt 32      # short prompts and answers: minutes
    python benchmarks/judging.py --only stock-tiny
    python benchmarks/judging.py --gguf model.gguf              # another model; its prompts are Mistral's

Seconds are of the processor, summed over threads and divided by their number, so that other work on the machine counts little.
The files are kept in --folder (4.5 GB; default: build/judging), so that a second run has them.
"""

import argparse
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stock_llm import environment

environment.prepare()

from random_mistral import SHAPE, v3, write_base  # noqa: E402  # beside this file

from stock_llm.llm.bases.answer_time import ANSWER_TOKENS, PROMPT_TOKENS  # noqa: E402
from stock_llm.llm.gguf.writer import write_gguf  # noqa: E402
from stock_llm.llm.prompt_formats import MISTRAL_V3  # noqa: E402
from stock_llm.llm.quantization import quantize_gguf  # noqa: E402
from stock_llm.llm.runtime.answer import Generation  # noqa: E402
from stock_llm.llm.runtime.batch import Prompt, RowBatch, common_beginning  # noqa: E402
from stock_llm.llm.runtime.weights import Weights, useful_threads  # noqa: E402

PROJECT = Path(__file__).parents[1]
BILLION = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
}
AT_ONCE = (1, 4, 8, 16, 32)


@dataclass(frozen=True)
class Sizes:
    """What is asked, in tokens; `prompt` cuts prompts where it is not 0."""

    questions: int
    prompt: int
    answer: int
    threads: int


def main() -> None:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=Path("build/judging"))
    parser.add_argument("--only", choices=("billion", "stock-tiny"), help="one of the models")
    parser.add_argument("--gguf", type=Path, help="a file in place of both")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--questions", type=int, default=32, help="0: no answers, steps alone")
    parser.add_argument(
        "--prompt", type=int, default=0, help="tokens that prompts are cut to, their last ones"
    )
    parser.add_argument("--answer", type=int, default=48, help="tokens of an answer, at most")
    parser.add_argument("--steps", type=int, default=4, help="calls that are timed; 0: none")
    parser.add_argument("--at-once", type=int, nargs="+", default=list(AT_ONCE))
    given = parser.parse_args()
    sizes = Sizes(given.questions, given.prompt, given.answer, given.threads)
    for name, gguf in models(given.folder, given.only, given.gguf):
        threads = useful_threads(gguf, sizes.threads)
        print(f"\n{name}: {gguf.stat().st_size / 2**20:.0f} MiB, {threads} thread(s)", flush=True)
        if given.steps:
            show_steps(gguf, threads, given.steps, given.at_once)
        if given.questions:
            show_answers(gguf, threads, sizes, given.at_once)


def models(folder: Path, only: str | None, gguf: Path | None) -> Iterator[tuple[str, Path]]:
    """Name and file of each model, made where it is not there yet."""
    if gguf:
        yield gguf.name, gguf
        return
    folder.mkdir(parents=True, exist_ok=True)
    if only != "stock-tiny":
        made = folder / "billion-Q4_K_M.gguf"
        if not made.exists():
            quantized(write_billion(folder), made)
        yield "1.0 billion random weights", made
    if only != "billion":
        made = folder / "stock-tiny-Q4_K_M.gguf"
        if not made.exists():
            quantized(PROJECT / "models" / "stock-tiny", made)
        yield "stock-tiny", made


def write_billion(folder: Path) -> Path:
    """The base with random weights, in bfloat16 as the hub has them."""
    base = folder / "billion" / "models" / "rehearsal"
    if not (base / "model.safetensors.index.json").exists():
        shutil.rmtree(base, ignore_errors=True)
        print(f"    written: {write_base(base, {**SHAPE, **BILLION}, v3(folder))}", flush=True)
    return base


def quantized(base: Path, made: Path) -> None:
    f16, partial = made.with_suffix(".f16"), made.with_suffix(".partial")
    write_gguf(base, f16, base.name, MISTRAL_V3.jinja)
    quantize_gguf(f16, partial, "Q4_K_M", threads=2)
    f16.unlink()
    partial.replace(made)


def show_steps(gguf: Path, threads: int, steps: int, at_once: Sequence[int]) -> None:
    """What a call takes that gives each of several rows its next token."""
    print(f"{'at once':>8}{'s a prompt token':>18}{'s a step':>10}{'tokens/s':>10}{'rows/h':>9}")
    weights = Weights(gguf)
    first = 0.0
    prompt_seconds = 0.0
    for rows in at_once:
        tokens = [weights.tokenize("1234567890 " * 8)[:64]] * rows
        with RowBatch(weights, rows, 64 + steps + 2, threads) as batch:
            batch.share([])
            if not prompt_seconds:
                answer(batch, tokens[:1], 1)  # pages of the file are read
                spent = processor(threads)
                answer(batch, tokens[:1], 1)
                prompt_seconds = (processor(threads) - spent) / len(tokens[0])
            step = timed_step(batch, tokens, steps, threads)
        hour = 3600 / (PROMPT_TOKENS * prompt_seconds + ANSWER_TOKENS * step / rows)
        first = first or hour
        print(
            f"{rows:8}{prompt_seconds:18.4f}{step:10.4f}{rows / step:10.1f}{hour:9.0f}"
            f"  {hour / first:.2f} times",
            flush=True,
        )
    weights.close()


def timed_step(batch: RowBatch, tokens: list[list[int]], steps: int, threads: int) -> float:
    """Seconds of a step of all rows, of the processor; prompts are one token long."""
    marks: list[float] = []
    answer(batch, [row[:1] for row in tokens], steps + 2, lambda: marks.append(processor(threads)))
    ends = [mark for mark in marks if mark > 0][2:]  # the first call begins the rows
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def answer(
    batch: RowBatch, tokens: list[list[int]], limit: int, watch: Any = lambda: None
) -> list[tuple[int, Generation]]:
    waiting = deque(Prompt(place, row) for place, row in enumerate(tokens))
    return list(batch.answers(waiting, limit, watch=watch))


def show_answers(gguf: Path, threads: int, sizes: Sizes, at_once: Sequence[int]) -> None:
    """Real questions, one at a time and several at once."""
    prompts = list(questions(sizes.questions))
    weights = Weights(gguf)
    whole = [weights.tokenize(prompt) for prompt in prompts]
    # the end of each: its beginning is that of all
    tokens = [row[:1] + row[1:][-sizes.prompt + 1 :] if sizes.prompt else row for row in whole]
    context = max(map(len, tokens)) + sizes.answer
    print(f"\n{'at once':>8}{'seconds':>9}{'rows/h':>8}{'same text':>11}  {len(prompts)} questions")
    alone: list[str] = []
    base = 0.0
    for rows in at_once:
        started = processor(threads)
        with RowBatch(weights, rows, context, threads) as batch:
            batch.share(tokens[0][: common_beginning(tokens)])
            waiting = deque(Prompt(place, row) for place, row in enumerate(tokens))
            ended = dict(batch.answers(waiting, sizes.answer, MISTRAL_V3.stop))
        seconds = processor(threads) - started
        texts = [ended[place].text for place in range(len(prompts))]
        alone, base = alone or texts, base or seconds
        same = sum(text == other for text, other in zip(texts, alone, strict=True))
        counts = f"{sum(each.tokens_in for each in ended.values())} + {sum(each.tokens_out for each in ended.values())} tokens"
        print(
            f"{rows:8}{seconds:9.1f}{3600 * len(prompts) / seconds:8.0f}{same:7}/{len(texts):<3}"
            f"  {base / seconds:.2f} times, {counts}",
            flush=True,
        )
    weights.close()


def questions(count: int) -> Iterator[str]:
    """Prompts of the skill "signal" about random situations."""
    import random

    from stock_llm.llm.prompts import messages
    from stock_llm.skills import signal
    from stock_llm.skills.decision_point import BaseRates, DecisionPoint
    from stock_llm.synthetic.stock_tiny.random_situations import situation

    chance = random.Random(0)
    for number in range(count):
        drawn = DecisionPoint(
            situation(chance), "HOLD", "2024-01-01", "2024-01-10", {"kind": "day", "ref": str(number)}
        )  # fmt: skip
        row = signal.row(drawn, BaseRates([]), "en", number)
        yield MISTRAL_V3.render(messages(row.instruction, row.input))


def processor(threads: int) -> float:
    """Seconds that a thread of this process has had of a processor, on average."""
    return time.process_time() / threads


if __name__ == "__main__":
    main()
