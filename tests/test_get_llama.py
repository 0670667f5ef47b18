"""scripts/get_llama.sh, with a stand-in for Python and pip: what it installs, keeps and takes out again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

PYTHON = r"""#!/usr/bin/env bash
# state: what the installed wheel holds, "good", "gpu" or "bad"; calls: what pip was asked for
last=${!#}
case "$*" in
    *llama_supports_gpu_offload*) [ "$(cat state)" = gpu ] ;;
    *importlib.metadata*) [ -f state ] ;;
    *llama_backend_init*) [ "$(cat state)" != bad ] || { echo "OSError: libfoo.so" >&2; exit 1; } ;;
    *cache_tag*) echo cpython-311 ;;
    *" uninstall "*) echo uninstall >> calls; rm -f state ;;
    *" install "*) echo install >> calls; cp "$last" state ;;
    *" download "*) echo download >> calls; echo "$*" >> asked; echo "$READY" > "$(sed 's/.*--dest \([^ ]*\).*/\1/' <<< "$*")/llama_cpp_python-1.0-ready.whl" ;;
    *" wheel "*)
        echo compile >> calls; echo "$CMAKE_ARGS $*" >> asked
        if [[ "$CMAKE_ARGS" == *CUDA=ON* ]]; then COMPILED=${CUDA:-}; elif [[ "$CMAKE_ARGS" == *VULKAN=ON* ]]; then COMPILED=${VULKAN:-}; fi
        [ -n "$COMPILED" ] || exit 1
        echo "$COMPILED" > "$(sed 's/.*--wheel-dir \([^ ]*\).*/\1/' <<< "$*")/llama_cpp_python-1.0-own.whl" ;;
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
    """(exit status, what pip was asked for, what was said)."""
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
    output = done.stdout + done.stderr
    return done.returncode, calls.read_text().split() if calls.exists() else [], output


def add_program(folder, name, text="#!/bin/sh\n"):
    path = folder / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


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


def test_a_gpu_gets_a_build_with_cuda_where_it_can_be_compiled(folder):
    add_program(folder, "nvcc")
    status, calls, said = run(folder, TORCH="cuda", CUDA="gpu")
    assert (status, calls) == (0, ["compile", "install"])
    asked = (folder / "asked").read_text()
    assert "-DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=native" in asked
    assert "--no-cache-dir" in asked, "pip's cache does not know which backend a wheel has"
    assert "llama.cpp 1.0: compiled, cuda" in said
    assert run(folder, TORCH="cuda")[:2] == (0, [])
    (folder / "state").unlink()
    status, calls, said = run(folder, TORCH="cuda")
    assert (status, calls) == (0, ["install"])
    assert "the wheel kept in" in said and "/cuda, cuda" in said


def test_a_build_for_the_cpu_that_was_there_is_replaced_when_cuda_can_be_compiled(folder):
    assert run(folder)[:2] == (0, ["compile", "install"])
    assert run(folder, TORCH="cuda")[:2] == (0, [])
    add_program(folder, "nvcc")
    assert run(folder, TORCH="cuda", CUDA="gpu")[:2] == (0, ["compile", "install"])
    assert (folder / "state").read_text() == "gpu\n"
    (folder / "state").unlink()
    assert run(folder)[:2] == (0, ["install"])
    assert (folder / "state").read_text() == "good\n", "without a GPU the CPU's wheel is taken"


def test_what_fails_with_cuda_is_tried_with_vulkan_and_then_for_the_cpu(folder):
    add_program(folder, "nvcc")
    add_program(folder, "glslc")
    header = folder / "sdk" / "include" / "vulkan" / "vulkan.h"
    header.parent.mkdir(parents=True)
    header.touch()
    sdk = {"TORCH": "cuda", "VULKAN_SDK": str(folder / "sdk")}
    status, calls, said = run(folder, VULKAN="gpu", **sdk)
    assert (status, calls) == (0, ["compile", "compile", "install"])
    assert "the build with cuda failed" in said and "compiled, vulkan" in said
    shutil.rmtree(folder / "cache")
    (folder / "state").unlink()
    status, calls, said = run(folder, VULKAN="good", **sdk)  # loads, and has no GPU
    assert (status, calls) == (
        0,
        ["compile", "compile", "install", "uninstall", "compile", "install"],
    )
    assert "the build with vulkan failed: it has no GPU backend" in said
    assert "compiled, cpu" in said


def test_where_no_gpu_build_can_be_had_it_says_so_and_how_to_get_one(folder):
    status, calls, said = run(folder, TORCH="cuda")
    assert (status, calls) == (0, ["compile", "install"])
    assert "llama.cpp computes on the CPU alone" in said
    assert "apt install nvidia-cuda-toolkit" in said and "make LLAMA=ready TORCH=cuda" in said


def test_a_ready_wheel_for_a_gpu_fits_the_driver(folder):
    add_program(
        folder, "nvidia-smi", "#!/bin/sh\necho '| Driver Version: 550.54  CUDA Version: 12.4 |'\n"
    )
    status, calls, said = run(folder, ready="gpu", TORCH="cuda", LLAMA="ready")
    assert (status, calls) == (0, ["download", "install"])
    assert (
        "--index-url https://abetlen.github.io/llama-cpp-python/whl/cu124"
        in (folder / "asked").read_text()
    )
    assert "the ready wheel of https://abetlen.github.io/llama-cpp-python/whl/cu124, cuda" in said
    (folder / "state").unlink()
    assert run(folder, TORCH="cuda", LLAMA="ready")[:2] == (0, ["install"])
