"""Flipped and truncated bytes in every kind of file that a run makes and reads again: never used, always mended or refused."""

import json
import os
import random
from dataclasses import fields

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories.parrot_gguf import write_parrot

from stock_llm.artifacts import (
    CHECKSUMS,
    RECORD,
    Adapter,
    BaseGguf,
    Candidate,
    Dataset,
    History,
    Scorecard,
    load,
    load_or_make,
)
from stock_llm.errors import PublishError
from stock_llm.llm.checkpoints import latest_checkpoint, seal_checkpoint
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
from stock_llm.storage import checksums
from stock_llm.storage.checksums import read_record, write_record
from stock_llm.storage.parse_cache import ParseResult, load_or_parse
from stock_llm.storage.quarantine import QuarantinedRow

KINDS = (History, Dataset, Adapter, Candidate, BaseGguf, Scorecard)
MODELFILE = Modelfile(
    "m.gguf", template="{{ .Prompt }}", system="be short", parameters={"stop": ("</s>",)}
)
RECORDS = {
    "runs/r.json": {"verdict": "keep", "loss": 0.25},
    "answers/a.json": {"answers": ["ซื้อ", "BUY"]},
}
TRADES = pa.table({"symbol": ["KESTRO", "LUMBRA"], "price": [1.5, 2.25]})
REJECTED = QuarantinedRow("trades", "a.csv", 4, "the date cannot be read: 'someday'", "someday,1")


def artifact(kind, folder):
    """An artifact of this kind, each of its paths a file of its own."""
    values = {}
    for field in fields(kind):
        values[field.name] = 3 if field.type is int else f"value of {field.name}"
        if field.name == "folder":
            values[field.name] = folder
        elif getattr(field.type, "__name__", "") == "Path":
            values[field.name] = folder / f"{field.name}.bin"
            values[field.name].write_bytes(f"{kind.__name__} {field.name} ".encode() * 40)
    return kind(**values)


def everything(home):
    """What all readers get, each thing made again where its reader says that it is not there: the way of a run."""
    contents = {}
    for kind in KINDS:
        made = load_or_make(
            kind, home / "artifacts", "d", lambda folder, kind=kind: artifact(kind, folder)
        )
        contents[kind] = {
            path.name: path.read_bytes()
            for path in made.folder.iterdir()
            if path.name not in (CHECKSUMS, RECORD)
        }
        contents[kind]["record"] = {name: str(value) for name, value in vars(made).items()}
    for name, values in RECORDS.items():
        if read_record(home / name) is None:
            write_record(home / name, values)
        contents[name] = read_record(home / name)
    parsed = load_or_parse(
        home / "parts", "d", lambda: ParseResult(TRADES, [REJECTED], {"rows": 3})
    )
    contents["parts"] = (pq.read_table(parsed.path), parsed.rejected, parsed.facts)
    checkpoints = home / "checkpoints"
    if latest_checkpoint(checkpoints, "training") is None:
        folder = checkpoints / "checkpoint-7"
        folder.mkdir(parents=True)
        (folder / "weights.bin").write_bytes(b"weights" * 50)
        seal_checkpoint(folder, "training")
    contents["checkpoint"] = (
        latest_checkpoint(checkpoints, "training") / "weights.bin"
    ).read_bytes()
    store = OllamaStore(home / "store")
    try:
        model = store.read_model("m:v1")
    except PublishError as error:
        assert "\n" not in str(error)
        gguf = home / "m.gguf"
        if not gguf.exists():
            write_parrot(gguf, "hello")
        store.write_model("m:v1", gguf, MODELFILE, replace=False)
        model = store.read_model("m:v1")
    contents["store"] = (model.gguf.read_bytes(), model.modelfile, model.config)
    return contents


def damage(path, chance):
    """The same file with up to 64 other bytes, or cut off; False where it has none."""
    content = bytearray(path.read_bytes())
    if not content:
        return False
    if chance.random() < 0.3:
        content = content[: chance.randrange(len(content))]
    else:
        for place in chance.sample(range(len(content)), min(len(content), chance.randint(1, 64))):
            content[place] ^= chance.randint(1, 255)
    path.unlink()  # the store and its source may share the bytes
    path.write_bytes(content)
    return True


def test_damaged_files_are_never_used_and_always_mended(tmp_path):
    whole = everything(tmp_path)
    assert everything(tmp_path) == whole
    chance = random.Random(20)
    kinds = set()
    for _ in range(200):
        files = [
            path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.name != "m.gguf"
        ]
        path = chance.choice(files)
        if damage(path, chance):
            kinds.add(path.relative_to(tmp_path).parts[:2])
            assert everything(tmp_path) == whole, path
    assert {parts[0] for parts in kinds} == {path.name for path in tmp_path.iterdir()} - {"m.gguf"}
    assert len(kinds) >= len(KINDS) + 6, kinds
    assert OllamaStore(tmp_path / "store").verify() == []


def test_large_files_are_checked_by_size_and_time_first_and_whole_on_demand(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "LARGE", 10)
    made = load_or_make(BaseGguf, tmp_path, "d", lambda folder: artifact(BaseGguf, folder))
    content = made.gguf.read_bytes()
    made.gguf.write_bytes(content[:-1] + b"!")
    assert load(BaseGguf, made.folder) is None, "another time makes it be read"
    made = load_or_make(BaseGguf, tmp_path, "d", lambda folder: artifact(BaseGguf, folder))
    state = made.gguf.stat()
    made.gguf.write_bytes(content[:-1] + b"!")
    os.utime(made.gguf, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert load(BaseGguf, made.folder) is not None
    assert load(BaseGguf, made.folder, whole=True) is None
    assert not made.folder.exists()


def test_an_artifact_from_before_checksums_is_taken_as_it_is(tmp_path):
    made = load_or_make(BaseGguf, tmp_path, "d", lambda folder: artifact(BaseGguf, folder))
    (made.folder / CHECKSUMS).unlink()
    assert load(BaseGguf, made.folder) == made
    assert RECORD in json.loads((made.folder / CHECKSUMS).read_text())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"artifact.json": 1}', '{"": {}}'])
def test_checksums_that_cannot_be_read_are_damage(tmp_path, content, capsys):
    made = load_or_make(BaseGguf, tmp_path, "d", lambda folder: artifact(BaseGguf, folder))
    (made.folder / CHECKSUMS).write_text(content)
    assert load(BaseGguf, made.folder) is None
    assert capsys.readouterr().err.count("\n") == 1
