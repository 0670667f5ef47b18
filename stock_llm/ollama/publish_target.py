"""Where models are published and asked: a running Ollama if one answers, else a folder.

`StoreTarget` and `ServerTarget` have the same methods, so that stages and the command line ask a
published model in one way: with the weights, template, system text and parameters that were
published.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.sampler import Sampler
from stock_llm.ollama import rendering
from stock_llm.ollama.client import ChatReply, OllamaServer, connect
from stock_llm.ollama.manifest import Layer
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore

_GREEDY = {"temperature": 0.0}

DEFAULT_CONTEXT = 4096
"""Tokens, where the Modelfile names none: what Ollama takes on a machine without a GPU."""

Renderer = Callable[[Sequence[Mapping[str, str]]], str]


@dataclass(frozen=True)
class StoreTarget:
    """A folder in Ollama's format, asked through llama.cpp in this process.

    Attributes:
        threads: CPU threads for an answer.
    """

    store: OllamaStore
    threads: int

    @property
    def where(self) -> str:
        """The folder, for people."""
        return str(self.store.root)

    def put(
        self,
        name: str,
        gguf: Path,
        modelfile: Modelfile,
        annotations: Mapping[str, str],
        layers: Sequence[Layer] = (),
    ) -> str:
        """Publish a model; the digest of its manifest (hex).

        Args:
            annotations: what its manifest says of it, where it is published for the first time.
            layers: those that it had, where it was published before.

        Raises:
            PublishError: `name` is another model; or its layers would not be `layers`.
        """
        self.store.collect_garbage()
        return self.store.write_model(
            name, gguf, modelfile, replace=False, annotations=annotations, layers=layers
        )

    def digest(self, name: str) -> str | None:
        """Digest of the manifest that `name` stands for (hex); None where there is none."""
        return self.store.digest(name)

    def find_damage(self, name: str) -> str:
        """What is wrong with the files of a published model, in words; empty where nothing is."""
        return self.store.find_damage(name)

    def tag(self, source: str, target: str) -> None:
        """Let `target` stand for the same model as `source`."""
        self.store.tag(source, target)

    def renderer(self, name: str) -> Renderer:
        """A function: conversation → the prompt, without BOS, that Ollama makes of it.

        Raises:
            PublishError: there is no such model.
        """
        modelfile = self.store.read_model(name).modelfile
        return lambda messages: rendering.render(modelfile.template, messages, modelfile.system)

    def ask(
        self,
        name: str,
        messages: Sequence[Mapping[str, str]],
        seconds: float | None = None,
        grammar: str = "",
    ) -> ChatReply:
        """The answer to a conversation, within a grammar where there is one; `seconds` cannot cut
        short what runs in this process, the reply says what it took.

        Raises:
            PublishError: there is no such model.
        """
        stored = self.store.read_model(name)
        parameters: dict[str, Any] = dict(stored.modelfile.parameters)
        prompt = rendering.render(stored.modelfile.template, messages, stored.modelfile.system)
        context, limit = (
            parameters.get("num_ctx", DEFAULT_CONTEXT),
            parameters.get("num_predict", -1),
        )
        with (
            LlamaModel(stored.gguf, self.threads, context, stored.lora) as model,
            Sampler(model, _GREEDY, grammar) if grammar else nullcontext() as sampler,
        ):
            generation = model.generate(
                prompt,
                max_tokens=limit if limit > 0 else context,
                stop=parameters.get("stop", ()),
                pick=sampler.pick if sampler else None,
            )
        return ChatReply(
            prompt,
            generation.text,
            generation.seconds,
            finished=seconds is None or generation.seconds <= seconds,
        )


@dataclass(frozen=True)
class ServerTarget:
    """A running Ollama."""

    server: OllamaServer

    @property
    def where(self) -> str:
        """The server's URL."""
        return self.server.where

    def digest(self, name: str) -> str | None:
        """Digest of the manifest that `name` stands for (hex); None where there is none."""
        return self.server.digest(name)

    def find_damage(self, name: str) -> str:  # noqa: ARG002
        """Empty: a server answers for its own files."""
        return ""

    def tag(self, source: str, target: str) -> None:
        """Let `target` stand for the same model as `source`."""
        self.server.tag(source, target)

    def renderer(self, name: str) -> Renderer:
        """A function: conversation → the prompt, without BOS, that the server makes of it; empty
        where it does not tell. It raises PublishError where the server refuses.
        """
        return lambda messages: self.server.render(name, messages)

    def ask(
        self,
        name: str,
        messages: Sequence[Mapping[str, str]],
        seconds: float | None = None,
        grammar: str = "",  # noqa: ARG002
    ) -> ChatReply:
        """The answer to a conversation, unfinished after `seconds`; a server takes no grammar.

        Raises:
            PublishError: there is no such model, or the server refuses.
        """
        return self.server.ask(name, messages, seconds)


def publish_target(host: str, store: Path, threads: int) -> StoreTarget | ServerTarget:
    """The Ollama server at `host` if one answers, else the folder `store`.

    Args:
        host: URL, or host and port; empty: no server is asked.
        threads: CPU threads for answers from the folder.
    """
    if server := connect(host):
        return ServerTarget(server)
    return StoreTarget(OllamaStore(store), threads)
