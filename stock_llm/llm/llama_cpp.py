"""Generation with llama.cpp in this process, for evaluation and for serving.

Takes a GGUF and a rendered prompt, returns text, tokens and losses. Greedy decoding picks the token
with the largest logit, the first of equals, as Ollama does at temperature 0. The key-value cache of
a shared prefix (the system text) is kept between prompts. The caller renders the prompt.
"""

import time
from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stock_llm.errors import StockLLMError
from stock_llm.llm.grammar import make_tokenizer
from stock_llm.llm.runtime.answer import AnswerText, Generation
from stock_llm.llm.runtime.weights import Weights, useful_threads


class LlamaModel:
    """A loaded GGUF. Use as a context manager: its memory is not Python's.

    Args:
        threads: CPU threads, at most; a small model takes fewer. Two models that generate at once
            should share the cores, not both take all.
        context: tokens of prompt and answer together.
        lora: a LoRA adapter as a GGUF, which is added while the model computes.

    Raises:
        StockLLMError: llama.cpp cannot load a file.
        MissingExtra: the extra `local` is not installed.
    """

    def __init__(self, gguf: Path, threads: int, context: int, lora: Path | None = None):
        self._weights = Weights(gguf, lora)
        import llama_cpp

        self._llama: Any = llama_cpp
        self._context: Any = None
        self._seen: list[int] = []
        self._size = context
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = context
        parameters.n_ubatch = min(512, context)
        parameters.n_threads = parameters.n_threads_batch = useful_threads(gguf, threads)
        parameters.no_perf = True
        self._context = self._weights.make_context(parameters)
        if not self._context:
            self.close()
            raise StockLLMError(
                f"llama.cpp cannot make a context of {context} tokens for {gguf}: "
                "not enough memory?"
            )
        self._batch = llama_cpp.llama_batch_init(context, 0, 1)

    def __enter__(self) -> "LlamaModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the model's memory; the object cannot be used afterwards."""
        if self._context:
            self._llama.llama_batch_free(self._batch)
            self._llama.llama_free(self._context)
        self._context = None
        self._weights.close()

    @property
    def context(self) -> Any:
        """llama.cpp's context, for a sampler."""
        return self._context

    @property
    def vocabulary(self) -> Any:
        """llama.cpp's vocabulary, for a sampler."""
        return self._weights.vocabulary

    @cached_property
    def grammar_tokenizer(self) -> Any:
        """The vocabulary as constraints on the text want it; made once, in less than a second."""
        return make_tokenizer(self._weights.vocabulary)

    @property
    def last_logits(self) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """llama.cpp's own logits after the last token, shape (vocabulary,): what is written into
        them counts."""
        return self._logits(-1)

    def tokenize(self, text: str, bos: bool = True) -> list[int]:
        """Token ids; special tokens in the text count as such, as they do in Ollama."""
        return self._weights.tokenize(text, bos)

    def generate(
        self,
        prompt: str,
        max_tokens: int,
        stop: Sequence[str] = (),
        pick: Callable[[], list[int]] | None = None,
    ) -> Generation:
        """The answer to a rendered prompt (without BOS, which is added), greedy without `pick`.

        Raises:
            StockLLMError: the prompt does not fit into the context. It is never cut.
        """
        pieces = self.pieces(prompt, max_tokens, stop, pick)
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                generation: Generation = end.value
                return generation

    def pieces(
        self,
        prompt: str,
        max_tokens: int,
        stop: Sequence[str] = (),
        pick: Callable[[], list[int]] | None = None,
    ) -> Generator[str, None, Generation]:
        """The same in pieces as they come; together they are the text of the `Generation` that it
        returns at the end.

        Args:
            pick: chooses the next token where it is not to be the most likely one, and those that
                must follow it; see `sampler.Sampler`.

        Raises:
            StockLLMError: the prompt does not fit into the context.
        """
        started = time.perf_counter()
        tokens = self.tokenize(prompt)
        given_tokens = len(tokens)
        limit = min(max_tokens, self._size - given_tokens)
        if given_tokens >= self._size:
            raise StockLLMError(
                f"the prompt has {given_tokens} tokens, the context only {self._size}"
            )
        text = AnswerText(stop)
        count = given = 0
        finish = "length"
        chosen: list[int] = []
        while count < limit:
            if not chosen:
                logits = self._next_logits(tokens)
                chosen = [int(logits.argmax())] if pick is None else pick()
            token = chosen.pop(0)
            tokens.append(token)
            count += 1
            if self._weights.ends_answer(token) or text.add(self._weights.piece(token)):
                finish = "stop"
                break
            if len(certain := text.certain) > given:
                yield certain[given:]
                given = len(certain)
        whole = text.close()
        if whole[given:]:
            yield whole[given:]
        return Generation(whole, given_tokens, count, time.perf_counter() - started, finish)

    def answer_loss(self, prompt: Sequence[int], answer: Sequence[int]) -> tuple[float, int]:
        """Summed negative log likelihood in nats of `answer` after `prompt`, and the number of its
        tokens.
        """
        tokens = [*prompt, *answer]
        self._forget(0)
        self._decode(tokens, list(range(len(prompt) - 1, len(tokens) - 1)))
        total = 0.0
        for position, token in enumerate(answer, start=len(prompt) - 1):
            logits = self._logits(position).astype(np.float64)
            top = logits.max()
            total += top + np.log(np.exp(logits - top).sum()) - logits[token]
        self._seen = tokens
        return float(total), len(answer)

    def answer_logits(
        self, prompt: Sequence[int], answer: Sequence[int]
    ) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """Logits that predict each token of `answer` after `prompt`, shape (tokens, vocabulary)."""
        tokens, start = [*prompt, *answer], len(prompt) - 1
        self._forget(0)
        self._decode(tokens, list(range(start, len(tokens) - 1)))
        self._seen = tokens
        return np.stack([self._logits(start + place) for place in range(len(answer))])

    def _next_logits(self, tokens: list[int]) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """Logits after `tokens`, shape (vocabulary,); only what the cache does not hold yet is
        computed.
        """
        shared = 0
        for known, wanted in zip(self._seen, tokens[:-1], strict=False):
            if known != wanted:
                break
            shared += 1
        self._forget(shared)
        self._decode(tokens[shared:], [len(tokens) - shared - 1], start=shared)
        self._seen = tokens.copy()
        return self._logits(len(tokens) - shared - 1)

    def _forget(self, start: int) -> None:
        self._llama.llama_memory_seq_rm(self._llama.llama_get_memory(self._context), 0, start, -1)
        self._seen = self._seen[:start]

    def _decode(self, tokens: list[int], wanted: list[int], start: int = 0) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        outputs = set(wanted)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index in outputs
        status = self._llama.llama_decode(self._context, batch)
        if status != 0:
            raise StockLLMError(
                f"llama.cpp could not compute {len(tokens)} tokens (status {status})"
            )

    def _logits(self, index: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
        pointer = self._llama.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(pointer, shape=(self._weights.size,))
