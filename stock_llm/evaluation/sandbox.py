"""Runs a function that a model wrote on given cases, in a process that can do no harm.

The source is parsed and refused unless it is one function of `if`, `return`, comparisons and
arithmetic on its own arguments: no calls, attributes, imports or loops. It runs in a process of its
own without environment, that may not open a file or a socket, and has two seconds of CPU and
256 MiB.

This file is also the program of that process and imports nothing but the standard library.
"""

import ast
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import CodeType

CPU_SECONDS = 2
WALL_SECONDS = 20
"""More than the CPU time: a busy machine may be slow to start a process."""

MEMORY = 256 << 20
"""Bytes of address space, the interpreter's own included."""

LONGEST = 4000
"""Characters of source that are read at all."""

Case = dict[str, float]

_ALLOWED = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.If, ast.Return, ast.IfExp, ast.Compare,
    ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add, ast.Sub,
    ast.Mult, ast.Div, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.Name, ast.Load, ast.Constant,
)  # fmt: skip


def run(
    source: str, name: str, arguments: Sequence[str], cases: Sequence[Case]
) -> list[str | None] | None:
    """The text that the function returns for each case; None in its place where it fails or returns
    something else.

    None instead of the list where the source is not allowed, or where the process was stopped.
    """
    if len(source) > LONGEST:
        return None
    task = json.dumps(
        {"source": source, "name": name, "arguments": list(arguments), "cases": list(cases)}
    )
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", __file__],
            input=task.encode("utf-8", "surrogatepass"),
            capture_output=True,
            timeout=WALL_SECONDS,
            env={},
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout) if done.returncode == 0 else None


def _main() -> None:
    """The process: one task on standard input, its results on standard output."""
    task = json.load(sys.stdin)
    for limit, value in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),  # the three that are open: no file, no socket, no import
    ):
        resource.setrlimit(limit, (value, value))
    function = _compiled(task["source"], task["name"], task["arguments"])
    json.dump([_called(function, case) for case in task["cases"]] if function else None, sys.stdout)


def _called(function: Callable[..., object], case: Case) -> str | None:
    try:
        result = function(**case)
    except (ArithmeticError, TypeError):
        return None
    return result if isinstance(result, str) else None


def _compiled(source: str, name: str, arguments: list[str]) -> Callable[..., object] | None:
    """The function, or None where it is not valid, not allowed or has other arguments."""
    try:
        tree = ast.parse(source)
        code: CodeType | None = (
            compile(tree, "<answer>", "exec") if _allowed(tree, name, arguments) else None
        )
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if code is None:
        return None
    space: dict[str, object] = {"__builtins__": {}}
    exec(code, space)
    return space[name]  # type: ignore[return-value]


def _allowed(tree: ast.Module, name: str, arguments: list[str]) -> bool:
    """Whether the tree is one allowed function of that name and arguments."""
    if (
        len(tree.body) != 1
        or not isinstance(function := tree.body[0], ast.FunctionDef)
        or function.name != name
    ):
        return False
    given = function.args
    if (
        [argument.arg for argument in given.args] != arguments
        or given.defaults
        or given.kwonlyargs
        or given.posonlyargs
    ):
        return False
    if (
        given.vararg
        or given.kwarg
        or function.decorator_list
        or function.returns
        or any(argument.annotation for argument in given.args)
    ):
        return False  # these would run, or be looked up, outside of the function
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED) or (
            isinstance(node, ast.Name) and node.id not in arguments
        ):
            return False
        if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str):
            return False
        if isinstance(node, ast.BinOp) and any(
            isinstance(part, ast.Constant) and isinstance(part.value, str)
            for part in ast.walk(node)
        ):
            return False  # "x" * 999999999 would fill the memory
    return True


if __name__ == "__main__":
    _main()
