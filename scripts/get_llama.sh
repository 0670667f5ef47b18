#!/usr/bin/env bash
# Installs llama-cpp-python into .venv, from the first of: the wheel that was kept, its own index of ready CPU wheels, its
# source (PyPI has nothing else). A wheel that does not load on this machine is not used.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^llama-cpp-python==//p' constraints.txt)
python=.venv/bin/python
if "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('llama-cpp-python') != '$version')" 2>/dev/null; then
    exit 0
fi
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
loads() { "$python" -c 'import llama_cpp; llama_cpp.llama_backend_init()' 2>/dev/null; }
use() { pip install --no-deps --force-reinstall "$1" && loads; }

kept=${XDG_CACHE_HOME:-$HOME/.cache}/stock-llm/wheels/$(uname -m)-$("$python" -c 'import sys; print(sys.implementation.cache_tag)')
mkdir -p "$kept"
wheel=$(find "$kept" -name "llama_cpp_python-$version-*.whl" -print -quit)
if [ -n "$wheel" ] && use "$wheel"; then
    exit 0
fi

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
ready=https://abetlen.github.io/llama-cpp-python/whl/cpu
if ! { timeout 90 "$python" -m pip --disable-pip-version-check --quiet download --no-deps --only-binary :all: --timeout 5 --retries 0 \
        --index-url "$ready" --dest "$fresh" "llama-cpp-python==$version" 2>/dev/null && use "$fresh"/*.whl; }; then
    command -v c++ >/dev/null || { echo "install: a C++ compiler is needed for llama.cpp. On Debian and Ubuntu: apt install g++" >&2; exit 1; }
    echo "    no ready wheel from $ready: compiling, once, about 3 minutes on two cores (the wheel is kept in $kept)"
    rm -f "$fresh"/*.whl
    # GGML_NATIVE is off, so that a wheel fits every machine of this architecture
    CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=$PWD/scripts/no_common.cmake" \
        pip wheel --no-deps --no-binary llama-cpp-python --wheel-dir "$fresh" "llama-cpp-python==$version"
    use "$fresh"/*.whl || { echo "install: llama.cpp was compiled but does not load. Try: $python -c 'import llama_cpp'" >&2; exit 1; }
fi
built=$(basename "$fresh"/*.whl)
cp "$fresh/$built" "$kept/.$built.tmp"
mv "$kept/.$built.tmp" "$kept/$built"
