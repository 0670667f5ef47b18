"""The process that runs the published model: `python -m stock_llm.gateway.providers.embedded_worker
THREADS MEGABYTES`.

It reads JSON lines on standard input, questions or `{"cancel": true}`, and writes JSON lines on
standard output: pieces of text, then `done` with the counts, or `error`. One question at a time;
between two tokens it looks for a cancellation. Prompts are rendered and grammars made here, within
limits, so that no request holds up the gateway; and a crash or too little memory ends an answer and
not the gateway. It ends when its standard input does.
"""

import contextlib
import json
import logging
import os
import resource
import select
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from stock_llm.errors import StockLLMError
from stock_llm.llm.grammar import GrammarError
from stock_llm.llm.json_schema import compile_schema
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.runtime.answer import Generation
from stock_llm.llm.sampler import Sampler, is_greedy
from stock_llm.ollama.go_template import TemplateError
from stock_llm.ollama.rendering import render

_OVERHEAD = 96 * 2**20
"""Bytes that Python and llama.cpp's library need besides weights and context."""

_MAX_TOKEN_BYTES = 256
"""More than any token of a vocabulary has: a prompt that is longer than its context times this does
not fit."""

_log = logging.getLogger(__name__)


class RequestFault(StockLLMError):
    """The request is at fault, not the model."""


class LineReader:
    """The lines of a pipe, which can be looked for without waiting."""

    def __init__(self, pipe: int):
        self._pipe, self._buffer = pipe, b""

    def next(self) -> dict[str, Any]:
        """The next line.

        Raises:
            EOFError: there is none, and will be none.
        """
        parts = [self._buffer]
        while b"\n" not in parts[-1]:
            part = os.read(self._pipe, 2**20)
            if not part:
                raise EOFError
            parts.append(part)
        line, _, self._buffer = b"".join(parts).partition(b"\n")
        decoded: dict[str, Any] = json.loads(line)
        return decoded

    def is_waiting(self) -> bool:
        """Whether something has come."""
        return b"\n" in self._buffer or bool(select.select([self._pipe], [], [], 0)[0])


def main(threads: int, megabytes: int) -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no line of ours
    questions, memory = LineReader(0), _Memory(threads, megabytes)
    with contextlib.suppress(EOFError):
        while True:
            question = questions.next()
            if "cancel" in question:
                continue  # it came after the last token
            try:
                _answer(memory, question, questions, answers)
            except (RequestFault, GrammarError, TemplateError) as error:
                _write(answers, error=str(error), callers_fault=True)
            except StockLLMError as error:
                _write(answers, error=str(error), callers_fault=_is_callers_fault(error, question))
            except EOFError:
                raise
            except Exception as error:  # one question must not end the process for the others
                _log.exception("a question failed")
                _write(answers, error=f"internal error: {error!r}"[:300])


def _answer(
    memory: "_Memory", question: Mapping[str, Any], questions: LineReader, answers: IO[str]
) -> None:
    began = time.perf_counter()
    prompt = _prompt(question)
    model = memory.model(Path(question["gguf"]), question["lora"], question["context"])
    ready = time.perf_counter()
    first = 0.0
    generation: Generation | None = None
    with _pieces(model, question, prompt) as pieces:
        while True:
            try:
                text = next(pieces)
            except StopIteration as end:
                generation = end.value
                break
            first = first or time.perf_counter() - ready
            _write(answers, text=text)
            if questions.is_waiting() and "cancel" in questions.next():
                break
    if generation is None:
        _write(answers, done="cancelled")
        return
    _write(
        answers,
        done=generation.finish,
        tokens_in=generation.tokens_in,
        tokens_out=generation.tokens_out,
        load=ready - began,
        first=first,
        seconds=generation.seconds,
    )


def _prompt(question: Mapping[str, Any]) -> str:
    """The prompt of a question.

    Raises:
        RequestFault: it is no text, or cannot fit into the context.
        TemplateError: the template is wrong, or goes beyond a limit.
    """
    prompt: str | None = question["prompt"]
    if prompt is None:
        prompt = render(question["template"], question["turns"], question["system"])
    try:
        size = len(prompt.encode())
        "".join(question["stop"]).encode()
    except UnicodeEncodeError:
        raise RequestFault("a text holds half of a surrogate pair, which is no character") from None
    if size > question["context"] * _MAX_TOKEN_BYTES:
        raise RequestFault(
            f"the prompt has {size:,} bytes, the context only {question['context']} tokens"
        )
    return prompt


def _is_callers_fault(error: StockLLMError, question: Mapping[str, Any]) -> bool:
    """Whether llama.cpp refused what the request asked for: a long prompt, a grammar, a large
    context."""
    text = str(error)
    too_large = "a context of" in text and question["asked_context"]
    return "the context only" in text or "JSON schema" in text or too_large


@contextlib.contextmanager
def _pieces(
    model: LlamaModel, question: Mapping[str, Any], prompt: str
) -> Iterator[Generator[str, None, Generation]]:
    """The running answer, with a sampler where the likeliest token is not what is wanted."""
    arguments = (prompt, question["max_tokens"], question["stop"])
    grammar = question["grammar"]
    if question["schema"] is not None:
        grammar = compile_schema(question["schema"])
    if not grammar and is_greedy(question["options"]):
        yield model.pieces(*arguments)
        return
    with Sampler(model, question["options"], grammar) as sampler:
        yield model.pieces(*arguments, sampler.pick)


def _write(answers: IO[str], **values: Any) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


class _Memory:
    """The one model in memory."""

    def __init__(self, threads: int, megabytes: int):
        self._threads, self._bytes = threads, megabytes * 2**20
        self._key: tuple[Path, str, int] | None = None
        self._model: LlamaModel | None = None

    def model(self, gguf: Path, lora: str, context: int) -> LlamaModel:
        """The model of a file, loaded if it is not.

        Args:
            lora: path of the adapter that is served beside it; empty: there is none.

        Raises:
            StockLLMError: it is larger than allowed, or llama.cpp cannot load it.
        """
        if self._key == (gguf, lora, context) and self._model:
            return self._model
        if self._model:
            self._model.close()
        self._key = self._model = None
        room = self._bytes - gguf.stat().st_size
        if room < 0:
            limit = f"the {self._bytes >> 20} MB that the gateway may use"
            raise StockLLMError(f"{gguf.name} is larger than {limit}; raise embedded_megabytes")
        used = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_DATA, (used + room + _OVERHEAD, resource.RLIM_INFINITY))
        self._model = LlamaModel(gguf, self._threads, context, Path(lora) if lora else None)
        self._key = (gguf, lora, context)
        return self._model


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
