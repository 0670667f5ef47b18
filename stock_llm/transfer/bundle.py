"""A bundle: all that fine-tuning needs, and nothing else, to be trained on another machine.

In it: the training rows, stripped of everything that training does not look at (where they came
from, the scorers' facts, labels), the profile without its comments, the base where it is a folder
of this machine (a base from the hub is fetched there, at its pinned commit), and the inputs of the
training. Not in it: exports, ledger, candles, holdout, feedback, settings, keys.
"""

import json
import re
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from stock_llm.errors import InputError
from stock_llm.llm.base import base_files
from stock_llm.llm.profiles import Profile, local_base
from stock_llm.skills.row import Row, write_rows
from stock_llm.transfer.archive import open_archive, write_archive

KIND = "bundle"
ROWS = "train.jsonl"
BASE = "base"
"""Folder of the base, in the archive and where it is unpacked."""


class BundleContent(BaseModel):
    """What a bundle says beside its files.

    `inputs` are all inputs of the training by name, `digest` is that of the adapter to be trained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str = Field(pattern="^[0-9a-f]{16}$")
    inputs: dict[str, Any]
    profile: Profile
    rows: int = Field(ge=1)


def write_bundle(
    path: Path,
    profile: Profile,
    home: Path,
    rows: Iterable[Row],
    digest: str,
    inputs: dict[str, Any],
) -> BundleContent:
    """Writes a bundle to `path`; the same rows, profile and inputs give the same bytes.

    Args:
        home: the folder that the profile's `path` is taken from.
        digest: that of the adapter to be trained.
        inputs: all inputs of the training by name, as JSON.

    Raises:
        InputError: there are no rows, or the base is a folder that is no base.
    """
    base = local_base(profile, home)
    files = {f"{BASE}/{file.name}": file for file in base_files(base)} if base else {}
    if base:
        profile = profile.model_copy(update={"path": BASE})
    with tempfile.TemporaryDirectory(prefix="stock-llm-") as folder:
        files[ROWS] = Path(folder) / ROWS
        dated = profile.training.early_stopping_patience > 0
        count = write_rows((stripped(row, dated) for row in rows), files[ROWS])
        if not count:
            raise InputError("there are no rows to train on")
        content = BundleContent(digest=digest, inputs=inputs, profile=profile, rows=count)
        write_archive(path, KIND, content.model_dump(mode="json"), files)
    return content


def stripped(row: Row, dated: bool = False) -> Row:
    """What fine-tuning looks at: question, answer, skill, language and weight.

    Args:
        dated: and the date, by which early stopping cuts its validation rows.
    """
    return replace(
        row,
        symbol="",
        as_of=row.as_of if dated else "",
        source={"kind": "", "ref": ""},
        label="",
        label_from="",
        label_until="",
        facts={},
    )


def unpack_bundle(path: Path, folder: Path) -> None:
    """Unpacks a bundle into `folder`, where an interrupted training of it may have been; files of
    another base are deleted.

    Raises:
        InputError: it is damaged, or no bundle.
    """
    with open_archive(path, KIND, _belongs) as archive:
        for name in archive.files:
            archive.extract(name, folder / name)
        for file in (folder / BASE).glob("*"):
            if f"{BASE}/{file.name}" not in archive.files:
                file.unlink()


def read_content(path: Path) -> BundleContent:
    """What a bundle says beside its files.

    Raises:
        InputError: it is damaged, no bundle, or of another version of stock-llm.
    """
    with open_archive(path, KIND, _belongs) as archive:
        return archive.content_as(
            BundleContent, "Install one version of this program on both machines"
        )


def _belongs(name: str) -> bool:
    return name == ROWS or re.fullmatch(rf"{BASE}/[A-Za-z0-9][A-Za-z0-9_.-]*", name) is not None


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """In which inputs two trainings differ, in words; empty where they make the same adapter.

    Builds of one version of a library count as equal: `2.15.0+cu128` of a machine with a GPU and
    `2.15.0+cpu`.
    """
    one, other = _flat(there), _flat(here)
    return [
        f"{name} is {one.get(name)!r} there and {other.get(name)!r} here"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


def _flat(inputs: dict[str, Any]) -> dict[str, Any]:
    """The values by name, those of groups as `GROUP.NAME`, as JSON would have them."""
    flat = {}
    for name, value in json.loads(json.dumps(inputs, default=str)).items():
        for inner, part in value.items() if isinstance(value, dict) else [("", value)]:
            if name == "libraries":
                part = str(part).partition("+")[0]
            flat[f"{name}.{inner}" if inner else name] = part
    return flat
