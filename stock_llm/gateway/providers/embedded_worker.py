"""The process that runs the published model for the gateway: `python -m stock_llm.gateway.providers.embedded_worker THREADS MEGABYTES`.

In: JSON lines on standard input, a question or `{"cancel": true}`. Out: JSON lines on standard output: pieces of text, then
`done` with the counts, or `error`. One question at a time; between two tokens it looks for a cancellation. A process of its
own, so that a crash or too little memory ends an answer and not the gateway. It ends when its standard input does. Does not
know names of models or templates: it is given files and rendered prompts.
"""

import contextlib
import json
import os
import resource
import select
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from stock_llm.errors import StockLLMError
from stock_llm.llm.llama_cpp import Generation, LlamaModel
from stock_llm.llm.sampler import Sampler, is_greedy

_LOADING = 96 * 2**20
"""Bytes that Python and llama.cpp's library need beside weights and context."""

_ONE_THREAD = 64 * 2**20
"""Bytes of weights for each thread. Threads wait for each other, spinning, at every layer: beside other busy processes on two
cores a model of 8 MB took 17 s for an answer with two threads and 0.06 s with one."""


class Lines:
    """The lines of a pipe, which can be looked for without waiting."""

    def __init__(self, pipe: int):
        self._pipe, self._read = pipe, b""

    def next(self) -> dict[str, Any]:
        """The next line.

        Raises:
            EOFError: there is none, and will be none.
        """
        while b"\n" not in self._read:
            piece = os.read(self._pipe, 65536)
            if not piece:
                raise EOFError
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def waiting(self) -> bool:
        """Whether something has come."""
        return b"\n" in self._read or bool(select.select([self._pipe], [], [], 0)[0])


def main(threads: int, megabytes: int) -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no line of ours
    asked, loaded = Lines(0), _Loaded(threads, megabytes)
    with contextlib.suppress(EOFError):
        while True:
            question = asked.next()
            if "cancel" in question:
                continue  # it came after the last token
            try:
                _answer(loaded, question, asked, answers)
            except StockLLMError as error:
                _say(answers, error=str(error))


def _answer(loaded: "_Loaded", question: Mapping[str, Any], asked: Lines, answers: IO[str]) -> None:
    began = time.perf_counter()
    model = loaded.model(Path(question["gguf"]), question["context"])
    ready = time.perf_counter()
    first = 0.0
    with _pieces(model, question) as pieces:
        while True:
            try:
                text = next(pieces)
            except StopIteration as end:
                break_off, said = False, end.value
                break
            first = first or time.perf_counter() - ready
            _say(answers, text=text)
            if asked.waiting():
                break_off, said = "cancel" in asked.next(), None
                if break_off:
                    break
    if break_off:
        _say(answers, done="cancelled")
    else:
        _say(answers, done=said.finish, tokens_in=said.tokens_in, tokens_out=said.tokens_out, load=ready - began,
             first=first, seconds=said.seconds)  # fmt: skip


@contextlib.contextmanager
def _pieces(
    model: LlamaModel, question: Mapping[str, Any]
) -> Iterator[Generator[str, None, Generation]]:
    """The running answer, with a sampler where the likeliest token is not what is wanted."""
    asked = (question["prompt"], question["max_tokens"], question["stop"])
    if question["schema"] is None and is_greedy(question["options"]):
        yield model.pieces(*asked)
        return
    with Sampler(model, question["options"], question["schema"]) as sampler:
        yield model.pieces(*asked, sampler.pick)


def _say(answers: IO[str], **values: Any) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


class _Loaded:
    """The one model in memory."""

    def __init__(self, threads: int, megabytes: int):
        self._threads, self._bytes = threads, megabytes * 2**20
        self._key: tuple[Path, int] | None = None
        self._model: LlamaModel | None = None

    def model(self, gguf: Path, context: int) -> LlamaModel:
        """The model of a file, loaded if it is not.

        Raises:
            StockLLMError: it is larger than allowed, or llama.cpp cannot load it.
        """
        if self._key == (gguf, context) and self._model:
            return self._model
        if self._model:
            self._model.close()
        self._key = self._model = None
        room = self._bytes - gguf.stat().st_size
        if room < 0:
            raise StockLLMError(
                f"{gguf.name} is larger than the {self._bytes >> 20} MB that the gateway may use; raise embedded_megabytes"
            )
        used = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_DATA, (used + room + _LOADING, resource.RLIM_INFINITY))
        threads = min(self._threads, 1 + gguf.stat().st_size // _ONE_THREAD)
        self._model = LlamaModel(gguf, threads=threads, context=context)
        self._key = (gguf, context)
        return self._model


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
