"""Holds a generated text to a JSON schema: which tokens may come next.

llguidance compiles the schema and says after each token which tokens keep the text within it. A
keyword that it cannot keep (`not`, `uniqueItems`, `if` …) is refused by name, never ignored.

Source of the keywords: json-schema.org/draft/2020-12.
"""

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stock_llm.errors import MissingExtra, StockLLMError

MAX_SCHEMA_BYTES = 100_000

_OPTIONS: Any = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
    "coerce_one_of": False,
}
"""Spaces as `json.dumps` writes them: a small model that may add white space can do so without end.
They win over `x-guidance` in a caller's schema, which could switch the checks off."""

_UNSUPPORTED = re.compile(r"Unimplemented keys: \[(.*)\]")


class SchemaError(StockLLMError):
    """A text is no JSON schema, or asks for what cannot be kept."""


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


class SchemaConstraint:
    """Keeps one text within a schema, token by token.

    Args:
        tokenizer: from `make_tokenizer`, of the model that writes the text.
        schema: a JSON schema as JSON has it; `{}` is any JSON object.

    Raises:
        SchemaError: it is no schema, or asks for what cannot be kept.
    """

    def __init__(self, tokenizer: Any, schema: Any):
        from llguidance import LLMatcher

        self._matcher = LLMatcher(tokenizer, compile_schema(schema))
        self._allowed = np.zeros((tokenizer.vocab_size + 31) // 32, np.int32)

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Sets the logits of tokens that would leave the schema to -inf, in place.

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

    def _raise_if_failed(self) -> None:
        if self._matcher.is_error():
            raise SchemaError(f"JSON schema: {self._matcher.get_error()}")


def compile_schema(schema: Any) -> str:
    """The grammar of a schema, in llguidance's form.

    Raises:
        SchemaError: it is no schema, or asks for what cannot be kept.
        MissingExtra: the extra `local` is not installed.
    """
    try:
        from llguidance import LLMatcher
    except ImportError:
        raise MissingExtra("llguidance", "local") from None
    if not isinstance(schema, dict | bool):
        raise SchemaError("JSON schema: it must be an object, true or false")
    if schema is False:
        raise SchemaError("JSON schema: nothing fits it")
    text = "{}" if schema is True else json.dumps(schema or {"type": "object"})
    if len(text) > MAX_SCHEMA_BYTES:
        raise SchemaError(
            f"JSON schema: it has {len(text):,} bytes; at most {MAX_SCHEMA_BYTES:,} are read"
        )
    try:
        grammar: str = LLMatcher.grammar_from_json_schema(text, overrides=_OPTIONS)
        problem = LLMatcher.validate_grammar(grammar)
    except ValueError as error:
        raise SchemaError(f"JSON schema: {error}") from None
    if unsupported := _UNSUPPORTED.search(problem):
        raise SchemaError(f"JSON schema: {unsupported[1].replace(chr(34), '')} cannot be kept")
    if problem:
        raise SchemaError(f"JSON schema: {problem}")
    return grammar
