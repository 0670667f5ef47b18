"""The tree stays readable: no folder holds more modules than a person takes in, and no package hides a library."""

import importlib.util
import re
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


def test_the_file_tree_of_the_readme_names_every_module():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    tree = readme.split("## Where things are")[1].split("```")[1]
    named = set(re.findall(r"\b[a-z0-9_]+\.py\b", tree))
    modules = {
        path.name
        for top in ("flows", "tasks", "stock_llm")
        for path in (PROJECT / top).rglob("*.py")
        if path.name != "__init__.py" and "migrations" not in path.parts
    }
    assert modules - named == set(), "a module that the tree in README.md does not name"
    assert named - modules == set(), "a name in the tree that is no module"


def test_the_links_of_the_pages_lead_somewhere():
    broken = []
    for page in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("*/README.md")]:
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in link and not (page.parent / link).exists():
                broken.append(f"{page.relative_to(PROJECT)}: {link}")
    assert broken == []
