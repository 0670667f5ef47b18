import io
import shutil
from pathlib import Path

import pytest
from factories.parrot_gguf import write_parrot
from fakes.loopback_ollama import LoopbackOllama
from rich.console import Console

from stock_llm import doctor
from stock_llm.llm.bases import needs
from stock_llm.machine import Gpu, Machine
from stock_llm.ollama.client import connect
from stock_llm.ollama.handover import hand_over
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
from stock_llm.settings import load_settings
from stock_llm.storage.checksums import write_record

ROOT = Path(__file__).parents[1]


@pytest.fixture
def settings(tmp_path):
    shutil.copytree(ROOT / "models" / "profiles", tmp_path / "models" / "profiles")
    return load_settings(home=tmp_path, ollama_host="")


def found(settings, name):
    return next(finding for finding in doctor.run_checks(settings) if finding.name == name)


def test_an_empty_home_gets_the_first_steps(settings):
    assert found(settings, "trades").fatal
    assert "STOCK_LLM_TRADES" in found(settings, "trades").remedy
    assert "base build" in found(settings, "base model").remedy
    assert found(settings, "published models").remedy == "stock-llm run"


def test_a_missing_library_names_its_extra_and_its_cost(settings, monkeypatch):
    monkeypatch.setattr(
        doctor, "_LIBRARIES", (("no-such-library", "train", "nothing can be trained"),)
    )
    finding = found(settings, "no-such-library")
    assert finding.fatal
    assert "nothing can be trained" in finding.found
    assert "[train]" in finding.remedy


def test_secrets_that_others_can_read_are_named(settings):
    settings.secrets.mkdir(mode=0o700, parents=True)
    (settings.secrets / "salt").write_bytes(b"x")
    (settings.secrets / "salt").chmod(0o644)
    finding = found(settings, "secrets")
    assert not finding.good
    assert "salt" in finding.found
    assert "chmod" in finding.remedy


def test_too_little_memory_stops_the_main_job(settings, monkeypatch):
    large = settings.model_copy(update={"profile": "mistral-7b"})
    monkeypatch.setattr(doctor, "this_machine", lambda: Machine(2 << 30, None))
    finding = found(large, "memory")
    assert finding.fatal
    assert "fine-tuning needs" in finding.found and "2.0 GiB are free" in finding.found
    assert "smaller base" in finding.remedy


def test_a_gpu_is_shown_with_its_memory(settings, monkeypatch):
    card = Gpu("Card", 23 << 30, 24 << 30)
    monkeypatch.setattr(doctor, "this_machine", lambda: Machine(2 << 30, card))
    assert found(settings, "GPU").found == "Card, 23.0 GiB free"


def test_too_little_disk_stops_the_main_job(settings, monkeypatch):
    large = settings.model_copy(update={"profile": "mistral-7b"})
    monkeypatch.setattr(needs, "free_disk", lambda _: 2 << 30)
    assert found(large, "disk").fatal
    assert found(settings, "disk").good, "the sizes of a base that is not there are not known"


def test_the_default_server_may_be_absent_and_one_that_was_named_may_not(settings, monkeypatch):
    monkeypatch.setattr(type(settings), "ollama_named_by", "")
    silent = settings.model_copy(update={"ollama_host": "http://127.0.0.1:9"})
    finding = found(silent, "Ollama")
    assert finding.good
    assert "asked in this process" in finding.found
    monkeypatch.undo()
    named = found(silent, "Ollama")
    assert not named.good
    assert "the setting ollama_host names it, so that new versions wait" in named.found
    assert "ollama_host" in named.remedy


def test_what_is_missing_where_it_was_published_is_named(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    gguf = write_parrot(tmp_path / "m.gguf", "hello")
    store = OllamaStore(settings.path(settings.ollama_store))
    store.write_model("stock-llm:v1", gguf, Modelfile("x", template="{{ .Prompt }}"))
    with LoopbackOllama(tmp_path / "served") as ollama:
        there = settings.model_copy(update={"ollama_host": ollama.host})
        lacking = found(there, "Ollama")
        assert (lacking.good, lacking.remedy) == (False, "stock-llm publish")
        assert "lacks stock-llm:v1" in lacking.found
        hand_over(store, connect(ollama.host), "stock-llm:v1")
        assert found(there, "Ollama").found == f"answers at {ollama.host}"
    write_record(settings.path("data/runs/1.json"), {"names": ["stock-llm:v1"]})
    shutil.rmtree(store.root)
    lost = found(settings, "published models")
    assert (lost.good, lost.remedy) == (False, "stock-llm publish")
    assert lost.found.startswith("stock-llm:v1 published once, and nothing is in")


def test_a_damaged_store_is_reported(settings, tmp_path):
    manifests = (
        tmp_path
        / "models"
        / "ollama"
        / "manifests"
        / "registry.ollama.ai"
        / "library"
        / "stock-llm"
    )
    manifests.mkdir(parents=True)
    (manifests / "v1").write_text(
        '{"schemaVersion":2,"config":{"digest":"sha256:' + "0" * 64 + '","size":1},"layers":[]}'
    )
    assert not found(settings, "published models").good


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_a_narrow_terminal_and_cuts_nothing(settings, width):
    checks = doctor.run_checks(settings)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(doctor.table(checks))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    for check in checks:
        for text in (check.name, check.found, check.remedy):
            assert "".join(text.split()) in "".join(_cells(shown)), text


def _cells(shown):
    """What stands in the last column, and the names, without the breaks that folding makes."""
    lines = shown.splitlines()
    start = lines[0].index("found")
    names = [
        line[:start].strip().removeprefix(mark)
        for line in lines
        for mark in ("ok", "note", "missing")
    ]
    return ["".join(line[start:].split()) for line in lines] + [
        "".join(name.split()) for name in names
    ]


@pytest.mark.parametrize(
    ("libraries", "card", "good", "said"),
    [
        (["libggml-cpu.so"], None, True, "computes on the CPU"),
        (["libggml-cpu.so"], Gpu("Card", 1, 1), False, "without Card"),
        (["libggml-cuda.so.0"], Gpu("Card", 1, 1), True, "on a GPU with CUDA"),
        (["libggml-vulkan.so"], None, True, "on a GPU with Vulkan"),
    ],
)
def test_what_llama_cpp_computes_with_is_told(settings, monkeypatch, libraries, card, good, said):
    monkeypatch.setattr(doctor, "files", lambda _: [f"llama_cpp/lib/{name}" for name in libraries])
    monkeypatch.setattr(doctor, "this_machine", lambda: Machine(2**35, card))
    check = found(settings, "llama.cpp")
    assert (check.good, said in check.found) == (good, True)
    assert ("make TORCH=cuda install" in check.remedy) == (not good)
