"""A GGUF as a base that can be trained: the folder of config, weights and tokenizer that it was
once made from.

The inverse of llm/gguf/writer.py and vocabulary.py, for Llama models with a byte-level BPE. A
quantized weight is put back to a float and rounded to bfloat16: what quantizing has lost stays
lost. Every tensor is read alone, but the whole model is held in bfloat16 until it is saved.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError, MissingExtra
from stock_llm.llm.gguf.families import LLAMA
from stock_llm.llm.gguf.tokenizer import PRE_TOKENIZERS, WHOLE_WORDS, pre_tokenizer

if TYPE_CHECKING:
    import numpy as np

_CONTROL, _USER_DEFINED = 3, 4
"""llama.cpp's token types that are matched whole."""


def convert_gguf(gguf: Path, folder: Path, chat_template: str) -> None:
    """Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json into
    `folder`.

    Args:
        chat_template: Jinja, for tokenizer_config.json.

    Raises:
        InputError: the model is no Llama, or its tokenizer is not known here.
        MissingExtra: the extra `local` or `train` is not installed.
    """
    try:
        from gguf import GGUFReader
    except ImportError:
        raise MissingExtra("gguf", "local") from None

    reader = GGUFReader(gguf)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    architecture, kind = keys.get("general.architecture"), keys.get("tokenizer.ggml.model")
    pre = keys.get("tokenizer.ggml.pre")
    if architecture != "llama" or kind != "gpt2" or pre not in PRE_TOKENIZERS:
        raise InputError(
            f"a model of the architecture '{architecture}' with the tokenizer '{kind}', '{pre}'",
            file=gguf,
            remedy="Only Llama models with the byte-level BPE of "
            f"{' or '.join(PRE_TOKENIZERS)} can be made a base",
        )
    if keys.get("llama.rope.scaling.type", "none") != "none":
        raise InputError("its rotary positions are scaled", file=gguf)
    tied = "output.weight" not in {tensor.name for tensor in reader.tensors}
    _write_json(folder / "config.json", _config(keys, tied))
    _write_tokenizer(folder, keys, str(pre), chat_template)
    _write_weights(folder, reader.tensors, keys)


def _config(keys: dict[str, Any], tied: bool) -> dict[str, Any]:
    """config.json of a LlamaForCausalLM."""
    heads = keys["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(keys["tokenizer.ggml.tokens"]),
        "hidden_size": keys["llama.embedding_length"],
        "intermediate_size": keys["llama.feed_forward_length"],
        "num_hidden_layers": keys["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": keys.get("llama.attention.head_count_kv", heads),
        "head_dim": keys.get("llama.attention.key_length", keys["llama.embedding_length"] // heads),
        "hidden_act": "silu",
        "max_position_embeddings": keys["llama.context_length"],
        # float32 in the file, written with all of its digits
        "rms_norm_eps": float(f"{keys['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": keys.get("llama.rope.freq_base", 10000.0),
        "tie_word_embeddings": tied,
        "bos_token_id": keys.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": keys.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": keys.get("tokenizer.ggml.padding_token_id"),
        "dtype": "bfloat16",
    }


def _write_tokenizer(folder: Path, keys: dict[str, Any], pre: str, chat_template: str) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, processors
    from tokenizers.models import BPE

    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    model = BPE(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in keys["tokenizer.ggml.merges"]],
        ignore_merges=pre in WHOLE_WORDS,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer(PRE_TOKENIZERS[pre])
    tokenizer.decoder = decoders.ByteLevel()
    matched_whole = [
        AddedToken(tokens[index], special=kind == _CONTROL, normalized=False)
        for index, kind in enumerate(types)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_special_tokens([token for token in matched_whole if token.special])
    tokenizer.add_tokens([token for token in matched_whole if not token.special])
    names = {
        name: tokens[keys[key]]
        for name, key in (
            ("bos_token", "tokenizer.ggml.bos_token_id"),
            ("eos_token", "tokenizer.ggml.eos_token_id"),
            ("unk_token", "tokenizer.ggml.unknown_token_id"),
            ("pad_token", "tokenizer.ggml.padding_token_id"),
        )
        if key in keys
    }
    if keys.get("tokenizer.ggml.add_bos_token"):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{names['bos_token']} $A",
            special_tokens=[(names["bos_token"], keys["tokenizer.ggml.bos_token_id"])],
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **names,
            "clean_up_tokenization_spaces": False,
            "model_max_length": keys["llama.context_length"],
            "chat_template": chat_template,
        },
    )


def _write_weights(folder: Path, tensors: Any, keys: dict[str, Any]) -> None:
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train") from None
    from gguf.quants import dequantize

    blocks = {ours: theirs for theirs, ours in LLAMA.block.items()}
    outer = {f"{ours}.weight": f"{theirs}.weight" for theirs, ours in LLAMA.outer.items()}
    heads = keys["llama.attention.head_count"]
    key_heads = keys.get("llama.attention.head_count_kv", heads)
    weights = {}
    for tensor in tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        parts = tensor.name.split(".")
        if tensor.name in outer:
            name = outer[tensor.name]
        elif len(parts) == 4 and parts[0] == "blk" and parts[2] in blocks:
            name = f"model.layers.{parts[1]}.{blocks[parts[2]]}.weight"
            if parts[2] in ("attn_q", "attn_k"):
                values = _halved(values, heads if parts[2] == "attn_q" else key_heads)
        else:
            raise InputError(
                f"unknown tensor {tensor.name!r}",
                remedy="Only plain Llama models can be made a base",
            )
        weights[name] = torch.from_numpy(values.copy()).to(torch.bfloat16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _halved(weight: "np.ndarray[Any, Any]", heads: int) -> "np.ndarray[Any, Any]":
    """Rows reordered from llama.cpp's rotary pairs to Hugging Face's rotary halves."""
    rows, columns = weight.shape
    return (
        weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def _write_json(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
