"""Where versions are published: the project's own folder, and the Ollama servers that have what is
in it.

The folder comes first and is what was judged; a server holds what the folder holds, under the same
digests. So "is it there?" is a comparison of two lists.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stock_llm.errors import PublishError
from stock_llm.ollama.address import url_of
from stock_llm.ollama.client import connect
from stock_llm.ollama.handover import clean_up, known_names, known_places
from stock_llm.ollama.model_name import LATEST, MODEL, version_number
from stock_llm.ollama.publish_target import ServerTarget, StoreTarget
from stock_llm.ollama.store import OllamaStore
from stock_llm.settings import Settings
from stock_llm.storage.waiting_lock import waiting_lock


@dataclass(frozen=True)
class Places:
    """Where versions are published to.

    Attributes:
        folder: the project's own.
        servers: those that answer, the one of `ollama_host` first.
        absent: URL or host of each that has versions, or was named, and does not answer.
        promised: whether the one of `ollama_host` was named and does not answer.
        main: where a version is asked the smoke prompt: the server of `ollama_host`, else the
            folder.
        refused: URL → why, of servers and registries that did not do what they were asked to.
    """

    folder: StoreTarget
    servers: tuple[ServerTarget, ...]
    absent: tuple[str, ...]
    promised: bool
    main: StoreTarget | ServerTarget
    refused: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def passing_over(self, where: str) -> Iterator[None]:
        """Note that a place refuses, so that the others are still done."""
        try:
            yield
        except PublishError as error:
            self.refused.setdefault(where, str(error))

    @property
    def faults(self) -> list[str]:
        """Where something is missing now, and why, a sentence each."""
        return [*(f"nobody answers at {url}" for url in self.absent), *self.refused.values()]


def publishing_lock(settings: Settings) -> AbstractContextManager[None]:
    """One command at a time publishes: each cleans up at the servers what a killed one left."""
    return waiting_lock(
        settings.path("data/.publish.lock"), "another command publishes here; waiting for it"
    )


def open_places(settings: Settings, only: Sequence[str] = ()) -> Places:
    """The folder and the servers, each asked once for its models.

    Args:
        only: these servers and no others, as OLLAMA_HOST names them. Empty: the one of
            `ollama_host` and those that versions were handed over to before.
    """
    folder = folder_of(settings)
    own = url_of(settings.ollama_host) if settings.ollama_host else ""
    wanted = only or [*filter(None, [own]), *known_places(folder.store)]
    servers, absent = dict[str, ServerTarget](), []
    for url in dict.fromkeys(map(url_of, wanted)):
        if server := connect(url):
            servers[url] = ServerTarget(server)
        elif only or url != own or settings.ollama_is_named:
            absent.append(url)
    places = Places(
        folder,
        tuple(servers.values()),
        tuple(absent),
        promised=not only and own in absent,
        main=servers.get(own, folder),
    )
    for target in places.servers:
        with places.passing_over(target.where):
            clean_up(target.server)
    return places


def folder_of(settings: Settings) -> StoreTarget:
    """The project's own folder of published models."""
    return StoreTarget(OllamaStore(settings.path(settings.ollama_store)), settings.threads)


def nobody_answers(settings: Settings) -> str:
    """What to say, and to do, where the Ollama that was named does not answer."""
    return (
        f"no Ollama answers at {url_of(settings.ollama_host)}, which {settings.ollama_named_by} "
        'names. Start it there, or set ollama_host = "" to publish into the folder alone; then '
        "run again: stock-llm run"
    )


def announce_absence(settings: Settings) -> None:
    """Say before hours of work that the Ollama that was named does not answer."""
    if settings.ollama_is_named and connect(settings.ollama_host) is None:
        print(f"the new version will wait: {nobody_answers(settings)}", file=sys.stderr)


def is_complete(settings: Settings, name: str) -> bool:
    """Whether a version is in the folder, undamaged, and every place has what the folder has.

    The server of `ollama_host` is asked once, if it answers.
    """
    store = folder_of(settings).store
    if store.digest(name) is None or store.find_damage(name):
        return False
    server = connect(settings.ollama_host)
    if server is None:
        if not settings.ollama_is_named:
            return True
        url = url_of(settings.ollama_host)
        known = known_names(store, url)
        if not all(own in known for own in versions_of(store)):
            return False
        print(
            f"no Ollama answers at {url}: not looked up whether it still has what was published "
            "there",
            file=sys.stderr,
        )
        return True
    listed, known = server.listed, known_names(store, server.where)
    for own in versions_of(store):
        there = listed.get(own)
        if there is None or there not in (store.digest(own), known.get(own)):
            return False
    latest = store.digest(LATEST)
    champion = next((own for own in versions_of(store) if store.digest(own) == latest), None)
    return champion is None or listed.get(LATEST) == listed.get(champion)


def versions_of(store: OllamaStore) -> list[str]:
    """The names of all versions in a folder, the oldest first."""
    names = [name for name in store.list_models(MODEL) if version_number(name)]
    return sorted(names, key=lambda name: version_number(name) or 0)


def artifact_folder(
    settings: Settings, store: OllamaStore, name: str, kind: Literal["adapter", "candidate"]
) -> Path:
    """The folder of what a version in the store was made from, as its manifest says; it may be
    gone.
    """
    digest = store.annotations(name).get(f"stock-llm.{kind}", "none")
    return settings.artifacts / kind / digest
