"""Random models of every architecture with the tokenizers of the catalogue, small enough to go through the whole line in seconds.

The package mistral-common carries Mistral's real vocabularies. Phi-2's and DeepSeek Coder's are not to be had here: theirs are
trained on a few rows, with the real steps that cut a text into words.
"""

import importlib.util
import json
import shutil
from pathlib import Path

from factories.rows import rows_of_all_skills
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from stock_llm.llm.gguf.tokenizer import PRE_TOKENIZERS, pre_tokenizer
from stock_llm.llm.prompt_formats import (
    DEEPSEEK_CODER,
    MISTRAL_V1,
    MISTRAL_V3,
    MISTRAL_V7_TEKKEN,
    PHI_2,
)

SENTENCEPIECE = {
    "v1": "tokenizer.model.v1",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
}
TEKKEN = "tekken_240911.json"
TEKKEN_SPECIAL = [
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
]  # fmt: skip
"""tekken_240911.json leaves them to mistral-common's code."""


def mistral_file(name: str) -> Path:
    """One of the vocabularies in the package mistral-common."""
    package = importlib.util.find_spec("mistral_common")
    return Path(package.origin).parent / "data" / name


def write_sentencepiece(folder: Path, version: str, prefix: str = "first") -> int:
    """tokenizer.model and tokenizer.json of Mistral's `version`; returns the size.

    Args:
        prefix: where a space is put before a text: `first`, at its beginning only (transformers since 2024), or `always`, after
            every special token as well (before that).
    """
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(mistral_file(SENTENCEPIECE[version]), folder / "tokenizer.model")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    size = pieces.vocab_size()
    names = [pieces.id_to_piece(index) for index in range(size)]
    control = [name for index, name in enumerate(names) if pieces.is_control(index)]
    rank = {
        name: -pieces.get_score(index)
        for index, name in enumerate(names)
        if not (pieces.is_control(index) or pieces.is_byte(index) or pieces.is_unknown(index))
    }
    merges = sorted(
        (rank[name], name[:cut], name[cut:])
        for name in rank
        for cut in range(1, len(name))
        if name[:cut] in rank and name[cut:] in rank
    )
    tokenizer = Tokenizer(
        BPE(
            vocab={name: index for index, name in enumerate(names)},
            merges=[(left, right) for _, left, right in merges],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    if prefix == "first":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    _write(tokenizer, folder, ["<unk>", *control], bos="<s>", eos="</s>", unk="<unk>")
    return size


def write_tekken(folder: Path, size: int = 131_072) -> int:
    """tokenizer.json of Tekken with its first `size` tokens, as transformers converts it; returns the size."""
    from transformers.integrations.mistral import MistralConverter

    folder.mkdir(parents=True, exist_ok=True)
    tekken = json.loads(mistral_file(TEKKEN).read_text(encoding="utf-8"))
    tekken["special_tokens"] = [
        {"rank": rank, "token_str": token} for rank, token in enumerate(TEKKEN_SPECIAL)
    ]
    tekken["config"]["default_vocab_size"] = size
    tekken["vocab"] = tekken["vocab"][:size]
    source = folder / "tekken.json"
    source.write_text(json.dumps(tekken), encoding="utf-8")
    converter = MistralConverter(str(source))
    source.unlink()
    special = [token.content for token in converter.additional_special_tokens]
    _write(converter.converted(), folder, special, bos="<s>", eos="</s>", pad="<pad>")
    return size


def write_byte_level(folder: Path, name: str) -> int:
    """tokenizer.json of 1,000 tokens trained on a few rows, which cuts as llama.cpp's `name` does; returns the size.

    With the added tokens of Phi-2 (runs of blanks) for `gpt-2`, and of DeepSeek Coder (letters whose bytes are in no text) for
    `deepseek-coder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(BPE(ignore_merges=name == "tekken"))
    tokenizer.pre_tokenizer = pre_tokenizer(PRE_TOKENIZERS[name])
    tokenizer.decoder = decoders.ByteLevel()
    rows = [f"{row.instruction}\n{row.input}\n{row.output}" for row in rows_of_all_skills(60)]
    trainer = BpeTrainer(
        vocab_size=1000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(rows, trainer)
    if name == "deepseek-coder":
        tokenizer.normalizer = normalizers.Sequence([])
        tokenizer.add_tokens([AddedToken(letter, normalized=True) for letter in "õ÷Áýü"])
        tokens = {
            "bos": "<｜begin▁of▁sentence｜>",
            "eos": "<|EOT|>",
            "pad": "<｜end▁of▁sentence｜>",
        }
        tokenizer.add_tokens([AddedToken(t, normalized=True) for t in ("<|User|>", "<|EOT|>")])
    else:
        blanks = [" " * count for count in range(8, 1, -1)] + ["\t" * count for count in (3, 2)]
        tokenizer.add_tokens([AddedToken(run, normalized=True) for run in blanks])
        tokens = dict.fromkeys(("bos", "eos", "unk"), "<|endoftext|>")
    size = _write(tokenizer, folder, list(dict.fromkeys(tokens.values())), **tokens)
    return (
        -(-size // 64) * 64
    )  # rows of the embedding that no token has, as Phi-2 and DeepSeek Coder have


def _write(tokenizer: Tokenizer, folder: Path, special: list[str], **tokens: str) -> int:
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    bos = tokens["bos"]
    if bos != tokens["eos"]:  # Phi-2 puts nothing before a text
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": token for name, token in tokens.items()},
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config, ensure_ascii=False), encoding="utf-8"
    )
    return tokenizer.get_vocab_size()


SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
}


def write_model(folder: Path, architecture: str, vocab_size: int, **more: object) -> None:
    """config.json and model.safetensors of a random model in bfloat16."""
    import torch
    import transformers

    from stock_llm.llm.architectures import ARCHITECTURES

    known = ARCHITECTURES[architecture]
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    fields = {**SHAPE, "vocab_size": vocab_size, **special}
    if architecture != "phi":
        fields |= {"num_key_value_heads": 2, "head_dim": 16}
    torch.manual_seed(1)
    config = getattr(transformers, known.config_class)(**(fields | more))
    model = getattr(transformers, known.model_class)(config).to(torch.bfloat16)
    for name, weight in model.named_parameters():
        if weight.ndim == 1:  # ones and zeros would not show a bias that is left out
            weight.data += 0.2 * torch.randn_like(weight)
        elif "attn" in name:  # nor attention that looks everywhere alike a wrong position
            weight.data *= 8
    model.save_pretrained(folder)


YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 256,  # 16,384 in Ministral 3; so few that a test goes beyond
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 100000.0}

BASES = {
    "mistral-v1": MISTRAL_V1,
    "mistral-v3": MISTRAL_V3,
    "deepseek-coder": DEEPSEEK_CODER,
    "phi-2": PHI_2,
    "ministral-3": MISTRAL_V7_TEKKEN,
}
"""Name of a small base → its prompt format. stock-tiny and SmolLM2 have tests of their own."""


def write_base(name: str, folder: Path) -> None:
    """The folder of the small base `name`, of which `BASES` has the list."""
    if name == "phi-2":
        write_model(folder, "phi", write_byte_level(folder, "gpt-2"), partial_rotary_factor=0.5)
    elif name == "deepseek-coder":
        size = write_byte_level(folder, "deepseek-coder")
        write_model(folder, "llama", size, rope_parameters=LINEAR)
    elif name == "ministral-3":
        size = write_tekken(folder, 8000)
        write_model(folder, "ministral3", size, rope_parameters=YARN, tie_word_embeddings=True)
    else:
        size = write_sentencepiece(folder, name.removeprefix("mistral-"))
        write_model(folder, "mistral", size, sliding_window=None)
