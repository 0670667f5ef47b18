"""Versions that are an adapter over a base that they share: an update moves the adapter, and the base stays while one stands on it."""

import shutil
from datetime import timedelta

import pytest
from factories.parrot_gguf import write_parrot_lora
from factories.published_versions import ANSWERS, published

from stock_llm.artifacts import MERGED
from stock_llm.errors import PublishError
from stock_llm.ollama.client import connect
from stock_llm.ollama.manifest import parse_manifest
from stock_llm.ollama.publish_target import ServerTarget
from stock_llm.pipeline.publication import lineage
from stock_llm.pipeline.publication.places import folder_of, is_complete
from stock_llm.pipeline.publication.restoring import publish_again, roll_back
from stock_llm.settings import load_settings
from stock_llm.storage.checksums import file_sha256

QUESTION = [{"role": "user", "content": "Analyze ORCA."}]
AT_ONCE = timedelta(seconds=-5)


@pytest.fixture
def settings(tmp_path, ollama):
    return load_settings(home=tmp_path / "home", ollama_host=ollama.host, threads=1)


@pytest.fixture
def versions(settings, registry):
    """Two of them in the folder, the first one champion."""
    for number in (1, 2):
        published(settings, registry, number, size=20_000, has_lora=True)
    registry.promote(settings, 1)
    return folder_of(settings).store


def layer(store, number, kind):
    manifest = parse_manifest(store.read_manifest(f"stock-llm:v{number}"))
    return next(layer for layer in manifest.layers if layer.kind == kind)


def blobs(store):
    return {path.name for path in (store.root / "blobs").iterdir()}


def test_an_update_moves_the_adapter_alone(settings, registry, ollama):
    published(settings, registry, 1, size=20_000, has_lora=True)
    publish_again(settings)
    before = blobs(ollama.store)
    published(settings, registry, 2, size=20_000, has_lora=True)
    publish_again(settings)
    store = folder_of(settings).store
    moved = layer(store, 2, "adapter")
    assert blobs(ollama.store) - before == {moved.digest.replace(":", "-")}
    assert layer(store, 1, "model") == layer(store, 2, "model")
    assert moved.size < 0.1 * layer(store, 2, "model").size
    for name in ("stock-llm:v1", "stock-llm:v2"):
        assert ollama.store.read_manifest(name) == store.read_manifest(name)


def test_each_answers_as_its_adapter_teaches_from_the_folder_and_from_a_server(
    settings, versions, ollama
):
    publish_again(settings)
    server = ServerTarget(connect(ollama.host))
    for number in (1, 2, 1):
        for target in (folder_of(settings), server):
            assert target.ask(f"stock-llm:v{number}", QUESTION).text == f"answer {number}"
    assert versions.read_model("stock-llm:v1").lora != versions.read_model("stock-llm:v2").lora


def test_the_base_stays_while_a_version_stands_on_it(versions):
    base = versions.read_model("stock-llm:v1").gguf
    adapter = versions.read_model("stock-llm:v1").lora
    versions.delete("stock-llm:v1")
    assert adapter in versions.collect_garbage(older_than=AT_ONCE)
    assert base.exists() and versions.find_damage("stock-llm:v2") == ""
    versions.delete("stock-llm:v2")
    assert base in versions.collect_garbage(older_than=AT_ONCE)


def test_retention_takes_the_adapter_and_a_rollback_brings_it_back(settings, registry, versions, ollama):  # fmt: skip
    registry.promote(settings, 2)
    publish_again(settings)
    registry.file.write_text("2")  # there was none before it
    fewer = settings.model_copy(update={"publish": settings.publish.model_copy(update={"keep": 1})})
    before = versions.read_manifest("stock-llm:v1")
    assert "stock-llm:v1 removed from" in " ".join(publish_again(fewer))
    names = ["stock-llm:latest", "stock-llm:v2"]
    assert versions.list_models() == ollama.store.list_models() == names
    assert versions.verify() == ollama.store.verify() == []
    roll_back(settings, 1)
    assert ollama.store.read_manifest("stock-llm:latest") == before
    assert is_complete(settings, "stock-llm:v1")


@pytest.mark.parametrize("part", ["model", "adapter"])
def test_what_the_folder_lost_or_damaged_is_written_again_to_the_bit(settings, versions, part):
    settings = settings.model_copy(update={"ollama_host": ""})
    before = versions.read_manifest("stock-llm:v1")
    blob = versions.blob(layer(versions, 1, part)).path
    size = blob.stat().st_size
    blob.unlink()  # it may share its bytes with the candidate's
    blob.write_bytes(b"x" * size)
    publish_again(settings)
    assert versions.verify() == []
    shutil.rmtree(versions.root)
    publish_again(settings, 1)
    assert versions.read_manifest("stock-llm:v1") == before


def test_an_adapter_that_was_changed_since_is_not_published(settings, versions):
    other = settings.artifacts / "candidate" / "candidate1" / "stock-llm-lora.gguf"
    other.unlink()
    write_parrot_lora(other, 7, len(ANSWERS))
    shutil.rmtree(versions.root)
    with pytest.raises(PublishError, match=r"stock-llm:v1 is not in .* own files"):
        publish_again(settings, 1)
    assert versions.list_models() == []


def test_a_server_that_cannot_pull_gets_the_merged_form_which_is_told_and_remembered(
    settings, versions, ollama, capsys
):
    ollama.cannot_pull = "connect: connection refused"
    publish_again(settings)
    said = capsys.readouterr().err
    assert "stock-llm:v1 at" in said and "the merged form in a manifest of its own" in said
    theirs = ollama.store.read_model("stock-llm:v1")
    assert theirs.lora is None
    merged = settings.artifacts / "candidate" / "candidate1" / MERGED
    assert file_sha256(theirs.gguf) == file_sha256(merged)
    assert ServerTarget(connect(ollama.host)).ask("stock-llm:v1", QUESTION).text == "answer 1"
    assert is_complete(settings, "stock-llm:v1")
    del ollama.requests[:]
    assert publish_again(settings) == []
    assert ollama.requests == ["GET /api/tags"]
    (versions.root / "stock-llm-places.json").unlink()  # what was handed over is forgotten
    publish_again(settings)
    assert ollama.store.read_model("stock-llm:v1").gguf == theirs.gguf


@pytest.mark.parametrize("fault", ["gone", "damaged"])
def test_without_its_merged_form_such_a_server_is_told_what_to_do(
    settings, versions, ollama, fault
):
    merged = settings.artifacts / "candidate" / "candidate1" / MERGED
    content = merged.read_bytes()
    merged.unlink()
    if fault == "damaged":
        merged.write_bytes(content[:-1] + b"x")
    ollama.cannot_pull = "connect: connection refused"
    with pytest.raises(PublishError, match=r"only what is pulled can have an adapter.*address"):
        publish_again(settings)
    ollama.cannot_pull = ""
    publish_again(settings)
    assert ollama.store.digest("stock-llm:v1") == versions.digest("stock-llm:v1")


@pytest.mark.usefixtures("versions")
def test_another_adapter_over_the_same_base_is_another_model(settings, ollama):
    publish_again(settings, 1)
    ollama.store.delete("stock-llm:v1")
    publish_again(settings, 2)
    ollama.store.tag("stock-llm:v2", "stock-llm:v1")
    with pytest.raises(PublishError, match=r"stock-llm:v1 exists at .* and is another model"):
        publish_again(settings, 1)


def test_an_id_leads_to_the_weights_and_the_adapter(settings, registry, versions):
    found = lineage.find(settings, versions.digest("stock-llm:v2")[:12])
    assert found.weights == layer(versions, 2, "model").digest
    assert found.adapter == layer(versions, 2, "adapter").digest
    assert f"adapter beside them  {found.adapter}" in lineage.describe(found)
    published(settings, registry, 3)
    assert lineage.find(settings, versions.digest("stock-llm:v3")).adapter == ""


@pytest.mark.usefixtures("versions")
def test_versions_of_both_modes_stand_side_by_side(settings, registry, ollama):
    published(settings, registry, 3)
    registry.promote(settings, 3)
    publish_again(settings)
    server = ServerTarget(connect(ollama.host))
    for number in (1, 2, 3):
        assert server.ask(f"stock-llm:v{number}", QUESTION).text == f"answer {number}"
    roll_back(settings, 1)
    assert server.ask("stock-llm:latest", QUESTION).text == "answer 1"


@pytest.mark.usefixtures("versions")
def test_a_server_has_one_version_over_a_base_in_memory(settings, ollama):
    publish_again(settings)
    server = connect(ollama.host)
    assert server.loaded() == []
    for number in (1, 2):
        server.ask(f"stock-llm:v{number}", QUESTION, None)
        assert server.loaded() == [f"stock-llm:v{number}"]
    server.unload("stock-llm:v2")
    assert server.loaded() == []


def test_a_real_manifest_has_the_adapter_behind_the_weights(versions):
    kinds = [layer.kind for layer in parse_manifest(versions.read_manifest("stock-llm:v1")).layers]
    assert kinds == ["model", "adapter", "template", "license", "params"]
    assert b'"mediaType":"application/vnd.ollama.image.adapter"' in versions.read_manifest(
        "stock-llm:v1"
    )
