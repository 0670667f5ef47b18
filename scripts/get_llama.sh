#!/usr/bin/env bash
# Installs llama-cpp-python into .venv: the wheel that was kept from an earlier call, else its source from PyPI, compiled once.
# A wheel that does not load on this machine is not used.
#
#   LLAMA=ready scripts/get_llama.sh      first asks the authors' index for a ready CPU wheel, which no hash here vouches for
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^llama-cpp-python==//p' constraints.txt)
python=.venv/bin/python
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
loads() { said=$("$python" -c 'import llama_cpp; llama_cpp.llama_backend_init()' 2>&1); }
use() { # WHEEL: installs it; one that does not load is taken out again
    pip install --no-deps --force-reinstall "$1" || return 1
    loads || { pip uninstall --yes llama-cpp-python; return 1; }
}

if "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('llama-cpp-python') != '$version')" 2>/dev/null && loads; then
    exit 0
fi

kept=${XDG_CACHE_HOME:-$HOME/.cache}/stock-llm/wheels/$(uname -m)-$("$python" -c 'import sys; print(sys.implementation.cache_tag)')
mkdir -p "$kept"
wheel=$(find "$kept" -name "llama_cpp_python-$version-*.whl" -print -quit)
if [ -n "$wheel" ] && use "$wheel"; then
    exit 0
fi

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
ready=https://abetlen.github.io/llama-cpp-python/whl/cpu
ready_wheel() { # downloads the wheel of the authors' index and installs it
    timeout 90 "$python" -m pip --disable-pip-version-check --quiet download --no-deps --only-binary :all: --timeout 5 --retries 0 \
        --index-url "$ready" --dest "$fresh" "llama-cpp-python==$version" 2>/dev/null && use "$fresh"/*.whl
}
if [ "${LLAMA:-}" != ready ] || ! ready_wheel; then
    command -v c++ >/dev/null || { echo "install: a C++ compiler is needed for llama.cpp. On Debian and Ubuntu: apt install g++" >&2; exit 1; }
    [ "${LLAMA:-}" != ready ] || echo "    no ready wheel from $ready"
    echo "    compiling, once, about 3 minutes on two cores (the wheel is kept in $kept)"
    rm -f "$fresh"/*.whl
    # GGML_NATIVE is off, so that a wheel fits every machine of this architecture
    CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=$PWD/scripts/no_common.cmake" \
        pip wheel --no-deps --no-binary llama-cpp-python --wheel-dir "$fresh" "llama-cpp-python==$version"
    use "$fresh"/*.whl || { echo "install: llama.cpp was compiled but does not load: ${said##*$'\n'}" >&2; exit 1; }
fi
built=$(basename "$fresh"/*.whl)
cp "$fresh/$built" "$kept/.$built.tmp"
mv "$kept/.$built.tmp" "$kept/$built"
