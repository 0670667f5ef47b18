#!/usr/bin/env bash
# Resolves the newest set that pyproject.toml admits and writes it down: `make pins`. Then prove it: .ci/run, `pytest -m server`.
#
#   constraints.txt        the version of everything, for `pip install -c`
#   requirements.txt       the same with hashes: what scripts/install.sh installs
#   requirements-cuda.txt  with hashes, what PyPI's build of PyTorch needs besides
#
# torch has no hash (one version number, a build for each index), llama-cpp-python none either (compiled here, or a ready wheel).
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

resolve() { # MORE ARGUMENTS…: everything, one version each, for Linux
    "$uv" pip compile --quiet --all-extras --universal --fork-strategy fewest --python-version 3.11 --no-annotate --no-header "$@" pyproject.toml
}

if [ "${1:-}" != --keep ]; then # --keep: write the hashes of the versions that constraints.txt has
    { sed -n '/^#/p' constraints.txt; resolve --upgrade | sed 's/ ;.*//'; } > "$scratch/constraints.txt"
    mv "$scratch/constraints.txt" constraints.txt
fi
resolve --generate-hashes -c constraints.txt > "$scratch/all.txt"
.venv/bin/python - "$scratch/all.txt" <<'P'
import re, sys
from pathlib import Path

NO_HASH = ("torch", "llama-cpp-python")
CUDA = re.compile(r"(nvidia|cuda)-|triton==")
blocks = re.split(r"\n(?=\S)", Path(sys.argv[1]).read_text().strip())
files = {"requirements.txt": [], "requirements-cuda.txt": []}
for block in blocks:
    if block.split("==")[0] not in NO_HASH:
        files["requirements-cuda.txt" if CUDA.match(block) else "requirements.txt"].append(block)
for name, kept in files.items():
    Path(name).write_text("# Written by scripts/pin.sh (make pins).\n" + "\n".join(kept) + "\n")
P
