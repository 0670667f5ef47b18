#!/usr/bin/env bash
# Makes .venv and installs the project with every extra, at the pinned versions (requirements.txt, with hashes).
#
#   PYTHON=python3.12 scripts/install.sh      another interpreter (3.11 or newer)
#   TORCH=cpu|cuda scripts/install.sh         which PyTorch; default: cuda where nvidia-smi finds a GPU, else cpu
#                                             cuda also compiles llama.cpp for the GPU where that can be done: get_llama.sh
#   LLAMA=ready scripts/install.sh            a ready wheel of llama.cpp, without a hash, in place of three minutes of compiling
#   UV=no scripts/install.sh                  everything with pip, which takes several times as long
#
# Called by `make`; a second call with nothing changed does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
stamp=.venv/.installed
inputs=(pyproject.toml constraints.txt requirements.txt requirements-cuda.txt scripts/*.sh scripts/*.cmake)
wanted="$(cat "${inputs[@]}" | sha256sum | cut -d' ' -f1) ${TORCH:-auto} $(command -v nvcc glslc | tr '\n' ' ' || true)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }
timed() { # WHAT COMMAND…: says what it does, then how long that took
    local what=$1 started=$SECONDS
    shift
    say "$what"
    "$@"
    printf '    %s s\n' $((SECONDS - started))
}

command -v "$python" >/dev/null || fail "there is no '$python'. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$("$python" --version) is too old. Python 3.11 or newer is needed: make PYTHON=python3.11"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python has no venv module. On Debian and Ubuntu: apt install python3-venv"

pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }
pinned() { sed -n "s/^$1==//p" constraints.txt; }

# uv resolves, downloads and unpacks in parallel. What it installs is checked against the hashes in the requirements file.
install() { # PIP'S ARGUMENTS…
    if [ -x .venv/bin/uv ] && [ "${UV:-yes}" != no ]; then
        .venv/bin/uv pip install --quiet --python .venv/bin/python "$@"
    else
        pip install "$@"
    fi
}

get_uv() {
    pip install --timeout 30 "uv==$(pinned uv)" 2>/dev/null || say "uv cannot be had here; going on with pip, which is slower"
}

# Tells whether the installed PyTorch needs CUDA's libraries, which the CPU build does not.
has_cuda() {
    .venv/bin/python -c "import importlib.metadata as m, sys; sys.exit(not any('nvidia' in need or 'cuda' in need for need in m.requires('torch') or ()))"
}

# pip, not uv, installs PyTorch: its builds bear one version number and differ by index, and pip also looks where its own
# configuration says (find-links, extra indexes). That is also why torch has no hash in requirements.txt.
get_torch() {
    local release
    release=$(pinned torch)
    case $torch in
        cpu) # PyTorch's own index has the small CPU build (200 MB); PyPI's build brings CUDA along (several GB)
            pip install --no-deps --timeout 10 --retries 0 --index-url https://download.pytorch.org/whl/cpu "torch==$release" 2>/dev/null ||
                { printf "    PyTorch's index of CPU builds does not answer: taking the build that pip finds\n"; pip install --no-deps "torch==$release"; } ;;
        cuda) pip install --no-deps --force-reinstall "torch==$release" ;; # the CPU build has the same number
    esac
    if has_cuda; then
        install --no-deps --require-hashes -r requirements-cuda.txt
    fi
}

torch=${TORCH:-auto}
if [ "$torch" = auto ]; then
    if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then torch=cuda; else torch=cpu; fi
fi
[ "$torch" = cpu ] || [ "$torch" = cuda ] || fail "TORCH is '$torch'. Write TORCH=cpu or TORCH=cuda"

[ -x .venv/bin/python ] || timed "making .venv" "$python" -m venv .venv
[ "${UV:-yes}" = no ] || [ -x .venv/bin/uv ] || timed "uv, which installs the rest" get_uv
if ! .venv/bin/python -c "import importlib.metadata as m, sys; sys.exit(not m.version('torch').startswith('$(pinned torch)'))" 2>/dev/null ||
    { [ "$torch" = cuda ] && ! has_cuda; }; then # a build with CUDA also works without a GPU, and may stay
    timed "PyTorch $(pinned torch) ($torch)" get_torch
fi
timed "the libraries that requirements.txt names (1.5 GB)" install --no-deps --require-hashes -r requirements.txt
timed "llama.cpp $(pinned llama-cpp-python)" env TORCH="$torch" scripts/get_llama.sh
timed "the project itself" install --no-deps --no-build-isolation -e .
printf '%s' "$wanted" > "$stamp"
say "installed in $SECONDS s. Next: make run"
