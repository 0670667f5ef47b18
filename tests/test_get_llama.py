"""scripts/get_llama.sh, with a stand-in for Python and pip: what it installs, keeps and takes out again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

PYTHON = r"""#!/usr/bin/env bash
# state: what the installed wheel holds, "good" or "bad"; calls: what pip was asked for
last=${!#}
case "$*" in
    *importlib.metadata*) [ -f state ] ;;
    *llama_backend_init*) [ "$(cat state)" = good ] || { echo "OSError: libfoo.so" >&2; exit 1; } ;;
    *cache_tag*) echo cpython-311 ;;
    *" uninstall "*) echo uninstall >> calls; rm -f state ;;
    *" install "*) echo install >> calls; cp "$last" state ;;
    *" download "*) echo download >> calls; echo "$READY" > "$(sed 's/.*--dest \([^ ]*\).*/\1/' <<< "$*")/llama_cpp_python-1.0-ready.whl" ;;
    *" wheel "*) echo compile >> calls; echo "$COMPILED" > "$(sed 's/.*--wheel-dir \([^ ]*\).*/\1/' <<< "$*")/llama_cpp_python-1.0-own.whl" ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(PROJECT / "scripts" / "get_llama.sh", tmp_path / "scripts")
    (tmp_path / "constraints.txt").write_text("llama-cpp-python==1.0\n")
    for program, text in ((".venv/bin/python", PYTHON), ("bin/c++", "#!/bin/sh\n")):
        path = tmp_path / program
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path


def run(folder, ready="good", compiled="good", **environment):
    """(exit status, what pip was asked for, standard error)."""
    (folder / "calls").unlink(missing_ok=True)
    done = subprocess.run(
        [folder / "scripts" / "get_llama.sh"],
        env={
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "READY": ready,
            "COMPILED": compiled,
            **environment,
        },
        capture_output=True,
        text=True,
    )
    calls = folder / "calls"
    return done.returncode, calls.read_text().split() if calls.exists() else [], done.stderr


def test_it_compiles_once_and_caches_the_wheel(folder):
    assert run(folder)[:2] == (0, ["compile", "install"])
    assert run(folder)[:2] == (0, [])
    (folder / "state").unlink()
    assert run(folder)[:2] == (0, ["install"])


def test_a_ready_wheel_is_taken_only_where_it_is_asked_for(folder):
    assert run(folder, LLAMA="ready")[:2] == (0, ["download", "install"])


def test_a_ready_wheel_that_does_not_load_is_replaced(folder):
    status, calls, _ = run(folder, ready="bad", LLAMA="ready")
    assert (status, calls) == (0, ["download", "install", "uninstall", "compile", "install"])


def test_what_does_not_load_is_not_accepted_on_the_next_call(folder):
    status, calls, error = run(folder, compiled="bad")
    assert (status, calls) == (1, ["compile", "install", "uninstall"])
    assert "does not load: OSError: libfoo.so" in error
    assert not (folder / "state").exists()
    (folder / "state").write_text("bad\n")
    assert run(folder)[:2] == (0, ["compile", "install"])
