"""Texts that are written under a schema are JSON that fits it; an unsupported keyword is refused."""

import contextlib
import ctypes
import json
import random
import re
import time
from decimal import Decimal

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from llguidance import LLTokenizer, TokenizerWrapper

from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.grammar import GrammarConstraint, make_tokenizer
from stock_llm.llm.json_schema import SchemaError, compile_schema
from stock_llm.llm.prompt_formats import MISTRAL_V3

OBJECT = {"type": "object"}
NODE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "required": ["value", "next"],
}
SUPPORTED = [
    {},
    OBJECT,
    {"type": ["string", "null"]},
    {"enum": ["a", "ก", 1, None, {"x": [1]}]},
    {"const": 'quote " backslash \\ line\n'},
    {
        "type": "object",
        "properties": {'a"b': {"type": "integer"}, "c\\d": True, "d": {"type": "boolean"}},
        "required": ["c\\d"],
    },
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {
        "type": "object",
        "properties": {"ab": {"type": "integer"}, "a": {"type": "null"}},
        "additionalProperties": {"type": "string"},
        "required": ["a"],
    },
    {"type": "object", "minProperties": 1, "additionalProperties": {"type": "null"}},
    {"type": "object", "maxProperties": 2},
    {"type": "integer", "minimum": 0, "maximum": 100},
    {"type": "integer", "exclusiveMinimum": -17},
    {"type": "integer", "multipleOf": 7},
    {"type": "integer", "multipleOf": 5, "minimum": -20, "maximum": 33},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "minimum": -3.25, "exclusiveMaximum": 12.5},
    {"type": "number", "exclusiveMinimum": 0},
    {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
    {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "null"}],
        "items": {"type": "boolean"},
        "minItems": 1,
    },
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": False},
    {"type": "string", "minLength": 3, "maxLength": 5},
    {"type": "string", "minLength": 120},
    {"type": "string", "pattern": "^[A-Z]{2,5}(\\.[A-Z]+)?$"},
    {"type": "string", "pattern": '^[^"]\\w\\S.$'},
    *({"type": "string", "format": name} for name in ("date", "time", "date-time", "uuid", "ipv4")),
    {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
    {
        "allOf": [
            {"$ref": "#/$defs/a"},
            {"properties": {"y": {"type": "string"}}, "required": ["y"]},
        ],
        "$defs": {
            "a": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
        },
    },
    {
        "type": "object",
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
    },
    {
        "oneOf": [
            {"type": "object", "properties": {"k": {"const": "a"}}, "required": ["k"]},
            {"type": "object", "properties": {"k": {"const": "b"}}, "required": ["k"]},
            {"type": "null"},
        ]
    },
    {"type": "integer", "minimum": 5, "allOf": [{"maximum": 9}]},
    {
        "allOf": [
            {"properties": {"a": {"minimum": 3}}},
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"additionalProperties": {"maximum": 5}},
        ]
    },
]


class Vocabulary:
    """The vocabulary of a model, and what a schema allows of it."""

    def __init__(self, gguf):
        import llama_cpp

        self.llama = llama_cpp
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), parameters)
        self._tokens = llama_cpp.llama_model_get_vocab(self._model)
        self.size = llama_cpp.llama_vocab_n_tokens(self._tokens)
        self.pieces = [self._piece(token) for token in range(self.size)]
        self.ends = {
            token for token in range(self.size) if llama_cpp.llama_vocab_is_eog(self._tokens, token)
        }
        self._tokenizer = make_tokenizer(self._tokens)

    def _piece(self, token: int) -> bytes:
        room = ctypes.create_string_buffer(64)
        size = self.llama.llama_token_to_piece(self._tokens, token, room, 64, 0, True)
        return room.raw[:size]

    def constraint(self, schema):
        return GrammarConstraint(self._tokenizer, compile_schema(schema))

    def allowed(self, constraint) -> list[int]:
        """The tokens that may come next."""
        logits = np.zeros(self.size, np.float32)
        constraint.mask(logits)
        return np.flatnonzero(np.isfinite(logits)).tolist()

    def write(self, schema, chance: random.Random) -> str | None:
        """A random text under the schema; None where it does not end soon."""
        constraint, text = self.constraint(schema), b""
        for _ in range(300):
            tokens = self.allowed(constraint)
            assert tokens, text
            others = [token for token in tokens if token not in self.ends]
            if len(others) < len(tokens) and (not others or chance.random() < 0.5):
                return text.decode(errors="replace")
            short = [
                token for token in others if self.pieces[token] in (b'"', b"}", b"]", b",", b":")
            ]
            token = chance.choice(short if short and chance.random() < 0.6 else others)
            text += self.pieces[token]
            constraint.accept(token)
        return None


class Bytes:
    """A tokenizer whose tokens are the bytes, and one end token."""

    tokens = [bytes([byte]) for byte in range(256)] + [b"</s>"]
    eos_token_id, bos_token_id, special_token_ids = 256, None, [256]

    def __call__(self, text):
        return list(text if isinstance(text, bytes) else text.encode())


BYTES = LLTokenizer(TokenizerWrapper(Bytes()))


def takes(schema, text: str) -> bool:
    """Whether a schema lets this text be written, byte by byte."""
    constraint = GrammarConstraint(BYTES, compile_schema(schema))
    for token in [*text.encode(), Bytes.eos_token_id]:
        logits = np.zeros(257, np.float32)
        constraint.mask(logits)
        if not np.isfinite(logits[token]):
            return False
        if token != Bytes.eos_token_id:
            constraint.accept(token)
    return True


@pytest.fixture(scope="module")
def vocabulary(tiny_base, tmp_path_factory):
    pytest.importorskip("llama_cpp")
    gguf = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny_base / "models" / "tiny", gguf, "tiny", MISTRAL_V3.jinja)
    return Vocabulary(gguf)


@pytest.mark.parametrize("schema", SUPPORTED, ids=lambda schema: json.dumps(schema)[:60])
def test_what_is_written_fits_the_schema(vocabulary, schema):
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    chance = random.Random(1)
    texts = [text for _ in range(6) if (text := vocabulary.write(schema, chance)) is not None]
    assert texts
    for text in texts:
        validator.validate(json.loads(text))


@pytest.mark.parametrize(
    ("schema", "fitting", "others"),
    [
        (
            {"type": "string"},
            ['"a\\nb"', '"é"'],
            ['"a\nb"', '"\\x"', '"\\ud800"', '"\\u12g4"'],
        ),
        ({"type": "string", "pattern": "a\\d+|^b"}, ['"xa1"', '"bx"'], ['"xb"', '"a"']),
        (
            {"type": "string", "minLength": 250, "maxLength": 420},
            ['"' + "x" * 250 + '"', '"' + "x" * 420 + '"'],
            ['"' + "x" * 249 + '"', '"' + "x" * 421 + '"'],
        ),
        ({"type": "integer", "multipleOf": 7}, ["0", "-14", "700"], ["8", "07"]),
        ({"type": "integer", "multipleOf": 3, "minimum": 4}, ["6", "9"], ["3", "4"]),
        (
            {"type": "number", "multipleOf": 0.01, "minimum": 0},
            ["0.07", "3"],
            ["0.071", "-1", "1e3"],
        ),
        (
            {"properties": {"ab": True}, "additionalProperties": {"type": "null"}},
            [
                '{"a": null}',
                '{"abc": null, "x": null}',
                '{"ab": 1, "ac": null}',
                "{}",
                '{"": null}',
            ],
            ['{"a": 1}', '{"a":null}'],
        ),
    ],
)
def test_limits_are_exact(schema, fitting, others):
    assert [text for text in fitting if not takes(schema, text)] == []
    assert [text for text in others if takes(schema, text)] == []


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "not": {"const": "a"}}, "not cannot be kept"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems cannot be kept"),
        ({"type": "array", "contains": {}}, "contains cannot be kept"),
        ({"type": "object", "propertyNames": {"minLength": 1}}, "propertyNames cannot be kept"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired cannot be kept"),
        ({"if": {}, "then": {}}, "if, then cannot be kept"),
        ({"type": "array", "unevaluatedItems": False}, "unevaluatedItems cannot be kept"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf constraints"),
        ({"type": "string", "pattern": "(?=a)"}, "look-around"),
        ({"type": "string", "pattern": "\\bfoo"}, "lookarounds"),
        ({"type": "string", "pattern": "("}, "unclosed group"),
        ({"type": "string", "format": "regex"}, "Unknown format: regex"),
        ({"$ref": "https://example.org/schema"}, "https://example.org/schema"),
        ({"$ref": "#/$defs/none"}, "'/$defs/none' does not exist"),
        ({"type": "foo"}, "Invalid type: foo"),
        ({"enum": []}, "is empty"),
        (False, "nothing fits it"),
        ({"type": "string", "enum": [1]}, "Unsatisfiable"),
        ({"type": "string", "allOf": [{"type": "integer"}]}, "Unsatisfiable"),
        (
            {"type": "integer", "minimum": 5, "maximum": 3},
            "minimum (5) is greater than maximum (3)",
        ),
        ({"minimum": "x"}, "'minimum'"),
        ({"const": "\ud800"}, "hex escape"),
        ([1], "must be an object"),
        ({"type": "string", "not": {}, "x-guidance": {"lenient": True}}, "not cannot be kept"),
        (
            {"properties": {f"p{number}" * 10: {} for number in range(5000)}},
            "at most 100,000 are read",
        ),
    ],
)
def test_an_unsupported_keyword_is_refused_by_name(schema, text):
    with pytest.raises(SchemaError, match=re.escape(text)):
        compile_schema(schema)


def test_schemas_that_grow_are_answered_soon():
    nested: dict = {}
    for _ in range(200):
        nested = {"type": "array", "items": nested}
    doubling = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
    started = time.monotonic()
    for schema in (nested, {"$defs": doubling | {"a40": {}}, "$ref": "#/$defs/a0"}):
        with contextlib.suppress(SchemaError):
            compile_schema(schema)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("limits", range(60))
def test_ranges_of_numbers_are_exact(limits):
    chance = random.Random(limits)
    low, high = sorted(chance.randint(-1500, 1500) for _ in range(2))
    whole = {"type": "integer", "minimum": low, "exclusiveMaximum": high + 1}
    for number in (low - 1, low, (low + high) // 2, high, high + 1, -low, high * 10):
        assert takes(whole, str(number)) == (low <= number <= high), number
    places = chance.choice([1, 2, 3])
    least, most = (Decimal(number).scaleb(-places) for number in (low, high))
    decimal = {"type": "number", "exclusiveMinimum": float(least), "maximum": float(most)}
    step = Decimal(1).scaleb(-places - 1)
    for number in (least - step, least, least + step, most - step, most, most + step):
        assert takes(decimal, f"{number.normalize():f}") == (least < number <= most), number
