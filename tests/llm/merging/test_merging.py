"""Adapters merged tensor by tensor: equal to peft's merge, byte for byte in the file, for every architecture."""

import json
import shutil

import pytest
import torch
import transformers
from factories import small_bases
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from stock_llm.errors import InputError
from stock_llm.llm.architectures import read_config
from stock_llm.llm.base import load_base
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.merging.layerwise import TokenizedAnswer, compute_logits, linear_weights
from stock_llm.llm.merging.lora import read_adapter
from stock_llm.llm.merging.weights import (
    MergedWeights,
    StoredWeights,
    from_four_bit,
)
from stock_llm.llm.profiles import load_profile
from stock_llm.storage.checksums import file_sha256


@pytest.fixture(scope="module", params=small_bases.BASES)
def base(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases") / request.param
    small_bases.write_base(request.param, folder)
    return folder


def load(folder):
    model_class = getattr(transformers, read_config(folder).architecture.model_class)
    return model_class.from_pretrained(folder, dtype=torch.float32).eval()


def write_adapter(folder, out, **options):
    """A random adapter on all linear layers, saved by peft."""
    torch.manual_seed(7)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | options)
    model = get_peft_model(load(folder), config)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data.normal_(0, 0.1)
    model.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    return write_adapter(base, tmp_path_factory.mktemp("adapters"))


def merged(folder, adapter):
    return MergedWeights(StoredWeights(folder), read_adapter(adapter))


def by_peft(folder, adapter):
    return PeftModel.from_pretrained(load(folder), adapter).merge_and_unload()


def test_the_file_is_that_of_peft_s_merge_byte_for_byte(base, adapter, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(base, plain)
    by_peft(base, adapter).save_pretrained(plain)
    shutil.copy(base / "config.json", plain)
    before = file_sha256(base / "model.safetensors")
    write_gguf(plain, tmp_path / "peft.gguf", "m", "")
    write_gguf(base, tmp_path / "ours.gguf", "m", "", merged(base, adapter))
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "peft.gguf").read_bytes()
    assert file_sha256(base / "model.safetensors") == before, "the mapped base was written to"
    write_gguf(base, tmp_path / "base.gguf", "m", "")
    assert (tmp_path / "ours.gguf").read_bytes() != (tmp_path / "base.gguf").read_bytes()


def test_the_logits_of_a_merge_are_those_of_transformers(base, adapter):
    chance = torch.Generator().manual_seed(3)
    rows = [
        TokenizedAnswer(ids[:-20], ids[-20:])
        for ids in (torch.randint(3, 500, (size,), generator=chance).tolist() for size in (40, 290))
    ]
    seen, inputs = {}, {}
    compute_logits(
        base,
        merged(base, adapter),
        rows,
        lambda number, logits: seen.update({number: logits.clone()}),
        "",
        watch=lambda name, given: inputs.setdefault(name, []).append(tuple(given.shape)),
    )
    model = by_peft(base, adapter)
    with torch.inference_mode():
        for number, row in enumerate(rows):
            start = len(row.prompt)
            ids = torch.tensor([row.prompt + row.answer])
            expected = model(input_ids=ids).logits[0, start - 1 : -1]
            assert torch.allclose(seen[number], expected, atol=1e-4)
    linear = {
        name: module.in_features
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert set(inputs) == set(linear)
    for name, shapes in inputs.items():
        tokens = (21, 21) if name == "lm_head" else (40, 290)
        assert shapes == [(count, linear[name]) for count in tokens]


def test_a_rank_stabilized_scale_is_merged_as_peft_does(tiny_base, tmp_path):
    folder = tiny_base / "models" / "tiny"
    adapter = write_adapter(folder, tmp_path / "a", use_rslora=True)
    expected = by_peft(folder, adapter).state_dict()
    weights = merged(folder, adapter)
    for name in weights.names():
        assert torch.equal(weights.read(name), expected[name]), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_put_back_from_four_bits_is_what_training_sees(tiny_base, precision):
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    profile = load_profile(tiny_base, "tiny")
    training = profile.training.model_copy(update={"precision": precision})
    profile = profile.model_copy(update={"training": training})
    model = load_base(profile, tiny_base, four_bit=True).model
    layers = {
        f"{name}.weight": layer.weight
        for name, layer in model.named_modules()
        if isinstance(layer, Linear4bit)
    }
    folder = tiny_base / "models" / "tiny"
    assert linear_weights(folder) == set(layers) and len(layers) == 7
    stored = StoredWeights(folder)
    for name, weight in layers.items():
        seen = dequantize_4bit(weight.data, weight.quant_state).float()
        assert torch.equal(from_four_bit(stored.read(name), precision), seen), name


@pytest.mark.parametrize(
    "option",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 8}},
        {"alpha_pattern": {"q_proj": 8}},
        {"bias": "all"},
        {"init_lora_weights": "pissa"},
        {"peft_type": "LOHA"},
        {"trainable_token_indices": [1, 2]},
        {"an_option_of_tomorrow": True},
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(tiny_base, tmp_path, option):
    write_adapter(tiny_base / "models" / "tiny", tmp_path / "a")
    read_adapter(tmp_path / "a")
    file = tmp_path / "a" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | option))
    (name,) = option
    shown = "LOHA" if name == "peft_type" else name
    with pytest.raises(InputError, match=rf"adapter_config\.json: .*{shown}"):
        read_adapter(tmp_path / "a")


def test_weights_that_are_no_part_of_lora_or_of_this_base_are_refused_by_name(tiny_base, tmp_path):
    folder = tiny_base / "models" / "tiny"
    file = write_adapter(folder, tmp_path / "a") / "adapter_model.safetensors"
    weights = load_file(file)
    first = "base_model.model.model.layers.0.self_attn.q_proj"

    def rewrite(**changed):
        save_file(weights | changed, file, metadata={"format": "pt"})

    rewrite(**{f"{first}.lora_magnitude_vector.weight": torch.zeros(256)})
    with pytest.raises(InputError, match="lora_magnitude_vector"):
        read_adapter(tmp_path / "a")
    rewrite(**{f"{first}.lora_A.weight": torch.zeros(8, 256)})
    with pytest.raises(InputError, match=r"q_proj.*rank is 4"):
        read_adapter(tmp_path / "a")
    rewrite(**{f"{first}.lora_A.weight": torch.zeros(4, 128)})
    with pytest.raises(InputError, match=r"q_proj.*\(256x128\).*another base"):
        merged(folder, tmp_path / "a")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="not an adapter's weights"):
        read_adapter(tmp_path / "a")


def test_a_base_with_a_missing_file_of_weights_is_refused_by_name(tiny_base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base / "models" / "tiny", folder)
    index = {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"00002-of-00002\.safetensors: a file of weights is missing"):  # fmt: skip
        StoredWeights(folder)
