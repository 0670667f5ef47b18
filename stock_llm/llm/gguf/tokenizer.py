"""Loads a base's tokenizer so that training sees the tokens that llama.cpp will see.

llama.cpp knows a byte-level BPE's way of cutting a text into words by a name, for which it has a
pattern of its own. Where that pattern cuts otherwise than the model's, the model is trained with
llama.cpp's: the prompts of serving are what training has to look like. This is so for Tekken, and
matters in Thai: llama.cpp takes no mark (Unicode's M) for a part of a word, so a vowel sign above
its consonant is cut off.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerFast

SENTENCEPIECE_FILE = "tokenizer.model"


def _split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
_GPT_2 = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
_REST_OF_TEKKEN = r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

PRE_TOKENIZERS: Mapping[str, tuple[dict[str, Any], ...]] = MappingProxyType(
    {
        "gpt-2": (_GPT_2,),
        "smollm": (_DIGITS, _GPT_2),
        "deepseek-coder": (
            _split("[\r\n]"),
            _split(r"\s?\p{L}+"),
            _split(r"\s?\p{P}+"),
            _split("[一-龥ࠀ-一가-퟿]+"),
            _DIGITS,
            _BYTES,
        ),
        "tekken": (
            _split(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
                r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
                + _REST_OF_TEKKEN
            ),
            _BYTES,
        ),
    }
)
"""llama.cpp's name → the steps of tokenizer.json's pre-tokenizer that it stands for. `gpt-2` is
Phi-2's too."""

CUT_BY_LLAMA_CPP: Mapping[str, tuple[dict[str, Any], ...]] = MappingProxyType(
    {
        **PRE_TOKENIZERS,
        "tekken": (
            _split(
                r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+"
                r"|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*" + _REST_OF_TEKKEN
            ),
            _BYTES,
        ),
    }
)
"""llama.cpp's name → steps that cut as it does (src/llama-vocab.cpp)."""

WHOLE_WORDS = ("tekken",)
"""Names for which llama.cpp takes a word that is a token as it is, without merging
(`ignore_merges`), and always puts BOS before a text."""


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer in `folder`, which gives llama.cpp's tokens."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    parts = tokenizer_parts(folder)
    name = pre_tokenizer_name(parts)
    step = parts.get("pre_tokenizer") or {}
    if name in WHOLE_WORDS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizer(CUT_BY_LLAMA_CPP[name])
        tokenizer.add_bos_token = True
    elif step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first":
        # no space before a text: here BOS comes first, and in the model's own template as well
        from tokenizers.pre_tokenizers import Metaspace

        tokenizer.backend_tokenizer.pre_tokenizer = Metaspace(
            replacement=step["replacement"], prepend_scheme="never", split=step.get("split", True)
        )
    return tokenizer


def tokenizer_parts(folder: Path) -> dict[str, Any]:
    """tokenizer.json, whose `model` has the vocabulary."""
    parts: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return parts


def pre_tokenizer_name(parts: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of the byte-level BPE in tokenizer.json; None: it knows none, or it is no
    byte-level BPE.
    """
    model = parts["model"]
    normalizer = parts.get("normalizer")
    if (model.get("type") or "BPE") != "BPE" or (
        normalizer and normalizer.get("normalizers") != []
    ):
        return None
    found = [
        {name: value for name, value in step.items() if name != "trim_offsets"}
        for step in pre_tokenizer_steps(parts)
    ]
    for name, known in PRE_TOKENIZERS.items():
        if found == list(known) and bool(model.get("ignore_merges")) == (name in WHOLE_WORDS):
            return name
    return None


def pre_tokenizer_steps(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps by which tokenizer.json cuts a text into words."""
    step = parts.get("pre_tokenizer") or {}
    steps: list[dict[str, Any]] = step.get("pretokenizers", [step])
    return steps


def pre_tokenizer(steps: Sequence[Mapping[str, Any]]) -> "PreTokenizer":
    """The steps as an object of `tokenizers`."""
    from tokenizers import Regex, pre_tokenizers

    made: list[PreTokenizer] = []
    for step in steps:
        if step["type"] == "Split":
            made.append(pre_tokenizers.Split(Regex(step["pattern"]["Regex"]), behavior="isolated"))
        elif step["type"] == "Digits":
            made.append(pre_tokenizers.Digits(individual_digits=True))
        else:
            made.append(
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=step["use_regex"])
            )
    return pre_tokenizers.Sequence(made)
