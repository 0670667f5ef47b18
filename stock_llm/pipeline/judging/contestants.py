"""The models that are judged on the same rows: base, champion and challenger, each a quantized GGUF
with the prompt that Ollama renders for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stock_llm.artifacts import CHECKSUMS, BaseGguf, Candidate, load_or_make
from stock_llm.errors import InputError
from stock_llm.llm.architectures import read_shape
from stock_llm.llm.base import base_digest, fetch_base
from stock_llm.llm.bases import needs
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.profiles import Profile
from stock_llm.llm.prompts import Message
from stock_llm.llm.quantization import quantize_gguf
from stock_llm.ollama import rendering
from stock_llm.ollama.modelfile import Modelfile, parse_modelfile
from stock_llm.ollama.profile_modelfile import modelfile_of
from stock_llm.pipeline.registry import VersionInfo
from stock_llm.settings import Settings
from stock_llm.storage.checksums import digest_of, file_sha256, find_damage

RECIPE = 2
"""Raised whenever another file is written of the same base (`llm/gguf`, `llm/quantization`): what
is kept of an older one is made again.
"""


@dataclass(frozen=True)
class Contestant:
    """A model to be asked.

    Attributes:
        prompt: how a conversation becomes its prompt.
        modelfile: what a server is told of it; `stop` of its parameters ends an answer.
    """

    name: str
    gguf: Path
    sha256: str
    prompt: Callable[[list[Message]], str]
    modelfile: Modelfile

    @property
    def stop(self) -> tuple[str, ...]:
        """What ends an answer."""
        stop = self.modelfile.parameters.get("stop", ())
        assert isinstance(stop, tuple)
        return stop


def contestants(
    settings: Settings, profile: Profile, candidate: Candidate, champion: VersionInfo | None
) -> list[Contestant]:
    """Base, champion (if there is one) and challenger.

    Raises:
        InputError: the champion's files are not those that became champion.
    """
    base = _base_gguf(settings, profile, candidate.quantization)
    asked = [
        of_profile("base", base, file_sha256(base), profile, settings.home),
        of_profile("challenger", candidate.gguf, candidate.gguf_sha256, profile, settings.home),
    ]
    if champion:
        _refuse_if_damaged(champion)
        asked.insert(1, as_published("champion", champion.gguf, champion.gguf_sha256))
    return asked


def of_profile(name: str, gguf: Path, sha256: str, profile: Profile, home: Path) -> Contestant:
    """A model that is asked as its profile says, and would be published so."""
    modelfile = modelfile_of(profile, gguf, home)
    return Contestant(name, gguf, sha256, profile.format.render, modelfile)


def as_published(name: str, gguf: Path, sha256: str) -> Contestant:
    """A published version: asked through the template, system text and stops of the Modelfile that
    lies beside it.
    """
    modelfile = parse_modelfile(gguf.with_name("Modelfile").read_text(encoding="utf-8"))

    def prompt(turns: list[Message]) -> str:
        questions = [
            {"role": turn["role"], "content": turn["content"]}
            for turn in turns
            if turn["role"] != "system"
        ]
        return rendering.render(modelfile.template, questions, modelfile.system)

    return Contestant(name, gguf, sha256, prompt, modelfile)


def _refuse_if_damaged(champion: VersionInfo) -> None:
    """
    Raises:
        InputError: the champion's files are not those that became champion.
    """
    checksums = champion.gguf.with_name(CHECKSUMS)
    damage = find_damage(checksums, whole=True) if checksums.exists() else ""
    if not damage and not champion.gguf.exists():
        damage = "it is missing"
    if not damage and file_sha256(champion.gguf) != champion.gguf_sha256:
        damage = "it has other bytes"
    if damage:
        raise InputError(
            f"the champion v{champion.number} is damaged: {damage}",
            file=champion.gguf,
            remedy="Restore its folder from a backup, or make another version champion: "
            "stock-llm rollback VERSION",
        )


def _base_gguf(settings: Settings, profile: Profile, kind: str) -> Path:
    """The base itself as a GGUF of the candidate's quantization, made once."""
    template = profile.format.jinja
    digest = digest_of(
        base=base_digest(profile, settings.home),
        quantization=kind,
        template=template,
        recipe=RECIPE,
    )

    def make(folder: Path) -> BaseGguf:
        base = fetch_base(profile, settings.home)
        needs.require(needs.judging(profile, read_shape(base)), profile, folder)
        f16, gguf = folder / "f16.gguf", folder / f"{profile.name}-{kind}.gguf"
        write_gguf(base, f16, profile.name, template)
        quantize_gguf(f16, gguf, kind, settings.threads)
        f16.unlink()
        return BaseGguf(digest, folder, gguf)

    return load_or_make(BaseGguf, settings.artifacts, digest, make, whole=True).gguf
