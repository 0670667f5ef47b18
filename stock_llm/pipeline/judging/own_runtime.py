"""Answers of a contestant in this process, through llama.cpp, greedily, several rows at once.

A model that cannot use all threads is given several contexts, each with a thread, rows and a share
of the prompts of its own; the weights are loaded once.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from stock_llm.llm.profiles import ServingConfig
from stock_llm.llm.runtime.answer import Generation
from stock_llm.llm.runtime.batch import TOGETHER, Prompt, RowBatch, common_beginning
from stock_llm.llm.runtime.devices import find_device
from stock_llm.llm.runtime.weights import Weights, useful_threads
from stock_llm.machine import available_memory

ROWS_AT_ONCE = 16
"""Rows in a context. docs/performance.md has what 1 to 32 at once bring."""

SMALL = 64 * 2**20
"""Bytes of a file below which rows are answered one by one in each context: its weights stay in the
processor's cache, so that reading them once for several rows saves little."""

_SHARE = 0.5
"""Of the free memory, at most, for keys and values of the rows."""


class _Interrupted(Exception):
    """The answers are not wanted any more."""


@dataclass(frozen=True)
class Plan:
    """How a model answers on this machine.

    Attributes:
        contexts: that work side by side.
        threads: of each.
        rows: at once in each.
    """

    contexts: int
    threads: int
    rows: int


def plan(gguf: Path, threads: int, row_bytes: int = 0, rows: int | None = None) -> Plan:
    """Threads and rows for a model.

    Args:
        row_bytes: memory of a row's keys and values.
        rows: at once in each context, where there is room for them; None: what is fastest for a
            model of that size.
    """
    if rows is None:
        rows = 1 if gguf.stat().st_size < SMALL else ROWS_AT_ONCE
    each = useful_threads(gguf, threads)
    device = find_device()
    contexts = 1 if device else threads // each
    free = device.free if device else available_memory()
    room = int(_SHARE * free / max(1, row_bytes)) // contexts
    room = room // TOGETHER * TOGETHER or 1  # as a context would round them up
    return Plan(contexts, each, max(1, min(rows, room)))


def rows_at_once(gguf: Path, threads: int) -> int:
    """How many rows a model of that size is asked at the same time, in all contexts."""
    planned = plan(gguf, threads)
    return planned.contexts * planned.rows


def generate(
    gguf: Path,
    prompts: Sequence[str],
    serving: ServingConfig,
    stop: Sequence[str],
    threads: int,
    rows: int | None = None,
    lora: Path | None = None,
) -> Iterator[tuple[int, Generation]]:
    """The place of each prompt and its answer, as they end.

    Args:
        rows: at once in each context; see `plan`.
        lora: the adapter that is served beside the GGUF.

    Raises:
        StockLLMError: llama.cpp cannot load the file, or a prompt does not fit into the context.
    """
    weights = Weights(gguf, lora)
    try:
        tokens = [weights.tokenize(prompt) for prompt in prompts]
        context = min(serving.num_ctx, max(map(len, tokens), default=0) + serving.num_predict)
        planned = plan(gguf, threads, context * weights.token_bytes, rows)
        shared = tokens[0][: common_beginning(tokens)] if tokens else []
        waiting = deque(Prompt(place, row) for place, row in enumerate(tokens))
        done: SimpleQueue[tuple[int, Generation] | None] = SimpleQueue()
        interrupted = Event()

        def watch() -> None:
            if interrupted.is_set():
                raise _Interrupted

        def answer() -> None:
            try:
                with RowBatch(weights, planned.rows, context, planned.threads) as batch:
                    batch.share(shared)
                    for item in batch.answers(waiting, serving.num_predict, stop, watch):
                        done.put(item)
            finally:
                if waiting:  # this one failed: the others need not go on
                    interrupted.set()
                done.put(None)

        with ThreadPoolExecutor(planned.contexts) as pool:
            working = [pool.submit(answer) for _ in range(planned.contexts)]
            try:
                for _ in working:
                    while (item := done.get()) is not None:
                        yield item
                faults = [fault for work in working if (fault := work.exception())]
                if faults:
                    raise next((x for x in faults if not isinstance(x, _Interrupted)), faults[0])
            finally:
                interrupted.set()
    finally:
        weights.close()
