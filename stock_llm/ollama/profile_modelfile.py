"""The Modelfile of a model that was made by a profile: its prompt format, its parameters, its
licence.
"""

from pathlib import Path

from stock_llm.llm.profiles import Profile, local_base
from stock_llm.llm.prompts import SYSTEM
from stock_llm.ollama.modelfile import Modelfile


def modelfile_of(profile: Profile, gguf: Path, home: Path, lora: Path | None = None) -> Modelfile:
    """What `ollama create` would read, to stand beside the GGUF.

    Args:
        lora: the adapter that is served with it, a GGUF in the same folder.
    """
    return Modelfile(
        from_=f"./{gguf.name}",
        adapter=f"./{lora.name}" if lora else "",
        template=profile.format.go,
        system=SYSTEM,
        parameters={**profile.serving.model_dump(), "stop": profile.format.stop},
        license=(_licence(profile, home),),
    )


def _licence(profile: Profile, home: Path) -> str:
    """The text that came with the base, else the licence's name."""
    folder = local_base(profile, home)
    file = folder / "LICENSE" if folder else None
    return file.read_text(encoding="utf-8") if file and file.is_file() else profile.licence
