import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import sentencepiece
import torch
from factories.rows import rows_of_all_skills
from gguf import GGUFReader
from safetensors.torch import load_file, save_file
from transformers import MistralForCausalLM, PreTrainedTokenizerFast

from stock_llm.errors import InputError, ParityError
from stock_llm.llm import quantization
from stock_llm.llm.gguf import vocabulary
from stock_llm.llm.gguf.writer import Origin, write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.parity.prompts import check_tokens, questions
from stock_llm.synthetic.stock_tiny.tokenizer import write_fast_tokenizer


@pytest.fixture(scope="module")
def base(tiny_base):
    return tiny_base / "models" / "tiny"


@pytest.fixture(scope="module")
def f16(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("gguf") / "f16.gguf"
    write_gguf(base, out, "tiny", MISTRAL_V3.jinja)
    return out


def tokenizer(folder):
    fast = PreTrainedTokenizerFast.from_pretrained(folder)
    return lambda text: fast(text).input_ids


def test_llama_cpp_computes_what_transformers_computes(base, f16):
    model = MistralForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    tokens = tokenizer(base)
    with LlamaModel(f16, threads=1, context=1024) as served, torch.inference_mode():
        for row in rows_of_all_skills(5):
            prompt = tokens(MISTRAL_V3.render(messages(row.instruction, row.input)))
            answer = tokens(MISTRAL_V3.render(messages(row.instruction, row.input, row.output)))[
                len(prompt) :
            ]
            logits = model(input_ids=torch.tensor([prompt + answer])).logits[
                0, len(prompt) - 1 : -1
            ]
            expected = torch.nn.functional.cross_entropy(logits, torch.tensor(answer)).item()
            loss, count = served.answer_loss(prompt, answer)
            assert loss / count == pytest.approx(expected, abs=2e-3)


def test_a_file_says_where_it_comes_from_and_names_no_folder(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "canary")
    plain, quantized = folder / "f16.gguf", folder / "q8.gguf"
    page = "https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.3"
    origin = Origin("mistral-7b", page, "c170c708", "Apache-2.0", "0123abcd")
    write_gguf(folder, plain, "stock-llm 0123abcd", MISTRAL_V3.jinja, origin=origin)
    quantization.quantize_gguf(plain, quantized, "Q8_0", 1)
    for file in (plain, quantized):
        fields = GGUFReader(file).fields
        said = {name: fields[name].contents() for name in fields if name.startswith("general.")}
        assert (
            said
            | {
                "general.basename": "mistral-7b",
                "general.version": "0123abcd",
                "general.license": "apache-2.0",
                "general.base_model.count": 1,
                "general.base_model.0.name": "mistral-7b",
                "general.base_model.0.repo_url": page,
                "general.base_model.0.version": "c170c708",
            }
            == said
        )
        assert b"canary" not in file.read_bytes()
    named = replace(origin, licence="Llama 2 Community License", repository="")
    write_gguf(folder, plain, "m", MISTRAL_V3.jinja, origin=named)
    fields = GGUFReader(plain).fields
    assert fields["general.license"].contents() == "other"
    assert fields["general.license.name"].contents() == "Llama 2 Community License"
    assert "general.base_model.0.repo_url" not in fields


def test_greedy_answers_are_the_same_tokens(base, f16):
    model = MistralForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    fast = PreTrainedTokenizerFast.from_pretrained(base)
    with LlamaModel(f16, threads=1, context=1024) as served:
        for row in rows_of_all_skills(3):
            text = MISTRAL_V3.render(messages(row.instruction, row.input))
            ids = torch.tensor([fast(text).input_ids])
            generated = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=30,
                do_sample=False,
                pad_token_id=0,
            )
            expected = (
                fast.decode(generated[0, ids.shape[1] :], skip_special_tokens=False)
                .split("</s>")[0]
                .strip()
            )
            assert served.generate(text, max_tokens=30).text == expected


def test_every_prompt_has_the_tokens_of_training(base, f16):
    rows = list(rows_of_all_skills(100, seed=3))
    with LlamaModel(f16, threads=1, context=1024) as served:
        check_tokens(questions(rows), MISTRAL_V3, tokenizer(base), served, context=1024)


def test_a_planted_token_difference_is_caught(base, tmp_path, monkeypatch):
    """A conversion that makes `[INST]` an ordinary piece works, answers, and sees other tokens than training did."""
    monkeypatch.setattr(vocabulary, "_CONTROL", vocabulary._NORMAL)
    naive = tmp_path / "naive.gguf"
    write_gguf(base, naive, "naive", MISTRAL_V3.jinja)
    with (
        LlamaModel(naive, threads=1, context=1024) as served,
        pytest.raises(ParityError, match="token 1 of the prompt differs"),
    ):
        check_tokens(
            questions(list(rows_of_all_skills(1))),
            MISTRAL_V3,
            tokenizer(base),
            served,
            context=1024,
        )


def test_a_prompt_that_would_be_cut_is_caught(base, f16):
    with (
        LlamaModel(f16, threads=1, context=1024) as served,
        pytest.raises(ParityError, match="cut silently"),
    ):
        check_tokens(
            questions(list(rows_of_all_skills(1))), MISTRAL_V3, tokenizer(base), served, context=64
        )


def test_a_tokenizer_like_mistrals_is_copied_as_training_uses_it(base, tmp_path):
    """Mistral-7B's SentencePiece model asks for a dummy prefix and has `[INST]` as a control token; training uses none."""
    lines = [
        line
        for row in rows_of_all_skills(200)
        for line in f"{row.instruction}\n{row.output}".split("\n")
        if line
    ]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        control_symbols=["[INST]", "[/INST]"],
        num_threads=1,
        minloglevel=2,
    )
    folder = tmp_path / "mistral-like"
    shutil.copytree(base, folder)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    write_fast_tokenizer(folder)
    write_gguf(folder, tmp_path / "m.gguf", "m", MISTRAL_V3.jinja)
    with LlamaModel(tmp_path / "m.gguf", threads=1, context=1024) as served:
        check_tokens(
            questions(list(rows_of_all_skills(30, seed=4))),
            MISTRAL_V3,
            tokenizer(folder),
            served,
            context=1024,
        )


def test_rows_of_the_embedding_without_a_piece_are_unused_tokens(base, tmp_path):
    """Models pad their embedding; llama.cpp loads only a file with as many tokens as it has rows."""
    folder = tmp_path / "padded"
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(base / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = torch.cat([embedding, torch.zeros(5, len(embedding[0]))])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    size = config["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": size + 5}))
    write_gguf(folder, tmp_path / "p.gguf", "p", MISTRAL_V3.jinja)
    names = GGUFReader(tmp_path / "p.gguf").fields["tokenizer.ggml.tokens"].contents()
    assert names[size:] == [f"[PAD{size + number}]" for number in range(5)]
    text = MISTRAL_V3.render(messages("How is [PAD600]?", "x"))
    with LlamaModel(tmp_path / "p.gguf", threads=1, context=64) as served:
        assert served.tokenize(text) == tokenizer(base)(text)


def test_a_vocabulary_larger_than_the_embedding_is_refused(base, tmp_path):
    folder = tmp_path / "short"
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 500}))
    with pytest.raises(InputError, match=r"vocab_size in config\.json is 500"):
        write_gguf(folder, tmp_path / "s.gguf", "s", MISTRAL_V3.jinja)


def test_the_file_has_its_metadata(f16, base):
    fields = GGUFReader(f16).fields
    config = json.loads((base / "config.json").read_text())
    assert fields["general.architecture"].contents() == "llama"
    assert fields["llama.attention.head_count_kv"].contents() == config["num_key_value_heads"]
    assert fields["tokenizer.chat_template"].contents() == MISTRAL_V3.jinja
    assert fields["tokenizer.ggml.add_space_prefix"].contents() is False


def test_sharded_and_untied_weights_are_written_too(base, tmp_path):
    weights = load_file(base / "model.safetensors")
    folder = tmp_path / "sharded"
    shutil.copytree(base, folder)
    (folder / "model.safetensors").unlink()
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
    index = {name: file for file, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    write_gguf(folder, tmp_path / "s.gguf", "s", MISTRAL_V3.jinja)
    tensors = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "s.gguf").tensors}
    assert np.array_equal(tensors["output.weight"].data, tensors["token_embd.weight"].data)


def test_quantized_files_are_smaller_and_whole(f16, tmp_path):
    quantization.quantize_gguf(f16, tmp_path / "q4.gguf", "Q4_K_M", threads=1)
    assert (tmp_path / "q4.gguf").stat().st_size < f16.stat().st_size / 2
    quantization.check_gguf(tmp_path / "q4.gguf")
    assert not list(tmp_path.glob(".*.tmp"))


def test_an_unknown_quantization_lists_the_known(f16, tmp_path):
    with pytest.raises(InputError, match=r"Q4_K_M"):
        quantization.quantize_gguf(f16, tmp_path / "x.gguf", "Q4_K_X", threads=1)


@pytest.mark.parametrize("size", [0, 10, 1000, -100])
def test_a_cut_file_is_refused_before_anyone_loads_it(f16, tmp_path, size):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(f16.read_bytes()[:size])
    with pytest.raises(InputError, match=r"cut\.gguf"):
        quantization.check_gguf(cut)


def test_foreign_weights_are_refused_by_name(base, tmp_path):
    folder = tmp_path / "foreign"
    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.experts.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="experts"):
        write_gguf(folder, tmp_path / "f.gguf", "f", MISTRAL_V3.jinja)
    assert not list(tmp_path.glob("*.gguf"))
