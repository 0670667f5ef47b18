import shutil
from pathlib import Path

import pytest

from stock_llm.errors import InputError
from stock_llm.llm.base import base_digest, load_base
from stock_llm.llm.profiles import load_profile
from stock_llm.settings import Settings, load_settings


@pytest.fixture
def settings(tiny_base) -> Settings:
    return load_settings(home=tiny_base, profile="tiny")


def test_four_bit_is_nf4_with_double_quantization_on_every_linear_layer(settings):
    import bitsandbytes
    import torch

    base = load_base(load_profile(settings.home, settings.profile), settings.home, four_bit=True)

    linear = {
        name: module
        for name, module in base.model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    four_bit = {
        name: module
        for name, module in linear.items()
        if isinstance(module, bitsandbytes.nn.Linear4bit)
    }
    assert set(linear) - set(four_bit) == {"lm_head"}
    assert len(four_bit) == 7 * base.model.config.num_hidden_layers
    for module in four_bit.values():
        assert (
            module.weight.quant_type == "nf4"
            and module.weight.quant_state.nested
            and module.weight.dtype == torch.uint8
        )
        assert module.compute_dtype == torch.float32
    assert base.model.lm_head.weight.dtype == torch.float32


def test_four_bit_and_plain_logits_are_nearly_the_same(settings):
    import torch

    profile = load_profile(settings.home, settings.profile)
    plain, four_bit = (
        load_base(profile, settings.home, four_bit=choice) for choice in (False, True)
    )
    ids = plain.tokenizer("[INST] How strong is the trend?[/INST]", return_tensors="pt").input_ids

    with torch.no_grad():
        plain_logits, four_bit_logits = (
            base.model(input_ids=ids).logits.flatten() for base in (plain, four_bit)
        )
    assert not torch.equal(plain_logits, four_bit_logits)
    assert torch.nn.functional.cosine_similarity(plain_logits, four_bit_logits, dim=0) > 0.95


def test_the_digest_follows_the_files(settings, tmp_path):
    profile = load_profile(settings.home, settings.profile)
    before = base_digest(profile, settings.home)
    moved = settings.model_copy(update={"home": tmp_path})
    folder = shutil.copytree(settings.path(profile.path), tmp_path / profile.path)
    (folder / "README.md").write_text("a card changes nothing")
    assert base_digest(profile, moved.home) == before

    weights = next(folder.glob("*.safetensors"))
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert base_digest(profile, moved.home) != before


def test_a_hub_base_needs_a_pinned_commit(settings):
    pinned = load_profile(settings.home, settings.profile).model_copy(
        update={"path": "someone/some-model", "revision": "0" * 40}
    )
    assert base_digest(pinned, settings.home) == f"someone/some-model@{'0' * 40}"
    for revision in ("", "main", "0" * 39):
        with pytest.raises(InputError, match=r"stock-llm base build.*`revision`"):
            base_digest(pinned.model_copy(update={"revision": revision}), settings.home)


def test_a_base_that_is_fetched_from_an_index_says_how(tmp_path):
    profile = load_profile(Path(__file__).parents[2], "smollm2-135m")
    with pytest.raises(InputError, match="Run: stock-llm base fetch smollm2-135m"):
        base_digest(profile, tmp_path)


def test_a_base_with_gaps_is_refused(settings, tmp_path):
    from safetensors.torch import load_file, save_file

    profile = load_profile(settings.home, settings.profile)
    moved = settings.model_copy(update={"home": tmp_path})
    folder = shutil.copytree(settings.path(profile.path), tmp_path / profile.path)
    file = next(folder.glob("*.safetensors"))
    weights = load_file(file)

    save_file(
        {name: tensor for name, tensor in weights.items() if "layers.0.mlp.up_proj" not in name},
        file,
    )
    with pytest.raises(InputError, match=r"layers\.0\.mlp\.up_proj"):
        load_base(profile, moved.home, four_bit=False)

    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a base model that can be loaded"):
        load_base(profile, moved.home, four_bit=False)

    file.rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="other formats are not read"):
        load_base(profile, moved.home, four_bit=False)
