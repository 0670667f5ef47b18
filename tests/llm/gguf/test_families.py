"""llama.cpp computes what transformers computes, and gives the same tokens, for a small random model of each architecture."""

import dataclasses
import json

import pytest
import torch
import transformers
from factories import small_bases
from factories.rows import rows_of_all_skills
from safetensors.torch import load_file, save_file

from stock_llm.llm.architectures import read_config
from stock_llm.llm.gguf import families, tokenizer, writer
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.prompt_formats import MISTRAL_V7_TEKKEN
from stock_llm.llm.prompts import messages
from stock_llm.parity.prompts import check_tokens, questions

TEXTS = [
    "Close: 104.20\nRSI(14): 61.35\n\n12345  678 ½",
    "ราคาปิดของ KSTR คือ 9.50 บาท ที่ดีขึ้น",
    "def mean(x):\n    return sum(x) / 3.14159\n\n\n  don't\tI'LL  we'Ve",
    "📈 ab12cd\t\ttabs\r\n 👩‍💻 🇹🇭",
    "Für Äpfel ÜBER Größe, Élan; нещо на Български 我想在apple工作1314151天～",
    "a  b   c    d     e        f\n        return\n\n",
    "HTTPServer camelCase XMLHttp ''''''```",
]


@pytest.fixture(scope="module", params=small_bases.BASES)
def base(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases") / request.param
    small_bases.write_base(request.param, folder)
    return folder


@pytest.fixture(scope="module")
def gguf(base):
    file = base / "f16.gguf"
    write_gguf(base, file, base.name, small_bases.BASES[base.name].jinja)
    return file


def largest_difference(base, gguf) -> float:
    """Of the logits after a text of 320 tokens, more than ministral-3's positions are unscaled for."""
    text = "".join(
        small_bases.BASES[base.name].render(messages(row.instruction, row.input, row.output))
        for row in rows_of_all_skills(3)
    )
    ids = load_tokenizer(base)(text).input_ids[:320]
    assert small_bases.YARN["original_max_position_embeddings"] < len(ids) == 320
    model_class = getattr(transformers, read_config(base).architecture.model_class)
    model = model_class.from_pretrained(base, dtype=torch.float32).eval()
    with LlamaModel(gguf, threads=1, context=320) as served, torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids])).logits[0, -1]
        return (torch.from_numpy(served._next_logits(ids).copy()) - expected).abs().max().item()


def test_the_logits_are_those_of_transformers(base, gguf):
    assert largest_difference(base, gguf) < 0.005


def test_the_tokens_are_those_of_training(base, gguf):
    tokens = load_tokenizer(base)
    with LlamaModel(gguf, threads=1, context=2048) as served:
        for text in TEXTS:
            assert served.tokenize(text) == tokens(text).input_ids, text
        rows = list(rows_of_all_skills(20, seed=5))
        prompt_format = small_bases.BASES[base.name]
        check_tokens(
            questions(rows), prompt_format, lambda text: tokens(text).input_ids, served, 2048
        )


def test_rows_in_the_other_order_show_in_the_logits(base, tmp_path, monkeypatch):
    architecture = read_config(base).architecture.name
    family = families.FAMILIES[architecture]
    changed = dataclasses.replace(family, paired_rows=not family.paired_rows)
    monkeypatch.setattr(writer, "FAMILIES", {architecture: changed})
    write_gguf(base, tmp_path / "faulty.gguf", "faulty", "")
    assert largest_difference(base, tmp_path / "faulty.gguf") > 0.05


@pytest.mark.parametrize("name", ["deepseek-coder", "ministral-3"])
def test_positions_that_are_not_scaled_show_in_the_logits(tmp_path, monkeypatch, name):
    small_bases.write_base(name, tmp_path / name)
    monkeypatch.setattr(families, "_write_scaling", lambda *_: None)
    write_gguf(tmp_path / name, tmp_path / "faulty.gguf", "faulty", "")
    assert largest_difference(tmp_path / name, tmp_path / "faulty.gguf") > 0.05


def test_the_text_model_of_one_that_reads_images_is_written_alone(tmp_path):
    """The repositories of Ministral 3 hold both; their names begin with `language_model.`."""
    plain = tmp_path / "ministral-3"
    small_bases.write_base(plain.name, plain)
    write_gguf(plain, tmp_path / "plain.gguf", "m", MISTRAL_V7_TEKKEN.jinja)
    weights = load_file(plain / "model.safetensors")
    both = {f"language_model.{name}": weight for name, weight in weights.items()}
    both["vision_tower.patch_conv.weight"] = torch.zeros(2, 2)
    both["multi_modal_projector.norm.weight"] = torch.zeros(2)
    save_file(both, plain / "model.safetensors", metadata={"format": "pt"})
    text_config = json.loads((plain / "config.json").read_text())
    config = {"model_type": "mistral3", "text_config": text_config, "vision_config": {}}
    (plain / "config.json").write_text(json.dumps(config))
    write_gguf(plain, tmp_path / "both.gguf", "m", MISTRAL_V7_TEKKEN.jinja)
    assert (tmp_path / "both.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()


def test_tekken_is_cut_as_llama_cpp_cuts_it(tmp_path, monkeypatch):
    """The model's own pattern keeps Thai marks with their consonants, llama.cpp's does not; the rest is the same."""
    own = small_bases.write_tekken(tmp_path / "own")  # a cut one has few Thai tokens to part
    theirs = load_tokenizer(tmp_path / "own")
    monkeypatch.setattr(tokenizer, "CUT_BY_LLAMA_CPP", tokenizer.PRE_TOKENIZERS)
    ours = load_tokenizer(tmp_path / "own")
    assert own == len(ours)
    differing = [text for text in TEXTS if ours(text).input_ids != theirs(text).input_ids]
    assert differing == [TEXTS[1]]
