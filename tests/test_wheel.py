"""The wheel, as a stranger uses it: installed into an empty environment, in an empty folder, outside the checkout.

`pytest -m wheel`; minutes. The libraries are those of this environment (a .pth file leads to them), the project itself comes from
the wheel alone.
"""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from factories.profiles import write_profile

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(2700)]

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        str(folder),
    ]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


class Installed:
    """An environment with the wheel, and an empty folder to work in."""

    def __init__(self, root: Path, wheel: Path):
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True
        )
        self.python = root / "venv" / "bin" / "python"
        self.folder = root / "empty"
        self.folder.mkdir()
        site = next((root / "venv" / "lib").glob("python*/site-packages"))
        (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        # with pip's own code, but into the other environment
        command = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(self.python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
        ]
        subprocess.run([*command, str(wheel)], check=True, env=self._environment(root), cwd=root)
        self.environment = self._environment(root)

    def _environment(self, root: Path) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("STOCK_LLM_", "PREFECT_", "PYTHONPATH"))
        }
        return kept | {
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(root),
            "PREFECT_HOME": str(root / "prefect"),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "STOCK_LLM_SECRETS": str(root / "secrets"),
            "STOCK_LLM_TRAIN_ROWS": "50",
            "STOCK_LLM_OLLAMA_HOST": "",
        }

    def run(self, *command: str, code: int = 0) -> str:
        """What a command prints, run in the empty folder."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (
            f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installed:
    return Installed(tmp_path_factory.mktemp("stranger"), wheel)


def test_the_wheel_has_code_data_and_types(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (
            archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")
        )
    for name in (
        "flows/train.py",
        "tasks/collect.py",
        "stock_llm/py.typed",
        "stock_llm/starter/prefect.yaml",
        "stock_llm/starter/models/profiles/stock-tiny.toml",
        "stock_llm/starter/models/stock-tiny/model.safetensors",
        "stock_llm/starter/data/sample/trades.csv",
        "stock_llm/starter/data/sample/candles/KESTRO.csv",
    ):
        assert name in names
    packaged = {
        path.relative_to(PROJECT).as_posix() for path in (PROJECT / "stock_llm").rglob("*.toml")
    }
    assert packaged <= names
    assert not [name for name in names if name.startswith(("tests", "data", "models", "mlflow"))]
    assert "Classifier: Typing :: Typed" in metadata


def test_the_whole_line_from_the_wheel_alone(installed):
    where = installed.run(
        "python",
        "-c",
        "import stock_llm, flows, tasks; print(stock_llm.__file__, flows.__file__, tasks.__file__)",
    )
    assert all(str(installed.python.parents[1]) in file for file in where.split())
    assert installed.run("stock-llm", "--version").startswith("stock-llm ")

    written = installed.run("stock-llm", "init", ".")
    for name in (
        "stock-llm.toml",
        "prefect.yaml",
        "models/profiles",
        "models/stock-tiny",
        "data/sample",
    ):
        assert f"written: {name}" in written and (installed.folder / name).exists()
    write_profile(installed.folder, holdout_rows=20)
    assert "missing" not in installed.run("stock-llm", "doctor")

    prefect = ("python", "-m", "prefect", "--no-prompt")
    installed.run(*prefect, "work-pool", "create", "--type", "process", "stock-llm")
    deployed = installed.run(*prefect, "deploy", "--all")
    assert all(f"{name}/{name}" in deployed for name in ("train", "collect", "retrain"))

    ran = installed.run("stock-llm", "run")
    assert "stock-llm:v1" in ran
    if "promote:" not in ran:  # 20 rows are seldom evidence enough: then a person decides
        assert "stock-llm:latest" in installed.run("stock-llm", "rollback", "1")
    answer = installed.run("stock-llm", "ask", "Analyze KESTRO.")
    assert answer.strip()
    assert "already there" in installed.run("stock-llm", "init", ".")


def test_a_missing_extra_is_named_as_pip_spells_it(installed):
    code = "from stock_llm.errors import MissingExtra; print(MissingExtra('uvicorn', 'gateway'))"
    assert (
        installed.run("python", "-c", code).strip()
        == "uvicorn is not installed. Run: pip install 'stock-llm[gateway]'"
    )
