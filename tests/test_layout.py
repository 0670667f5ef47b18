"""The tree stays readable: no folder holds more modules than a person takes in, and no package hides a library."""

import importlib.util
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LARGEST_FOLDER = 16


def test_no_folder_holds_more_than_sixteen_modules():
    folders = {
        path.parent
        for top in ("flows", "tasks", "stock_llm")
        for path in (PROJECT / top).rglob("*.py")
    }
    sizes = {
        str(folder.relative_to(PROJECT)): sum(
            path.name != "__init__.py" for path in folder.glob("*.py")
        )
        for folder in folders
    }
    assert {name: size for name, size in sizes.items() if size > LARGEST_FOLDER} == {}


def test_every_folder_of_modules_is_a_package():
    folders = {
        path.parent
        for top in ("flows", "tasks", "stock_llm")
        for path in (PROJECT / top).rglob("*.py")
    }
    assert [
        str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()
    ] == []


def test_the_folder_mlflow_does_not_hide_the_library():
    assert not (PROJECT / "mlflow" / "__init__.py").exists()
    assert "site-packages" in str(importlib.util.find_spec("mlflow").origin)
