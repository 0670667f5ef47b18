"""A project folder with the fictional sample in it, and its own secrets."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


@contextmanager
def home_with_sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder; while it is held, account ids are hashed with secrets made for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCK_LLM_SECRETS", str(tmp_path_factory.mktemp("secrets")))
        home = tmp_path_factory.mktemp("home")
        shutil.copytree(SAMPLE, home / "data" / "sample")
        yield home
