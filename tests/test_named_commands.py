"""Every command, option and file of the project that a message, a docstring or a page names exists."""

import ast
import io
import re
import tokenize
import tomllib
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from stock_llm.cli.main import app

PROJECT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "data/**/*.md",
        "models/**/*.md",
        "mlflow/*.md",
        ".github/**/*.md",
        ".github/**/*.yml",
    )
    for path in PROJECT.glob(pattern)
    if not {"artifacts", "ollama"} & set(path.parts)
)
CODE = sorted(
    path for folder in ("stock_llm", "tasks", "flows") for path in (PROJECT / folder).rglob("*.py")
)
SCRIPTS = [
    *sorted((PROJECT / "scripts").glob("*.sh")),
    PROJECT / "Makefile",
    PROJECT / "prefect.yaml",
    *sorted((PROJECT / "deploy").glob("*.yaml")),
    PROJECT / ".ci" / "run",
]

STOCK_LLM = re.compile(r"(?<![\w/.-])(?:\.venv/bin/)?stock-llm((?: +[^\s`|;&#()]+)+)")
MAKE = re.compile(r"(?<![\w-])make((?: [A-Z]+=\S+)*) ([a-z][a-z-]*)")
EXTRA = re.compile(r"(?:stock-llm|-e '?\.)\[([a-z,]+)\]")

FILE = re.compile(
    r"(?<![\w/.-])(?<!ollama/ollama )"
    r"((?:stock_llm|docs|tests|scripts|flows|tasks|benchmarks|models)/[\w/.-]*\.[a-z]+|(?:\w+/)*\w+\.py)"
    r"(?![\w/])"
)
"""A path below one of the project's folders, or a Python file by the end of its path."""
FOLDERS = ("stock_llm", "tasks", "flows", "tests", "scripts", "benchmarks")


def in_code(text: str) -> list[str]:
    """The code of a Markdown page: its fenced blocks by line, and what stands in backticks."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.M | re.S)
    prose = re.sub(r"^```[^\n]*\n.*?^```", "", text, flags=re.M | re.S)
    return [line for block in fenced for line in block.splitlines()] + re.findall(
        r"`([^`]+)`", prose
    )


def strings_of(path: Path) -> list[str]:
    """The lines of every string of a Python file, messages and docstrings alike; `…` stands for what is computed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
    }
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append(
                "".join(
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                )
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            texts.append(node.value)
    return [line for text in texts for line in text.splitlines()]


def remarks_of(path: Path) -> str:
    """The comments and docstrings of a Python file, the comments of a TOML file, all of a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        return "\n".join(re.findall(r"(?:^|\s)#.*", text))
    if path.suffix != ".py":
        return text
    docstrings = [
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    comments = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    return "\n".join([*docstrings, *comments])


def places() -> list[tuple[str, str]]:
    """(file, line of code or message) of everything that may name a command."""
    lines = []
    for path in PAGES:
        lines += [(path, line) for line in in_code(path.read_text(encoding="utf-8"))]
    for path in CODE:
        lines += [(path, line) for line in strings_of(path)]
    for path in SCRIPTS:
        lines += [(path, line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(str(path.relative_to(PROJECT)), line) for path, line in lines]


PLACES = places()


def missing(arguments: list[str]) -> str:
    """What of a command line does not exist; empty where all of it does."""
    command = get_command(app)
    context = typer.Context(command, info_name="stock-llm")
    path = ["stock-llm"]
    while (
        arguments
        and hasattr(command, "commands")
        and not arguments[0].startswith(("-", "[", "COMMAND"))
    ):
        name = arguments.pop(0).strip("'\".,:…")
        if name not in command.commands:
            return f"{' '.join(path)} has no command '{name}'"
        command = command.commands[name]
        path.append(name)
    options = {
        option
        for parameter in command.get_params(context)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    options |= {"-h", "--help"}
    for word in arguments:
        option = re.match(r"--?[a-z][a-z-]*", word.strip("'\".,:["))
        if option and option[0] not in options:
            return f"{' '.join(path)} has no option '{option[0]}'"
    return ""


def test_every_command_that_is_named_exists():
    faults, seen = [], 0
    for file, line in PLACES:
        for match in STOCK_LLM.finditer(line):
            words = match[1].split()
            if not re.match(r"--?[a-z]|[a-z]", words[0]) or words[0].startswith("gateway"):
                continue  # a sentence about the project or its gateway, not a command
            seen += 1
            if fault := missing(words):
                faults.append(f"{file}: `{line.strip()[:100]}`: {fault}")
    assert faults == []
    assert seen > 60


def test_every_make_target_that_is_named_exists():
    targets = set(
        re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M)
    )
    faults, seen = [], 0
    for file, line in PLACES:
        command = file.endswith((".md", ".sh", "run", "Makefile")) and not line.lstrip().startswith(
            ("echo", "printf")
        )
        for match in MAKE.finditer(line):
            before = line[: match.start()].rstrip(" #")
            if not (
                (command and before in ("", "step"))
                or before.endswith(("`", "(", "Run:", "run:", ">", "&&"))
            ):
                continue  # a sentence: "make room"
            seen += 1
            if match[2] not in targets:
                faults.append(f"{file}: `{line.strip()[:100]}`: no target '{match[2]}'")
    assert faults == []
    assert seen > 15


def test_every_extra_that_is_named_exists():
    extras = set(
        tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
    )
    named = {
        (file, extra)
        for file, line in PLACES
        for match in EXTRA.finditer(line)
        for extra in match[1].split(",")
    }
    assert {(file, extra) for file, extra in named if extra not in extras} == set()
    assert named


def test_every_file_that_is_named_exists():
    code = [path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py")]
    known = {f"/{path.relative_to(PROJECT)}" for path in code}
    sources = [
        *(path for path in PAGES if path.name != "CHANGELOG.md"),  # which tells the past as well
        *code,
        *(PROJECT / "stock_llm").rglob("*.toml"),
        *(PROJECT / "models").glob("profiles/*.toml"),
        PROJECT / "pyproject.toml",
    ]
    faults, seen = [], 0
    for source in sources:
        for name in FILE.findall(remarks_of(source)):
            if "NAME" in name:
                continue  # stands for any file of that folder
            seen += 1
            if not (PROJECT / name).exists() and not any(k.endswith(f"/{name}") for k in known):
                faults.append(f"{source.relative_to(PROJECT)}: {name}")
    assert faults == []
    assert seen > 100


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["run", "--profile", "stock-tiny"], ""),
        (["portfolio"], "stock-llm has no command 'portfolio'"),
        (["feedback", "import", "FILE"], ""),
        (["feedback", "drop-all"], "stock-llm feedback has no command 'drop-all'"),
        (["ask", "--prompt"], "stock-llm ask has no option '--prompt'"),
    ],
)
def test_what_does_not_exist_is_seen(arguments, fault):
    assert missing(arguments) == fault
