"""Client of a running Ollama: creates, tags, deletes and asks models.

API: ollama/ollama docs/api.md, and what a 0.32 server was seen to do where the page is silent.
Errors of the client library become `PublishError` here.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stock_llm.errors import MissingExtra, PublishError
from stock_llm.llm.runtime.answer import Generation
from stock_llm.ollama.address import bypasses_proxies, url_of
from stock_llm.ollama.model_name import ModelName
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.storage.checksums import file_sha256

CONNECT_TIMEOUT = 2.0
"""Seconds that a server has to accept a connection."""

LIST_TIMEOUT = 10.0
"""Seconds that it has to list its models: it reads every manifest."""


@dataclass(frozen=True)
class ChatReply:
    """An answer with its circumstances.

    Attributes:
        prompt: the text that the model was given, without BOS; empty where a server does not tell.
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
    listed: dict[str, str]
    """Name → digest of its manifest (hex), as the server listed them when it was asked last."""

    def pull(self, name: str, progress: Callable[[str, int, int], None]) -> None:
        """Let the server pull a model by a long name, HOST:PORT/namespace/model:tag, without TLS.

        Args:
            progress: is told each status of the server, with the bytes that are there and all.
        """
        with self._translated(f"pull {name}"):
            last = ""
            for state in self.client.pull(name, insecure=True, stream=True):
                last = state.status or last
                progress(last, state.completed or 0, state.total or 0)
        if last != "success":
            raise PublishError(
                f"{self.where} did not finish pulling {name}: its last word was {last!r}"
            )
        self.refresh()

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
        self.refresh()
        listed = self.digest(name)
        if last != "success" or listed is None:
            raise PublishError(
                f"{self.where} did not finish creating {name}: its last word was {last!r}"
            )
        return listed

    def refresh(self) -> None:
        """Ask for the list of models again."""
        with self._translated("list the models"):
            names = {model.model: model.digest for model in self.client.list().models}
        self.listed.clear()
        self.listed.update({name: digest for name, digest in names.items() if name and digest})

    def digest(self, name: str) -> str | None:
        """Digest of the manifest that `name` stands for (hex); None where there is none."""
        return self.listed.get(str(ModelName.parse(name)))

    def files(self, name: str) -> set[str]:
        """Digests of the weights and of the adapter of a model, `sha256:` and 64 hex digits; none
        where the server does not say.
        """
        with self._translated(f"show {name}"):
            modelfile = self.client.show(name).modelfile or ""
        found = re.findall(r"^(?:FROM|ADAPTER) .*sha256-([0-9a-f]{64})$", modelfile, re.MULTILINE)
        return {f"sha256:{digest}" for digest in found}

    def loaded(self) -> list[str]:
        """The models in the server's memory; none: it is idle."""
        with self._translated("list the models in memory"):
            return [model.model or "" for model in self.client.ps().models]

    def tag(self, source: str, target: str) -> None:
        """Let `target` stand for the same model as `source`."""
        with self._translated(f"tag {source} as {target}"):
            self.client.copy(source, target)
        self.listed[str(ModelName.parse(target))] = self.listed[str(ModelName.parse(source))]

    def delete(self, name: str) -> None:
        """Take a name away; the server drops blobs that no other name needs."""
        with self._translated(f"delete {name}"):
            self.client.delete(name)
        self.listed.pop(str(ModelName.parse(name)), None)

    def render(self, name: str, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt, without BOS, that the server makes of a conversation; empty where it does not
        tell: a server without that switch answers the conversation.
        """
        request = {
            "model": name,
            "messages": list(messages),
            "stream": False,
            "_debug_render_only": True,
        }
        with self._translated(f"render a prompt for {name}"):
            shown = self._raw.post("/api/chat", json=request).raise_for_status().json()
        return (shown.get("_debug_info") or {}).get("rendered_template", "")

    def unload(self, name: str) -> None:
        """Let a model's memory go, when its answers under way are finished."""
        with self._translated(f"unload {name}"):
            self.client.generate(name, keep_alive=0)

    def ask(
        self, name: str, messages: Sequence[Mapping[str, str]], seconds: float | None
    ) -> ChatReply:
        """The answer to a conversation, with the model's own SYSTEM and parameters, and the prompt
        that the server rendered.

        Args:
            seconds: how long to wait for it; None: without end.
        """
        import httpx

        rendered = self.render(name, messages)
        with self._translated(f"ask {name}"):
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

    def generate(self, name: str, messages: Sequence[Mapping[str, str]]) -> Generation:
        """The answer to a conversation, with the model's own SYSTEM and parameters; its tokens as
        the server counts them, 0 where it does not say. One that the server broke off, as it does
        with a repetition, ends there.
        """
        started = time.perf_counter()
        with self._translated(f"ask {name}"):
            answer = self.client.chat(name, messages=list(messages), stream=False)
        return Generation(
            (answer.message.content or "").strip(),
            answer.prompt_eval_count or 0,
            answer.eval_count or 0,
            time.perf_counter() - started,
            answer.done_reason or ("stop" if answer.done else "length"),
        )

    @property
    def version(self) -> str:
        """As the server gives it, such as 0.33.0."""
        with self._translated("tell its version"):
            answer = self._raw.get("/api/version").raise_for_status().json()
        return str(answer["version"])

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
            raise PublishError(
                f"Ollama at {self.where} would not {task}: {error.error}{_advice(error.error)}"
            ) from None
        except httpx.HTTPStatusError as error:
            raise PublishError(
                f"Ollama at {self.where} would not {task}: {error.response.text}"
                + _advice(error.response.text)
            ) from None
        except (httpx.TransportError, ConnectionError) as error:
            raise PublishError(
                f"Ollama at {self.where} went away while it was to {task}: {error}"
            ) from None


def _advice(reason: str) -> str:
    """What to do about what a server says, where that is known."""
    if "permission denied" in reason:
        return (
            ". It runs as another user than the one who wrote its folder: let it read that "
            "(chmod -R a+rX FOLDER), or give it a folder of its own"
        )
    if re.search(r"\bmodel\b.*\bnot found", reason):
        return ". Put back what was published: stock-llm publish"
    if "no space left" in reason:
        return ". Make room there and run again; what it has stays"
    return ""


def connect(host: str) -> OllamaServer | None:
    """The Ollama at `host` (a URL, or host and port as in OLLAMA_HOST) with its list of models;
    None where none answers, or `host` is empty. It is one question.

    Raises:
        MissingExtra: the extra `local` is not installed.
        PublishError: a proxy of the environment cannot be used.
    """
    if not host:
        return None
    try:
        import httpx
        import ollama
    except ImportError:
        raise MissingExtra("ollama", "local") from None
    url = url_of(host)
    try:
        client = ollama.Client(url, trust_env=not bypasses_proxies(url))
    except (ImportError, ValueError) as error:  # a SOCKS proxy without socksio, or no proxy at all
        raise PublishError(
            f"{url} cannot be asked through the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY "
            f"names: {error}. Correct it, or name the host in NO_PROXY"
        ) from None
    server = OllamaServer(client, url, {})
    try:
        limits = httpx.Timeout(LIST_TIMEOUT, connect=CONNECT_TIMEOUT)
        answer = client._client.get("/api/tags", timeout=limits)
        for model in answer.raise_for_status().json()["models"]:
            server.listed[model["model"]] = model["digest"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
    return server
