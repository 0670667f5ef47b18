"""Our writer against llama.cpp's own converter: the same keys and tensors for a small random model of each architecture.

The converter (2 MB, out of llama-cpp-python's source archive) is fetched once; without a network these tests are skipped.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from factories import small_bases
from gguf import GGUFReader

from stock_llm.errors import InputError, StockLLMError
from stock_llm.llm.gguf import converter
from stock_llm.llm.gguf.tokenizer import load_tokenizer, pre_tokenizer_name, tokenizer_parts
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.merging.weights import StoredWeights
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import messages

PROJECT = Path(__file__).parents[3]

DRIVER = """
import json, runpy, sys
program, jobs = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, program.rpartition("/")[0])
sys.path.insert(1, program.rpartition("/")[0] + "/gguf-py")
from conversion.base import TextModel
for folder, out, pre in jobs:
    if pre:  # it knows a tokenizer by a hash over one text's tokens, which no small vocabulary gives
        TextModel.get_vocab_base_pre = lambda self, tokenizer, pre=pre: pre
    sys.argv = [program, folder, "--outfile", out, "--outtype", "f16", "--model-name", "m"]
    runpy.run_path(program, run_name="__main__")
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Name of a small base → the file of our writer, and that of the converter; one process converts all."""
    try:
        program = converter.fetch_converter() / converter.SCRIPT
    except StockLLMError as error:
        pytest.skip(f"the converter cannot be had: {error}")
    root = tmp_path_factory.mktemp("converted")
    jobs, made = [], {}
    for name, prompt_format in small_bases.BASES.items():
        folder = root / name
        small_bases.write_base(name, folder)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["chat_template"] = prompt_format.jinja
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        made[name] = (root / f"{name}-ours.gguf", root / f"{name}-theirs.gguf")
        write_gguf(folder, made[name][0], "m", prompt_format.jinja)
        sentencepiece = (folder / "tokenizer.model").exists()
        pre = None if sentencepiece else pre_tokenizer_name(tokenizer_parts(folder))
        jobs.append((str(folder), str(made[name][1]), pre))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(program), json.dumps(jobs)],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return made


OF_THE_FILE = re.compile(r"GGUF\.|general\.(basename|size_label|version|name|license|finetune)")
"""Counts in the header, and what the converter guesses of the model's name."""

ALWAYS = {
    # ours says that there is none; without the key llama.cpp puts a space before a text that begins with a piece of SentencePiece
    "tokenizer.ggml.add_space_prefix": (False, None),
    "tokenizer.ggml.add_eos_token": (False, None),  # llama.cpp's default
}
PADDING = {"tokenizer.ggml.padding_token_id": (None, 0)}
"""Of config.json; ours takes the tokenizer's, which has none."""

DIFFERENT = {
    "mistral-v1": PADDING,
    "mistral-v3": PADDING,
    # a token that looks special and is none, in training either: ours is user-defined, theirs a control token
    "deepseek-coder": {"tokenizer.ggml.token_type": ({1000: 4}, {1000: 3})},
    "phi-2": PADDING
    | {
        # the converter takes four times the width, whatever config.json says
        "phi2.feed_forward_length": (128, 256),
        # defaults of llama.cpp, written
        "phi2.rope.freq_base": (10000.0, None),
        "phi2.attention.key_length": (16, None),
        "phi2.attention.value_length": (16, None),
        "phi2.vocab_size": (1024, None),
    },
    "ministral-3": {},
}
"""What else differs: key → our value and theirs; of a list, the places that differ."""


def parted(ours: object, theirs: object) -> tuple[object, object]:
    """Two values, of lists of one length only where they differ."""
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        places = [
            at for at, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]
        ]
        return {at: ours[at] for at in places}, {at: theirs[at] for at in places}
    return ours, theirs


@pytest.mark.parametrize("name", small_bases.BASES)
def test_the_tensors_are_those_of_the_converter(files, name):
    ours, theirs = ({tensor.name: tensor for tensor in GGUFReader(file).tensors} for file in files[name])  # fmt: skip
    assert ours.keys() == theirs.keys()
    for tensor, ours_of in ours.items():
        assert ours_of.tensor_type == theirs[tensor].tensor_type, tensor
        assert np.array_equal(ours_of.data, theirs[tensor].data), tensor


@pytest.mark.parametrize("name", small_bases.BASES)
def test_the_keys_are_those_of_the_converter(files, name):
    ours, theirs = (
        {
            key: field.contents()
            for key, field in GGUFReader(file).fields.items()
            if not OF_THE_FILE.match(key)
        }
        for file in files[name]
    )
    different = {
        key: parted(ours.get(key), theirs.get(key))
        for key in ours.keys() | theirs.keys()
        if ours.get(key) != theirs.get(key)
    }
    assert different == ALWAYS | DIFFERENT[name]


def test_the_archive_of_the_pinned_version_is_known():
    pinned = re.search(r"^llama-cpp-python==(\S+)$", (PROJECT / "constraints.txt").read_text(), re.MULTILINE)  # fmt: skip
    assert pinned and pinned[1] in converter.ARCHIVES, "write its archive's SHA-256 there"


def test_an_unknown_version_is_refused_with_the_one_to_install(monkeypatch):
    monkeypatch.setattr(converter, "version", lambda _: "0.0.1")
    with pytest.raises(InputError, match=r"0\.0\.1. Install llama-cpp-python==0\.3\.36"):
        converter.fetch_converter()


def test_the_merged_folder_is_written_in_files_of_bounded_size(tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(converter, "_SHARD_BYTES", 200_000)
    folder = tiny_base / "models" / "tiny"
    converter.write_folder(folder, StoredWeights(folder), tmp_path, "{{ 1 }}")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    before, after = StoredWeights(folder), StoredWeights(tmp_path)
    assert before.names() == after.names()
    for name in before.names():
        kept = before.read(name)
        expected = kept.to(torch.float16).float() if kept.ndim > 1 else kept
        assert torch.equal(after.read(name), expected), name
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["chat_template"] == "{{ 1 }}"


LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def test_what_our_writer_does_not_know_is_converted(tmp_path):
    """The scaled positions of Llama 3: llama.cpp computes what transformers does, and has the tokens of training."""
    try:
        converter.fetch_converter()
    except StockLLMError as error:
        pytest.skip(f"the converter cannot be had: {error}")
    folder = tmp_path / "llama-3"
    size = small_bases.write_sentencepiece(folder, "v3")
    small_bases.write_model(folder, "llama", size, rope_parameters=LLAMA_3)
    (tmp_path / ".convert-killed").mkdir()
    write_gguf(folder, tmp_path / "m.gguf", "a name", MISTRAL_V3.jinja)
    fields = GGUFReader(tmp_path / "m.gguf").fields
    assert fields["general.name"].contents() == "a name"
    assert fields["tokenizer.chat_template"].contents() == MISTRAL_V3.jinja
    assert {path.name for path in tmp_path.iterdir()} == {"llama-3", "m.gguf"}
    text = MISTRAL_V3.render(messages("What is RSI?", "1 " * 150))
    ids = load_tokenizer(folder)(text).input_ids
    assert len(ids) > LLAMA_3["original_max_position_embeddings"]
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with LlamaModel(tmp_path / "m.gguf", threads=1, context=512) as served, torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids])).logits[0, -1].numpy()
        assert served.tokenize(text) == ids
        assert np.abs(served._next_logits(ids) - expected).max() < 0.005
