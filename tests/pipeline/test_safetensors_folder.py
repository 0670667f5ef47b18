"""Versions as folders that transformers loads: the prompt and the answers are those of the merged model, and nothing is half there."""

import json
import os
import shutil
from dataclasses import fields

import pytest
from factories.published_versions import published
from factories.rows import rows_of_all_skills

from stock_llm.artifacts import Adapter, load_or_make
from stock_llm.llm.base import base_digest
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.merging.layerwise import linear_weights
from stock_llm.llm.merging.lora import read_adapter
from stock_llm.llm.merging.weights import MergedWeights, StoredWeights
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.prompts import messages
from stock_llm.parity.report import ParityReport, write_report
from stock_llm.pipeline.publication import safetensors_folder
from stock_llm.pipeline.publication.places import folder_of
from stock_llm.pipeline.publication.restoring import publish_again
from stock_llm.pipeline.publication.safetensors_folder import follow_folder, is_whole
from stock_llm.settings import load_settings

ROW = next(row for row in rows_of_all_skills(8) if row.skill != "code")


@pytest.fixture(params=["original", "dequantized"])
def project(request, tiny_base, tmp_path, registry):
    """Settings of a project with a published version v1 of a random adapter, and its adapter's folder."""
    from peft import LoraConfig, get_peft_model
    from transformers import MistralForCausalLM

    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    for name in ("profiles", "tiny"):
        (home / "models" / name).symlink_to(tiny_base / "models" / name)
    settings = load_settings(
        home=home, profile="tiny", ollama_host="", threads=1, publish={"safetensors": True}
    )

    def make(folder):
        model = MistralForCausalLM.from_pretrained(tiny_base / "models" / "tiny")
        adapted = get_peft_model(
            model,
            LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False),
        )
        adapted.save_pretrained(folder / "lora")
        known = {"digest": "one", "folder": folder, "weights": folder / "lora", "profile": "tiny"}
        known["base_digest"] = base_digest(load_profile(home, "tiny"), home)
        return Adapter(**{**{item.name: 0 for item in fields(Adapter)}, **known})

    adapter = load_or_make(Adapter, settings.artifacts, "one", make)
    published(settings, registry, 1, notes={"stock-llm.adapter": "one"})
    report = ParityReport("m", "tiny", "Q8_0", request.param, 0, 0, {}, 0, 0, [], {})
    write_report(report, settings.artifacts / "candidate" / "candidate1")
    return settings, adapter.weights, request.param


def test_transformers_loads_it_and_answers_as_the_merged_model(project):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings, lora, merge_base = project
    publish_again(settings)
    folder = settings.path("models/safetensors/v1")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = messages(ROW.instruction, ROW.input)
    profile, base = load_profile(settings.home, "tiny"), settings.path("models/tiny")
    trained = load_tokenizer(base)(profile.format.render(turns)).input_ids
    assert list(tokenizer.apply_chat_template(turns, return_dict=False)) == trained
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    four_bit = frozenset() if merge_base == "original" else linear_weights(base)
    merged = MergedWeights(StoredWeights(base), read_adapter(lora), four_bit, "float32")
    reference = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    reference.load_state_dict({name: merged.read(name) for name in merged.names()}, strict=False)
    reference.tie_weights()
    ids = torch.tensor([trained])
    answers = [one.generate(ids, max_new_tokens=24, do_sample=False) for one in (model, reference)]
    assert answers[0].tolist() == answers[1].tolist()
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.float16
    stored = StoredWeights(folder)
    for name in merged.names():
        torch.testing.assert_close(stored.read(name), merged.read(name), rtol=1e-3, atol=1e-4)


def _die(_):
    """As a kill does: nothing cleans up."""
    raise SystemExit


def test_it_is_whole_or_not_there_and_written_again_where_it_was_damaged(project, monkeypatch):
    settings, _, _ = project
    folder = settings.path("models/safetensors/v1")
    with monkeypatch.context() as killed:
        killed.setattr(safetensors_folder, "write_checksums", _die)
        with pytest.raises(SystemExit):
            publish_again(settings)
    assert [file.name for file in folder.parent.iterdir()] == [".v1.partial"]
    assert not folder.exists()
    publish_again(settings)
    assert is_whole(folder) and publish_again(settings) == []
    assert {file.name for file in folder.parent.iterdir()} == {"v1"}
    checksums = json.loads((folder / "checksums.json").read_bytes())
    assert {"config.json", "tokenizer.json", "model-00000.safetensors"} < set(checksums)
    (folder / "model-00000.safetensors").write_bytes(b"x")
    assert publish_again(settings) == [f"stock-llm:v1 is in {folder}"]
    assert is_whole(folder)


def test_it_names_no_folder_and_no_machine(project):
    settings, _, _ = project
    publish_again(settings)
    for file in settings.path("models/safetensors/v1").iterdir():
        assert str(settings.home).encode() not in file.read_bytes(), file.name
        assert os.uname().nodename.encode() not in file.read_bytes(), file.name


def test_it_goes_with_its_version_and_is_not_made_where_it_is_not_wanted(project):
    settings, _, _ = project
    publish_again(settings)
    store = folder_of(settings).store
    folder = settings.path("models/safetensors/v1")
    store.delete("stock-llm:v1")
    assert follow_folder(settings, store) == [f"{folder} removed"]
    assert not folder.exists()
    off = settings.model_copy(update={"publish": type(settings.publish)()})
    publish_again(off, 1)
    assert not folder.exists()


def test_a_version_whose_adapter_is_gone_is_told(project):
    settings, _, _ = project
    shutil.rmtree(settings.artifacts / "adapter")
    (said,) = publish_again(settings)
    assert "stock-llm:v1 is not in" in said and "the adapter of stock-llm:v1 is gone" in said


def test_a_version_is_not_made_of_another_base_than_it_was_trained_on(project, tiny_base):
    settings, _, _ = project
    base = settings.path("models/tiny")
    base.unlink()
    shutil.copytree(tiny_base / "models" / "tiny", base)
    (base / "config.json").write_text((base / "config.json").read_text() + " ")
    (said,) = publish_again(settings)
    assert "stock-llm:v1 was made of another base than tiny is now" in said
    assert not settings.path("models/safetensors/v1").exists()


def test_what_somebody_else_keeps_there_stays_and_what_a_kill_left_goes(project):
    settings, _, _ = project
    root = settings.path("models/safetensors")
    for name in ("v7-awq", "v7", ".v7.partial"):
        (root / name).mkdir(parents=True)
    for name in ("notes.txt", "v8"):
        (root / name).write_text("x")
    off = settings.model_copy(update={"publish": type(settings.publish)()})
    assert publish_again(off) == [f"{root / 'v7'} removed"]
    assert {file.name for file in root.iterdir()} == {"v7-awq", "notes.txt", "v8"}


def test_the_newest_version_is_written_first(project, registry, monkeypatch):
    settings, _, _ = project
    published(settings, registry, 2)
    asked = []
    monkeypatch.setattr(
        safetensors_folder, "write_folder", lambda *arguments: asked.append(arguments[2])
    )
    publish_again(settings)
    assert asked == ["stock-llm:v2", "stock-llm:v1"]
