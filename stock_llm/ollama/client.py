"""Client of a running Ollama: creates, tags, deletes and asks models.

API: ollama/ollama docs/api.md, and what a 0.32 server was seen to do where the page is silent.
Errors of the client library become `PublishError` here.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stock_llm.errors import MissingExtra, PublishError
from stock_llm.ollama.model_name import ModelName
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.storage.checksums import file_sha256

CONNECT_TIMEOUT = 2.0
"""Seconds that a server has to say that it is there."""


@dataclass(frozen=True)
class ChatReply:
    """An answer with its circumstances.

    Attributes:
        prompt: the text that the model was given, without BOS.
        seconds: wall time from the question to the last word, loading the model apart.
        finished: whether the answer came to its end; False also where it took too long.
    """

    prompt: str
    text: str
    seconds: float
    finished: bool


@dataclass(frozen=True)
class OllamaServer:
    """An Ollama that answered. Every method raises PublishError where the server refuses or goes
    away.
    """

    client: Any
    """An `ollama.Client` without a time limit: creating a large model takes minutes."""
    where: str

    def create(
        self, name: str, gguf: Path, modelfile: Modelfile, show: Callable[[str], None]
    ) -> str:
        """Upload what is missing and create or replace `name`; the digest that the server lists for
        it.

        Args:
            show: is told each status of the server.
        """
        digest = f"sha256:{file_sha256(gguf)}"
        with self._translated(f"create {name}"):
            if self._raw.head(f"/api/blobs/{digest}").status_code != 200:
                show(f"uploading {gguf.name}, {gguf.stat().st_size / 1e6:.1f} MB")
                self.client.create_blob(gguf)
            statuses = self.client.create(
                model=name,
                files={gguf.name: digest},
                template=modelfile.template,
                system=modelfile.system,
                parameters={
                    key: list(value) if isinstance(value, tuple) else value
                    for key, value in modelfile.parameters.items()
                },
                license=list(modelfile.license),
                messages=[
                    {"role": role, "content": content} for role, content in modelfile.messages
                ],
                stream=True,
            )
            last = ""
            for progress in statuses:
                if progress.status and progress.status != last:
                    last = progress.status
                    show(last)
        listed = self.digest(name)
        if last != "success" or listed is None:
            raise PublishError(
                f"{self.where} did not finish creating {name}: its last word was {last!r}"
            )
        return listed

    def digest(self, name: str) -> str | None:
        """Digest of the manifest that `name` stands for (hex); None where there is none."""
        wanted = str(ModelName.parse(name))
        with self._translated("list the models"):
            return next(
                (model.digest for model in self.client.list().models if model.model == wanted), None
            )

    def tag(self, source: str, target: str) -> None:
        """Let `target` stand for the same model as `source`."""
        with self._translated(f"tag {source} as {target}"):
            self.client.copy(source, target)

    def delete(self, name: str) -> None:
        with self._translated(f"delete {name}"):
            self.client.delete(name)

    def ask(
        self, name: str, messages: Sequence[Mapping[str, str]], seconds: float | None
    ) -> ChatReply:
        """The answer to a conversation, with the model's own SYSTEM and parameters, and the prompt
        that the server rendered.

        Args:
            seconds: how long to wait for it; None: without end.
        """
        import httpx

        with self._translated(f"ask {name}"):
            request = {
                "model": name,
                "messages": list(messages),
                "stream": False,
                "_debug_render_only": True,
            }
            rendered = (
                self._raw.post("/api/chat", json=request)
                .raise_for_status()
                .json()["_debug_info"]["rendered_template"]
            )
            self.client.chat(name, messages=[])  # loads the model, so that disks are not timed
            started = time.perf_counter()
            try:
                request = {"model": name, "messages": list(messages), "stream": False}
                answer = (
                    self._raw.post("/api/chat", json=request, timeout=seconds)
                    .raise_for_status()
                    .json()
                )
            except httpx.TimeoutException:
                return ChatReply(rendered, "", time.perf_counter() - started, finished=False)
        return ChatReply(
            rendered,
            answer["message"]["content"].strip(),
            time.perf_counter() - started,
            answer["done"],
        )

    @property
    def _raw(self) -> Any:
        """The client's own connection: it has no methods for HEAD, rendering alone, and a time
        limit per request.
        """
        return self.client._client

    @contextmanager
    def _translated(self, task: str) -> Iterator[None]:
        import httpx
        import ollama

        try:
            yield
        except ollama.ResponseError as error:
            raise PublishError(f"Ollama at {self.where} would not {task}: {error.error}") from None
        except httpx.HTTPStatusError as error:
            raise PublishError(
                f"Ollama at {self.where} would not {task}: {error.response.text}"
            ) from None
        except (httpx.TransportError, ConnectionError) as error:
            raise PublishError(
                f"Ollama at {self.where} went away while it was to {task}: {error}"
            ) from None


def connect(host: str) -> OllamaServer | None:
    """The Ollama at `host` (a URL, or host and port as in OLLAMA_HOST); None where none answers, or
    `host` is empty.

    Raises:
        MissingExtra: the extra `local` is not installed.
    """
    if not host:
        return None
    try:
        import httpx
        import ollama
    except ImportError:
        raise MissingExtra("ollama", "local") from None
    client = ollama.Client(host)
    try:
        client._client.get("/api/version", timeout=CONNECT_TIMEOUT).raise_for_status().json()[
            "version"
        ]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
    return OllamaServer(client, str(client._client.base_url).rstrip("/"))
