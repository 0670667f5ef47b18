"""A GGUF that llama.cpp loads and that answers every prompt with one text: a real file for tests of what is done with answers.

The text is a single token of its vocabulary. There is no attention to speak of (all its weights are zero), so the next token
depends on the last one alone: after the text comes the end, after anything else the text.
"""

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_WIDTH = 32
_FIRST = 5 + 256 + 1
"""Number of the token of what it says."""


def write_parrot(path: Path, text: str, name: str = "parrot", others: Sequence[str] = ()) -> Path:
    """The GGUF; `name` tells files that say the same apart.

    Args:
        others: what it could say besides, with an adapter of `write_parrot_lora`.
    """
    specials = {
        "<unk>": _UNKNOWN,
        "<s>": _CONTROL,
        "</s>": _CONTROL,
        "[INST]": _CONTROL,
        "[/INST]": _CONTROL,
    }
    bytes_ = {f"<0x{byte:02X}>": _BYTE for byte in range(256)}
    tokens = {**specials, **bytes_, "▁": _NORMAL}
    end, last = 2, len(tokens)
    assert last == _FIRST
    tokens |= {said.replace(" ", "▁"): _NORMAL for said in (text, *others)}
    embeddings = np.zeros((len(tokens), _WIDTH), np.float32)
    embeddings[:, 0] = 1
    embeddings[last:] = np.eye(_WIDTH)[1]
    output = np.zeros_like(embeddings)
    output[last, 0] = output[end, 1] = 1

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_context_length(4096)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_WIDTH)
    writer.add_head_count(1)
    writer.add_rope_dimension_count(_WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(list(tokens.values()))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(end)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    ones, zeros = np.ones(_WIDTH, np.float32), np.zeros((_WIDTH, _WIDTH), np.float32)
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", ones)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", zeros)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_parrot_lora(path: Path, place: int, others: int) -> Path:
    """An adapter with which a parrot says another text.

    Args:
        place: of the text among `others`, from 1 on; 0 is what the parrot says itself.
        others: how many the parrot could say besides.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    a, b = np.zeros((1, _WIDTH), np.float32), np.zeros((_FIRST + 1 + others, 1), np.float32)
    a[0, 0], b[_FIRST + place] = 1, 9
    writer.add_tensor("output.weight.lora_a", a)
    writer.add_tensor("output.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
