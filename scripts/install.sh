#!/usr/bin/env bash
# Makes .venv and installs the project with every extra, at the versions that were seen running together (constraints.txt).
#
#   PYTHON=python3.12 scripts/install.sh      another interpreter (3.11 or newer)
#   TORCH=cpu|cuda scripts/install.sh         which PyTorch; default: cuda where nvidia-smi finds a GPU, else cpu
#
# Called by `make`; a second call with nothing changed does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
stamp=.venv/.installed
wanted="$(cat pyproject.toml constraints.txt scripts/*.sh scripts/*.cmake | sha256sum | cut -d' ' -f1) ${TORCH:-auto}"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "there is no '$python'. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$("$python" --version) is too old. Python 3.11 or newer is needed: make PYTHON=python3.11"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python has no venv module. On Debian and Ubuntu: apt install python3-venv"

[ -x .venv/bin/python ] || { say "making .venv"; "$python" -m venv .venv; }
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

torch=${TORCH:-auto}
if [ "$torch" = auto ]; then
    if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then torch=cuda; else torch=cpu; fi
fi
release=$(sed -n 's/^torch==//p' constraints.txt)
if ! .venv/bin/python -c "import importlib.metadata as m, sys; sys.exit(not m.version('torch').startswith('$release'))" 2>/dev/null; then
    say "PyTorch $release ($torch)"
    case $torch in
        cpu) # PyTorch's own index has the small CPU build (200 MB); PyPI's build brings CUDA along (several GB)
            pip install --quiet --no-deps --timeout 10 --retries 0 --index-url https://download.pytorch.org/whl/cpu "torch==$release" 2>/dev/null ||
                { say "PyTorch's index of CPU builds does not answer: taking the build that pip finds"; pip install --quiet --no-deps "torch==$release"; } ;;
        cuda) pip install --quiet -c constraints.txt "torch==$release" ;;
        *) fail "TORCH is '$torch'. Write TORCH=cpu or TORCH=cuda" ;;
    esac
fi

scripts/build_llama.sh

say "the project and its libraries (about 3 minutes, 2.8 GB)"
pip install --quiet -c constraints.txt -e '.[flows,local,gateway,train,yfinance,alpaca,postgres,dev]'
printf '%s' "$wanted" > "$stamp"
say "installed. Next: make run"
