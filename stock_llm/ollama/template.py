"""The part of Go's text/template that chat templates use.

In: a template's text and plain data (dicts, lists, str, int, bool). Out: the text that Go would write. Known: text, `if`,
`else if`, `else`, `range` with or without variables, `end`, comments, trim markers, fields of dot, of `$` and of variables,
strings, whole numbers, true and false, and the functions of `_ARGUMENTS`. The rest (pipes, `with`, `define`, assignment …)
is refused with its line, never guessed. Semantics: https://pkg.go.dev/text/template; a test runs the real one beside it.
Does not know chats: how Ollama feeds messages to a template is `ollama_prompt`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stock_llm.errors import StockLLMError

TemplateData = Any
"""dict (a Go map or struct), list, str, int or bool."""


class TemplateError(StockLLMError):
    """A Go template that is wrong, or uses what is not known here."""

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
        TemplateError: it is not a template, or uses what is not known here.
    """
    nodes, closed = _block(_pieces(template), frozenset())
    if closed:
        raise TemplateError(closed.line, f"unexpected {{{{ {closed.text} }}}}")
    return nodes


@dataclass(frozen=True)
class _Piece:
    text: str
    is_action: bool
    line: int


_OPEN = re.compile(r"\{\{(-(?=[ \t\r\n]))?")
_COMMENT = re.compile(r"(?:(?<=-)\s)?/\*.*?\*/(\s-)?\}\}", re.DOTALL)
_INSIDE = re.compile(r'((?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|[^"`}]|\}(?!\}))*?)((?<=\s)-)?\}\}')


def _pieces(template: str) -> Iterator[_Piece]:
    """Text and actions by turns, white space trimmed where `{{-` and `-}}` ask for it. Comments yield nothing."""
    at, trim = 0, False
    while True:
        opened = _OPEN.search(template, at)
        text = template[at : opened.start() if opened else None]
        text = text.lstrip(" \t\r\n") if trim else text
        text = text.rstrip(" \t\r\n") if opened and opened[1] else text
        if text:
            yield _Piece(text, False, _line(template, at))
        if not opened:
            return
        line = _line(template, opened.start())
        if closed := _COMMENT.match(template, opened.end()):
            at, trim = closed.end(), bool(closed[1])
            continue
        closed = _INSIDE.match(template, opened.end())
        if not closed:
            raise TemplateError(line, "unclosed action")
        yield _Piece(closed[1].strip(), True, line)
        at, trim = closed.end(), bool(closed[2])


def _line(template: str, at: int) -> int:
    return template.count("\n", 0, at) + 1


def _block(
    pieces: Iterator[_Piece], variables: frozenset[str]
) -> tuple[tuple[TemplateNode, ...], _Piece | None]:
    """The nodes up to the `else` or `end` that closes the block, and that piece; None at the end of the template."""
    nodes: list[TemplateNode] = []
    for piece in pieces:
        word = re.match(r"\w*", piece.text)[0]  # type: ignore[index]
        if not piece.is_action:
            nodes.append(TextNode(piece.text))
        elif word in ("else", "end"):
            return tuple(nodes), piece
        elif word in ("if", "range"):
            nodes.append(
                _branch(word, piece.text.removeprefix(word), piece.line, pieces, variables)
            )
        else:
            nodes.append(ActionNode(_value(piece.text, piece.line, variables), piece.line))
    return tuple(nodes), None


_LOOP = re.compile(r"\s*(?:(\$\w+)\s*,)?\s*(\$\w+)\s*:=(.*)", re.DOTALL)


def _branch(
    word: str, head: str, line: int, pieces: Iterator[_Piece], variables: frozenset[str]
) -> BranchNode:
    index = element = ""
    if word == "range" and (loop := _LOOP.fullmatch(head)):
        index, element, head = loop[1] or "", loop[2], loop[3]
    value = _value(head, line, variables)
    body, closed = _block(pieces, variables | {index, element})
    otherwise: tuple[TemplateNode, ...] = ()
    if closed and closed.text == "else":
        otherwise, closed = _block(pieces, variables)
    elif (
        closed
        and word == "if"
        and (chained := re.fullmatch(r"else\s+if\b(.*)", closed.text, re.DOTALL))
    ):
        return BranchNode(
            word,
            value,
            "",
            "",
            body,
            (_branch("if", chained[1], closed.line, pieces, variables),),
            line,
        )
    if not closed:
        raise TemplateError(line, f"{{{{ {word} }}}} without {{{{ end }}}}")
    if closed.text != "end":
        raise TemplateError(closed.line, f"unexpected {{{{ {closed.text} }}}}")
    return BranchNode(word, value, index, element, body, otherwise, line)


_TOKEN = re.compile(
    r"""\s*(?: (?P<open>\() | (?P<close>\)) | (?: (?P<string>"(?:[^"\\\n]|\\.)*") | `(?P<raw>[^`]*)` | (?P<number>[-+]?\d+)
    | (?P<field>\$\w*(?:\.\w+)* | (?:\.\w+)+ | \.) | (?P<word>[A-Za-z_]\w*) )(?=[\s()]|$) )""",
    re.VERBOSE,
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
    tokens: list[re.Match[str]] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if not token:
            raise TemplateError(line, f"not known here: {text[at:].strip()!r}")
        tokens.append(token)
        at = token.end()
    value = _command(tokens, line, variables)
    if tokens:
        raise TemplateError(line, f"unexpected {tokens[0][0].strip()!r}")
    return value


def _command(tokens: list[re.Match[str]], line: int, variables: frozenset[str]) -> ValueNode:
    if not tokens:
        raise TemplateError(line, "missing value")
    name = tokens[0]["word"]
    if not name or name in ("true", "false"):
        return _operand(tokens, line, variables)
    tokens.pop(0)
    if name not in _ARGUMENTS:
        raise TemplateError(line, f"not known here: {name!r}")
    arguments = []
    while tokens and not tokens[0]["close"]:
        arguments.append(_operand(tokens, line, variables))
    least, most = _ARGUMENTS[name]
    if not least <= len(arguments) <= most:
        raise TemplateError(line, f"wrong number of arguments for {name}: {len(arguments)}")
    return CallNode(name, tuple(arguments))


def _operand(tokens: list[re.Match[str]], line: int, variables: frozenset[str]) -> ValueNode:
    token = tokens.pop(0)
    if token["open"]:
        value = _command(tokens, line, variables)
        if not tokens or not tokens.pop(0)["close"]:
            raise TemplateError(line, "unclosed left paren")
        return value
    if token["string"]:
        try:
            return ConstantNode(json.loads(token["string"], strict=False))
        except json.JSONDecodeError:
            raise TemplateError(
                line, f"an escape that is not known here: {token['string']}"
            ) from None
    if token["raw"] is not None:
        return ConstantNode(token["raw"])
    if token["number"]:
        return ConstantNode(int(token["number"]))
    if token["field"]:
        start, *path = token["field"].split(".")
        if start not in ("", "$") and start not in variables:
            raise TemplateError(line, f"undefined variable {start!r}")
        return FieldNode(start, tuple(name for name in path if name))
    if token["word"] in ("true", "false"):
        return ConstantNode(token["word"] == "true")
    raise TemplateError(line, f"unexpected {token[0].strip()!r}")


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


def execute(nodes: Sequence[TemplateNode], data: Mapping[str, TemplateData]) -> str:
    """What the template writes for `data`.

    Raises:
        TemplateError: a field that is not there, or values that a function does not take.
    """
    return "".join(_written(nodes, data, {"$": data}))


def _written(
    nodes: Sequence[TemplateNode], dot: TemplateData, variables: Mapping[str, TemplateData]
) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, TextNode):
            yield node.text
            continue
        value = _evaluated(node.value, dot, variables, node.line)
        if isinstance(node, ActionNode):
            yield _printed(value, node.line)
        elif node.word == "if":
            yield from _written(node.body if value else node.otherwise, dot, variables)
        elif not isinstance(value, list):
            raise TemplateError(node.line, f"range can't iterate over {value!r}")
        elif not value:
            yield from _written(node.otherwise, dot, variables)
        else:
            for index, element in enumerate(value):
                yield from _written(
                    node.body, element, {**variables, node.index: index, node.element: element}
                )


def _printed(value: TemplateData, line: int) -> str:
    if isinstance(value, dict | list):
        raise TemplateError(line, "a list or a record cannot be written")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _evaluated(
    value: ValueNode, dot: TemplateData, variables: Mapping[str, TemplateData], line: int
) -> TemplateData:
    if isinstance(value, ConstantNode):
        return value.value
    if isinstance(value, FieldNode):
        found = variables[value.start] if value.start else dot
        for name in value.path:
            if not isinstance(found, Mapping) or name not in found:
                raise TemplateError(line, f"can't evaluate field {name}")
            found = found[name]
        return found
    arguments = (_evaluated(argument, dot, variables, line) for argument in value.arguments)
    if value.function in (
        "and",
        "or",
    ):  # these stop at the first argument that decides, and give it back
        for found in arguments:
            if bool(found) == (value.function == "or"):
                break
        return found
    return _called(value.function, list(arguments), line)


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
            raise TemplateError(line, f"slice {others} of {len(sliced)} is out of range")
        return (
            sliced[start:stop].decode(errors="replace")
            if isinstance(sliced, bytes)
            else sliced[start:stop]
        )
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
        line, f"{function} does not take {', '.join(type(one).__name__ for one in given)}"
    )
