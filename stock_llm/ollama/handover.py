"""Hands a version of our own folder over to a running Ollama.

The server is asked to pull it: the manifest and blobs that were judged, bit for bit, so that every
machine lists the same digest; what the server has is not asked for again, and a transfer that was
cut goes on. It pulls from a port of this machine that is open for these seconds, or from the
gateway at `publish.address` where the server is another machine. A server that reaches neither gets
the files through `/api/create`, and what it made of them is told and remembered. Newer servers are
said to refuse an adapter there: of a version with one, such a server gets the merged form.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stock_llm.artifacts import CHECKSUMS
from stock_llm.errors import PublishError
from stock_llm.network import is_loopback_url
from stock_llm.ollama.client import OllamaServer
from stock_llm.ollama.distribution.listener import HANDOVER, LoopbackListener
from stock_llm.ollama.manifest import digest_of_bytes, parse_manifest
from stock_llm.ollama.model_name import MODEL
from stock_llm.ollama.store import OllamaStore
from stock_llm.progress import transfer_progress
from stock_llm.storage.checksums import cached_sha256, find_damage, read_record, write_record

_STAGING = f"{MODEL}:staging"
_PLACES = "stock-llm-places.json"
"""Servers that versions were handed over to, and the digest that each lists for them; Ollama does
not look at it.
"""


def hand_over(
    store: OllamaStore,
    server: OllamaServer,
    name: str,
    address: str = "",
    merged: Path | None = None,
) -> str:
    """Bring a version to a server, if it is not there; the digest that the server lists for it.

    Args:
        name: a version of `store`, which is sound.
        address: HOST:PORT of the gateway as other machines reach it; empty: they do not.
        merged: a GGUF that is the version without an adapter beside it, where it has one.

    Raises:
        PublishError: `name` is another model there, or the server refuses.
    """
    ours, there = store.digest(name), server.digest(name)
    if ours is None:
        raise PublishError(f"there is no model {name} in {store.root}")
    if there is not None and there in (ours, known_names(store, server.where).get(name)):
        _note(store, server.where, name, there)
        return there
    if there is not None and server.files(name) not in _forms(store, name, merged):
        raise PublishError(
            f"{name} exists at {server.where} and is another model; "
            "a version is never overwritten. Train a new one"
        )
    made = _pull(store, server, name, address)
    if made is None:
        made = there or _create(store, server, name, merged)
        form = "the merged form" if store.read_model(name).lora else "the same weights"
        print(
            f"{name} at {server.where} has the digest {made[:12]}, here {ours[:12]}: {form} in a "
            "manifest of its own",
            file=sys.stderr,
        )
    _note(store, server.where, name, made)
    return made


def _forms(store: OllamaStore, name: str, merged: Path | None) -> list[set[str]]:
    """What a server may have of a version: digests of weights and adapter."""
    layers = parse_manifest(store.read_manifest(name)).layers
    forms = [{layer.digest for layer in layers if layer.kind in ("model", "adapter")}]
    return forms + ([{f"sha256:{cached_sha256(merged)}"}] if merged else [])


def clean_up(server: OllamaServer) -> None:
    """Take away the long and staging names that a killed hand-over left at a server."""
    for name in list(server.listed):
        if name == _STAGING or f"/{HANDOVER}/{MODEL}:" in name:
            server.delete(name)


def known_names(store: OllamaStore, where: str) -> dict[str, str]:
    """Name → digest of the versions that were handed over to a server, as it listed them then."""
    return known_places(store).get(where, {})


def known_places(store: OllamaStore) -> dict[str, dict[str, str]]:
    """URL of each server that was handed a version → the names and digests there."""
    return (read_record(store.root / _PLACES) or {}).get("places", {})


def forget_name(store: OllamaStore, where: str, name: str) -> None:
    """Forget that a version is at a server."""
    places = known_places(store)
    if places.get(where, {}).pop(name, None):
        write_record(store.root / _PLACES, {"places": places})


def _note(store: OllamaStore, where: str, name: str, digest: str) -> None:
    places = known_places(store)
    if places.get(where, {}).get(name) != digest:
        places.setdefault(where, {})[name] = digest
        write_record(store.root / _PLACES, {"places": places})


def _pull(store: OllamaStore, server: OllamaServer, name: str, address: str) -> str | None:
    """The digest that the server lists after pulling; None where it cannot reach this machine."""
    if not is_loopback_url(server.where):
        if not address:
            return None
        with _cleaned_up(server):
            return _pull_from(store, server, f"{address}/{HANDOVER}/{name}", name)
    with LoopbackListener(store) as listener, _cleaned_up(server):
        try:
            return _pull_from(store, server, f"{listener.address}/{HANDOVER}/{name}", name)
        except PublishError as error:
            if listener.requests:
                raise
            print(f"{error}. The files are uploaded instead", file=sys.stderr)
            return None


def _pull_from(store: OllamaStore, server: OllamaServer, long_name: str, name: str) -> str:
    with transfer_progress(f"{server.where} pulls {name}") as show:
        server.pull(long_name, show)
    ours = digest_of_bytes(store.read_manifest(name))
    if (made := server.digest(long_name)) != ours:
        raise PublishError(
            f"{server.where} pulled {name} and lists it as {(made or 'nothing')[:12]}, not as "
            f"{ours[:12]}. Run again"
        )
    server.tag(long_name, name)
    return ours


def _create(store: OllamaStore, server: OllamaServer, name: str, merged: Path | None) -> str:
    """Uploads the files and lets the server make a model of them, under another name first: what it
    makes of a GGUF is known only when it is done.

    Raises:
        PublishError: the version has an adapter, and its merged form is gone or damaged.
    """
    model = store.read_model(name)
    gguf = merged if model.lora else model.gguf
    if gguf is None or (model.lora and find_damage(gguf.with_name(CHECKSUMS), whole=True)):
        raise PublishError(
            f"{server.where} cannot pull {name} from here, only what is pulled can have an "
            "adapter, and its merged form is gone or damaged. Let the server reach the gateway, "
            "and name that in publish.address"
        )
    with _cleaned_up(server):
        made = server.create(
            _STAGING,
            gguf,
            model.modelfile,
            lambda status: print(f"ollama: {status}", file=sys.stderr),
        )
        server.tag(_STAGING, name)
    return made


@contextmanager
def _cleaned_up(server: OllamaServer) -> Iterator[None]:
    try:
        yield
    finally:
        clean_up(server)
