"""Versions as the stage `publish` leaves them: in the project's folder, and beside their GGUF what they were published with."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

from factories.parrot_gguf import write_parrot, write_parrot_lora

from stock_llm.artifacts import CHECKSUMS, MERGED
from stock_llm.ollama.model_name import version_name
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.pipeline.publication.places import folder_of
from stock_llm.pipeline.publication.restoring import MANIFEST, MODELFILE
from stock_llm.settings import Settings
from stock_llm.storage.checksums import model_sha256, write_checksums

TEMPLATE = "{{ range .Messages }}{{ .Content }}{{ end }}"
PARAMETERS = {"temperature": 0.0, "num_ctx": 256, "num_predict": 8, "stop": ("</s>",)}


ANSWERS = tuple(f"answer {number}" for number in range(1, 10))
"""Of the versions with an adapter: the base says nothing of it."""


def published(
    settings: Settings,
    registry,
    number: int,
    size: int = 0,
    has_lora: bool = False,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """The GGUF of a version that was published into the folder and registered.

    Args:
        size: at least so many bytes.
        has_lora: whether it is an adapter over a base that all such versions share, with its merged form beside it.
        notes: annotations besides the usual ones.
    """
    folder = settings.artifacts / "candidate" / f"candidate{number}"
    folder.mkdir(parents=True)
    gguf, lora, says = folder / "stock-llm.gguf", None, f"answer {number}"
    if has_lora:
        write_parrot(gguf, "I am the base", name="base" + "x" * size, others=ANSWERS)
        lora = write_parrot_lora(folder / "stock-llm-lora.gguf", number, len(ANSWERS))
        write_parrot(folder / MERGED, says, name=f"v{number}" + "x" * size)
    else:
        write_parrot(gguf, says, name=f"v{number}" + "x" * size)
    modelfile = Modelfile(
        from_="./stock-llm.gguf",
        adapter=f"./{lora.name}" if lora else "",
        template=TEMPLATE,
        parameters=PARAMETERS,
        license=("Apache-2.0",),
    )
    (folder / MODELFILE).write_text(modelfile.write())
    target = folder_of(settings)
    name = version_name(number)
    notes = {
        **notes,
        "org.opencontainers.image.version": f"v{number}",
        "stock-llm.verdict": "promote",
        "stock-llm.candidate": folder.name,
    }
    target.put(name, gguf, modelfile, notes)
    (folder / MANIFEST).write_bytes(target.store.read_manifest(name))
    write_checksums(folder / CHECKSUMS)
    sha256 = model_sha256(gguf, lora)
    registry.known.append(
        SimpleNamespace(number=number, gguf=gguf, gguf_sha256=sha256, replaced=None)
    )
    return gguf
