"""A base on the Hugging Face hub: what it is today, and its commit into the profile.

A branch can move under an adapter, so a profile pins the 40-digit commit that a person has looked
at. Nothing is downloaded here but the description; `HF_ENDPOINT` names another hub.
"""

import os
import re
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path

from stock_llm.errors import InputError, MissingExtra
from stock_llm.llm.base import FILES
from stock_llm.llm.profiles import Profile
from stock_llm.storage.atomic import atomic_write


@dataclass(frozen=True)
class HubModel:
    """A model's description on the hub.

    Attributes:
        commit: 40 hex digits, of today's main branch.
        licence: as its card says; empty: it says none.
        gated: whether its owner wants terms to be accepted before a download.
        files: name → bytes of what a base consists of.
        weights: weights in formats that are not read here, by name.
    """

    id: str
    commit: str
    changed_at: datetime | None
    licence: str
    gated: bool
    files: dict[str, int]
    weights: list[str]


def look_up(profile: Profile) -> HubModel:
    """Today's description of the profile's base.

    Raises:
        InputError: the profile's base is no model on the hub, or the hub does not answer.
        MissingExtra: the extra `train` is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtra(error.name or "huggingface_hub", "train") from None

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", profile.path) or profile.path.startswith("models/"):
        raise InputError(
            f"the base of '{profile.name}' is the folder '{profile.path}', not a model on the hub",
            remedy="There is no commit to pin",
        )
    try:
        found = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).model_info(
            profile.path, files_metadata=True
        )
    except (OSError, ValueError) as error:  # huggingface_hub's errors are both
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{profile.path} cannot be looked up: {reason}",
            remedy="Check the network; run `hf auth login` if the model asks for a licence",
        ) from error
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or []}
    wanted = {
        name: size
        for name, size in sorted(sizes.items())
        if any(fnmatch(name, pattern) for pattern in FILES)
    }
    others = [name for name in sorted(sizes) if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    card = found.card_data.to_dict() if found.card_data else {}
    return HubModel(
        id=profile.path,
        commit=str(found.sha),
        changed_at=found.last_modified,
        licence=str(card.get("license_name") or card.get("license") or ""),
        gated=bool(found.gated),
        files=wanted,
        weights=others,
    )


def check_files(model: HubModel) -> None:
    """
    Raises:
        InputError: the model has no weights, config or tokenizer that are read here.
    """
    names = set(model.files)
    missing = [name for name in ("config.json", "tokenizer.json") if name not in names]
    if not any(name.endswith(".safetensors") for name in names):
        missing.append("model*.safetensors")
    if missing:
        instead = f"; it has {', '.join(model.weights[:3])}" if model.weights else ""
        raise InputError(
            f"{model.id} has no {' and no '.join(missing)}{instead}",
            remedy="Weights are read from safetensors alone; choose another model",
        )


def pin_commit(file: Path, commit: str) -> None:
    """Writes the commit into the profile `file`, and nothing else of it changes.

    Raises:
        InputError: the commit is none, or the file has no line `revision`.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise InputError(f"'{commit}' is not a commit of 40 hex digits", file=file)
    text = file.read_text(encoding="utf-8")
    line = f'revision = "{commit}"'
    pinned, count = re.subn(r'(?m)^revision\s*=\s*"[^"\n]*"', line, text, count=1)
    if not count:
        raise InputError("there is no line `revision`", file=file, remedy='Add: revision = ""')
    atomic_write(file, pinned)
