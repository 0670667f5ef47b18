"""Asks the published model through each kind of program that docs/consumers.md names and that is
installed here.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stock_llm.errors import PublishError
from stock_llm.ollama.address import url_of
from stock_llm.ollama.client import connect
from stock_llm.ollama.model_name import LATEST
from stock_llm.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

QUESTION = "What does RSI14 mean?"
_SECONDS = 120.0
_MESSAGES = [{"role": "user", "content": QUESTION}]


@dataclass(frozen=True)
class ConsumerCheck:
    """How one kind of program fared.

    Attributes:
        outcome: `answered`, `failed` or `not installed`.
        detail: the beginning of the answer, or why there is none.
    """

    program: str
    outcome: str
    seconds: float
    detail: str


def run_checks(settings: Settings, address: str = "") -> Iterator[ConsumerCheck]:
    """The checks, one after the other.

    Args:
        address: an Ollama or a gateway. Empty: the Ollama of `ollama_host`, else the gateway.

    Raises:
        PublishError: nobody answers there, or there is no published model.
    """
    url = _place(settings, address)
    environment = {"OLLAMA_HOST": url, "NO_PROXY": "*", "no_proxy": "*"}
    checks: list[tuple[str, bool, Callable[[], str]]] = [
        ("curl", bool(shutil.which("curl")), lambda: _curl(url)),
        ("ollama (command)", bool(shutil.which("ollama")), lambda: _command(environment)),
        ("ollama (Python)", _is_installed("ollama"), lambda: _ollama(url)),
        ("ollama (JavaScript)", _has_node_package("ollama"), lambda: _javascript(url)),
        ("openai (Python)", _is_installed("openai"), lambda: _openai(url)),
        ("LangChain", _is_installed("langchain_ollama"), lambda: _langchain(url)),
    ]
    for program, installed, ask in checks:
        if not installed:
            yield ConsumerCheck(program, "not installed", 0.0, "")
            continue
        began = time.perf_counter()
        try:
            text, outcome = ask(), "answered"
        except Exception as error:  # whatever a program of others raises is the finding
            text, outcome = f"{type(error).__name__}: {error}", "failed"
        if not text.strip():
            text, outcome = "the answer is empty", "failed"
        yield ConsumerCheck(program, outcome, time.perf_counter() - began, text.strip())


def table(checks: list[ConsumerCheck]) -> "Table":
    """The checks for a terminal of 60 columns and more."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("program", "outcome", "s", "answer"):
        shown.add_column(head, overflow="fold")
    for check in checks:
        seconds = f"{check.seconds:.1f}" if check.seconds else ""
        detail = " ".join(check.detail.split())[:200]
        shown.add_row(check.program, check.outcome, seconds, escape(detail))
    return shown


def _place(settings: Settings, address: str) -> str:
    gateway = f"{settings.gateway.host}:{settings.gateway.port}"
    hosts = [address] if address else [settings.ollama_host, gateway]
    for host in hosts:
        if server := connect(host):
            if server.digest(LATEST) is None:
                raise PublishError(f"{server.where} has no {LATEST}. Run: stock-llm publish")
            return server.where
    raise PublishError(
        f"nobody answers at {url_of(address or settings.ollama_host or gateway)}. Start Ollama, or "
        "the gateway: stock-llm serve"
    )


def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _has_node_package(name: str) -> bool:
    """Whether Node.js finds a package from the folder that this is run in."""
    found = ["node", "--eval", f"require.resolve({name!r})"]
    return (
        bool(shutil.which("node"))
        and not subprocess.run(found, capture_output=True, timeout=_SECONDS, check=False).returncode
    )


def _curl(url: str) -> str:
    body = json.dumps({"model": LATEST, "stream": False, "messages": _MESSAGES})
    said = _run(["curl", "-sS", "--noproxy", "*", f"{url}/api/chat", "-d", body], {})
    return json.loads(said)["message"]["content"]


def _command(environment: dict[str, str]) -> str:
    return _run(["ollama", "run", "--nowordwrap", LATEST, QUESTION], environment)


def _run(command: list[str], environment: dict[str, str]) -> str:
    result = subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(result.stderr.strip() or f"exit code {result.returncode}")
    return result.stdout


def _ollama(url: str) -> str:
    import ollama

    client = ollama.Client(url, timeout=_SECONDS, trust_env=False)
    return client.chat(LATEST, _MESSAGES).message.content or ""


def _javascript(url: str) -> str:
    return _run(["node", "--input-type=module", "--eval", _SCRIPT, url, LATEST, QUESTION], {})


_SCRIPT = """
import { Ollama } from 'ollama'
const [host, model, content] = process.argv.slice(-3)
const answer = await new Ollama({ host }).chat({ model, messages: [{ role: 'user', content }] })
console.log(answer.message.content)
"""


def _openai(url: str) -> str:
    import openai

    http = openai.DefaultHttpxClient(trust_env=False)
    client = openai.OpenAI(
        base_url=f"{url}/v1", api_key="none", timeout=_SECONDS, max_retries=0, http_client=http
    )
    answer = client.chat.completions.create(
        model=LATEST,
        temperature=0,
        messages=_MESSAGES,  # type: ignore[arg-type]
    )
    return answer.choices[0].message.content or ""


def _langchain(url: str) -> str:
    from langchain_ollama import ChatOllama

    chat = ChatOllama(model=LATEST, base_url=url, temperature=0, client_kwargs={"trust_env": False})
    return str(chat.invoke(QUESTION).content)
