"""The models that are judged on the same rows: base, champion and challenger, each a quantized GGUF
with the prompt that Ollama renders for it, and with the adapter that is served beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stock_llm.artifacts import CHECKSUMS, Candidate
from stock_llm.errors import InputError
from stock_llm.llm.profiles import Profile
from stock_llm.llm.prompts import Message
from stock_llm.ollama import rendering
from stock_llm.ollama.modelfile import Modelfile, parse_modelfile
from stock_llm.ollama.profile_modelfile import modelfile_of
from stock_llm.pipeline.judging.base_gguf import base_gguf
from stock_llm.pipeline.registry import VersionInfo
from stock_llm.settings import Settings
from stock_llm.storage.checksums import file_sha256, find_damage, model_sha256


@dataclass(frozen=True)
class Contestant:
    """A model to be asked.

    Attributes:
        sha256: `model_sha256` of its files.
        prompt: how a conversation becomes its prompt.
        modelfile: what a server is told of it; `stop` of its parameters ends an answer.
    """

    name: str
    gguf: Path
    sha256: str
    prompt: Callable[[list[Message]], str]
    modelfile: Modelfile

    @property
    def lora(self) -> Path | None:
        """The adapter that is served beside the GGUF."""
        return self.gguf.parent / self.modelfile.adapter if self.modelfile.adapter else None

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
    base = base_gguf(settings, profile, candidate.quantization)
    home = settings.home
    asked = [
        of_profile("base", base, file_sha256(base), profile, home),
        of_profile(
            "challenger", candidate.gguf, candidate.gguf_sha256, profile, home, candidate.lora
        ),
    ]
    if champion:
        _refuse_if_damaged(champion)
        asked.insert(1, as_published("champion", champion.gguf, champion.gguf_sha256))
    return asked


def of_profile(
    name: str, gguf: Path, sha256: str, profile: Profile, home: Path, lora: Path | None = None
) -> Contestant:
    """A model that is asked as its profile says, and would be published so.

    Args:
        lora: the adapter that is served beside `gguf`.
    """
    modelfile = modelfile_of(profile, gguf, home, lora)
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
    if not damage:
        lora = as_published("champion", champion.gguf, "").lora
        if model_sha256(champion.gguf, lora) != champion.gguf_sha256:
            damage = "it has other bytes"
    if damage:
        raise InputError(
            f"the champion v{champion.number} is damaged: {damage}",
            file=champion.gguf,
            remedy="Restore its folder from a backup, or make another version champion: "
            "stock-llm rollback VERSION",
        )
