"""Reads and checks routing rules, which are TOML; `policies/service.toml` explains how to write
them."""

import operator
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stock_llm.errors import InputError
from stock_llm.gateway.query import QUERY_TYPES, QueryType

FOLDER = Path(__file__).parent / "policies"

PROVIDERS = ("local", "ollama", "embedded", "claude-cli", "claude-api")
"""What a rule may name besides the servers of the settings; any of them may be switched off."""

_WORDS = {"type": QUERY_TYPES, "language": None}
_NUMBERS = ("complexity", "urgency", "data_length", "left_today", "left_month")
_COMPARISON = re.compile(r"(<=|>=|<|>|)\s*(\d+(?:\.\d+)?|[a-z_]+)")

Sign = Literal["<", "<=", ">", ">=", "="]
_COMPARE: dict[Sign, Callable[[Decimal, Decimal], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


@dataclass(frozen=True)
class RuleCondition:
    """A field of the query and what it must be: `sign` and `number`, or one of `words`."""

    field: str
    sign: Sign = "="
    number: Decimal = Decimal(0)
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.words:
            return f"{self.field} = {' or '.join(self.words)}"
        dollars = "$" if self.field.startswith("left_") else ""
        return f"{self.field} {self.sign} {dollars}{self.number}"

    def holds(self, value: str | int | Decimal) -> bool:
        """Whether a value of the query fits."""
        if self.words:
            return value in self.words
        return _COMPARE[self.sign](Decimal(value), self.number)


@dataclass(frozen=True)
class RoutingRule:
    """A provider and the conditions under which it is chosen; the first rule that holds decides."""

    when: tuple[RuleCondition, ...]
    to: str
    model: str = ""

    def __str__(self) -> str:
        conditions = " and ".join(map(str, self.when)) or "everything else"
        return f"{conditions} → {self.model or self.to}"


@dataclass(frozen=True)
class RoutingPolicy:
    """Rules, the last of which always holds, and the local models to prefer for each type."""

    name: str
    rules: tuple[RoutingRule, ...]
    local: Mapping[QueryType, tuple[str, ...]]


class _RuleTable(BaseModel):
    model_config = ConfigDict(extra="forbid")
    when: dict[str, str | int | list[str]]
    to: str = Field(min_length=1)
    model: str = ""


class _PolicyTable(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1)
    rule: list[_RuleTable] = Field(min_length=1)
    local: dict[QueryType, list[str]] = {}


def load_policy(
    name: str, values: Mapping[str, Decimal], home: Path = Path(), servers: Collection[str] = ()
) -> RoutingPolicy:
    """The policy of this name, or the file of this path.

    Args:
        name: "service", "orchestrator", or the path of a TOML file of your own, taken from `home`
            unless absolute.
        values: what words in comparisons stand for, e.g. keep_back.
        servers: names of the OpenAI-compatible servers.

    Raises:
        InputError: there is no such policy, or a rule does not make sense; names file, rule and
            field.
    """
    own = home / Path(name).expanduser()
    file = own if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.toml")))
        raise InputError(
            f"there is no policy '{name}'",
            file=file,
            remedy=f"Known: {known}, or the path of a .toml file",
        )
    try:
        table = _PolicyTable.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", file=file) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", file=file) from None
    providers = (*PROVIDERS, *servers)
    rules = tuple(
        _rule(rule, number, values, providers, file)
        for number, rule in enumerate(table.rule, start=1)
    )
    if rules[-1].when:
        raise InputError(
            "the last rule must hold for everything",
            file=file,
            remedy='End with: when = {}, to = "local"',
        )
    if dead := [number for number, rule in enumerate(rules[:-1], start=1) if not rule.when]:
        raise InputError(
            f"rule {dead[0]} holds for everything, so the rules after it are never read", file=file
        )
    return RoutingPolicy(
        table.name, rules, {kind: tuple(models) for kind, models in table.local.items()}
    )


def _rule(
    table: _RuleTable,
    number: int,
    values: Mapping[str, Decimal],
    providers: Collection[str],
    file: Path,
) -> RoutingRule:
    try:
        conditions = tuple(
            _condition(field, wanted, values) for field, wanted in table.when.items()
        )
    except ValueError as error:
        raise InputError(f"rule {number}: {error}", file=file) from None
    rule = RoutingRule(conditions, table.to, table.model)
    if rule.to not in providers:
        raise InputError(
            f"rule {number} ({rule}): there is no provider {rule.to!r}",
            file=file,
            remedy=f"It is one of {', '.join(providers)}",
        )
    return rule


def _condition(field: str, wanted: Any, values: Mapping[str, Decimal]) -> RuleCondition:
    if field in _WORDS:
        words = tuple(wanted) if isinstance(wanted, list) else (str(wanted),)
        allowed = _WORDS[field]
        if not words:
            choices = ", ".join(allowed or ("en", "th", "…"))
            raise ValueError(f"{field} = [] never holds; it is one or more of {choices}")
        if allowed and (strange := [word for word in words if word not in allowed]):
            raise ValueError(f"{field} cannot be {strange[0]!r}; it is one of {', '.join(allowed)}")
        return RuleCondition(field, words=words)
    if field not in _NUMBERS:
        raise ValueError(
            f"there is no field {field!r}; there are {', '.join((*_WORDS, *_NUMBERS))}"
        )
    comparison = _COMPARISON.fullmatch(str(wanted).strip())
    if not comparison:
        raise ValueError(f'{field} = "{wanted}" is no comparison; write for example "> 8"')
    sign, number = cast(Sign, comparison.group(1) or "="), comparison.group(2)
    if number[0].isdigit():
        return RuleCondition(field, sign, Decimal(number))
    if number not in values:
        raise ValueError(f"{field}: there is no setting {number!r}; there is {', '.join(values)}")
    return RuleCondition(field, sign, values[number])
