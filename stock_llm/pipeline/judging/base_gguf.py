"""The untuned base as a GGUF: what candidates are judged against, and what versions share in
`publish.mode = "adapter"`.

One file for each quantization: ours, or, where the profile knows the digest of the base in Ollama's
library and this machine has it, that one, so that people who have the base pull nothing of it.
"""

import os
from dataclasses import asdict
from pathlib import Path

from stock_llm.artifacts import BaseGguf, load_or_make
from stock_llm.llm.architectures import read_shape
from stock_llm.llm.base import base_digest, fetch_base
from stock_llm.llm.bases import needs
from stock_llm.llm.gguf.writer import Origin, write_gguf
from stock_llm.llm.profiles import Profile
from stock_llm.llm.quantization import quantize_gguf
from stock_llm.ollama.config_layer import build_config_layer
from stock_llm.settings import Settings
from stock_llm.storage.checksums import cached_sha256, digest_of
from stock_llm.storage.links import link_or_copy

RECIPE = 2
"""Raised whenever another file is written of the same base (`llm/gguf`, `llm/quantization`): what
is kept of an older one is made again.
"""

OLLAMA_FOLDERS = ("~/.ollama/models", "/usr/share/ollama/.ollama/models")
"""Where Ollama keeps models besides OLLAMA_MODELS: of a user, and of its service on Linux."""


def base_gguf(settings: Settings, profile: Profile, kind: str) -> Path:
    """The base itself as a GGUF of a quantization, made once.

    Raises:
        InputError: it cannot be written as a GGUF.
        StockLLMError: this machine has too little memory or disk for it.
    """
    known, template = library_file(settings, profile, kind), profile.format.jinja
    digest = digest_of(
        base=base_digest(profile, settings.home),
        quantization=kind,
        template=template,
        recipe=RECIPE,
        origin=asdict(origin_of(profile)),
        library=profile.about.ollama_sha256 if known else "",
    )

    def make(folder: Path) -> BaseGguf:
        gguf = folder / f"{profile.name}-{kind}.gguf"
        if known:
            link_or_copy(known, gguf)
            return BaseGguf(digest, folder, gguf)
        base = fetch_base(profile, settings.home)
        needs.require(needs.judging(profile, read_shape(base)), profile, folder)
        f16 = folder / "f16.gguf"
        write_gguf(base, f16, profile.name, template, origin=origin_of(profile))
        quantize_gguf(f16, gguf, kind, settings.threads)
        f16.unlink()
        return BaseGguf(digest, folder, gguf)

    return load_or_make(BaseGguf, settings.artifacts, digest, make, whole=True).gguf


def origin_of(profile: Profile, version: str = "") -> Origin:
    """What a published file says of itself; a base of a folder has no page.

    Args:
        version: digest of the candidate; empty: it is the base.
    """
    page = f"https://huggingface.co/{profile.path}" if profile.revision else ""
    return Origin(profile.name, page, profile.revision, profile.licence, version)


def is_of_library(profile: Profile, gguf: Path) -> bool:
    """Whether a file is the one of Ollama's library."""
    known = profile.about.ollama_sha256
    return bool(known) and cached_sha256(gguf) == known


def library_file(settings: Settings, profile: Profile, kind: str) -> Path | None:
    """The base of Ollama's library in an Ollama's folder on this machine; None where the profile
    does not know its digest, it is not here, damaged, or of another quantization.
    """
    if not (sha256 := profile.about.ollama_sha256):
        return None
    folders = [str(settings.path(settings.ollama_store)), os.environ.get("OLLAMA_MODELS", "")]
    for folder in filter(None, (*folders, *OLLAMA_FOLDERS)):
        blob = Path(folder).expanduser() / "blobs" / f"sha256-{sha256}"
        if (
            os.access(blob, os.R_OK)
            and cached_sha256(blob) == sha256
            and build_config_layer(blob)["file_type"] == kind
        ):
            return blob
    return None
