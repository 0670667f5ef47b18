"""Who pulls published versions from the gateway, and which version each has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stock_llm.ollama.distribution.consumer_keys import FILE, ConsumerKeys
from stock_llm.ollama.distribution.pull_log import FILE as PULLS
from stock_llm.ollama.distribution.pull_log import Pull, PullLog
from stock_llm.ollama.model_name import LATEST, MODEL, version_number
from stock_llm.ollama.store import OllamaStore
from stock_llm.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class ConsumerState:
    """A consumer and what it pulled under one tag.

    Attributes:
        fingerprint: of its key, as `ssh-keygen -l` prints it.
        pull: None: it never pulled.
        version: the version that it pulled, as v7; empty where that is gone here.
        behind: what it would get today, where that is another version; empty: nothing else.
    """

    name: str
    fingerprint: str
    pull: Pull | None
    version: str
    behind: str


def keys(settings: Settings) -> ConsumerKeys:
    """The keys of those who may pull."""
    return ConsumerKeys(settings.secrets / FILE)


def pull_command(settings: Settings) -> str:
    """What a consumer runs, as far as it is known here."""
    gateway = settings.gateway
    address = settings.publish.address or f"{gateway.host}:{gateway.port}"
    return f"ollama pull {address}/library/{MODEL} --insecure"


def versions_held(settings: Settings) -> set[str]:
    """Digests of the manifests that those who may pull have."""
    return {state.pull.digest for state in states(settings) if state.pull}


def states(settings: Settings) -> list[ConsumerState]:
    """Everybody who may pull, a line for each tag that they pulled."""
    store = OllamaStore(settings.path(settings.ollama_store))
    versions = {
        store.digest(name): name.partition(":")[2]
        for name in store.list_models(MODEL)
        if version_number(name)
    }
    pulls = PullLog(settings.path(PULLS)).all()
    states = []
    for consumer in keys(settings).all():
        for pull in pulls.get(consumer.name) or (None,):
            version = versions.get(pull.digest, "") if pull else ""
            now = store.digest(f"{MODEL}:{pull.tag}" if pull else LATEST)
            behind = versions.get(now, "") if pull and now and now != pull.digest else ""
            states.append(ConsumerState(consumer.name, consumer.fingerprint, pull, version, behind))
    return states


def table(states: Sequence[ConsumerState]) -> "Table":
    """The consumers for a terminal of 60 columns and more."""
    from rich.table import Table

    shown = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("consumer", "tag", "has", "since (UTC)", "behind", "key"):
        shown.add_column(head, overflow="fold")
    for state in states:
        pull = state.pull
        has = state.version or (pull.digest[:12] if pull else "never pulled")
        since = pull.since[:16].replace("T", " ") if pull else ""
        behind = f"{state.behind} is here" if state.behind else ""
        tag = pull.tag if pull else ""
        shown.add_row(state.name, tag, has, since, behind, state.fingerprint[:12])
    return shown
