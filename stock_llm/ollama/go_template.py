"""Renders the part of Go's text/template that chat templates use.

Known are text, `if`, `else if`, `else`, `range` with or without variables, `end`, comments, trim
markers, fields of dot, of `$` and of variables, strings, whole numbers, true and false, and the
functions of `_ARGUMENTS`. The rest (pipes, `with`, `define`, assignment …) is refused with its
line.

A template may come with a request of anybody: its size, its depth, the steps of its execution and
what it writes are limited, so that rendering ends within about a second.

Source: https://pkg.go.dev/text/template; a test runs the real one beside it. How Ollama feeds the
messages of a chat to a template is in `prompt`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stock_llm.errors import StockLLMError

TemplateData = Any
"""dict (a Go map or struct), list, str, int or bool."""

MAX_CHARACTERS = 65_536
"""Of a template."""

MAX_DEPTH = 100
"""Blocks and brackets inside each other."""

MAX_STEPS = 200_000
"""Nodes that are executed for one prompt; long texts that functions read count as several."""

MAX_OUTPUT = 16 * 2**20
"""Characters of a prompt."""

_STEP_CHARACTERS = 1000
_LARGEST = 2**63


class TemplateError(StockLLMError):
    """A Go template that is wrong, too large, or uses what is not known here."""

    def __init__(self, line: int, problem: str):
        super().__init__(f"template, line {line}: {problem}")


@dataclass(frozen=True)
class ConstantNode:
    value: str | int | bool


@dataclass(frozen=True)
class FieldNode:
    """`.A.B` (start is empty), `$.A` (start is `$`), `$v.A` (start is `$v`)."""

    start: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class CallNode:
    function: str
    arguments: "tuple[ValueNode, ...]"


ValueNode = ConstantNode | FieldNode | CallNode


@dataclass(frozen=True)
class TextNode:
    """Text that stands between actions."""

    text: str


@dataclass(frozen=True)
class ActionNode:
    """A value to be written."""

    value: ValueNode
    line: int


@dataclass(frozen=True)
class BranchNode:
    """`if`, or `range` with the names of its variables, empty where it has none."""

    word: str
    value: ValueNode
    index: str
    element: str
    body: "tuple[TemplateNode, ...]"
    otherwise: "tuple[TemplateNode, ...]"
    line: int


TemplateNode = TextNode | ActionNode | BranchNode


def parse(template: str) -> tuple[TemplateNode, ...]:
    """The tree of a template.

    Raises:
        TemplateError: it is not a template, is too large, or uses what is not known here.
    """
    if len(template) > MAX_CHARACTERS:
        raise TemplateError(
            1, f"a template has at most {MAX_CHARACTERS:,} characters, not {len(template):,}"
        )
    nodes, end = _block(_tokens(template), frozenset(), 0)
    if end:
        raise TemplateError(end.line, f"unexpected {{{{ {_shown(end.text)} }}}}")
    return nodes


@dataclass(frozen=True)
class _Token:
    """A text between two actions, or the inside of an action."""

    text: str
    is_action: bool
    line: int


_OPEN = re.compile(r"\{\{(-(?=[ \t\r\n]))?")
_COMMENT = re.compile(r"(?:(?<=-)\s)?/\*.*?\*/(\s-)?\}\}", re.DOTALL)
_INSIDE = re.compile(r'((?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|[^"`}]|\}(?!\}))*?)((?<=\s)-)?\}\}')


def _tokens(template: str) -> Iterator[_Token]:
    """Texts and actions by turns, white space trimmed where `{{-` and `-}}` ask for it; no
    comments."""
    at, line, trim = 0, 1, False
    while True:
        opened = _OPEN.search(template, at)
        text = template[at : opened.start() if opened else None]
        trimmed = text.lstrip(" \t\r\n") if trim else text
        trimmed = trimmed.rstrip(" \t\r\n") if opened and opened[1] else trimmed
        if trimmed:
            yield _Token(trimmed, False, line)
        if not opened:
            return
        line += text.count("\n")
        comment = _COMMENT.match(template, opened.end())
        closed = comment or _INSIDE.match(template, opened.end())
        if not closed:
            raise TemplateError(line, "unclosed action")
        if not comment:
            yield _Token(closed[1].strip(), True, line)
        line += closed[0].count("\n")
        at, trim = closed.end(), bool(comment[1] if comment else closed[2])


def _block(
    tokens: Iterator[_Token], variables: frozenset[str], depth: int
) -> tuple[tuple[TemplateNode, ...], _Token | None]:
    """The nodes up to the `else` or `end` that closes the block, and that token; None at the
    end."""
    nodes: list[TemplateNode] = []
    for token in tokens:
        word = re.match(r"\w*", token.text)[0]  # type: ignore[index]
        if not token.is_action:
            nodes.append(TextNode(token.text))
        elif word in ("else", "end"):
            return tuple(nodes), token
        elif word in ("if", "range"):
            head = token.text.removeprefix(word)
            nodes.append(_branch(word, head, token.line, tokens, variables, depth + 1))
        else:
            nodes.append(ActionNode(_value(token.text, token.line, variables), token.line))
    return tuple(nodes), None


_LOOP = re.compile(r"(?:(\$\w+)\s*,\s*)?(\$\w+)\s*:=(.*)", re.DOTALL)


def _branch(
    word: str, head: str, line: int, tokens: Iterator[_Token], variables: frozenset[str], depth: int
) -> BranchNode:
    if depth > MAX_DEPTH:
        raise TemplateError(line, f"blocks are nested deeper than {MAX_DEPTH} levels")
    index = element = ""
    if word == "range" and (loop := _LOOP.fullmatch(head.strip())):
        index, element, head = loop[1] or "", loop[2], loop[3]
    value = _value(head, line, variables)
    body, end = _block(tokens, variables | {index, element}, depth)
    otherwise: tuple[TemplateNode, ...] = ()
    if end and end.text == "else":
        otherwise, end = _block(tokens, variables, depth)
    elif (
        end and word == "if" and (chained := re.fullmatch(r"else\s+if\b(.*)", end.text, re.DOTALL))
    ):
        otherwise = (_branch("if", chained[1], end.line, tokens, variables, depth + 1),)
        return BranchNode(word, value, "", "", body, otherwise, line)
    if not end:
        raise TemplateError(line, f"{{{{ {word} }}}} without {{{{ end }}}}")
    if end.text != "end":
        raise TemplateError(end.line, f"unexpected {{{{ {_shown(end.text)} }}}}")
    return BranchNode(word, value, index, element, body, otherwise, line)


def _shown(text: str) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= 60 else f"{text[:60]}…"


_OPERAND = re.compile(
    r"""\s*(?: (?P<open>\() | (?P<close>\))
    | (?: (?P<string>"(?:[^"\\\n]|\\.)*") | `(?P<raw>[^`]*)` | (?P<number>[-+]?\d+)
    | (?P<field>\$\w*(?:\.\w+)* | (?:\.\w+)+ | \.) | (?P<word>[A-Za-z_]\w*) )(?=[\s()]|$) )""",
    re.VERBOSE | re.ASCII,
)

_ARGUMENTS = {
    **dict.fromkeys(("ne", "lt", "le", "gt", "ge"), (2, 2)),
    "eq": (2, 99),
    "len": (1, 1),
    "slice": (1, 3),
    "not": (1, 1),
    "and": (1, 99),
    "or": (1, 99),
}
"""Function → least and most arguments."""


def _value(text: str, line: int, variables: frozenset[str]) -> ValueNode:
    """The value of an action: one operand, or a function and its operands."""
    operands: list[re.Match[str]] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        operand = _OPERAND.match(text, at)
        if not operand:
            raise TemplateError(line, f"not known here: {_shown(text[at:].strip())!r}")
        operands.append(operand)
        at = operand.end()
    operands.reverse()
    value = _command(operands, line, variables, 0)
    if operands:
        raise TemplateError(line, f"unexpected {_shown(operands[-1][0].strip())!r}")
    return value


def _command(
    operands: list[re.Match[str]], line: int, variables: frozenset[str], depth: int
) -> ValueNode:
    """Takes a command off the end of `operands`, which stand in reverse."""
    if depth > MAX_DEPTH:
        raise TemplateError(line, f"brackets are nested deeper than {MAX_DEPTH} levels")
    if not operands:
        raise TemplateError(line, "missing value")
    name = operands[-1]["word"]
    if not name or name in ("true", "false"):
        return _operand(operands, line, variables, depth)
    operands.pop()
    if name not in _ARGUMENTS:
        raise TemplateError(line, f"not known here: {_shown(name)!r}")
    arguments = []
    while operands and not operands[-1]["close"]:
        arguments.append(_operand(operands, line, variables, depth))
    least, most = _ARGUMENTS[name]
    if not least <= len(arguments) <= most:
        raise TemplateError(line, f"wrong number of arguments for {name}: {len(arguments)}")
    return CallNode(name, tuple(arguments))


def _operand(
    operands: list[re.Match[str]], line: int, variables: frozenset[str], depth: int
) -> ValueNode:
    operand = operands.pop()
    if operand["open"]:
        value = _command(operands, line, variables, depth + 1)
        if not operands or not operands.pop()["close"]:
            raise TemplateError(line, "unclosed left paren")
        return value
    if operand["string"]:
        return ConstantNode(_string(operand["string"], line))
    if operand["raw"] is not None:
        return ConstantNode(operand["raw"])
    if operand["number"]:
        return ConstantNode(_number(operand["number"], line))
    if operand["field"]:
        start, *path = operand["field"].split(".")
        if start not in ("", "$") and start not in variables:
            raise TemplateError(line, f"undefined variable {_shown(start)!r}")
        return FieldNode(start, tuple(name for name in path if name))
    if operand["word"] in ("true", "false"):
        return ConstantNode(operand["word"] == "true")
    raise TemplateError(line, f"unexpected {_shown(operand[0].strip())!r}")


def _string(text: str, line: int) -> str:
    try:
        value = json.loads(text, strict=False)
        value.encode()
    except (json.JSONDecodeError, UnicodeEncodeError):  # half a surrogate pair is none to Go either
        raise TemplateError(line, f"an escape that is not known here: {_shown(text)}") from None
    return str(value)


def _number(text: str, line: int) -> int:
    digits = text.lstrip("+-")
    if len(digits) > 19 or (digits[0] == "0" and len(digits) > 1):  # Go reads those as octal
        raise TemplateError(line, f"a number that is not known here: {_shown(text)}")
    number = int(text)
    if not -_LARGEST <= number < _LARGEST:
        raise TemplateError(line, f"a number beyond 64 bits: {text}")
    return number


def fields(nodes: Sequence[TemplateNode]) -> Iterator[str]:
    """The names of all fields that a tree mentions."""
    for node in nodes:
        if isinstance(node, ActionNode | BranchNode):
            yield from _fields(node.value)
        if isinstance(node, BranchNode):
            yield from fields(node.body)
            yield from fields(node.otherwise)


def _fields(value: ValueNode) -> Iterator[str]:
    if isinstance(value, FieldNode):
        yield from value.path
    elif isinstance(value, CallNode):
        for argument in value.arguments:
            yield from _fields(argument)


class Execution:
    """One prompt that is being written, within the limits; several trees may write to it."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._steps = self._size = 0

    def run(self, nodes: Sequence[TemplateNode], data: Mapping[str, TemplateData]) -> None:
        """Adds what the tree writes for `data`.

        Raises:
            TemplateError: a field that is not there, values that a function does not take, or a
                limit that is reached.
        """
        self._run(nodes, data, {"$": data})

    def text(self) -> str:
        """All that was written."""
        return "".join(self._written)

    def _run(
        self,
        nodes: Sequence[TemplateNode],
        dot: TemplateData,
        variables: Mapping[str, TemplateData],
    ) -> None:
        for node in nodes:
            if isinstance(node, TextNode):
                self._write(node.text, 1)
                continue
            value = self._evaluate(node.value, dot, variables, node.line)
            if isinstance(node, ActionNode):
                self._write(_printed(value, node.line), node.line)
            elif node.word == "if":
                self._run(node.body if value else node.otherwise, dot, variables)
            elif not isinstance(value, list):
                raise TemplateError(node.line, f"range can't iterate over {_shown(repr(value))}")
            elif not value:
                self._run(node.otherwise, dot, variables)
            else:
                for index, element in enumerate(value):
                    self._step(node.line)
                    own = {**variables, node.index: index, node.element: element}
                    self._run(node.body, element, own)

    def _step(self, line: int, characters: int = 0) -> None:
        self._steps += 1 + characters // _STEP_CHARACTERS
        if self._steps > MAX_STEPS:
            raise TemplateError(line, f"more than {MAX_STEPS:,} steps are needed")

    def _write(self, text: str, line: int) -> None:
        self._step(line)
        self._size += len(text)
        if self._size > MAX_OUTPUT:
            raise TemplateError(line, f"more than {MAX_OUTPUT:,} characters are written")
        self._written.append(text)

    def _evaluate(
        self, value: ValueNode, dot: TemplateData, variables: Mapping[str, TemplateData], line: int
    ) -> TemplateData:
        self._step(line)
        if isinstance(value, ConstantNode):
            return value.value
        if isinstance(value, FieldNode):
            data = variables[value.start] if value.start else dot
            for name in value.path:
                if not isinstance(data, Mapping) or name not in data:
                    raise TemplateError(line, f"can't evaluate field {_shown(name)}")
                data = data[name]
            return data
        arguments = (self._evaluate(argument, dot, variables, line) for argument in value.arguments)
        # These stop at the first argument that decides, and give it back.
        if value.function in ("and", "or"):
            for argument in arguments:
                if bool(argument) == (value.function == "or"):
                    break
            return argument
        given = list(arguments)
        self._step(
            line, sum(len(argument) for argument in given if isinstance(argument, str | list))
        )
        return _called(value.function, given, line)


def execute(nodes: Sequence[TemplateNode], data: Mapping[str, TemplateData]) -> str:
    """What the template writes for `data`. Raises: as `Execution.run`."""
    execution = Execution()
    execution.run(nodes, data)
    return execution.text()


def _printed(value: TemplateData, line: int) -> str:
    if isinstance(value, dict | list):
        raise TemplateError(line, "a list or a record cannot be written")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _called(function: str, given: list[TemplateData], line: int) -> TemplateData:
    first, *others = given
    if function == "not":
        return not first
    if function == "len" and isinstance(first, str | list | dict):
        return len(first.encode() if isinstance(first, str) else first)
    if function == "slice" and isinstance(first, str | list):
        sliced: bytes | list[TemplateData] = first.encode() if isinstance(first, str) else first
        start = others[0] if others else 0
        stop = others[1] if len(others) > 1 else len(sliced)
        if type(start) is not int or type(stop) is not int or not 0 <= start <= stop <= len(sliced):
            raise TemplateError(line, f"slice of {len(sliced)} is out of range")
        part = sliced[start:stop]
        return part.decode(errors="replace") if isinstance(part, bytes) else part
    if function in ("eq", "ne") and type(first) in (str, int, bool):
        for other in others:
            if type(other) is not type(first):
                break
            if other == first:
                return function == "eq"
        else:
            return function == "ne"
    if function in ("lt", "le", "gt", "ge") and type(first) is type(others[0]) in (str, int):
        below, equal = first < others[0], first == others[0]  # code points sort as UTF-8 bytes do
        return {"lt": below, "le": below or equal, "gt": not (below or equal), "ge": not below}[
            function
        ]
    raise TemplateError(
        line, f"{function} does not take {', '.join(type(each).__name__ for each in given)}"
    )
