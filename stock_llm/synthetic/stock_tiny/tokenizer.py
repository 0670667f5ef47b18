"""stock-tiny's tokenizer: SentencePiece BPE with byte fallback and split digits, the same tokens
everywhere.

In: lines of text. Out: the files that transformers reads (tokenizer.json, tokenizer_config.json)
and the tokenizer.model that the GGUF is written from. `[INST]` and `[/INST]` are one token each; no
space is put before a text (`add_dummy_prefix` off), so that a text after a special token has the
same tokens in transformers and in llama.cpp. Nothing is normalised: newlines and runs of spaces
survive. Does not know what the lines say.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path

from stock_llm.llm.prompt_formats import MISTRAL_V3

MODEL_FILE = "tokenizer.model"
TURN_TOKENS = ("[INST]", "[/INST]")


def train_tokenizer(lines: Iterable[str], folder: Path, vocab_size: int) -> None:
    """Trains on `lines` (which hold no line breaks and no special tokens) and writes the three
    files into `folder`.

    The same lines in the same order give the same bytes: one thread, no sampling.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=list(TURN_TOKENS),
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(model.getvalue())
    write_fast_tokenizer(folder)


def write_fast_tokenizer(folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json from the tokenizer.model in `folder`.

    SentencePiece's merges are not in its file: a pair may be merged when the merged piece exists,
    the piece with the better score first. That is what transformers' own converter does too.
    """
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
    from tokenizers.models import BPE

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / MODEL_FILE))
    vocabulary = {pieces.id_to_piece(index): index for index in range(pieces.vocab_size())}
    normal = {
        piece
        for piece, index in vocabulary.items()
        if not (pieces.is_control(index) or pieces.is_byte(index) or pieces.is_unknown(index))
    }
    merges = sorted(
        (
            (vocabulary[piece], piece[:cut], piece[cut:])
            for piece in normal
            for cut in range(1, len(piece))
            if piece[:cut] in normal and piece[cut:] in normal and piece not in TURN_TOKENS
        ),
        key=lambda merge: (-pieces.get_score(merge[0]), merge[0], merge[1]),
    )
    model = BPE(
        vocab=vocabulary,
        merges=[(left, right) for _, left, right in merges],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    special = ("<unk>", "<s>", "</s>", *TURN_TOKENS)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<unk>",
        "additional_special_tokens": list(TURN_TOKENS),
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
        "chat_template": MISTRAL_V3.jinja,
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
