"""Builds a Go program of one file, without the network."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def build(source: str, folder: Path) -> Path:
    """The program in `folder`; the test is skipped where Go is not installed."""
    if not shutil.which("go"):
        pytest.skip("needs Go: apt-get install golang-go")
    (folder / "main.go").write_text(source)
    environment = os.environ | {"GO111MODULE": "off", "CGO_ENABLED": "0"}
    command = ["go", "build", "-o", "program", "main.go"]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=240)
    return folder / "program"
