"""Whether the limits of a GGUF and its Modelfile are those of the profile: context, stops, special
tokens, and the tokens of the vocabulary themselves.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stock_llm.errors import ParityError
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.merging.lora import LoraAdapter
from stock_llm.llm.profiles import Profile
from stock_llm.ollama.modelfile import Modelfile

_SPECIAL = {"bos": "bos", "eos": "eos", "unknown": "unk"}
"""llama.cpp's name of a special token → that of transformers."""


_LONG = ("tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")


def read_keys(gguf: Path) -> dict[str, Any]:
    """The metadata of a GGUF, long lists apart that nothing is compared with."""
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    return {name: field.contents() for name, field in fields.items() if name not in _LONG}


def check_limits(
    keys: Mapping[str, Any], folder: Path, profile: Profile, modelfile: Modelfile
) -> dict[str, Any]:
    """The limits, as the report shows them.

    Args:
        keys: of the GGUF.
        folder: of the base, with its tokenizer.

    Raises:
        ParityError: names the limit with both values.
    """
    architecture = keys["general.architecture"]
    context = int(keys[f"{architecture}.context_length"])
    tokenizer = load_tokenizer(folder)
    stops = modelfile.parameters.get("stop", ())
    found: dict[str, tuple[Any, Any]] = {
        "num_ctx": (modelfile.parameters.get("num_ctx"), profile.serving.num_ctx),
        "num_predict": (modelfile.parameters.get("num_predict"), profile.serving.num_predict),
        "stop": (stops, profile.format.stop),
    }
    for name, known in _SPECIAL.items():
        theirs = keys.get(f"tokenizer.ggml.{name}_token_id")
        ours = getattr(tokenizer, f"{known}_token_id")
        if name == "eos" or None not in (theirs, ours):
            found[f"token {name}"] = (theirs, ours)
    for name, (theirs, ours) in found.items():
        if theirs != ours:
            raise ParityError(f"{name} is {theirs!r} in what is served, {ours!r} in the profile")
    if context < profile.serving.num_ctx:
        raise ParityError(
            f"num_ctx is {profile.serving.num_ctx}, the model was made for {context} tokens"
        )
    _check_vocabulary(keys["tokenizer.ggml.tokens"], tokenizer)
    return {
        "context of the model": context,
        **{name: theirs for name, (theirs, _) in found.items()},
        "tokens": len(keys["tokenizer.ggml.tokens"]),
    }


def check_scale(adapter: LoraAdapter, profile: Profile) -> None:
    """
    Raises:
        ParityError: the adapter would be merged with another alpha than it was trained with.
    """
    trained = profile.lora.alpha / profile.lora.rank
    if adapter.rank != profile.lora.rank or adapter.scale != trained:
        raise ParityError(
            f"the adapter would be merged with rank {adapter.rank} and alpha / rank "
            f"{adapter.scale:g}, it was trained with rank {profile.lora.rank} and {trained:g} "
            f"({adapter.file})"
        )


def _check_vocabulary(served: list[str], tokenizer: Any) -> None:
    """Every token of training's vocabulary has its number in the GGUF."""
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        there = served[number] if number < len(served) else None
        if there != token:
            raise ParityError(
                f"the GGUF has another vocabulary: token {number} is {there!r}, in training "
                f"{token!r}"
            )
