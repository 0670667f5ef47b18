"""Answers to many prompts with one model, several rows at once.

Every row is a sequence of its own in one context of llama.cpp: a call of `llama_decode` gives each
row its next token, so that the weights are read once for all of them. What all prompts begin with
is computed once and its keys and values copied to every sequence. A row that has ended makes room
for the next prompt. Tokens are the most likely ones, chosen for all rows in one step.

A row's text can differ from the one that `LlamaModel` gives. llama.cpp multiplies several
rows with other routines than a single one, and sums the attention of a long row that is alone in
another order. The last bit of a sum decides how activations are rounded to 8 bits, layer after
layer, until the logits differ by about as much as that rounding costs; where two tokens are nearer
to each other than that, either may come. A text does not depend on which rows are answered
beside it: llama.cpp chooses its routines by the number of rows, so every step computes all of them,
those that have no prompt for nothing. It may depend, by the same rounding, on how much of its
prompt all prompts share, which is computed apart from the rest.
"""

import ctypes
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stock_llm.errors import StockLLMError
from stock_llm.llm.runtime.answer import AnswerText, Generation
from stock_llm.llm.runtime.weights import Weights

TOGETHER = 4
"""Rows that llama.cpp multiplies together; what is left over goes one by one."""


@dataclass(frozen=True)
class Prompt:
    """A prompt's tokens, BOS included, and its place among all prompts."""

    place: int
    tokens: list[int]


@dataclass
class _Row:
    """A prompt that is being answered."""

    prompt: Prompt
    limit: int
    text: AnswerText
    started: float
    token: int = 0
    count: int = 0
    finish: str = field(default="length")

    @property
    def position(self) -> int:
        """Of the token that the model is given next."""
        return len(self.prompt.tokens) + self.count - 1

    def generation(self) -> Generation:
        seconds = time.perf_counter() - self.started
        return Generation(
            self.text.close(), len(self.prompt.tokens), self.count, seconds, self.finish
        )


def common_beginning(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with; each keeps at least one of its own."""
    if not prompts:
        return 0
    least, most = min(prompts), max(prompts)
    longest = min(map(len, prompts)) - 1
    for count, (one, other) in enumerate(zip(least[:longest], most, strict=False)):
        if one != other:
            return count
    return longest


class RowBatch:
    """A context for several rows. Use as a context manager: its memory is not Python's.

    Args:
        rows: how many are answered at once, rounded up to a multiple of `TOGETHER` unless it is 1.
        context: tokens of a row, prompt and answer together.
        threads: CPU threads.

    Raises:
        StockLLMError: there is not enough memory for the context.
    """

    def __init__(self, weights: Weights, rows: int, context: int, threads: int):
        import llama_cpp

        self._llama: Any = llama_cpp
        self._weights = weights
        self._rows = rows if rows == 1 else -(-rows // TOGETHER) * TOGETHER
        self._size = context
        self._shared = 0
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_seq_max = self._rows
        parameters.n_ctx = context * self._rows
        parameters.kv_unified = False  # a row looks at its own keys and not at those of all rows
        parameters.n_batch = max(context, self._rows)
        parameters.n_ubatch = min(512, parameters.n_batch)
        parameters.n_outputs_max = self._rows
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        self._context = weights.make_context(parameters)
        if not self._context:
            raise StockLLMError(
                f"llama.cpp cannot make a context of {self._rows} times {context} tokens: "
                "not enough memory?"
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = _Batch(llama_cpp, max(context, self._rows))

    def __enter__(self) -> "RowBatch":
        return self

    def __exit__(self, *_: object) -> None:
        self._llama.llama_free(self._context)

    def share(self, tokens: Sequence[int]) -> None:
        """Computes what all prompts begin with, once, and copies it to every row."""
        self._llama.llama_memory_clear(self._memory, True)
        tokens = tokens[: self._size - 1]
        self._shared = len(tokens)
        if tokens:
            self._decode(tokens, range(len(tokens)), [0] * len(tokens), [False] * len(tokens))
            for row in range(1, self._rows):
                self._llama.llama_memory_seq_cp(self._memory, 0, row, -1, -1)

    def answers(
        self,
        waiting: "deque[Prompt]",
        max_tokens: int,
        stop: Sequence[str] = (),
        watch: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, Generation]]:
        """The place of each prompt and its answer, as they end.

        Args:
            waiting: prompts, taken from the left; several batches may take from one.
            watch: called before every step; what it raises ends the answers.

        Raises:
            StockLLMError: a prompt does not fit into a row. It is never cut.
        """
        rows: list[_Row] = []
        while True:
            watch()
            while len(rows) < self._rows and (prompt := _next(waiting)):
                row = self._begin(prompt, len(rows), max_tokens, stop)
                if self._take(row, self._first(row, len(rows))):
                    yield prompt.place, row.generation()
                else:
                    rows.append(row)
            if not rows:
                return
            tokens = self._step(rows)
            for place in reversed(range(len(rows))):
                if self._take(rows[place], int(tokens[place])):
                    yield rows[place].prompt.place, rows[place].generation()
                    self._remove(rows, place)

    def _begin(self, prompt: Prompt, place: int, max_tokens: int, stop: Sequence[str]) -> _Row:
        count = len(prompt.tokens)
        if count >= self._size:
            raise StockLLMError(f"the prompt has {count} tokens, the context only {self._size}")
        self._llama.llama_memory_seq_rm(self._memory, place, self._shared, -1)
        limit = min(max_tokens, self._size - count)
        return _Row(prompt, limit, AnswerText(stop), time.perf_counter())

    def _first(self, row: _Row, place: int) -> int:
        """The first token of an answer."""
        own = row.prompt.tokens[self._shared :]
        wanted = [False] * (len(own) - 1) + [True]
        positions = range(self._shared, len(row.prompt.tokens))
        self._decode(own, positions, [place] * len(own), wanted)
        return int(self._logits(1).argmax())

    def _step(self, rows: list[_Row]) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """The next token of each row; sequences that have no row compute one for nothing."""
        count, full = len(rows), self._rows
        tokens = [row.token for row in rows] + [rows[-1].token] * (full - count)
        positions = [row.position for row in rows]
        for place in range(count, full):
            self._llama.llama_memory_seq_rm(self._memory, place, self._shared, -1)
            positions.append(self._shared)
        self._decode(tokens, positions, range(full), [True] * full)
        picked: np.ndarray[Any, np.dtype[np.int64]] = self._logits(full).argmax(axis=1)
        return picked

    def _take(self, row: _Row, token: int) -> bool:
        """Adds a token to a row's answer; True where the answer has come to its end."""
        row.token = token
        row.count += 1
        if self._weights.ends_answer(token) or row.text.add(self._weights.piece(token)):
            row.finish = "stop"
            return True
        return row.count >= row.limit

    def _remove(self, rows: list[_Row], place: int) -> None:
        """Takes out a row that has ended. The last one moves to its place: llama.cpp computes rows
        together whose numbers have no gap.
        """
        last = len(rows) - 1
        if place != last:
            self._llama.llama_memory_seq_cp(self._memory, last, place, -1, -1)
            rows[place] = rows[last]
        rows.pop()

    def _decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        rows: Sequence[int],
        wanted: Sequence[bool],
    ) -> None:
        status = self._llama.llama_decode(
            self._context, self._batch.fill(tokens, positions, rows, wanted)
        )
        if status != 0:
            raise StockLLMError(
                f"llama.cpp could not compute {len(tokens)} tokens of {len(set(rows))} rows "
                f"(status {status})"
            )

    def _logits(self, count: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """Of the tokens that were wanted, in their order: shape (count, vocabulary)."""
        pointer = self._llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, shape=(count, self._weights.size))


def _next(waiting: "deque[Prompt]") -> Prompt | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


class _Batch:
    """A `llama_batch` whose arrays are NumPy's, so that they are filled at once."""

    def __init__(self, llama: Any, capacity: int):
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._rows = np.zeros(capacity, np.int32)
        self._wanted = np.zeros(capacity, np.int8)
        self._one = np.ones(capacity, np.int32)
        addresses = self._rows.ctypes.data + self._rows.itemsize * np.arange(capacity)
        self._row_of = addresses.astype(np.uint64)

        def pointer(array: "np.ndarray[Any, Any]", kind: Any) -> Any:
            return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))

        self._batch = llama.llama_batch(
            n_tokens=0,
            token=pointer(self._tokens, ctypes.c_int32),
            pos=pointer(self._positions, ctypes.c_int32),
            n_seq_id=pointer(self._one, ctypes.c_int32),
            seq_id=pointer(self._row_of, ctypes.POINTER(ctypes.c_int32)),
            logits=pointer(self._wanted, ctypes.c_int8),
        )

    def fill(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        rows: Sequence[int],
        wanted: Sequence[bool],
    ) -> Any:
        """The batch with these tokens."""
        count = len(tokens)
        self._tokens[:count], self._positions[:count] = tokens, positions
        self._rows[:count], self._wanted[:count] = rows, wanted
        self._batch.n_tokens = count
        return self._batch
