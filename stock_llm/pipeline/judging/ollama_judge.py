"""Asks contestants through a running Ollama: what is judged is then what is served, down to the
program and its GPU. `[evaluation] judge = "ollama"` in a profile.

A contestant is made there under a name of its own, with its published template, system text and
stops, the limits of the profile and temperature 0, and deleted when judging has ended. One with an
adapter is pulled, as its version will be: newer servers are said to refuse one in `/api/create`.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stock_llm.errors import PublishError
from stock_llm.llm.profiles import ServingConfig
from stock_llm.llm.prompts import Message, messages
from stock_llm.llm.runtime.answer import Generation
from stock_llm.ollama.client import OllamaServer
from stock_llm.ollama.handover import hand_over
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline.judging.contestants import Contestant
from stock_llm.skills.row import Row

PREFIX = "stock-llm:judged-"
"""What contestants are called while they are asked; what a killed run left is replaced."""

AT_ONCE = 4
"""Requests that wait for an answer at the same time: OLLAMA_NUM_PARALLEL of them are answered."""

_FOLDER = ".judged"
"""Beside the candidates: what the server pulls from."""

SAMPLE = 24
"""Questions that are also asked of llama.cpp in this process, to count differences."""


class OllamaJudge:
    """A server that answers for contestants. Use as a context manager: at its end the server has
    none of them any more.

    Args:
        serving: how long prompts and answers may be: the same for all models, whatever limits an
            earlier version was published with.
        address: HOST:PORT of the gateway as other machines reach it; empty: they do not.

    Attributes:
        name: the program and its version, as Ollama 0.33.0.
        where: the server's URL.
    """

    def __init__(self, server: OllamaServer, serving: ServingConfig, address: str = ""):
        self._server, self._serving, self._address = server, serving, address
        self._made: set[str] = set()
        self.where = server.where
        self.name = f"Ollama {server.version}"

    def __enter__(self) -> "OllamaJudge":
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._made:
            with suppress(PublishError):  # it may have gone away, which was said
                self._server.delete(name)

    def generate(
        self, contestant: Contestant, conversations: Sequence[Sequence[Message]]
    ) -> Iterator[tuple[int, Generation]]:
        """The place of each conversation and its answer, as they come.

        Raises:
            PublishError: the server refuses, or goes away.
        """
        name = self._make(contestant)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = {
                pool.submit(self._server.generate, name, _questions(turns)): place
                for place, turns in enumerate(conversations)
            }
            try:
                for answer in as_completed(asked):
                    yield asked[answer], answer.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def equal_prompts(self, contestant: Contestant, rows: Sequence[Row]) -> int:
        """How many prompts the server renders as training saw them."""
        name = self._make(contestant)
        return sum(
            self._server.render(name, _questions(turns)) == contestant.prompt(turns)
            for turns in (messages(row.instruction, row.input) for row in rows)
        )

    def _make(self, contestant: Contestant) -> str:
        """The name of a contestant on the server, where it is made when it is first asked."""
        name = PREFIX + contestant.name
        if name not in self._made:
            modelfile = contestant.modelfile
            judged = {**modelfile.parameters, **self._serving.model_dump(), "temperature": 0.0}
            greedy = replace(modelfile, parameters=judged)
            if contestant.lora:
                self._hand_over(name, contestant.gguf, greedy)
            else:
                self._server.create(name, contestant.gguf, greedy, lambda _: None)
            self._made.add(name)
        return name

    def _hand_over(self, name: str, gguf: Path, modelfile: Modelfile) -> None:
        """Lets the server pull a model from a folder that is there for these seconds."""
        folder = gguf.parent.with_name(_FOLDER)
        shutil.rmtree(folder, ignore_errors=True)  # of a killed run
        if self._server.digest(name):
            self._server.delete(name)
        try:
            store = OllamaStore(folder)
            store.write_model(name, gguf, modelfile)
            hand_over(store, self._server, name, self._address)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _questions(turns: Sequence[Message]) -> list[Mapping[str, str]]:
    """A conversation without the system text, which the server has from the Modelfile."""
    return [
        {"role": turn["role"], "content": turn["content"]}
        for turn in turns
        if turn["role"] != "system"
    ]
