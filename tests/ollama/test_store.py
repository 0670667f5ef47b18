"""The store: the bytes that a real Ollama wrote, whole after any interruption, and nothing lost that is needed."""

import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import RECORDED

from stock_llm.errors import InputError, PublishError
from stock_llm.llm import prompts
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.ollama.config_layer import human_number
from stock_llm.ollama.manifest import Layer, Manifest
from stock_llm.ollama.model_name import ModelName
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
from stock_llm.storage.checksums import file_sha256

MODELFILE = Modelfile(
    from_="./tiny.gguf",
    template=MISTRAL_V3.go,
    system=prompts.SYSTEM,
    parameters={"temperature": 0.0, "num_ctx": 512, "stop": ("[INST]", "</s>")},
    license=("Apache-2.0", "second\r\nlicence"),
    messages=(("user", "Analyze AAPL"), ("assistant", "SELL\nbecause")),
    requires="0.20.0",
)


def write_gguf(path: Path, parameters: int = 7_240, seed: int = 0) -> Path:
    """A GGUF with one tensor and the keys that a listing shows."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_tensor("token_embd.weight", np.full(parameters, seed, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def store(tmp_path):
    return OllamaStore(tmp_path / "ollama")


@pytest.fixture
def weights(tmp_path):
    return write_gguf(tmp_path / "tiny.gguf")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def layers(store: OllamaStore, name: str) -> dict[str, bytes]:
    """Kind → bytes of each layer of a model, the config under `config`."""
    manifest = json.loads(
        (
            store.root / "manifests" / "registry.ollama.ai" / "library" / name.replace(":", "/")
        ).read_bytes()
    )
    read = {"config": store.root / "blobs" / manifest["config"]["digest"].replace(":", "-")}
    for layer in manifest["layers"]:
        read[layer["mediaType"].rpartition(".")[2]] = (
            store.root / "blobs" / layer["digest"].replace(":", "-")
        )
    return {kind: path.read_bytes() for kind, path in read.items()}


def test_layers_are_the_bytes_that_ollama_writes(store, weights):
    store.write_model("stock-llm:v1", weights, MODELFILE)
    read = layers(store, "stock-llm:v1")
    assert list(read) == ["config", "model", "template", "system", "license", "params", "messages"]
    assert (
        read["params"] == b'{"num_ctx":512,"stop":["[INST]","\\u003c/s\\u003e"],"temperature":0}\n'
    )
    assert read["messages"] == (
        b'[{"role":"user","content":"Analyze AAPL"},{"role":"assistant","content":"SELL\\nbecause"}]\n'
    )
    assert read["system"] == prompts.SYSTEM.encode()
    assert read["template"] == MISTRAL_V3.go.encode()
    assert read["config"] == (
        b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"7K","file_type":"Q4_K_M",'
        b'"requires":"0.20.0","architecture":"amd64","os":"linux"}\n'
    )


def test_known_digests_of_params_and_config(store, tmp_path):
    store.write_model(
        "a",
        write_gguf(tmp_path / "a"),
        Modelfile("a", parameters={"temperature": 0.2, "stop": ("[INST]", "[/INST]")}),
    )
    params = layers(store, "a:latest")["params"]
    assert (len(params), sha256(params)[:8]) == (48, "f01d829f")
    assert human_number(7_248_023_552) == "7.2B"
    config = layers(store, "a:latest")["config"].replace(b"7K", b"7.2B")
    assert (len(config), sha256(config)[:8]) == (151, "64d62a9e")


def test_the_manifest_has_the_digest_that_a_real_ollama_gave_it(store, tmp_path):
    exchanges = {exchange["title"]: exchange for exchange in json.loads(RECORDED.read_text())}
    made = exchanges["create, streamed"]["body"]
    listed = json.loads(exchanges["tags"]["response"])["models"][0]
    modelfile = Modelfile(
        "x",
        template=made["template"],
        system=made["system"],
        license=(made["license"],),
        parameters=made["parameters"] | {"stop": tuple(made["parameters"]["stop"])},
    )
    store.write_model("stock-llm:v1", write_gguf(tmp_path / "m", 6_524_160), modelfile)
    read = layers(store, "stock-llm:v1")
    assert b'"model_type":"6.52M","file_type":"Q4_K_M"' in read["config"]
    rest = sum(len(data) for kind, data in read.items() if kind != "model")
    digests = {kind: f"sha256:{sha256(data)}" for kind, data in read.items()} | {
        "model": made["files"]["stock-llm.gguf"]
    }
    sizes = {kind: len(data) for kind, data in read.items()} | {"model": listed["size"] - rest}
    blobs = {kind: Layer(kind, digests[kind], sizes[kind]) for kind in read}
    manifest = Manifest(blobs.pop("config"), tuple(blobs.values()))
    assert sha256(manifest.encode()) == listed["digest"]


def test_what_is_written_is_read_back(store, weights):
    before = datetime.now(UTC) - timedelta(seconds=1)
    digest = store.write_model("stock-llm:v1", weights, MODELFILE)
    model = store.read_model("stock-llm:v1")
    assert model.digest == digest == store.digest("stock-llm:v1")
    assert model.gguf.read_bytes() == weights.read_bytes()
    assert model.modelfile == Modelfile(**{**vars(MODELFILE), "from_": str(model.gguf)})
    assert model.modified > before
    assert model.size == sum(path.stat().st_size for path in (store.root / "blobs").iterdir())
    assert store.list_models() == ["stock-llm:v1"]
    assert store.verify() == []


def test_the_same_model_again_changes_nothing(store, weights):
    first = store.write_model("m:v1", weights, MODELFILE)
    manifest = store.root / "manifests/registry.ollama.ai/library/m/v1"
    stamp = manifest.stat().st_mtime_ns, manifest.stat().st_ino
    assert store.write_model("m:v1", weights, MODELFILE, replace=False) == first
    assert (manifest.stat().st_mtime_ns, manifest.stat().st_ino) == stamp


def test_a_version_is_not_overwritten(store, weights, tmp_path):
    first = store.write_model("m:v1", weights, MODELFILE)
    other = write_gguf(tmp_path / "other.gguf", seed=1)
    with pytest.raises(PublishError, match="and is another model; a version is never overwritten"):
        store.write_model("m:v1", other, MODELFILE, replace=False)
    assert store.digest("m:v1") == first
    assert store.write_model("m:v1", other, MODELFILE) != first


def test_a_tag_is_moved_and_a_name_is_deleted(store, weights, tmp_path):
    v1 = store.write_model("m:v1", weights, MODELFILE)
    v2 = store.write_model("m:v2", write_gguf(tmp_path / "2", seed=2), MODELFILE)
    store.tag("m:v1", "m")
    assert store.digest("m:latest") == v1
    store.tag("m:v2", "m:latest")
    assert store.digest("m") == v2
    store.delete("m:v2")
    assert store.list_models() == ["m:latest", "m:v1"]
    assert store.read_model("m").digest == v2
    for name in ("m:v1", "m:latest"):
        store.delete(name)
    assert list((store.root / "manifests").iterdir()) == []
    for missing in (store.delete, store.read_model, lambda name: store.tag(name, "x")):
        with pytest.raises(PublishError, match="there is no model m:v2"):
            missing("m:v2")
    assert store.digest("m:v2") is None


def test_a_damaged_blob_is_found_and_mended_by_publishing_again(store, weights):
    store.write_model("m:v1", weights, MODELFILE)
    blob = store.read_model("m:v1").gguf
    blob.unlink()
    assert store.verify() == [f"m:v1: {blob.name} is missing"]
    blob.write_bytes(b"\0" * weights.stat().st_size)
    assert store.verify() == [f"m:v1: {blob.name} has other bytes"]
    store.write_model("m:v1", weights, MODELFILE)
    assert store.verify() == []
    assert file_sha256(weights) == blob.name.removeprefix("sha256-")


def test_a_large_blob_is_read_whole_when_its_time_is_another(store, weights, monkeypatch):
    monkeypatch.setattr("stock_llm.ollama.store.LARGE", 1000)
    read = []
    monkeypatch.setattr(
        "stock_llm.ollama.store.cached_sha256",
        lambda path: read.append(path.stat().st_size) or file_sha256(path),
    )

    def large_reads() -> int:
        read.clear()
        OllamaStore(store.root).read_model("m:v1")
        return sum(size > 1000 for size in read)

    store.write_model("m:v1", weights, MODELFILE)
    blob = store.read_model("m:v1").gguf
    assert large_reads() == 0, "publishing read it"
    os.utime(blob)
    assert (large_reads(), large_reads()) == (1, 0)
    (store.root / "stock-llm.json").write_text("{")
    assert (large_reads(), large_reads()) == (1, 0)
    state, content = blob.stat(), bytearray(blob.read_bytes())
    content[5000] ^= 1
    blob.unlink()
    blob.write_bytes(content)
    with pytest.raises(PublishError, match=r"has other bytes\. Publish it again"):
        store.read_model("m:v1")
    os.utime(blob, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert large_reads() == 0, "what decays on the disk under its old time"
    assert store.verify() == [f"m:v1: {blob.name} has other bytes"]
    store.write_model("m:v1", weights, MODELFILE)
    assert store.verify() == [] and large_reads() == 0


def killed_at_rename(number: int, work: Callable[[], object]) -> bool:
    """Run `work` in a process that dies, without any clean-up, at its nth rename; whether it died."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()
        renamed = Path.replace
        Path.replace = lambda path, target: (
            os._exit(9) if next(calls) == number else renamed(path, target)
        )  # type: ignore
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_kill_leaves_the_old_model_whole(store, weights, tmp_path):
    old = store.write_model("m", weights, MODELFILE)
    new = write_gguf(tmp_path / "new.gguf", seed=3)
    for number in range(20):
        shutil.copytree(store.root, tmp_path / f"copy{number}")
        copy = OllamaStore(tmp_path / f"copy{number}")
        if not killed_at_rename(
            number, lambda copy=copy: copy.write_model("m", new, Modelfile("x", system="new"))
        ):
            break
        assert copy.digest("m") == old
        assert copy.verify() == []
        assert copy.list_models() == ["m:latest"]
        assert copy.write_model("m", new, Modelfile("x", system="new")) == copy.digest("m") != old
        assert copy.verify() == []
        assert len(copy.collect_garbage(timedelta(seconds=-1))) >= 1  # what the kill left
    assert number == 7  # config, weights, system, each with a note of it before; manifest


def test_garbage_is_unreferenced_and_old(store, weights):
    store.write_model("m:v1", weights, MODELFILE)
    needed = set((store.root / "blobs").iterdir())
    left = [
        store.put_blob(b"orphan").path,
        store.root / "blobs/.tmp-x",
        store.root / "manifests/.tmp-y",
    ]
    for path in left[1:]:
        path.write_bytes(b"half")
    assert store.collect_garbage() == []  # all of it may belong to a writer at work
    for path in [*left, *needed]:
        os.utime(path, (time.time() - 4000,) * 2)
    broken = store.root / "manifests/registry.ollama.ai/library/m/broken"
    broken.write_text("{")
    assert sorted(store.collect_garbage()) == sorted(
        left[1:]
    )  # an unreadable manifest may need the orphan
    assert store.verify() == [f"m:broken: the manifest {broken} is not readable"]
    broken.unlink()
    assert store.collect_garbage() == left[:1]
    assert set((store.root / "blobs").iterdir()) == needed
    assert store.verify() == []


def test_what_other_programs_left_in_the_folder_stays(store, weights):
    store.write_model("m:v1", weights, MODELFILE)
    others = [
        store.root / "blobs" / f"sha256-{'a' * 64}{end}" for end in ("", "-partial", "-partial-0")
    ]
    for path in others:
        path.write_bytes(b"of another program")
        os.utime(path, (0, 0))
    assert store.collect_garbage() == []
    assert all(path.exists() for path in others)


def test_a_reused_blob_is_no_garbage(store):
    blob = store.put_blob(b"layer").path
    os.utime(blob, (0, 0))
    assert store.put_blob(b"layer").path == blob
    assert store.collect_garbage() == []


def test_no_gguf_no_model(store, tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="text: not a GGUF"):
        store.write_model("m", tmp_path / "text", MODELFILE)
    assert store.list_models() == []


@pytest.mark.parametrize(
    ("text", "parts", "shown"),
    [
        ("m", ("registry.ollama.ai", "library", "m", "latest"), "m:latest"),
        ("stock-llm:v1", ("registry.ollama.ai", "library", "stock-llm", "v1"), "stock-llm:v1"),
        ("me/m.x:1.0", ("registry.ollama.ai", "me", "m.x", "1.0"), "me/m.x:1.0"),
        ("h:5000/ns/m", ("h:5000", "ns", "m", "latest"), "h:5000/ns/m:latest"),
        ("https://h.org/ns/m:a", ("h.org", "ns", "m", "a"), "h.org/ns/m:a"),
        ("h/library/m", ("h", "library", "m", "latest"), "h/library/m:latest"),
        ("M_1", ("registry.ollama.ai", "library", "M_1", "latest"), "M_1:latest"),
    ],
)
def test_names(text, parts, shown):
    assert (name := ModelName.parse(text)) == ModelName(*parts)
    assert str(name) == shown
    assert ModelName.parse(shown) == name


@pytest.mark.parametrize(
    "text",
    ["", "a b", "m:", ":v1", "a/b/c/d:x y", "h:5000/a/b/m", "localhost:5000/m", "n.s/m", "-m", "m:-1", "../m", "m:..",
     "m" * 81, "ก", "m:local", "m:cloud", "m:x-cloud", "/m", "a//m", "m@sha256"],
)  # fmt: skip
def test_what_is_not_a_name(text, store):
    with pytest.raises(InputError, match="is not a model name"):
        ModelName.parse(text)
    with pytest.raises(InputError):
        store.digest(text)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (999, "999"),
        (117_500, "118K"),
        (6_524_160, "6.52M"),
        (3_000_000, "3M"),
        (7_248_023_552, "7.2B"),
        (2 * 10**9, "2B"),
    ],
)
def test_numbers_of_parameters(count, shown):
    assert human_number(count) == shown
