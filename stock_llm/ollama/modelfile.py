"""Ollama's Modelfile as a noun: what a published model is made of, written and read in Ollama's own
grammar.

In: a base (a GGUF path or a model name), an adapter, template, system text, parameters, licence.
Out: the file's text, or the same fields for Ollama's API and store.
Format: ollama/ollama docs/modelfile.mdx and parser/parser.go. Values are bare to the end of the
line, in double quotes, or in three of them, and there are no escapes. DRAFT, RENDERER and PARSER
are refused: nothing here makes them.

Parameters are checked here because Ollama's API does not: it stores `temperature: "hot"`, and every
later request fails. Does not know templates (`go_template`), nor what is in a GGUF.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stock_llm.errors import InputError

Parameter = int | float | bool | tuple[str, ...]

_INTEGERS = ["num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "num_predict"]
_INTEGERS += ["draft_num_predict", "seed", "top_k", "repeat_last_n"]
_FLOATS = [
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
]
PARAMETERS: Mapping[str, type] = MappingProxyType(
    dict.fromkeys(_INTEGERS, int)
    | dict.fromkeys(_FLOATS, float)
    | {"use_mmap": bool, "stop": tuple}
)
"""Parameter name → type. Those that Ollama has retired (mirostat, low_vram, …) are not in it."""

_ROLES = ("system", "user", "assistant")
_SEMVER = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True)
class Modelfile:
    """What a model is made of.

    Attributes:
        from_: path of a GGUF (relative to the file), or the name of a model.
        template: Go template; empty: none is published.
        parameters: see `PARAMETERS`; `stop` is a tuple.
        license: texts, in their order.
        messages: (role, text) pairs that begin every conversation.
        requires: least Ollama version, as 0.14.0; empty: any.
        adapter: path of a GGUF LoRA (relative to the file) that is added to the base while it runs;
            empty: none.

    Raises:
        InputError: a parameter that Ollama does not know, or with a value that it would choke on.
    """

    from_: str
    template: str = ""
    system: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    license: tuple[str, ...] = ()
    messages: tuple[tuple[str, str], ...] = ()
    requires: str = ""
    adapter: str = ""

    def __post_init__(self) -> None:
        if not self.from_:
            raise InputError("a Modelfile needs FROM", remedy="Name a GGUF file or a model")
        checked = {name: _checked(name, value) for name, value in self.parameters.items()}
        object.__setattr__(self, "parameters", checked)
        for role, _ in self.messages:
            if role not in _ROLES:
                raise InputError(f"message role {role!r} is not one of {', '.join(_ROLES)}")
        if self.requires and not _SEMVER.fullmatch(self.requires):
            raise InputError(f"REQUIRES {self.requires!r} is not a version like 0.14.0")

    def write(self) -> str:
        """The file's text, which `parse_modelfile` and Ollama read back as the same fields.

        Raises:
            InputError: a text that the format cannot hold (three double quotes, characters that
                Ollama drops).
        """
        lines = [f"FROM {_quoted(self.from_)}"]
        lines += [f"ADAPTER {_quoted(self.adapter)}"] if self.adapter else []
        for name, value in self.parameters.items():
            values = value if isinstance(value, tuple) else (value,)
            lines += [f"PARAMETER {name} {_quoted(_plain(item))}" for item in values]
        lines += [
            f'{name} """{text}"""'
            for name, text in (("TEMPLATE", self.template), ("SYSTEM", self.system))
            if text
        ]
        lines += [f'MESSAGE {role} """{text}"""' for role, text in self.messages]
        lines += [f"REQUIRES {self.requires}"] if self.requires else []
        lines += [f'LICENSE """{text}"""' for text in self.license]
        written = "\n".join(lines) + "\n"
        try:
            whole = parse_modelfile(written) == self
        except InputError:
            whole = False
        if not whole:
            raise InputError(
                "a text of the Modelfile would not be read back as it is",
                remedy="Remove three double quotes in a row, empty texts, and characters that "
                "are not printable",
            )
        return written


def parse_modelfile(text: str, file: Path | str = "Modelfile") -> Modelfile:
    """The fields of a Modelfile's text.

    Raises:
        InputError: not in the grammar, or with an instruction, parameter or value that is refused;
            names the line.
    """
    fields: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    licences: list[str] = []
    messages: list[tuple[str, str]] = []
    for row, name, word, value in _commands(text, file):
        try:
            if name == "PARAMETER":
                read = _read(word, value)
                several = isinstance(read, tuple)
                parameters[word] = parameters.get(word, ()) + read if several else read
            elif name == "MESSAGE":
                messages.append((word, value))
            elif name == "LICENSE":
                licences.append(value)
            elif name == "FROM" and "from_" in fields:
                raise InputError("a second FROM", remedy="A model has one base")
            elif name == "ADAPTER" and "adapter" in fields:
                raise InputError("a second ADAPTER", remedy="A model has one adapter")
            else:
                fields[{"FROM": "from_"}.get(name, name.lower())] = value
        except InputError as error:
            raise InputError(error.problem, file=file, row=row, remedy=error.remedy) from None
    if "from_" not in fields:
        raise InputError("no FROM line", file=file, remedy="Name a GGUF file or a model")
    try:
        return Modelfile(
            parameters=parameters, license=tuple(licences), messages=tuple(messages), **fields
        )
    except InputError as error:
        raise InputError(error.problem, file=file, remedy=error.remedy) from None


_WORDED = ("PARAMETER", "MESSAGE")
_KNOWN = ("FROM", "ADAPTER", "TEMPLATE", "SYSTEM", "LICENSE", "REQUIRES", *_WORDED)


def _commands(text: str, file: Path | str) -> Iterator[tuple[int, str, str, str]]:
    """(row, instruction, its parameter name or role, value) of each command."""
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text.removeprefix("\ufeff"))
    at = 0
    while at < len(lines):
        row, line = at + 1, lines[at].lstrip(" \t")
        at += 1
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z]+)[ \t](.*)", line, re.DOTALL)
        name = match[1].upper() if match else ""
        if not match or name not in _KNOWN:
            problem = f"not an instruction that is understood here: {line.strip()[:60]!r}"
            raise InputError(problem, file=file, row=row, remedy=f"Known: {', '.join(_KNOWN)}")
        word, value = "", match[2]
        if name in _WORDED:
            worded = re.fullmatch(r"[ \t]*(\w+)[ \t](.*)", value, re.DOTALL)
            if not worded:
                raise InputError(f"{name} needs a name and a value", file=file, row=row)
            word, value = worded.groups()
        while (inner := _unquoted(_printable(value).strip())) is None:
            if at == len(lines):
                raise InputError("quotes that are opened here are never closed", file=file, row=row)
            value += lines[at]
            at += 1
        yield row, name, word, inner


def _printable(text: str) -> str:
    """What Ollama keeps of a value: white space and what Go calls printable (letters, marks,
    numbers, signs).
    """
    return "".join(
        sign for sign in text if sign in " \t\r\n" or unicodedata.category(sign)[0] in "LMNPS"
    )


def _unquoted(text: str) -> str | None:
    """The value inside its quotes; None while they are open."""
    for quotes in ('"""', '"'):
        if text.startswith(quotes):
            closed = len(text) >= 2 * len(quotes) and text.endswith(quotes)
            return text[len(quotes) : -len(quotes)] if closed else None
    return text


def _quoted(text: str) -> str:
    plain = (
        text
        and text == text.strip()
        and "\n" not in text
        and "\r" not in text
        and not text.startswith('"')
    )
    return text if plain else f'"""{text}"""'


def _plain(value: Parameter | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(name: str, text: str) -> Parameter:
    """A parameter's value from its text, by the rules of Go's strconv."""
    kind = PARAMETERS.get(name)
    try:
        if kind is tuple:
            return (text,)
        if kind is bool:
            return _BOOLEANS[text.lower()]
        return _checked(
            name, int(text) if kind is int and re.fullmatch(r"[-+]?\d+", text) else float(text)
        )
    except (KeyError, ValueError):
        raise InputError(f"parameter {name} is {text!r}, not {_LOOKS[kind or float]}") from None


_LOOKS = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a list of texts"}


def _checked(name: str, value: Parameter) -> Parameter:
    kind = PARAMETERS.get(name)
    if kind is None:
        raise InputError(
            f"Ollama has no parameter '{name}'", remedy=f"Known: {', '.join(PARAMETERS)}"
        )
    if kind is tuple:
        fits = (
            isinstance(value, tuple)
            and len(value) > 0
            and all(isinstance(item, str) and item for item in value)
        )
    elif kind is float:
        fits = (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    else:
        fits = type(value) is kind
    if not fits:
        raise InputError(f"parameter {name} is {value!r}, not {_LOOKS[kind]}")
    return value
