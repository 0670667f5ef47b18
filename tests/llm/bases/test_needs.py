"""What bases need, computed from their sizes: against what is on disk and what was counted in training."""

import itertools
import math
from pathlib import Path

import pytest

from stock_llm.errors import InputError, StockLLMError
from stock_llm.llm.architectures import ModelShape, read_shape
from stock_llm.llm.bases import needs, training_time
from stock_llm.llm.gguf.adapter import write_adapter_gguf
from stock_llm.llm.merging.lora import read_adapter
from stock_llm.llm.profiles import Profile, load_profile, profile_names
from stock_llm.llm.quantization import LADDER
from stock_llm.machine import Gpu, Machine

PROJECT = Path(__file__).parents[3]
GIB = 1 << 30


def shape_of(name: str) -> tuple[Profile, ModelShape]:
    profile = load_profile(PROJECT, name)
    shape = needs.find_shape(profile, PROJECT)
    assert shape
    return profile, shape


@pytest.mark.parametrize("name", profile_names(PROJECT))
def test_the_sizes_of_a_committed_profile_give_the_weights_that_its_makers_name(name):
    profile, shape = shape_of(name)
    assert shape.weights / 1e9 == pytest.approx(profile.about.parameters, rel=0.03)


@pytest.mark.parametrize("folder", ["stock-tiny", "tiny"])
def test_the_weights_are_those_in_the_files(folder, tiny_base):
    from safetensors.torch import load_file

    base = (tiny_base if folder == "tiny" else PROJECT) / "models" / folder
    stored = [load_file(file) for file in base.glob("*.safetensors")]
    assert read_shape(base).weights == sum(
        tensor.numel() for file in stored for tensor in file.values()
    )


def test_a_config_without_a_size_is_refused_by_its_name(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": 64}')
    with pytest.raises(InputError, match=r"config\.json: num_hidden_layers"):
        read_shape(tmp_path)


def test_the_adapter_has_the_weights_that_peft_makes(tiny_base):
    from peft import LoraConfig, get_peft_model
    from transformers import MistralForCausalLM

    profile = load_profile(tiny_base, "tiny")
    model = MistralForCausalLM.from_pretrained(tiny_base / "models" / "tiny")
    adapted = get_peft_model(model, LoraConfig(r=profile.lora.rank, target_modules="all-linear"))
    counted = needs.adapter_weights(profile, needs.find_shape(profile, tiny_base))
    assert counted == adapted.num_parameters(only_trainable=True)


def test_mistral_7b_needs_what_is_published_of_it():
    """Sizes on disk: the hub's 14.5 GB; llama.cpp's Q4_K_M of it is 4.37 GB."""
    profile, shape = shape_of("mistral-7b")
    assert 2 * shape.weights == pytest.approx(14.5e9, rel=0.01)
    assert 4.37e9 < needs.quantized_bytes(profile, shape) < 1.06 * 4.37e9


def test_longer_rows_and_larger_batches_need_more_until_a_pass_is_full():
    profile, shape = shape_of("mistral-7b")

    def memory(**changed: int) -> int:
        training = profile.training.model_copy(update=changed)
        return needs.training_memory(profile.model_copy(update={"training": training}), shape)

    short, long = memory(max_tokens=512, batch=1), memory(max_tokens=2048, batch=1)
    assert short < long < memory(max_tokens=2048, batch=2)
    assert memory(max_tokens=2048, batch=2) == memory(max_tokens=2048, batch=4), "the pass is split"
    assert short < 8 * GIB


def test_checkpointing_keeps_the_inputs_of_layers_only():
    profile, shape = shape_of("tinyllama-1.1b")
    kept = needs.activations(profile, shape)
    small = shape.model_copy(update={"num_hidden_layers": 2 * shape.num_hidden_layers})
    more = needs.activations(profile, small) - kept
    tokens = needs.TOKENS_AT_ONCE
    assert more == tokens * shape.num_hidden_layers * 2 * shape.hidden_size


def kept_for_backward(trainer, **loss):
    """Bytes that autograd keeps of the forward pass of the first batch, weights apart."""
    import torch

    batch, model = next(iter(trainer.get_train_dataloader())), trainer.model.train()
    own = {
        weight.untyped_storage().data_ptr()
        for weight in itertools.chain(model.parameters(), model.buffers())
    }
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        trainer.compute_loss_context_manager(),
    ):
        trainer.compute_loss(model, dict(batch), **loss)
    sizes = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept
    }
    return sum(size for place, size in sizes.items() if place not in own)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_activations_are_those_that_autograd_keeps(precision, tiny_base, tmp_path):
    """The formula's numbers were counted on other shapes in the same way."""
    import torch

    from stock_llm.llm.base import load_base
    from stock_llm.llm.trainer import TokenizedRow, TrainingSchedule, make_trainer

    profile = load_profile(tiny_base, "tiny")
    profile = profile.model_copy(
        update={
            "training": profile.training.model_copy(
                update={"precision": precision, "batch": 1, "max_tokens": 128}
            )
        }
    )
    base = load_base(profile, tiny_base, four_bit=True)
    row, plan = TokenizedRow([5] * 128, 64), TrainingSchedule([0], 1, 1)
    trainer = make_trainer(base, profile, [row], plan, tmp_path, "x", 1)
    counted = kept_for_backward(trainer, num_items_in_batch=torch.tensor(64))
    shape = needs.find_shape(profile, tiny_base)
    # this base's one layer keeps its feed-forward part for answers alone, half of the tokens
    assert counted < needs.activations(profile, shape) < 1.65 * counted


def test_an_update_of_mistral_7b_moves_two_hundredths_of_it_at_most():
    """docs/publishing.md has these figures; a real Q4_K_M of it is 4.37 GB."""
    profile, shape = shape_of("mistral-7b")
    assert (profile.lora.rank, needs.adapter_weights(profile, shape)) == (16, 41_943_040)
    f16, q8 = (needs.adapter_bytes(profile, shape, kind) for kind in ("F16", "Q8_0"))
    assert (f16, q8) == (83_886_080, 65_208_320)
    assert q8 / (4.37e9 + q8) < 0.015 < f16 / (4.37e9 + f16) < 0.02
    assert q8 / (7.7e9 + q8) < 0.0085 < f16 / (7.7e9 + f16) < 0.011


@pytest.mark.parametrize(("kind", "rank"), [("F16", 4), ("Q8_0", 4), ("Q8_0", 32)])
def test_the_size_of_an_adapter_is_that_of_its_file(kind, rank, tiny_base, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import MistralForCausalLM

    folder = tiny_base / "models" / "tiny"
    model = MistralForCausalLM.from_pretrained(folder)
    adapted = get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear"))
    adapted.save_pretrained(tmp_path / "lora")
    write_adapter_gguf(folder, read_adapter(tmp_path / "lora"), tmp_path / "a.gguf", "a", kind)
    profile = load_profile(tiny_base, "tiny")
    profile = profile.model_copy(update={"lora": profile.lora.model_copy(update={"rank": rank})})
    counted = needs.adapter_bytes(profile, needs.find_shape(profile, tiny_base), kind)
    assert counted <= (tmp_path / "a.gguf").stat().st_size < counted + 4096


def test_rows_that_k_quants_cannot_hold_are_counted_as_what_llama_cpp_falls_back_to():
    profile, shape = shape_of("smollm2-135m")
    k_quant = profile.model_copy(update={"gguf": profile.gguf.model_copy(update={"quantization": "Q4_K_M"})})  # fmt: skip
    assert needs.quantized_bytes(k_quant, shape) == needs.quantized_bytes(profile, shape)


def test_a_quantization_that_is_not_chosen_yet_is_counted_as_a_large_one_and_f16_on_the_disk():
    profile, shape = shape_of("mistral-7b")
    auto, eight = (
        profile.model_copy(update={"gguf": profile.gguf.model_copy(update={"quantization": name})})
        for name in ("auto", "Q8_0")
    )
    assert needs.quantized_bytes(auto, shape) == needs.quantized_bytes(eight, shape)
    assert LADDER[-1] == "F16", "the last that `auto` tries, beside the f16 file that it is made of"
    assert needs.quantizing(auto, shape).disk > 4 * shape.weights
    assert needs.judging(auto, shape).disk > 4 * shape.weights
    assert needs.run_disk(auto, shape, PROJECT) > 6 * shape.weights, "candidate, copy, base"


def test_preference_tuning_needs_more_than_fine_tuning_and_says_how_to_do_without(
    tmp_path, monkeypatch
):
    profile, shape = shape_of("mistral-7b")
    tuning, training = needs.preference_tuning(profile, shape), needs.fine_tuning(profile, shape)
    short = profile.model_copy(
        update={"training": profile.training.model_copy(update={"max_tokens": 512})}
    )
    assert training.memory < tuning.memory < 16 * GIB
    assert needs.preference_tuning(short, shape).memory < tuning.memory
    assert training.disk < tuning.disk
    monkeypatch.setattr(needs, "this_machine", lambda: Machine(4 * GIB, None))
    with pytest.raises(StockLLMError, match=r"preference tuning needs .* or raise at_least of"):
        needs.require(tuning, profile, tmp_path)


def test_a_pair_and_the_rows_beside_it_keep_no_more_than_is_counted(tiny_base, tmp_path):
    """As autograd has it in the trainer of pairs, its reference included."""

    from stock_llm.llm.base import load_base
    from stock_llm.llm.preference_trainer import Pair, make_preference_trainer
    from stock_llm.llm.trainer import TokenizedRow, TrainingSchedule, make_trainer, save_adapter

    profile = load_profile(tiny_base, "tiny")
    profile = profile.model_copy(
        update={
            "training": profile.training.model_copy(
                update={"batch": 2, "accumulate": 1, "max_tokens": 128}
            )
        }
    )
    base = load_base(profile, tiny_base, four_bit=True)
    row, plan = TokenizedRow([5] * 128, 64), TrainingSchedule([0], 1, 1)
    fresh = make_trainer(base, profile, [row], plan, tmp_path / "fresh", "x", 1)
    save_adapter(fresh, tmp_path / "adapter", "tiny")

    base = load_base(profile, tiny_base, four_bit=True)
    pair, beside = Pair([5] * 64, [6] * 64, [7] * 64), [row] * needs.REPLAYED_ROWS
    trainer = make_preference_trainer(
        base, tmp_path / "adapter", profile, [pair], beside, tmp_path / "out", "x", 1
    )
    counted = kept_for_backward(trainer)
    shape = needs.find_shape(profile, tiny_base)
    whole = needs.preference_tuning(profile, shape).memory
    adapter = 20 * needs.adapter_weights(profile, shape)
    packed = needs._four_bit_weights(profile, shape)
    assert counted < whole - needs._LIBRARIES - adapter - packed < 2.5 * counted


def test_merging_a_7b_base_fits_a_machine_with_8_gib():
    """Three copies of the weights were 42 GB."""
    profile, shape = shape_of("mistral-7b")
    assert 4 * GIB < needs.quantizing(profile, shape).memory < 8 * GIB
    # f16 and quantized file; the adapter and logits beside them are small
    files = 2 * shape.weights + needs.quantized_bytes(profile, shape)
    assert files < needs.quantizing(profile, shape).disk < 1.1 * files


def test_a_base_that_is_here_is_not_downloaded_again(tmp_path):
    profile, shape = shape_of("stock-tiny")
    there, away = (needs.run_disk(profile, shape, home) for home in (PROJECT, tmp_path))
    assert away - there == 2 * shape.weights


def test_a_base_in_the_cache_of_the_hub_is_here(tmp_path, monkeypatch):
    import huggingface_hub

    profile = load_profile(PROJECT, "mistral-7b").model_copy(update={"revision": "0" * 40})
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(snapshot / "config.json")
    )
    assert needs.find_base(profile, tmp_path) is None, "a download that was broken off"
    (snapshot / "model-00001-of-00003.safetensors").touch()
    assert needs.find_base(profile, tmp_path) == snapshot


def test_too_little_memory_or_disk_is_refused_with_figures_and_a_remedy(tmp_path, monkeypatch):
    profile, shape = shape_of("mistral-7b")
    stage = needs.fine_tuning(profile, shape)
    needs_text = needs.size(stage.memory)
    monkeypatch.setattr(needs, "this_machine", lambda: Machine(4 * GIB, None))
    with pytest.raises(
        StockLLMError,
        match=rf"fine-tuning needs {needs_text} of memory, 4\.0 GiB are free\. .*smaller base",
    ):
        needs.require(stage, profile, tmp_path)
    monkeypatch.setattr(needs, "this_machine", lambda: Machine(64 * GIB, None))
    monkeypatch.setattr(needs, "free_disk", lambda _: 1 << 20)
    with pytest.raises(StockLLMError, match=r"1 MiB are free\. Free some space"):
        needs.require(stage, profile, tmp_path)
    monkeypatch.setattr(needs, "free_disk", lambda _: stage.disk)
    needs.require(stage, profile, tmp_path)


def test_with_a_gpu_its_memory_decides_where_the_stage_uses_it():
    profile, shape = shape_of("mistral-7b")
    large, small = (Machine(GIB, Gpu("Card", free * GIB, free * GIB)) for free in (80, 4))
    tuning, merging, judging = needs.stages(profile, shape)
    assert needs.memory_lacks(tuning, large) == needs.memory_lacks(merging, large) == ""
    assert "1.0 GiB are free" in needs.memory_lacks(judging, large)
    assert "of memory on Card, 4.0 GiB are free" in needs.memory_lacks(merging, small)


def test_time_grows_with_rows_and_weights_and_falls_with_cores():
    profile, shape = shape_of("smollm2-135m")
    seconds = training_time.training_seconds(profile, shape, rows=1000, cores=2, gpu=False)
    assert training_time.training_seconds(profile, shape, 2000, 2, gpu=False) == pytest.approx(
        2 * seconds
    )
    assert training_time.training_seconds(profile, shape, 1000, 4, gpu=False) == pytest.approx(
        seconds / 2
    )
    assert (
        training_time.training_seconds(*shape_of("mistral-7b"), 1000, 2, gpu=False) > 50 * seconds
    )
    assert not math.isclose(
        training_time.training_seconds(profile, shape, 1000, 2, gpu=True), seconds
    )


@pytest.mark.parametrize(
    ("name", "cores", "tokens", "seconds"),
    [
        ("smollm2-135m", 2, 0.42e6, 20 * 60),  # 18 to 21 minutes
        ("stock-tiny", 1, 793_456, 295),  # 285 to 303 seconds
    ],
)
def test_time_is_what_was_measured_on_this_kind_of_core(name, cores, tokens, seconds):
    profile, shape = shape_of(name)
    computed = training_time.training_seconds(profile, shape, rows=1000, cores=cores, gpu=False)
    counted = profile.training.epochs * training_time.epoch_tokens(profile, 1000)
    assert computed * tokens / counted == pytest.approx(seconds, rel=0.15)
    if name == "stock-tiny":
        assert counted == pytest.approx(tokens, rel=0.02)  # the sample's two epochs
