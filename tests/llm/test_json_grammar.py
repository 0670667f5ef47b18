"""Texts that llama.cpp writes under the grammar of a schema are JSON that fits it; what cannot be kept is refused."""

import ctypes
import json
import random
import re
from decimal import Decimal

import pytest
from jsonschema import Draft202012Validator

from stock_llm.llm.gguf import write_gguf
from stock_llm.llm.json_grammar import SchemaError, _Bound, _decimals, _integers, json_grammar
from stock_llm.llm.prompts import CHAT_TEMPLATE

OBJECT = {"type": "object"}
NODE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
    },
    "required": ["value", "next"],
}
KEPT = [
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
    """The vocabulary of a model, and llama.cpp's grammar on it."""

    def __init__(self, gguf):
        import llama_cpp

        self.llama = llama_cpp
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), parameters)
        self._tokens = llama_cpp.llama_model_get_vocab(self._model)
        self.size = llama_cpp.llama_vocab_n_tokens(self._tokens)
        self.pieces = [self._piece(token) for token in range(self.size)]
        self.of_byte = {piece: token for token, piece in enumerate(self.pieces) if len(piece) == 1}
        self.ends = {
            token for token in range(self.size) if llama_cpp.llama_vocab_is_eog(self._tokens, token)
        }
        self._data = (llama_cpp.llama_token_data * self.size)()

    def _piece(self, token: int) -> bytes:
        room = ctypes.create_string_buffer(64)
        size = self.llama.llama_token_to_piece(self._tokens, token, room, 64, 0, True)
        return room.raw[:size]

    def grammar(self, schema):
        text = json_grammar(schema).encode()
        return self.llama.llama_sampler_init_grammar(self._tokens, text, b"root")

    def allowed(self, grammar) -> list[int]:
        """The tokens that may come next."""
        for token in range(self.size):
            self._data[token].id, self._data[token].logit = token, 0.0
        array = self.llama.llama_token_data_array(self._data, self.size, -1, False)
        self.llama.llama_sampler_apply(grammar, ctypes.byref(array))
        return [each.id for each in self._data if each.logit > -1e30]

    def write(self, schema, chance: random.Random) -> str | None:
        """A random text under the grammar; None where it does not end soon."""
        grammar, text = self.grammar(schema), b""
        assert grammar
        for _ in range(300):
            tokens = self.allowed(grammar)
            assert tokens, text
            others = [token for token in tokens if token not in self.ends]
            if len(others) < len(tokens) and (not others or chance.random() < 0.5):
                return text.decode(errors="replace")
            short = [
                token for token in others if self.pieces[token] in (b'"', b"}", b"]", b",", b":")
            ]
            token = chance.choice(short if short and chance.random() < 0.6 else others)
            text += self.pieces[token]
            self.llama.llama_sampler_accept(grammar, token)
        return None

    def takes(self, schema, text: str) -> bool:
        """Whether the grammar lets this text be written, byte by byte."""
        grammar = self.grammar(schema)
        for byte in text.encode():
            token = self.of_byte[bytes([byte])]
            if token not in self.allowed(grammar):
                return False
            self.llama.llama_sampler_accept(grammar, token)
        return bool(self.ends & set(self.allowed(grammar)))


@pytest.fixture(scope="module")
def vocabulary(tiny_base, tmp_path_factory):
    pytest.importorskip("llama_cpp")
    gguf = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny_base / "models" / "tiny", gguf, "tiny", CHAT_TEMPLATE)
    return Vocabulary(gguf)


@pytest.mark.parametrize("schema", KEPT, ids=lambda schema: json.dumps(schema)[:60])
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
            ['"a\\nb"', '"\\u00e9"'],
            ['"a\nb"', '"\\x"', '"\\ud800"', '"\\u12g4"'],
        ),
        ({"type": "string", "pattern": "a\\d+|^b"}, ['"xa1"', '"bx"'], ['"xb"', '"a"']),
        (
            {"type": "string", "minLength": 250, "maxLength": 420},
            ['"' + "x" * 250 + '"', '"' + "x" * 420 + '"'],
            ['"' + "x" * 249 + '"', '"' + "x" * 421 + '"'],
        ),
        ({"type": "integer", "multipleOf": 7}, ["0", "-14", "700"], ["8", "-0", "07"]),
        (
            {"type": "number", "multipleOf": 0.01, "minimum": 0},
            ["0.07", "3"],
            ["0.071", "-1", "1e3"],
        ),
        (
            {"properties": {"ab": True}, "additionalProperties": {"type": "null"}},
            ['{"a":null}', '{"abc":null,"x":null}', '{"ab":1,"ac":null}', "{}", '{"":null}'],
            ['{"a":1}', '{"x":null,"ab":2}'],
        ),
    ],
)
def test_limits_are_exact(vocabulary, schema, fitting, others):
    assert [text for text in fitting if not vocabulary.takes(schema, text)] == []
    assert [text for text in others if vocabulary.takes(schema, text)] == []


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "not": {"const": "a"}}, "not cannot be kept"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems cannot be kept"),
        ({"patternProperties": {"a": True}}, "patternProperties cannot be kept"),
        ({"type": "array", "contains": {}}, "contains cannot be kept"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired cannot be kept"),
        ({"if": {}, "then": {}}, "if cannot be kept"),
        ({"type": "array", "unevaluatedItems": False}, "unevaluatedItems cannot be kept"),
        ({"type": "integer", "multipleOf": 3, "minimum": 4}, "multipleOf can be kept"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf: its branches must differ"),
        ({"type": "string", "pattern": "(?=a)"}, "look-around is not known"),
        ({"type": "string", "pattern": "\\bfoo"}, "is not known"),
        ({"type": "string", "pattern": "("}, "a group is not closed"),
        ({"type": "string", "pattern": "^(a?){200}$"}, "a count of what may be empty"),
        ({"type": "string", "pattern": "(a|)" * 200}, "more than 30 of its parts may be missing"),
        ({"type": "string", "pattern": "((a{1,15}){15}){15}"}, "more than 2,000 characters"),
        ({"type": "string", "format": "regex"}, "format regex cannot be kept"),
        ({"type": "string", "minLength": 1, "pattern": "a"}, "only one of the three"),
        ({"$ref": "https://example.org/schema"}, "only a place in the schema itself"),
        ({"$ref": "#/$defs/none"}, "there is no such place"),
        ({"allOf": [{"$ref": "#"}]}, "refers to itself"),
        ({"type": "foo"}, "type 'foo' is not known"),
        ({"enum": []}, "must not be empty"),
        (False, "nothing fits it"),
        ({"type": "string", "enum": [1]}, "none of its values fits"),
        ({"type": "string", "allOf": [{"type": "integer"}]}, "nothing fits it"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "no whole number fits"),
        ({"required": ["a"], "properties": {"a": False}}, "nothing fits the property 'a'"),
        ({"minimum": "x"}, "minimum must be a number"),
        ({"const": "\ud800"}, "it is not JSON"),
        ([1], "is no schema"),
        ({"enum": list(range(1001))}, "more than 1,000 values"),
        (
            {"properties": {f"p{number}" * 10: {} for number in range(5000)}},
            "at most 100,000 are read",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(schema, text):
    with pytest.raises(SchemaError, match=re.escape(text)):
        json_grammar(schema)


def test_schemas_that_grow_are_refused_soon():
    nested: dict = {}
    for _ in range(200):
        nested = {"type": "array", "items": nested}
    doubling = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
    for schema in (nested, {"$defs": doubling | {"a40": {}}, "$ref": "#/$defs/a0"}):
        with pytest.raises(SchemaError):
            json_grammar(schema)


def expression(grammar: str) -> re.Pattern[str]:
    """The regular expression of a part of a grammar that refers to no rule but `nothing`."""
    parts = re.findall(r'"([^"]*)"|(\[[^\]]*\](?:\{[\d,]*\})?)|nothing|([()|?*{},\d])|\s+', grammar)
    return re.compile(
        "".join(f"(?:{re.escape(text)})" * bool(text) + group + sign for text, group, sign in parts)
    )


def test_ranges_of_whole_numbers_are_exact():
    chance = random.Random(3)
    for _ in range(500):
        low, high = (
            None if chance.random() < 0.2 else chance.randint(-1500, 1500) for _ in range(2)
        )
        wanted = {
            number
            for number in range(-1600, 1600)
            if (low is None or number >= low) and (high is None or number <= high)
        }
        if low is not None and high is not None and low > high:
            continue
        pattern = expression(_integers(low, high))
        assert {number for number in range(-1600, 1600) if pattern.fullmatch(str(number))} == wanted


def test_ranges_of_decimals_are_exact():
    chance = random.Random(3)
    tails = ["", *(f".{n}" for n in range(10)), *(f".{n:02}" for n in range(0, 100, 3))]
    texts = [
        f"{n}{tail}"
        for n in range(13)
        for tail in [*tails, *(f".{n:03}" for n in range(0, 1000, 37))]
    ]
    texts += [f"-{text}" for text in texts if Decimal(text)]
    for _ in range(300):
        places = chance.choice([0, 1, 2, 3])
        low, high = sorted(
            Decimal(chance.randint(-12 * 10**places, 12 * 10**places)).scaleb(-places)
            for _ in range(2)
        )
        lower, upper = _Bound(low, chance.random() < 0.5), _Bound(high, chance.random() < 0.5)
        digits = chance.choice([1, 2, 3, 16])
        wanted = {
            text
            for text in texts
            if low <= Decimal(text) <= high
            and not (lower.is_open and Decimal(text) == low)
            and not (upper.is_open and Decimal(text) == high)
            and len(text.partition(".")[2]) <= digits
        }
        try:
            pattern = expression(_decimals(lower, upper, digits))
        except SchemaError:
            assert not wanted
            continue
        assert {text for text in texts if pattern.fullmatch(text)} == wanted
