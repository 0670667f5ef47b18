"""What is read of a stranger's config.json, and which models can go through to a GGUF."""

import json

import pytest
from factories import small_bases

from stock_llm.errors import InputError
from stock_llm.llm.architectures import ARCHITECTURES, MINISTRAL_3, read_config
from stock_llm.llm.gguf.tokenizer import PRE_TOKENIZERS
from stock_llm.llm.gguf.writer import check_writable


def write(folder, **config):
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'.*mistral, llama, phi, ministral3"),
        ({"model_type": None}, "model_type is 'None'"),
        ({"auto_map": {"AutoModelForCausalLM": "evil.py"}}, "own code"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantized already"),
        ({"model_type": "mistral3", "text_config": {"model_type": "qwen3"}}, "'qwen3'"),
    ],
)
def test_a_config_that_wants_more_is_refused(tmp_path, change, complaint):
    write(tmp_path, **({"model_type": "mistral", "hidden_size": 64} | change))
    with pytest.raises(InputError, match=complaint):
        read_config(tmp_path)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_named_fields_of_the_config_are_read(tmp_path, name):
    write(
        tmp_path,
        model_type=name,
        hidden_size=64,
        _attn_implementation="stranger/kernel",
        dtype="float16",
        torch_dtype="float16",
        trust_remote_code=True,
    )
    config = read_config(tmp_path)
    assert config.architecture is ARCHITECTURES[name]
    assert config.fields == {"hidden_size": 64}
    assert config.as_json()["model_type"] == name


def test_the_text_model_beside_one_that_reads_images(tmp_path):
    write(
        tmp_path,
        model_type="mistral3",
        vision_config={"model_type": "pixtral"},
        text_config={"model_type": "ministral3", "hidden_size": 64, "head_dim": 16},
    )
    config = read_config(tmp_path)
    assert config.fields == {"hidden_size": 64, "head_dim": 16}
    assert config.architecture.model_class == MINISTRAL_3.model_class
    assert config.architecture.prefix == "language_model."
    assert config.as_json()["architectures"] == ["Ministral3ForCausalLM"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_transformers_has_the_classes_and_takes_the_fields(name):
    import transformers

    architecture = ARCHITECTURES[name]
    config = getattr(transformers, architecture.config_class)()
    assert config.model_type == name
    assert hasattr(transformers, architecture.model_class)
    legacy = {"rope_theta", "rope_scaling", "partial_rotary_factor"}  # older files write these
    assert [field for field in architecture.fields - legacy if not hasattr(config, field)] == []


def tokenizer(*steps, kind="BPE", normalizer=None):
    return {
        "model": {"type": kind},
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)},
    }


@pytest.mark.parametrize(
    ("config", "json_tokenizer", "complaint"),
    [
        (
            {"model_type": "llama", "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
            None,
            "positions of the kind 'dynamic'",
        ),
        (
            {"model_type": "ministral3", "rope_parameters": {"rope_type": "default"}},
            None,
            "positions of the kind 'default'",
        ),
        (
            {"model_type": "ministral3", "rope_parameters": small_bases.YARN | {"mscale": 0.7}},
            None,
            "'yarn' with these parameters",
        ),
        (
            {"model_type": "llama", "rope_parameters": {"rope_type": "linear"}},
            None,
            "a value that cannot be used.*linear",
        ),
        ({"model_type": "phi", "qk_layernorm": True}, None, "normalized queries and keys"),
        ({"model_type": "mistral", "hidden_act": "gelu"}, None, "the activation 'gelu'"),
        ({"model_type": "llama", "hidden_size": "large"}, None, "a value that cannot be used"),
        ({"model_type": "llama", "attention_bias": True}, None, "biases"),
        (
            {"model_type": "llama"},
            tokenizer({"type": "Split"}, *PRE_TOKENIZERS["gpt-2"]),
            "cut by Split, ByteLevel",
        ),
        (
            {"model_type": "llama"},
            tokenizer(*PRE_TOKENIZERS["gpt-2"], kind="Unigram"),
            "a tokenizer that cannot be written",
        ),
        (
            {"model_type": "llama"},
            tokenizer(*PRE_TOKENIZERS["gpt-2"], normalizer={"type": "NFC"}),
            "a tokenizer that cannot be written",
        ),
    ],
)
def test_what_could_not_become_a_gguf_is_refused_before_it_is_trained(
    tmp_path, config, json_tokenizer, complaint
):
    write(tmp_path, **config)
    if json_tokenizer:
        (tmp_path / "tokenizer.json").write_text(json.dumps(json_tokenizer))
    with pytest.raises(InputError, match=complaint):
        check_writable(tmp_path)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_can_become_a_gguf_is_not_refused(tmp_path, name):
    write(tmp_path, model_type=name)
    steps = tokenizer(*({**step, "trim_offsets": True} for step in PRE_TOKENIZERS["smollm"]))
    (tmp_path / "tokenizer.json").write_text(json.dumps(steps))
    check_writable(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").touch()
    check_writable(tmp_path)
