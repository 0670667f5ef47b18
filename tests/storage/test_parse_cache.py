"""What makes a cached parse stale: the code that parses, all of it, and no other."""

import ast
import os
from pathlib import Path

import pytest

import stock_llm
from stock_llm.market.candles import candle_table
from stock_llm.pipeline import exports
from stock_llm.storage import parse_cache

PACKAGE = Path(stock_llm.__file__).parent
HARMLESS = {"errors.py", "settings.py", "secrets.py"}
"""Messages and values that are handed in: no parse depends on them."""


def imported(file: Path) -> set[Path]:
    """The project's modules that a module imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    paths = (PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py") for name in names)
    return {path for path in paths if path.is_file() and path.is_relative_to(PACKAGE)}


@pytest.mark.parametrize(
    ("entry", "parsers"),
    [
        ("importers/engine.py", exports.PARSERS),
        ("importers/database_reader.py", exports.PARSERS),
        ("market/candles/candle_file.py", candle_table.PARSERS),
    ],
)
def test_all_code_that_a_parse_runs_through_makes_it_stale(entry, parsers):
    covered = [PACKAGE / parser for parser in parsers]
    todo, seen = [PACKAGE / entry], set()
    while todo:
        file = todo.pop()
        if file in seen or file.relative_to(PACKAGE).parts[0] in HARMLESS | {"storage"}:
            continue
        seen.add(file)
        assert any(file.is_relative_to(parser) for parser in covered), file
        todo += imported(file)
    assert len(seen) > 5


def test_other_code_does_not():
    parsers = {*exports.PARSERS, *candle_table.PARSERS}
    assert all((PACKAGE / parser).exists() for parser in parsers)
    assert not any((PACKAGE / "gateway").is_relative_to(PACKAGE / parser) for parser in parsers)


def test_pruning_ignores_entries_that_another_run_deletes(tmp_path, monkeypatch):
    for name in ("old.json", "gone.json", "used.json"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    paths = [*tmp_path.glob("*")]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(paths))
    (tmp_path / "gone.json").unlink()
    parse_cache.prune(tmp_path, [tmp_path / "used.parquet"])
    assert [path.name for path in tmp_path.iterdir()] == ["used.json"]
