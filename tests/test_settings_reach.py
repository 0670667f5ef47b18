"""The settings object stays near the command line: packages below it get values."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]

ALLOWED = (
    "stock_llm.cli.",
    "stock_llm.pipeline.",
    "stock_llm.doctor.",
    "stock_llm.operations.",
    "flows.",
    "tasks.",
)

MOST_FOR_COLLECT = 16  # one of them is the hook that tells people of a failure


def modules():
    """Name of a module → its syntax tree."""
    trees = {}
    for folder in ("stock_llm", "tasks", "flows"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def imports(tree, known):
    """The project's modules that a module imports, also inside functions and for typing."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def names_settings(tree):
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "stock_llm.settings"
        and any(alias.name in ("Settings", "load_settings") for alias in node.names)
        for node in ast.walk(tree)
    )


def test_only_the_outer_packages_name_the_settings_object():
    inner = [
        name
        for name, tree in modules().items()
        if names_settings(tree) and not f"{name}.".startswith(ALLOWED)
    ]
    assert sorted(inner) == []


def test_few_modules_on_the_way_of_collect_name_the_settings_object():
    known = modules()
    reached, waiting = set(), ["flows.collect"]
    while waiting:
        name = waiting.pop()
        if name in known and name not in reached:
            reached.add(name)
            waiting += imports(known[name], known)
    assert "stock_llm.importers.engine" in reached and "stock_llm.market.fx" in reached
    naming = sorted(name for name in reached if names_settings(known[name]))
    assert len(naming) <= MOST_FOR_COLLECT, naming
