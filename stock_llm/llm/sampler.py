"""Picks the next tokens with llama.cpp's own samplers (temperature, nucleus, seed), under a grammar
where there is one.

The defaults are Ollama's.
"""

from collections.abc import Mapping
from typing import Any

from stock_llm.llm.grammar import GrammarConstraint
from stock_llm.llm.llama_cpp import LlamaModel

_PENALTIES = {"repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
DEFAULTS = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_last_n": 64,
} | _PENALTIES
"""Ollama's, for what neither the request nor the model says (ollama/ollama docs/modelfile.mdx)."""

_RANGES = {
    "temperature": (0.0, 100.0),
    "top_k": (0, 2**20),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repeat_last_n": (-1, 4096),
    "repeat_penalty": (0.01, 100.0),
    "frequency_penalty": (-100.0, 100.0),
    "presence_penalty": (-100.0, 100.0),
}
"""Smallest and largest usable value; beyond them llama.cpp divides by zero and aborts."""

_ALL = _RANGES["repeat_last_n"][1]
_ANY_SEED = 0xFFFFFFFF


class Sampler:
    """Picks tokens of `model`. Use as a context manager: its memory is not Python's.

    Args:
        options: Ollama's names and values.
        grammar: of the text, see `grammar.GrammarConstraint`; empty: any text.

    Raises:
        GrammarError: it is wrong.
    """

    def __init__(self, model: LlamaModel, options: Mapping[str, Any], grammar: str = ""):
        import llama_cpp

        self._model = model
        self._constraint = GrammarConstraint(model.grammar_tokenizer, grammar) if grammar else None
        self._llama: Any = llama_cpp
        self._chain = llama_cpp.llama_sampler_chain_init(
            llama_cpp.llama_sampler_chain_default_params()
        )
        chosen = {
            name: _clamped(name, value)
            for name, value in (DEFAULTS | dict(options)).items()
            if name in _RANGES
        }
        penalties = [float(chosen[name]) for name in _PENALTIES]
        if penalties != list(_PENALTIES.values()):
            size, last = (
                llama_cpp.llama_vocab_n_tokens(model.vocabulary),
                int(chosen["repeat_last_n"]),
            )
            self._add(
                llama_cpp.llama_sampler_init_penalties(
                    size, last if last >= 0 else _ALL, *penalties
                )
            )
        if chosen["temperature"] <= 0:
            self._add(llama_cpp.llama_sampler_init_greedy())
            return
        self._add(llama_cpp.llama_sampler_init_top_k(int(chosen["top_k"])))
        self._add(llama_cpp.llama_sampler_init_top_p(float(chosen["top_p"]), 1))
        self._add(llama_cpp.llama_sampler_init_min_p(float(chosen["min_p"]), 1))
        self._add(llama_cpp.llama_sampler_init_temp(float(chosen["temperature"])))
        seed = int(options.get("seed", -1))
        self._add(llama_cpp.llama_sampler_init_dist(_ANY_SEED if seed < 0 else seed % _ANY_SEED))

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(self, *_: object) -> None:
        self._llama.llama_sampler_free(self._chain)

    def pick(self) -> list[int]:
        """The next token after the last one that the model was given, and those that the grammar
        lets follow it alone; the sampler takes them as generated."""
        if self._constraint is None:
            return [self._sample()]
        self._constraint.mask(self._model.last_logits)
        token = self._sample()
        self._constraint.accept(token)
        forced = self._constraint.accept_forced()
        for follower in forced:
            self._llama.llama_sampler_accept(self._chain, follower)
        return [token, *forced]

    def _sample(self) -> int:
        return int(self._llama.llama_sampler_sample(self._chain, self._model.context, -1))

    def _add(self, sampler: Any) -> None:
        self._llama.llama_sampler_chain_add(self._chain, sampler)


def is_greedy(options: Mapping[str, Any]) -> bool:
    """Whether the options ask for the most likely token each time, which needs no sampler."""
    temperature = options.get("temperature", DEFAULTS["temperature"])
    plain = all(options.get(name, value) == value for name, value in _PENALTIES.items())
    return temperature is not None and temperature <= 0 and plain


def _clamped(name: str, value: float) -> float:
    """The nearest usable value."""
    least, largest = _RANGES[name]
    return min(max(value, least), largest)
