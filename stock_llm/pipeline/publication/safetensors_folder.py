"""Versions as folders of merged safetensors, for programs that load models as transformers does:
vLLM, TGI. `publish.safetensors = true`; models/safetensors/vN.

Weights are read from the base, added and written one at a time, as for the GGUF (`llm/merging`): in
f16, in files of about 1 GiB. The tokenizer is the one of training, and its chat template makes the
prompt of training, BOS included. checksums.json has the SHA-256 of every file.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from stock_llm.artifacts import CHECKSUMS, Adapter, load
from stock_llm.errors import InputError, StockLLMError
from stock_llm.llm.architectures import read_config, read_shape
from stock_llm.llm.base import base_digest, fetch_base
from stock_llm.llm.bases.needs import disk_lacks
from stock_llm.llm.gguf.converter import write_shards
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.merging.layerwise import linear_weights
from stock_llm.llm.merging.lora import read_adapter
from stock_llm.llm.merging.weights import MergedWeights, StoredWeights
from stock_llm.llm.profiles import Profile, load_profile
from stock_llm.ollama.model_name import MODEL
from stock_llm.ollama.store import OllamaStore
from stock_llm.parity.report import read_report
from stock_llm.pipeline.publication.places import artifact_folder, versions_of
from stock_llm.settings import Settings
from stock_llm.storage.atomic import move_into_place
from stock_llm.storage.checksums import find_damage, write_checksums

FOLDER = Path("models/safetensors")

_UNFINISHED = ".partial"
_OURS = re.compile(rf"v\d+|\.v\d+{re.escape(_UNFINISHED)}")
_BESIDE_WEIGHTS = 64 << 20


def follow_folder(settings: Settings, store: OllamaStore) -> list[str]:
    """Write the folders of versions that lack one, where they are wanted, and take away those of
    versions that are gone; what was done or could not be done, a sentence each. The newest version
    is written first. What has another name than theirs is somebody else's, and stays.
    """
    names = {name.removeprefix(f"{MODEL}:"): name for name in versions_of(store)}
    done = []
    for folder in sorted(settings.path(FOLDER).glob("*")):
        is_ours = _OURS.fullmatch(folder.name) and folder.is_dir()
        if is_ours and folder.name not in names:  # unfinished ones too
            shutil.rmtree(folder)
            done += [] if folder.suffix else [f"{folder} removed"]
    for version, name in reversed(names.items()) if settings.publish.safetensors else ():
        folder = settings.path(FOLDER / version)
        if is_whole(folder):
            continue
        try:
            write_folder(settings, store, name, folder)
            done.append(f"{name} is in {folder}")
        except StockLLMError as error:
            done.append(f"{name} is not in {folder}: {error}")
    return done


def is_whole(folder: Path) -> bool:
    """Whether a folder is there and undamaged."""
    return folder.is_dir() and not find_damage(folder / CHECKSUMS)


def write_folder(settings: Settings, store: OllamaStore, name: str, out: Path) -> None:
    """Writes a version as a folder, whole or not at all.

    Args:
        name: of a version in `store`, whose manifest names base, adapter and candidate.

    Raises:
        InputError: the files that it was made from are gone, or the base is another one now.
        StockLLMError: there is too little room.
    """
    adapter = load(Adapter, artifact_folder(settings, store, name, "adapter"))
    if adapter is None:
        raise InputError(f"the adapter of {name} is gone", file=settings.artifacts / "adapter")
    report = read_report(artifact_folder(settings, store, name, "candidate"))
    profile = load_profile(settings.home, adapter.profile)
    base = fetch_base(profile, settings.home)
    if base_digest(profile, settings.home) != adapter.base_digest:
        raise InputError(
            f"{name} was made of another base than {profile.name} is now",
            file=base,
            remedy="Put back the base that it was trained on, or set safetensors = false",
        )
    needed = 2 * read_shape(base).weights + _BESIDE_WEIGHTS
    if lack := disk_lacks(name, needed, out.parent):
        raise StockLLMError(f"{lack}. Free some space and run again: stock-llm publish")
    partial = out.with_name(f".{out.name}{_UNFINISHED}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    four_bit = linear_weights(base) if report.merge_base == "dequantized" else frozenset()
    lora, precision = read_adapter(adapter.weights), profile.training.precision
    write_model(
        profile, base, MergedWeights(StoredWeights(base), lora, four_bit, precision), partial
    )
    write_checksums(partial / CHECKSUMS)
    shutil.rmtree(out, ignore_errors=True)
    move_into_place(partial, out)


def write_model(profile: Profile, base: Path, weights: MergedWeights, out: Path) -> None:
    """Writes config, tokenizer and weights into `out`.

    Raises:
        StockLLMError: the disk is full.
    """
    config = {**read_config(base).as_json(), "dtype": "float16", "torch_dtype": "float16"}
    config.pop("_name_or_path", None)
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tokenizer: Any = load_tokenizer(base)
    begins = tokenizer("x").input_ids[:1] == [tokenizer.bos_token_id]
    tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + profile.format.jinja
    tokenizer.save_pretrained(out, save_jinja_files=False)
    for name in ("LICENSE", "generation_config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, out / name)
    write_shards(weights, out)
