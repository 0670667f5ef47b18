"""Holds a generated text to a grammar: which tokens may come next.

llguidance says after each token which tokens keep the text within the grammar.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stock_llm.errors import MissingExtra, StockLLMError


class GrammarError(StockLLMError):
    """A grammar is wrong, or cannot be kept to."""


def make_tokenizer(vocabulary: Any) -> Any:
    """llguidance's view of llama.cpp's vocabulary, for any number of constraints.

    Raises:
        MissingExtra: the extra `local` is not installed.
    """
    try:
        from llguidance.llamacpp import lltokenizer_from_vocab
    except ImportError:
        raise MissingExtra("llguidance", "local") from None
    return lltokenizer_from_vocab(vocabulary)


class GrammarConstraint:
    """Keeps one text within a grammar, token by token.

    Args:
        tokenizer: from `make_tokenizer`, of the model that writes the text.
        grammar: from `json_schema.compile_schema`, or in llguidance's Lark dialect.

    Raises:
        GrammarError: it is wrong.
    """

    def __init__(self, tokenizer: Any, grammar: str):
        from llguidance import LLMatcher, grammar_from

        known = grammar if grammar.startswith("{") else grammar_from("lark", grammar)
        self._matcher = LLMatcher(tokenizer, known)
        self._allowed = np.zeros((tokenizer.vocab_size + 31) // 32, np.int32)
        self._raise_if_failed()

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Sets the logits of tokens that would leave the grammar to -inf, in place.

        Args:
            logits: shape (vocabulary,).
        """
        self._matcher.unsafe_compute_mask_ptr(self._allowed.ctypes.data, self._allowed.nbytes)
        self._raise_if_failed()
        bits = np.unpackbits(self._allowed.view(np.uint8), bitorder="little", count=len(logits))
        logits[bits == 0] = -np.inf

    def accept(self, token: int) -> None:
        """Adds a token to the text."""
        self._matcher.consume_token(token)
        self._raise_if_failed()

    def accept_forced(self) -> list[int]:
        """Adds the tokens that alone can follow, as the tokenizer writes them, and returns them."""
        forced: list[int] = self._matcher.compute_ff_tokens()
        self._matcher.consume_tokens(forced)
        self._raise_if_failed()
        return forced

    def _raise_if_failed(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(f"grammar: {self._matcher.get_error()}")
