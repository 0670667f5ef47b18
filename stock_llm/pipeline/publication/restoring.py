"""Puts back what is missing where versions are published, and moves `:latest`.

A server gets what it lacks from the folder, the folder from the candidate's own files. The
registry's alias says which version is the champion, and `:latest` follows it everywhere.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stock_llm.artifacts import MERGED
from stock_llm.errors import InputError, PublishError
from stock_llm.ollama.distribution.registry_client import open_registry
from stock_llm.ollama.handover import hand_over
from stock_llm.ollama.manifest import parse_manifest
from stock_llm.ollama.model_name import LATEST, version_name, version_number
from stock_llm.ollama.modelfile import parse_modelfile
from stock_llm.ollama.publish_target import ServerTarget, StoreTarget
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline import registry
from stock_llm.pipeline.publication.places import (
    Places,
    artifact_folder,
    open_places,
    publishing_lock,
    versions_of,
)
from stock_llm.pipeline.publication.retention import prune
from stock_llm.pipeline.publication.safetensors_folder import follow_folder
from stock_llm.settings import Settings
from stock_llm.storage.checksums import model_sha256

REGISTRY = "registry"
"""In place of a host: the registry of `publish.registry`."""

MODELFILE = "Modelfile"
MANIFEST = "manifest.json"
"""Copies of a version's Modelfile and manifest, beside the candidate's GGUF: with them a lost
version is written again to the bit."""


def restore(settings: Settings, folder: StoreTarget, number: int) -> str | None:
    """The digest of a version in the folder; a lost or damaged one is first written again from the
    files that it was made from.

    None where it is not there and those files are gone or damaged too.
    """
    name = version_name(number)
    damage = folder.find_damage(name) if (there := folder.digest(name)) else ""
    if there and not damage:
        return there
    version = next((item for item in registry.versions(settings) if item.number == number), None)
    if version is None or not version.gguf.exists():
        fault = "it is not registered" if version is None else f"{version.gguf} is gone"
    elif model_sha256(version.gguf, _lora_beside(version.gguf)) != version.gguf_sha256:
        fault = f"{version.gguf} is damaged"
    elif not is_recorded(version.gguf):
        fault = f"it was never published: there is no Modelfile beside {version.gguf}"
    else:
        try:
            digest = restore_files(folder, name, version.gguf)
        except PublishError as error:
            print(error, file=sys.stderr)
            return None
        if not there:
            print(f"{name} was lost at {folder.where}: written again", file=sys.stderr)
        return digest
    if damage:
        print(f"{name} at {folder.where} is damaged: {damage}; {fault}", file=sys.stderr)
    return None


def is_recorded(gguf: Path) -> bool:
    """Whether what a version was published with lies beside its GGUF."""
    return gguf.with_name(MODELFILE).is_file()


def _lora_beside(gguf: Path) -> Path | None:
    """The adapter that a version has beside its GGUF, as the Modelfile there says."""
    with suppress(OSError, ValueError, InputError):
        adapter = parse_modelfile(gguf.with_name(MODELFILE).read_text("utf-8")).adapter
        file = gguf.parent / adapter
        return file if adapter and file.is_file() else None
    return None


def _merged_form(settings: Settings, store: OllamaStore, name: str) -> Path | None:
    """A version with an adapter in one file, where its candidate is here."""
    merged = artifact_folder(settings, store, name, "candidate") / MERGED
    return merged if merged.is_file() else None


def restore_files(folder: StoreTarget, name: str, gguf: Path) -> str:
    """Write a version again from its GGUF and what lies beside it; the digest.

    Raises:
        PublishError: those files are damaged, or were changed after it was published.
    """
    saved, modelfile = gguf.with_name(MANIFEST), gguf.with_name(MODELFILE)
    try:
        manifest = parse_manifest(saved.read_bytes()) if saved.is_file() else None
        known = parse_modelfile(modelfile.read_text("utf-8"))
    except (ValueError, InputError) as error:
        raise PublishError(f"{name} cannot be written again: {error}, in {gguf.parent}") from None
    if manifest is None:  # published before manifests were kept
        return folder.put(name, gguf, known, {})
    return folder.put(name, gguf, known, manifest.annotations, manifest.layers)


def put_back(settings: Settings, places: Places) -> list[str]:
    """Bring every version of the folder to every server that lacks it, and let `:latest` be the
    champion everywhere; what was done, a sentence each. `places` notes which servers refused.

    What is damaged in the folder is first written again from its own files, and so is the champion
    where the folder lost it.
    """
    champion, store = registry.champion(settings), places.folder.store
    damaged = {version_number(name) for name in versions_of(store) if store.find_damage(name)}
    for number in damaged | ({champion.number} if champion else set()):
        restore(settings, places.folder, number or 0)
    names = versions_of(store) if places.servers else []
    whole = [name for name in names if not store.find_damage(name)]
    done = hand_to_servers(settings, places, whole)
    done += follow_champion(places, champion.number) if champion else []
    return done


def hand_to_servers(settings: Settings, places: Places, names: Sequence[str]) -> list[str]:
    """Bring versions of the folder, which are sound, to every server that lacks them; what was
    done, a sentence each. `places` notes which servers refused.
    """
    done, store = [], places.folder.store
    for target in places.servers:
        for name in names:
            with places.passing_over(target.where):  # one version may be refused alone
                before = target.digest(name)
                merged = _merged_form(settings, store, name)
                after = hand_over(store, target.server, name, settings.publish.address, merged)
                done += [f"{name} is at {target.where}"] if before != after else []
    return done


def follow_champion(places: Places, number: int) -> list[str]:
    """Let `:latest` be version `number` wherever that is; what was moved, a sentence each.
    `places` notes which servers refused.
    """
    done = _follow(places.folder, number)
    for target in places.servers:
        with places.passing_over(target.where):
            done += _follow(target, number)
    return done


def _follow(target: StoreTarget | ServerTarget, number: int) -> list[str]:
    name = version_name(number)
    published = target.digest(name)
    if not published or target.find_damage(name) or target.digest(LATEST) == published:
        return []
    target.tag(name, LATEST)
    return [f"{LATEST} is v{number} at {target.where}"]


def roll_back(settings: Settings, number: int | None = None) -> tuple[int, list[str]]:
    """Make an earlier version the champion again: the registry's alias and `:latest` in all places.

    Args:
        number: None: the version that the champion replaced.

    Returns:
        the version, and a sentence for each place that does not answer or refuses: it moves with
        the next publish or run that reaches it.

    Raises:
        PublishError: there is no such version, or it is lost or damaged and cannot be mended.
    """
    with publishing_lock(settings):
        return _roll_back(settings, number or _previous(settings))


def _roll_back(settings: Settings, number: int) -> tuple[int, list[str]]:
    places = open_places(settings)
    if restore(settings, places.folder, number) is None:
        name = version_name(number)
        fault = "is damaged" if places.folder.digest(name) else "does not exist"
        raise PublishError(
            f"{name} {fault} at {places.folder.where}, and it cannot be made from its own files. "
            "See which versions there are: stock-llm history"
        )
    hand_to_servers(settings, places, [version_name(number)])
    registry.promote(settings, number)
    follow_champion(places, number)
    if settings.publish.registry:
        with places.passing_over(settings.publish.registry):
            push_to_registry(settings, places)
    return number, places.faults


def move_champion(settings: Settings, number: int | None, tag: str, reason: str) -> int:
    """Make a version the champion in all places and keep the reason with it; the version.

    Args:
        number: None: the one that the champion replaced.
        tag: the registry's tag for the reason.

    Raises:
        PublishError: as `roll_back`; or a place does not answer or refuses, and the others are
            done.
    """
    moved, faults = roll_back(settings, number)
    registry.mark(settings, moved, tag, reason)
    if faults:
        raise PublishError(
            f"the champion is v{moved}, but not everywhere: {'; '.join(faults)}. {LATEST} follows "
            "there when you run: stock-llm publish"
        )
    return moved


def publish_again(
    settings: Settings, number: int | None = None, to: Sequence[str] = ()
) -> list[str]:
    """Put back what is missing anywhere; what was done, a sentence each.

    Args:
        number: only this version. None: all that the folder has, and the champion.
        to: only these servers, as OLLAMA_HOST names them, or `registry`. Empty: all places.

    Raises:
        PublishError: it cannot be made from its own files, or a server does not answer or refuses.
    """
    with publishing_lock(settings):
        return _publish_again(settings, number, to)


def _publish_again(settings: Settings, number: int | None, to: Sequence[str]) -> list[str]:
    named = [host for host in to if host != REGISTRY]
    places = open_places(settings, only=named)
    if to and not named:
        places = replace(places, servers=(), absent=())
    if number is not None and restore(settings, places.folder, number) is None:
        raise PublishError(
            f"{version_name(number)} is not in {places.folder.where} and cannot be made from its "
            "own files. See which versions there are: stock-llm history"
        )
    if number is None:
        done = [*put_back(settings, places), *prune(settings, places)]
    else:
        done = hand_to_servers(settings, places, [version_name(number)])
        if champion := registry.champion(settings):
            done += follow_champion(places, champion.number)
    if REGISTRY in to or (settings.publish.registry and not to):
        with places.passing_over(settings.publish.registry):
            done += push_to_registry(settings, places, number)
    done += follow_folder(settings, places.folder.store)
    if places.faults:
        raise PublishError(
            "; ".join([*done, *places.faults]) + ". When that is mended, run again: "
            "stock-llm publish"
        )
    return done


def push_to_registry(settings: Settings, places: Places, number: int | None = None) -> list[str]:
    """Push what the registry of `publish.registry` lacks, and let `:latest` be the champion there;
    what was done, a sentence each.

    Args:
        number: only this version.

    Raises:
        PublishError: it is not set, does not answer, or refuses.
    """
    url, store, done = settings.publish.registry.rstrip("/"), places.folder.store, []
    if not url:
        raise PublishError(
            'publish.registry is not set. Write registry = "https://HOST/NAMESPACE" into [publish]'
        )
    wanted = versions_of(store) if number is None else [version_name(number)]
    champion = registry.champion(settings)
    latest = version_name(champion.number) if champion else ""
    with open_registry(url) as there:
        for name in wanted:
            if not store.find_damage(name) and there.push(store, name):
                done.append(f"{name} is at {there.where}")
        if latest in wanted and there.digest(LATEST) != store.digest(latest):
            there.tag(store, latest, LATEST)
            done.append(f"{LATEST} is v{champion.number if champion else 0} at {there.where}")
    return done


def _previous(settings: Settings) -> int:
    champion = registry.champion(settings)
    if champion is None or champion.replaced is None:
        raise PublishError(
            "there is no champion before this one. Name a version: stock-llm history lists them"
        )
    return champion.replaced
