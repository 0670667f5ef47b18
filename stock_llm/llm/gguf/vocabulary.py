"""Writes a tokenizer into a GGUF: SentencePiece's pieces, or byte-level BPE with its merges.

Token types and keys are those of llama.cpp's own converter. A tokenizer whose way of cutting a text
into words llama.cpp knows by a name that is not in `PRE_TOKENIZERS` is refused: a wrong name would
cut numbers or Thai otherwise, silently.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError
from stock_llm.llm.gguf.tokenizer import (
    PRE_TOKENIZERS,
    SENTENCEPIECE_FILE,
    load_tokenizer,
    pre_tokenizer_name,
    pre_tokenizer_steps,
    tokenizer_parts,
)

if TYPE_CHECKING:
    from gguf import GGUFWriter

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
"""llama.cpp's token types (llama_token_type)."""

_NO_SCORE = -10000.0
"""Of a row of the embedding without a piece, as llama.cpp's converter writes it."""


def check_vocabulary(folder: Path) -> None:
    """
    Raises:
        InputError: the folder's tokenizer cannot be written.
    """
    if not (folder / SENTENCEPIECE_FILE).is_file():
        _pre_tokenizer(tokenizer_parts(folder), folder)


def write_vocabulary(
    writer: "GGUFWriter", folder: Path, vocab_size: int, chat_template: str
) -> None:
    """The folder's tokenizer: tokenizer.model where there is one, else tokenizer.json.

    Args:
        vocab_size: rows of the embedding; those without a token are written as unused.

    Raises:
        InputError: the tokenizer is of a kind that is not known here, or the files disagree.
    """
    tokenizer = load_tokenizer(folder)
    if (folder / SENTENCEPIECE_FILE).is_file():
        _write_pieces(writer, folder / SENTENCEPIECE_FILE, tokenizer, vocab_size)
    else:
        _write_merges(writer, folder, tokenizer, vocab_size)
    writer.add_chat_template(chat_template)


def _write_pieces(writer: "GGUFWriter", file: Path, tokenizer: Any, vocab_size: int) -> None:
    """Pieces, scores and types of the SentencePiece model; tokens that transformers treats as
    special become control tokens.

    A control token is matched whole wherever it stands. As a normal piece `[INST]` would be split
    into letters, silently.
    """
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))
    size = pieces.vocab_size()
    if len(tokenizer) != size:
        raise InputError(
            f"{len(tokenizer)} tokens in tokenizer.json, {size} in tokenizer.model", file=file
        )
    if size > vocab_size:
        raise InputError(f"{size} tokens, vocab_size in config.json is {vocab_size}", file=file)
    unused = range(size, vocab_size)
    added = tokenizer.added_tokens_decoder
    special = {index for index, token in added.items() if token.special}
    types = []
    for index in range(size):
        if pieces.is_unknown(index):
            types.append(_UNKNOWN)
        elif pieces.is_control(index) or index in special:
            types.append(_CONTROL)
        elif pieces.is_byte(index):
            types.append(_BYTE)
        elif pieces.is_unused(index):
            types.append(_UNUSED)
        else:
            types.append(_USER_DEFINED if index in added else _NORMAL)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    names = [pieces.id_to_piece(index).encode() for index in range(size)]
    scores = [pieces.get_score(index) for index in range(size)]
    writer.add_token_list([*names, *(f"[PAD{index}]".encode() for index in unused)])
    writer.add_token_scores([*scores, *(_NO_SCORE for _ in unused)])
    writer.add_token_types([*types, *(_UNUSED for _ in unused)])
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())
    writer.add_unk_token_id(pieces.unk_id())
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(prefixes_space(tokenizer))


def prefixes_space(tokenizer: Any) -> bool:
    """Whether a text that follows a special token is tokenized as if a space stood before it;
    llama.cpp's flag means that.
    """
    marker = next(
        token for token in ("[INST]", tokenizer.bos_token) if token in tokenizer.get_vocab()
    )
    after = tokenizer(f"{marker}x", add_special_tokens=False).input_ids[1:]
    return bool(tokenizer.convert_ids_to_tokens(after)[0].startswith("▁"))


def _write_merges(writer: "GGUFWriter", folder: Path, tokenizer: Any, vocab_size: int) -> None:
    """Tokens, merges and types of a byte-level BPE."""
    parts = tokenizer_parts(folder)
    pre = _pre_tokenizer(parts, folder)
    names = {index: token for token, index in tokenizer.get_vocab().items()}
    if max(names) >= vocab_size:
        raise InputError(
            f"{max(names) + 1} tokens in tokenizer.json, vocab_size is {vocab_size}", file=folder
        )
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for index in range(vocab_size):
        tokens.append(names.get(index, f"[PAD{index}]"))
        if index not in names:
            types.append(_UNUSED)
        elif index not in added:
            types.append(_NORMAL)
        else:
            types.append(_CONTROL if added[index].special else _USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in parts["model"]["merges"]]
    )
    for add, token in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if token is not None:
            add(token)
    writer.add_add_bos_token(tokenizer("x").input_ids[:1] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def _pre_tokenizer(parts: dict[str, Any], folder: Path) -> str:
    """llama.cpp's name of how tokenizer.json cuts a text into words.

    Raises:
        InputError: it is no byte-level BPE, or cuts in a way that is not known here.
    """
    name = pre_tokenizer_name(parts)
    if name is None:
        kind = parts["model"].get("type") or "BPE"
        shown = ", ".join(str(step.get("type")) for step in pre_tokenizer_steps(parts))
        raise InputError(
            f"a tokenizer that cannot be written into a GGUF yet ({kind}, cut by "
            f"{shown or 'nothing'})",
            file=folder / "tokenizer.json",
            remedy="Take a base with a SentencePiece model (tokenizer.model), or with the "
            f"byte-level BPE of {' or '.join(PRE_TOKENIZERS)}",
        )
    return name
