"""Versions as the stage `publish` leaves them: in the project's folder, and beside their GGUF what they were published with."""

from pathlib import Path
from types import SimpleNamespace

from factories.parrot_gguf import write_parrot

from stock_llm.ollama.model_name import version_name
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.pipeline.publication.places import folder_of
from stock_llm.pipeline.publication.restoring import MANIFEST, MODELFILE
from stock_llm.settings import Settings
from stock_llm.storage.checksums import file_sha256

TEMPLATE = "{{ range .Messages }}{{ .Content }}{{ end }}"
PARAMETERS = {"temperature": 0.0, "num_ctx": 256, "num_predict": 8, "stop": ("</s>",)}


def published(settings: Settings, registry, number: int, size: int = 0) -> Path:
    """The GGUF of a version that was published into the folder and registered.

    Args:
        size: at least so many bytes.
    """
    folder = settings.artifacts / "candidate" / f"candidate{number}"
    folder.mkdir(parents=True)
    gguf = write_parrot(
        folder / "stock-llm.gguf", f"answer {number}", name=f"v{number}" + "x" * size
    )
    modelfile = Modelfile(
        from_="./stock-llm.gguf", template=TEMPLATE, parameters=PARAMETERS, license=("Apache-2.0",)
    )
    (folder / MODELFILE).write_text(modelfile.write())
    target = folder_of(settings)
    name = version_name(number)
    notes = {"org.opencontainers.image.version": f"v{number}", "stock-llm.verdict": "promote"}
    target.put(name, gguf, modelfile, notes)
    (folder / MANIFEST).write_bytes(target.store.read_manifest(name))
    registry.known.append(
        SimpleNamespace(number=number, gguf=gguf, gguf_sha256=file_sha256(gguf), replaced=None)
    )
    return gguf
