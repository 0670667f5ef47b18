"""JSON schemas as grammars, to hold a generated text to one.

A keyword that llguidance cannot keep (`not`, `uniqueItems`, `if` …) is refused by name, never
ignored.

Source of the keywords: json-schema.org/draft/2020-12.
"""

import json
import re
from typing import Any

from stock_llm.errors import MissingExtra
from stock_llm.llm.grammar import GrammarError

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


class SchemaError(GrammarError):
    """A text is no JSON schema, or asks for what cannot be kept."""


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
