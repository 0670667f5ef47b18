"""Converts a JSON schema to a grammar (GBNF) for llama.cpp.

Every text that the grammar accepts is JSON that fits the schema. The reverse does not hold:
properties come in the schema's order, numbers have at most 16 digits before and after the point,
and names that the schema does not mention appear only where it gives `additionalProperties`. A
keyword that cannot be kept is refused by name; keywords without a meaning for validation are
ignored.

Sources: json-schema.org/draft/2020-12 (and draft 7's `definitions`, lists in `items`);
the notation: ggml-org/llama.cpp, grammars/README.md.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

from stock_llm.errors import StockLLMError
from stock_llm.llm.regex_grammar import RegexError, character_class, literal, regex_grammar

Schema = Any
"""`True`, `False` or a mapping."""

MAX_SCHEMA_BYTES = 100_000
MAX_GRAMMAR_BYTES = 500_000
MAX_DEPTH = 50
MAX_STEPS = 20_000
MAX_OTHER_NAME = 200
"""Characters of a property's name where others are allowed beside it."""

MAX_ALTERNATIVES = 1000
"""Values of an `enum`, and branches of an `anyOf` after it was combined with others."""

MAX_REPEATS = 100_000
"""Characters or items that `maxLength` and `maxItems` are capped at: a longer answer has no
room."""

DIGITS = 16
"""Most digits before and after the decimal point."""

_CHUNK = 100
"""Repetitions that are written out; llama.cpp refuses a grammar with more than 2,000 at one
place."""

_MAX_MODULUS = 100
_MAX_MULTIPLES = 500

_REFUSED = ("not", "contains", "unevaluatedItems", "$dynamicRef", "$recursiveRef")
_REFUSED_UNLESS_EMPTY = (
    "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas", "dependencies",
)  # fmt: skip
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_KEYWORDS_OF = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    "array": ("prefixItems", "items", "minItems", "maxItems", "uniqueItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_LARGEST = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
_SMALLEST = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_KEPT = (
    "type", "enum", "anyOf", "oneOf", "allOf", "$ref",
    *(name for names in _KEYWORDS_OF.values() for name in names),
)  # fmt: skip

_BASE = r"""
space ::= " "? | "\n" [ \t]{0,20}
value ::= object | array | string | number | boolean | null
object ::= "{" space (member ("," space member)*)? "}"
member ::= string space ":" space value space
array ::= "[" space (value space ("," space value space)*)? "]"
string ::= "\"" char* "\""
char ::= plain | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2}))
plain ::= [^"\\\x7F\x00-\x1F]
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?
integer ::= "0" | "-"? [1-9] [0-9]{0,15}
boolean ::= "true" | "false"
null ::= "null"
nothing ::= ""
hex ::= [0-9a-fA-F]
uuid ::= hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}
leap ::= [1-9] [0-9] ("0" [48] | [2468] [048] | [13579] [26])
day28 ::= "0" [1-9] | "1" [0-9] | "2" [0-8]
day30 ::= day28 | "29" | "30"
day31 ::= day30 | "31"
month31 ::= "01" | "03" | "05" | "07" | "08" | "10" | "12"
month30 ::= "04" | "06" | "09" | "11"
year ::= [1-9] [0-9]{3}
date ::= year "-" (month31 "-" day31 | month30 "-" day30 | "02-" day28) | leap "-02-29"
hour ::= [01] [0-9] | "2" [0-3]
sixty ::= [0-5] [0-9]
time ::= hour ":" sixty ":" sixty ("." [0-9]{1,6})? ("Z" | [-+] hour ":" sixty)
datetime ::= date "T" time
byte ::= "25" [0-5] | "2" [0-4] [0-9] | "1" [0-9]{2} | [1-9]? [0-9]
ipv4 ::= byte "." byte "." byte "." byte
ipv6 ::= hex{1,4} (":" hex{1,4}){7}
label ::= [a-z0-9] ([a-z0-9-]{0,30} [a-z0-9])?
hostname ::= label ("." label){0,5}
email ::= [a-z0-9] ([._+-]? [a-z0-9]){0,40} "@" label ("." label){1,4}
uri ::= "http" "s"? "://" hostname ("/" [A-Za-z0-9._~-]*)*
duration ::= "P" ([0-9]{1,4} "D" ("T" clock)? | "T" clock | [0-9]{1,4} "W")
clock ::= [0-9]{1,4} "H" minutes? | minutes | seconds
minutes ::= [0-9]{1,4} "M" seconds?
seconds ::= [0-9]{1,4} "S"
"""
_FORMATS = {"date-time": "datetime"} | {
    name: name
    for name in ("date", "time", "uuid", "ipv4", "ipv6", "hostname", "email", "uri", "duration")
}
_FORMATS_REFUSED = (
    "idn-email", "idn-hostname", "uri-reference", "iri", "iri-reference", "uri-template",
    "json-pointer",
    "relative-json-pointer", "regex",
)  # fmt: skip


class SchemaError(StockLLMError):
    """The schema is wrong, or holds what a grammar cannot keep; the caller's fault."""


def json_grammar(schema: Schema) -> str:
    """The grammar of a schema; `{}` and `True` stand for any JSON object.

    Raises:
        SchemaError: names the keyword that is wrong or cannot be kept.
    """
    try:
        size = len(json.dumps(schema, ensure_ascii=False).encode())
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError):
        raise SchemaError("JSON schema: it is not JSON, or nested too deeply") from None
    if size > MAX_SCHEMA_BYTES:
        raise SchemaError(
            f"JSON schema: it has {size:,} bytes; at most {MAX_SCHEMA_BYTES:,} are read"
        )
    if schema is True or schema == {}:
        return f"root ::= object{_BASE}"
    converter = _Converter(schema)
    root = converter.expression(schema, 0)
    rules = "\n".join(f"{name} ::= {text}" for name, text in converter.rules.items())
    return f"root ::= {root}\n{rules}{_BASE}"


class _Converter:
    def __init__(self, root: Schema):
        self.rules: dict[str, str] = {}
        self._root = root
        self._names: dict[str, str] = {}
        self._by_schema: dict[str, str] = {}
        self._referred: set[str] = set()
        self._size = self._steps = 0

    def expression(self, schema: Schema, depth: int) -> str:
        """The name of the rule for a schema, or of one of the rules that are always there."""
        flat = self._flat(schema, depth)
        if flat is False:
            raise SchemaError(
                "JSON schema: nothing fits it (false, or types that exclude each other)"
            )
        key = json.dumps(flat, sort_keys=True, default=str)
        if key in self._by_schema:
            return self._refer(self._by_schema[key])
        name = self._by_schema[key] = f"s{len(self._by_schema)}"
        rule = self._by_schema[key] = self._flat_expression(flat, depth)
        if name in self._referred:
            self.rules[name] = rule
        return rule

    def _refer(self, name: str) -> str:
        self._referred.add(name)
        return name

    def _flat_expression(self, flat: Mapping[str, Any], depth: int) -> str:
        if "anyOf" in flat:
            rest = {name: value for name, value in flat.items() if name != "anyOf"}
            branches = flat["anyOf"]
            return self._any_of(
                [self._merge(rest, part, depth) for part in branches] if rest else branches, depth
            )
        if "enum" in flat:
            return self._enum(flat)
        types = flat.get("type") or [
            kind for kind, names in _KEYWORDS_OF.items() if any(name in flat for name in names)
        ]
        if not types:
            return "value"
        return self._rule(
            " | ".join(dict.fromkeys(self._typed(kind, flat, depth) for kind in types))
        )

    def _rule(self, text: str) -> str:
        """Adds a rule, or finds the one that says the same; a lone name stays as it is."""
        if text.isalnum() or text in self._names:
            return self._names.get(text, text)
        self._size += len(text)
        if self._size > MAX_GRAMMAR_BYTES:
            raise SchemaError("JSON schema: it makes too large a grammar")
        name = self._names[text] = f"r{len(self.rules)}"
        self.rules[name] = text
        return name

    def _resolve(self, pointer: Any) -> Schema:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise SchemaError(
                f"JSON schema: $ref {_shown(pointer)}: only a place in the schema itself is known"
            )
        target = self._root
        for step in pointer[1:].split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping) and key in target:
                target = target[key]
            elif isinstance(target, list) and key.isdigit() and int(key) < len(target):
                target = target[int(key)]
            else:
                raise SchemaError(f"JSON schema: $ref {_shown(pointer)}: there is no such place")
        return target

    # One schema out of `$ref`, `allOf` and what stands beside them

    def _flat(self, schema: Schema, depth: int) -> Any:
        """A schema without `$ref`, `allOf` and `oneOf` at its top; False where nothing fits it."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise SchemaError("JSON schema: it is too large once its $ref and allOf are followed")
        if depth > MAX_DEPTH:
            raise SchemaError(
                f"JSON schema: it is nested deeper than {MAX_DEPTH} levels, or refers to itself"
            )
        if isinstance(schema, bool):
            return {} if schema else False
        plain = _checked(schema)
        parts = [self._flat(part, depth + 1) for part in plain.pop("allOf", ())]
        if "$ref" in plain:
            parts.append(self._flat(self._resolve(plain.pop("$ref")), depth + 1))
        if "oneOf" in plain:
            branches = [self._flat(part, depth + 1) for part in plain.pop("oneOf")]
            parts.append({"anyOf": self._exclusive(branches)})
        for part in parts:
            plain = self._merge(plain, part, depth)
            if plain is False:
                return False
        return plain

    def _merge(self, first: Any, second: Any, depth: int) -> Any:
        """What fits both schemas; both are flat, or parts of `anyOf`."""
        first, second = self._flat(first, depth + 1), self._flat(second, depth + 1)
        if first is False or second is False:
            return False
        merged = {**first, **second}
        for name in first.keys() & second.keys():
            former, other = first[name], second[name]
            if name in _LARGEST:
                merged[name] = max(former, other)
            elif name in _SMALLEST:
                merged[name] = min(former, other)
            elif name == "type":
                merged[name] = _common_types(former, other)
            elif name == "enum":
                known = {_key(value) for value in other}
                merged[name] = [value for value in former if _key(value) in known]
            elif name == "required":
                merged[name] = list(dict.fromkeys([*former, *other]))
            elif name == "uniqueItems":
                merged[name] = former or other
            elif name == "anyOf":
                if len(former) * len(other) > MAX_ALTERNATIVES:
                    raise SchemaError("JSON schema: anyOf: too many combinations")
                both = [self._merge(left, right, depth + 1) for left in former for right in other]
                merged[name] = [part for part in both if part is not False]
            elif name in ("pattern", "format", "multipleOf") and former != other:
                raise SchemaError(f"JSON schema: allOf: two different {name} cannot be kept")
        if any(name in merged and not merged[name] for name in ("type", "enum", "anyOf")):
            return False
        if "properties" in first or "properties" in second:
            self._merge_properties(merged, first, second)
        elif "additionalProperties" in first and "additionalProperties" in second:
            merged["additionalProperties"] = _both(
                first["additionalProperties"], second["additionalProperties"]
            )
        if {"prefixItems", "items"} & (first.keys() | second.keys()):
            _merge_items(merged, first, second)
        return merged

    def _merge_properties(
        self, merged: dict[str, Any], first: Mapping[str, Any], second: Mapping[str, Any]
    ) -> None:
        names = dict.fromkeys([*first.get("properties", ()), *second.get("properties", ())])
        merged["properties"] = {
            name: _both(_property(first, name), _property(second, name)) for name in names
        }
        given = [
            part["additionalProperties"]
            for part in (first, second)
            if "additionalProperties" in part
        ]
        if given:
            merged["additionalProperties"] = given[0] if len(given) == 1 else _both(*given)
            if (
                len(given) == 1 and given[0] is not False
            ):  # the other part says nothing: names stay out
                del merged["additionalProperties"]

    def _exclusive(self, branches: list[Any]) -> list[Any]:
        """The branches of a `oneOf`, of which no text fits two."""
        real = [branch for branch in branches if branch is not False]
        for number, former in enumerate(real):
            for other in real[number + 1 :]:
                if not _disjoint(former, other):
                    raise SchemaError(
                        "JSON schema: oneOf: its branches must differ in type, or in a required "
                        "property with const or enum"
                    )
        return real

    # Values

    def _any_of(self, branches: Sequence[Any], depth: int) -> str:
        if len(branches) > MAX_ALTERNATIVES:
            raise SchemaError(f"JSON schema: anyOf: more than {MAX_ALTERNATIVES:,} branches")
        names = [self.expression(branch, depth + 1) for branch in branches if branch is not False]
        if not names:
            raise SchemaError("JSON schema: anyOf: nothing fits any of its branches")
        return self._rule(" | ".join(dict.fromkeys(names)))

    def _enum(self, schema: Mapping[str, Any]) -> str:
        values = schema["enum"]
        if len(values) > MAX_ALTERNATIVES:
            raise SchemaError(f"JSON schema: enum: more than {MAX_ALTERNATIVES:,} values")
        fitting = [value for value in values if _fits(value, schema)]
        if not fitting:
            raise SchemaError("JSON schema: enum: none of its values fits the rest of the schema")
        return self._rule(
            " | ".join(literal(json.dumps(value, ensure_ascii=False)) for value in fitting)
        )

    def _typed(self, kind: str, schema: Mapping[str, Any], depth: int) -> str:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "number" | "integer":
                return self._number(schema, whole=kind == "integer")
        return kind

    def _object(self, schema: Mapping[str, Any], depth: int) -> str:
        extra = schema.get("additionalProperties")
        required = schema.get("required", ())
        given = dict(schema.get("properties", {}))
        for name in required:
            if name not in given:
                given[name] = True if extra is None else extra
        for name in required:
            if given[name] is False:
                raise SchemaError(
                    f"JSON schema: required: nothing fits the property {_shown(name)}"
                )
        given = {name: part for name, part in given.items() if part is not False}
        open_ended = extra not in (None, False) or (
            extra is None and not given and "properties" not in schema
        )
        _check_counts(schema, len(given), len(required), open_ended)
        if (
            open_ended
            and not given
            and extra in (None, True)
            and "maxProperties" not in schema
            and not schema.get("minProperties")
        ):
            return "object"
        started = empty = "nothing"
        if open_ended:
            value = self.expression(True if extra is None else extra, depth + 1)
            pair = self._rule(
                f'"\\"" {self._other_names(given)} "\\"" space ":" space {value} space'
            )
            room = schema.get("maxProperties", len(given) + MAX_REPEATS) - len(given)
            started = self._rule(
                self._repeat(f'("," space {pair})', 0, room if "maxProperties" in schema else None)
            )
            least = schema.get("minProperties", 0) - len(required)
            rest = self._repeat(
                f'("," space {pair})', 0, room - 1 if "maxProperties" in schema else None
            )
            empty = (
                self._rule(f"{pair} {rest}" if least > 0 else f"({pair} {rest})?")
                if room > 0
                else "nothing"
            )
        for name, part in reversed(given.items()):
            value = self.expression(part, depth + 1)
            pair = self._rule(
                f'{literal(json.dumps(name, ensure_ascii=False))} space ":" space {value} space'
            )
            skip_started, skip_empty = (
                ("", "") if name in required else (f" | {started}", f" | {empty}")
            )
            started, empty = (
                self._rule(f'"," space {pair} {started}{skip_started}'),
                self._rule(f"{pair} {started}{skip_empty}"),
            )
        return self._rule(f'"{{" space {empty} "}}"')

    def _other_names(self, names: Iterable[str]) -> str:
        """Names of properties that are none of `names`, without escapes."""
        tree: dict[str, Any] = {}
        for name in names:
            if len(name) > MAX_OTHER_NAME:
                raise SchemaError(
                    "JSON schema: additionalProperties beside a very long name cannot be kept"
                )
            branch = tree
            for character in name:
                branch = branch.setdefault(character, {})
            branch[""] = {}
        return self._not_in(tree)

    def _not_in(self, tree: Mapping[str, Any]) -> str:
        if not tree:
            return "plain*"
        characters = [character for character in tree if character]
        others = f"{character_class(characters, negated=True)} plain*" if characters else "plain+"
        branches = [
            f"{literal(character)} {self._not_in(tree[character])}"
            for character in characters
            if ord(character) >= 0x20 and character not in '"\\\x7f'
        ]
        choices = " | ".join([others, *branches, *(() if "" in tree else ("nothing",))])
        return self._rule(choices)

    def _array(self, schema: Mapping[str, Any], depth: int) -> str:
        most = schema.get("maxItems")
        least = schema.get("minItems", 0)
        if schema.get("uniqueItems") and (most is None or most > 1):
            raise SchemaError("JSON schema: uniqueItems cannot be kept")
        first, rest = list(schema.get("prefixItems", ())), schema.get("items", True)
        if False in first:
            most = min(most, first.index(False)) if most is not None else first.index(False)
        if rest is False:
            most = min(most, len(first)) if most is not None else len(first)
        if most is not None and least > most:
            raise SchemaError("JSON schema: minItems is above the number of items that fit")
        first = first[:most]
        items = (
            self._rule(f"{self.expression(rest, depth + 1)} space")
            if most is None or most > len(first)
            else ""
        )
        tail = "nothing"
        if items:
            low, high = max(0, least - len(first)), None if most is None else most - len(first)
            if first:
                tail = self._rule(self._repeat(f'("," space {items})', low, high))
            else:
                following = self._repeat(
                    f'("," space {items})', max(0, low - 1), None if high is None else high - 1
                )
                tail = self._rule(f"{items} {following}" if low else f"({items} {following})?")
        for place in reversed(range(len(first))):
            comma = '"," space ' if place else ""
            item = f"{comma}{self.expression(first[place], depth + 1)} space {tail}"
            tail = self._rule(item if place < least else f"({item})?")
        return self._rule(f'"[" space {tail} "]"')

    def _repeat(self, text: str, least: int, most: int | None) -> str:
        """`text` at least and at most so many times; many times are counted in hundreds."""
        if most is not None and most < least:
            raise SchemaError("JSON schema: a minimum is above its maximum")
        if least > MAX_REPEATS:
            raise SchemaError(f"JSON schema: a minimum above {MAX_REPEATS:,} cannot be kept")
        exact = ""
        if least > _CHUNK:
            exact = f"{self._hundred(text)}{{{least // _CHUNK}}} "
            least, most = least % _CHUNK, None if most is None else most - least // _CHUNK * _CHUNK
        if most is None:
            return exact + (f"{text}*" if least == 0 else f"{text}{{{least},}}")
        most = min(most, MAX_REPEATS)
        if most - least <= _CHUNK:
            return exact + (f"{text}{{{least},{most}}}" if most else "nothing")
        hundreds, left = divmod(most - least, _CHUNK)
        exact += f"{text}{{{least}}} " if least else ""
        exact += f"{self._hundred(text)}{{0,{hundreds - 1}}} " if hundreds > 1 else ""
        return f"{exact}{text}{{0,{_CHUNK + left}}}"

    def _hundred(self, text: str) -> str:
        return self._rule(f"{text}{{{_CHUNK}}}")

    def _string(self, schema: Mapping[str, Any]) -> str:
        form = schema.get("format")
        bounded = schema.get("minLength", 0) > 0 or "maxLength" in schema
        if form in _FORMATS_REFUSED:
            raise SchemaError(f"JSON schema: format {form} cannot be kept")
        if sum((bounded, "pattern" in schema, form in _FORMATS)) > 1:
            raise SchemaError(
                "JSON schema: pattern, format, and minLength with maxLength: "
                "only one of the three can be kept at once"
            )
        if form in _FORMATS:
            return self._rule(f'"\\"" {_FORMATS[form]} "\\""')
        if "pattern" in schema:
            try:
                return self._rule(f'"\\"" {regex_grammar(schema["pattern"])} "\\""')
            except RegexError as error:
                raise SchemaError(
                    f"JSON schema: pattern {_shown(schema['pattern'])}: {error}"
                ) from None
        if not bounded:
            return "string"
        text = self._repeat("char", schema.get("minLength", 0), schema.get("maxLength"))
        return self._rule(f'"\\"" {text} "\\""')

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> str:
        low, high = _Bound.lower(schema), _Bound.upper(schema)
        step = schema.get("multipleOf")
        if step is not None and step == step.to_integral_value():
            whole = True
        if not whole:
            return self._decimal(low, high, step)
        if step is not None and (1 / step) % 1 == 0:
            step = None
        least = low.whole(ROUND_CEILING, 1) if low else None
        most = high.whole(ROUND_FLOOR, -1) if high else None
        if step is None:
            return self._rule(_integers(least, most))
        if step != step.to_integral_value():
            raise SchemaError(f"JSON schema: multipleOf {step} cannot be kept for whole numbers")
        if least is not None and most is not None:
            return self._multiples(Decimal(least), Decimal(most), step)
        if least is None and most is None and step <= _MAX_MODULUS:
            return self._divisible(int(step))
        raise SchemaError(
            "JSON schema: multipleOf can be kept with both minimum and maximum, or without either"
        )

    def _decimal(self, low: "_Bound | None", high: "_Bound | None", step: Decimal | None) -> str:
        digits = DIGITS
        if step is not None:
            digits = -int(step.normalize().as_tuple().exponent)
            if step != Decimal(1).scaleb(-digits) or digits > DIGITS:
                if low is None or high is None:
                    raise SchemaError(
                        f"JSON schema: multipleOf {step} needs both minimum and maximum"
                    )
                return self._multiples(low.value, high.value, step, low.is_open, high.is_open)
        elif low is None and high is None:
            return "number"
        return self._rule(_decimals(low, high, digits))

    def _multiples(
        self, least: Decimal, most: Decimal, step: Decimal, above: bool = False, below: bool = False
    ) -> str:
        first = (least / step).to_integral_value(ROUND_CEILING)
        last = (most / step).to_integral_value(ROUND_FLOOR)
        if last - first > _MAX_MULTIPLES:
            raise SchemaError(f"JSON schema: multipleOf: more than {_MAX_MULTIPLES} numbers fit")
        numbers = [step * count for count in range(int(first), int(last) + 1)]
        fitting = [
            number
            for number in numbers
            if not (above and number == least) and not (below and number == most)
        ]
        if not fitting:
            raise SchemaError("JSON schema: multipleOf: no number fits between minimum and maximum")
        return self._rule(" | ".join(literal(f"{number.normalize():f}") for number in fitting))

    def _divisible(self, step: int) -> str:
        """Whole numbers that `step` divides: one rule for each remainder of what has been
        written."""
        start = len(self.rules)
        names = [f"mod{start}x{remainder}" for remainder in range(step)]
        for remainder, name in enumerate(names):
            digits = [f'"{digit}" {names[(10 * remainder + digit) % step]}' for digit in range(10)]
            self.rules[name] = " | ".join([*digits, *(("nothing",) if remainder == 0 else ())])
        first = [f'"{digit}" {names[digit % step]}' for digit in range(1, 10)]
        return self._rule(f'"0" | "-"? ({" | ".join(first)})')


def _checked(schema: Schema) -> dict[str, Any]:
    """The keywords of a schema that bear on validation, in their newest spelling.

    Raises:
        SchemaError: a keyword is wrong or cannot be kept.
    """
    if not isinstance(schema, Mapping):
        raise SchemaError(f"JSON schema: {_shown(schema)} is no schema")
    refused = [name for name in _REFUSED if name in schema]
    refused += [name for name in _REFUSED_UNLESS_EMPTY if schema.get(name)]
    refused += ["if"] if "if" in schema and {"then", "else"} & set(schema) else []
    if refused:
        raise SchemaError(f"JSON schema: {refused[0]} cannot be kept")
    if schema.get("unevaluatedProperties", True) not in (True, False):
        raise SchemaError("JSON schema: unevaluatedProperties can be true or false only")
    plain = {name: schema[name] for name in _KEPT if name in schema}
    if "const" in schema:
        plain["enum"] = [
            value
            for value in plain.get("enum", [schema["const"]])
            if _key(value) == _key(schema["const"])
        ]
    if isinstance(plain.get("items"), list):
        plain["prefixItems"], plain["items"] = plain["items"], schema.get("additionalItems", True)
    for name in ("anyOf", "oneOf", "allOf", "prefixItems", "enum"):
        if name in plain and not isinstance(plain[name], list):
            raise SchemaError(f"JSON schema: {name} must be a list")
    if any(name in plain and not plain[name] for name in ("anyOf", "oneOf", "enum")):
        raise SchemaError("JSON schema: anyOf, oneOf and enum must not be empty")
    if "type" in plain:
        types = [plain["type"]] if isinstance(plain["type"], str) else plain["type"]
        if not isinstance(types, list) or not types or any(kind not in _TYPES for kind in types):
            raise SchemaError(f"JSON schema: type {_shown(plain['type'])} is not known")
        plain["type"] = types
    if not isinstance(plain.get("properties", {}), Mapping):
        raise SchemaError("JSON schema: properties must be an object")
    required = plain.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise SchemaError("JSON schema: required must be a list of names")
    for name in ("pattern", "format"):
        if not isinstance(plain.get(name, ""), str):
            raise SchemaError(f"JSON schema: {name} must be a text")
    for name in _COUNTS:
        if name in plain:
            plain[name] = int(_decimal_of(name, plain[name]))
            if plain[name] < 0:
                raise SchemaError(f"JSON schema: {name} must not be negative")
    for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(plain.get(name), bool) and plain.pop(name) and bound in plain:  # draft 4
            plain[name] = plain.pop(bound)
    for name in _KEYWORDS_OF["number"]:
        if name in plain:
            plain[name] = _decimal_of(name, plain[name])
    if plain.get("multipleOf", 1) <= 0:
        raise SchemaError("JSON schema: multipleOf must be above 0")
    return plain


def _decimal_of(name: str, value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SchemaError(f"JSON schema: {name} must be a number")
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):
        raise SchemaError(f"JSON schema: {name} is too large") from None
    if number and not -30 < number.adjusted() < 30:
        raise SchemaError(f"JSON schema: {name} is too large or too small")
    return number


def _shown(value: Any) -> str:
    """A value of the schema for a message."""
    return repr(value)[:80]


def _key(value: Any) -> str:
    """What two values have in common that JSON holds for equal: 1 and 1.0, but not 1 and true."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _both(first: Schema, second: Schema) -> Schema:
    """The schema that asks for both; it is merged where it is converted."""
    if first is False or second is False:
        return False
    if first in (True, {}):
        return second
    return first if second in (True, {}) or first == second else {"allOf": [first, second]}


def _property(schema: Mapping[str, Any], name: str) -> Schema:
    properties = schema.get("properties", {})
    return properties[name] if name in properties else schema.get("additionalProperties", True)


def _merge_items(
    merged: dict[str, Any], first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    starts = [schema.get("prefixItems", []) for schema in (first, second)]
    rests = [schema.get("items", True) for schema in (first, second)]

    def at(which: int, place: int) -> Schema:
        return starts[which][place] if place < len(starts[which]) else rests[which]

    merged["prefixItems"] = [
        _both(at(0, place), at(1, place)) for place in range(max(map(len, starts)))
    ]
    merged["items"] = _both(*rests)


def _common_types(former: Sequence[str], other: Sequence[str]) -> list[str]:
    common = [kind for kind in former if kind in other or (kind == "integer" and "number" in other)]
    return common + [
        kind for kind in other if kind == "integer" and "number" in former and kind not in common
    ]


def _disjoint(former: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether no text that is written for one schema fits the other."""
    if "enum" in former and "enum" in other:
        return not {_key(value) for value in former["enum"]} & {
            _key(value) for value in other["enum"]
        }
    kinds, others = _kinds(former), _kinds(other)
    if kinds and others and not _common_types(kinds, others):
        return True
    if kinds != ["object"] or others != ["object"]:
        return False
    for name in set(former.get("required", ())) & set(other.get("required", ())):
        first, second = _values_of(former, name), _values_of(other, name)
        if first and second and not first & second:
            return True
    return _never_fits(former, other) and _never_fits(other, former)


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    if "enum" in schema:
        return list(dict.fromkeys(_kind(value) for value in schema["enum"]))
    return list(schema.get("type", ()))


def _values_of(schema: Mapping[str, Any], name: str) -> set[str]:
    part = schema.get("properties", {}).get(name)
    if not isinstance(part, Mapping):
        return set()
    values = [part["const"]] if "const" in part else part.get("enum", [])
    return {_key(value) for value in values}


def _never_fits(former: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether each text written for the first schema lacks what the second one requires, or has
    what it forbids."""
    required, others = set(former.get("required", ())), set(other.get("required", ()))
    if other.get("additionalProperties") is False and required - set(other.get("properties", ())):
        return True
    closed = "properties" in former and former.get("additionalProperties", False) is False
    return closed and bool(others - set(former["properties"]) - required)


def _check_counts(schema: Mapping[str, Any], given: int, required: int, open_ended: bool) -> None:
    least, most = schema.get("minProperties", 0), schema.get("maxProperties")
    if least > required and not (open_ended and given == required and least == required + 1):
        raise SchemaError(
            "JSON schema: minProperties above the number of required properties cannot be kept"
        )
    if most is not None and most < given:
        raise SchemaError(
            "JSON schema: maxProperties below the number of properties cannot be kept"
        )


def _kind(value: Any) -> str:
    """The type of a value; numbers without a fraction are integers."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == int(value) else "number"
    if value is None or isinstance(value, str):
        return "null" if value is None else "string"
    return "array" if isinstance(value, list) else "object"


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value of an `enum` fits the keywords beside it."""
    kind = _kind(value)
    if (
        "type" in schema
        and kind not in schema["type"]
        and not (kind == "integer" and "number" in schema["type"])
    ):
        return False
    if kind in ("boolean", "null"):
        return True
    beside = [
        name for name in _KEYWORDS_OF["number" if kind == "integer" else kind] if name in schema
    ]
    if kind == "string" and not set(beside) - {"minLength", "maxLength"}:
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
    if kind in ("integer", "number"):
        number, step = Decimal(str(value)), schema.get("multipleOf")
        low, high = _Bound.lower(schema), _Bound.upper(schema)
        return bool(
            (low is None or number > low.value or (number == low.value and not low.is_open))
            and (high is None or number < high.value or (number == high.value and not high.is_open))
            and (step is None or number % step == 0)
        )
    if beside:
        raise SchemaError(f"JSON schema: {beside[0]} beside enum or const cannot be kept")
    return True


class _Bound:
    """A limit of a number; `is_open` where the limit itself does not fit."""

    def __init__(self, value: Decimal, is_open: bool):
        self.value, self.is_open = value, is_open

    @staticmethod
    def lower(schema: Mapping[str, Any]) -> "_Bound | None":
        closed, above = schema.get("minimum"), schema.get("exclusiveMinimum")
        if above is not None and (closed is None or above >= closed):
            return _Bound(above, True)
        return None if closed is None else _Bound(closed, False)

    @staticmethod
    def upper(schema: Mapping[str, Any]) -> "_Bound | None":
        closed, below = schema.get("maximum"), schema.get("exclusiveMaximum")
        if below is not None and (closed is None or below <= closed):
            return _Bound(below, True)
        return None if closed is None else _Bound(closed, False)

    def whole(self, rounding: str, inwards: int) -> int:
        """The nearest whole number that fits."""
        number = self.value.to_integral_value(rounding)
        return int(number) + (inwards if self.is_open and number == self.value else 0)

    def rounded(self, digits: int, rounding: str) -> "_Bound":
        """The nearest limit with so many decimals that leaves no more room."""
        value = self.value.quantize(Decimal(1).scaleb(-digits), rounding)
        return _Bound(value, self.is_open and value == self.value)

    def negative(self) -> "_Bound":
        return _Bound(-self.value, self.is_open)


_ZERO_OPEN, _ZERO = _Bound(Decimal(0), True), _Bound(Decimal(0), False)


def _integers(least: int | None, most: int | None) -> str:
    """Whole numbers from `least` to `most`."""
    if least is not None and most is not None and least > most:
        raise SchemaError("JSON schema: no whole number fits between minimum and maximum")
    choices = []
    if least is None or least < 0:
        nearest = 1 if most is None else max(1, -most)
        choices.append(f'"-" ({_naturals(nearest, None if least is None else -least)})')
    if most is None or most >= 0:
        choices.append(_naturals(max(0, least or 0), most))
    return " | ".join(choices)


def _naturals(least: int, most: int | None) -> str:
    most = 10**DIGITS - 1 if most is None else most
    if least > most:
        raise SchemaError("JSON schema: minimum is too large")
    choices = []
    for length in range(len(str(least)), len(str(most)) + 1):
        low = max(least, 10 ** (length - 1) if length > 1 else 0)
        choices.append(_same_length(str(low), str(min(most, 10**length - 1))))
    return " | ".join(choices)


def _same_length(low: str, high: str) -> str:
    """Numbers from `low` to `high`, which have equally many digits."""
    if low == high:
        return f'"{low}"' if low else ""
    rest = len(low) - 1
    if set(low) == {"0"} and set(high) == {"9"}:
        return f"[0-9]{{{len(low)}}}"
    if low[0] == high[0]:
        return f'"{low[0]}" {_grouped(_same_length(low[1:], high[1:]))}'
    choices, first, last = [], int(low[0]), int(high[0])
    if set(low[1:]) - {"0"}:
        choices.append(f'"{low[0]}" {_grouped(_same_length(low[1:], "9" * rest))}')
        first += 1
    upper = (
        f'"{high[0]}" {_grouped(_same_length("0" * rest, high[1:]))}'
        if set(high[1:]) - {"9"}
        else ""
    )
    last -= bool(upper)
    if first <= last:
        choices.append(f"[{first}-{last}]" + (f" [0-9]{{{rest}}}" if rest else ""))
    return " | ".join([*choices, *([upper] if upper else [])])


def _grouped(text: str) -> str:
    return f"({text})" if "|" in text else text


def _decimals(low: _Bound | None, high: _Bound | None, digits: int) -> str:
    """Numbers between two limits with at most so many decimals."""
    low = low and low.rounded(digits, ROUND_CEILING)
    high = high and high.rounded(digits, ROUND_FLOOR)
    choices = []
    if low is None or low.value < 0:
        near = _ZERO_OPEN if high is None or high.value >= 0 else high.negative()
        if magnitude := _magnitudes(near, low and low.negative(), digits):
            choices.append(f'"-" ({magnitude})')
    if high is None or high.value >= 0:
        choices.append(_magnitudes(low if low and low.value >= 0 else _ZERO, high, digits))
    if not any(choices):
        raise SchemaError("JSON schema: no number fits between minimum and maximum")
    return " | ".join(filter(None, choices))


def _magnitudes(low: _Bound, high: _Bound | None, digits: int) -> str:
    """Numbers without a sign between two limits; empty where there are none."""
    if high and (
        low.value > high.value or (low.value == high.value and (low.is_open or high.is_open))
    ):
        return ""
    any_decimals = f'("." [0-9]{{1,{digits}}})?'
    whole, decimals = _split(low.value)
    last, last_decimals = _split(high.value) if high else (-1, "")
    if high and whole == last:
        choices = [
            f'"{whole}" ({_between(decimals, low.is_open, last_decimals, high.is_open, digits)})'
        ]
        return " | ".join(choices)
    choices = [f'"{whole}" ({above})' for above in [_above(decimals, low.is_open, digits)] if above]
    if high is None or whole + 1 < last:
        choices.append(f"({_naturals(whole + 1, last - 1 if high else None)}) {any_decimals}")
    if high and (below := _below(last_decimals, high.is_open, digits)):
        choices.append(f'"{last}" ({below})')
    return " | ".join(choices)


def _split(number: Decimal) -> tuple[int, str]:
    """The whole part of a number, and its decimals without zeros at the end."""
    whole, _, decimals = f"{number:f}".partition(".")
    return int(whole), decimals.rstrip("0")


def _digits(least: int, most: int) -> str:
    return f"[0-9]{{{least},{most}}}" if most > 0 else "nothing"


def _tail_above(decimals: str, is_open: bool, before: str, digits: int) -> list[str]:
    """Decimals after `before` that make a number of at least `decimals` (more, where it is
    open)."""
    choices = []
    for place, digit in enumerate(decimals):
        if digit < "9":
            rest = digits - len(before) - place - 1
            choices.append(f'"{before}{decimals[:place]}" [{int(digit) + 1}-9] {_digits(0, rest)}')
    room = digits - len(before) - len(decimals)
    if not is_open:
        return [*choices, f'"{before}{decimals}" {_digits(0, room)}']
    for zeros in range(min(room, 6)):
        choices.append(f'"{before}{decimals}{"0" * zeros}" [1-9] {_digits(0, room - zeros - 1)}')
    return choices


def _tail_below(decimals: str, is_open: bool, before: str, digits: int) -> list[str]:
    """Decimals after `before` that make a number of at most `decimals` (less, where it is open)."""
    choices = []
    for place, digit in enumerate(decimals):
        if digit > "0":
            rest = digits - len(before) - place - 1
            choices.append(f'"{before}{decimals[:place]}" [0-{int(digit) - 1}] {_digits(0, rest)}')
        if before or place:
            choices.append(f'"{before}{decimals[:place]}"')
    if not is_open and before + decimals:
        room = digits - len(before) - len(decimals)
        choices.append(f'"{before}{decimals}"' + (f' "0"{{0,{room}}}' if room else ""))
    return choices


def _above(decimals: str, is_open: bool, digits: int) -> str:
    """A point and decimals that make at least `decimals`; or nothing, where that is enough."""
    if not decimals and not is_open:
        return f'("." [0-9]{{1,{digits}}})?'
    return (
        f'"." ({choices})'
        if (choices := " | ".join(_tail_above(decimals, is_open, "", digits)))
        else ""
    )


def _below(decimals: str, is_open: bool, digits: int) -> str:
    if not decimals:
        return "" if is_open else f'("." "0"{{1,{digits}}})?'
    return f'("." ({" | ".join(_tail_below(decimals, is_open, "", digits))}))?'


def _between(low: str, low_open: bool, high: str, high_open: bool, digits: int) -> str:
    """A point and decimals from `low` to `high`, or nothing."""
    size = max(len(low), len(high))
    least, most = low.ljust(size, "0"), high.ljust(size, "0")
    choices = []
    place = next((at for at in range(size) if least[at] != most[at]), size)
    if place < size:
        first, last = int(least[place]), int(most[place])
        before = least[:place]
        choices += _tail_above(
            least[place + 1 :].rstrip("0"), low_open, before + least[place], digits
        )
        choices += _tail_below(
            most[place + 1 :].rstrip("0"), high_open, before + most[place], digits
        )
        if first + 1 < last:
            choices.append(f'"{before}" [{first + 1}-{last - 1}] {_digits(0, digits - place - 1)}')
    if not low_open:
        same = low or "0"
        choices.append(f'"{same}" "0"{{0,{digits - len(same)}}}')
    return f'"." ({" | ".join(choices)})' + ("" if low or low_open else " | nothing")
