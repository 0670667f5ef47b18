#!/usr/bin/env bash
# llama-cpp-python comes as source only. Builds its wheel once, keeps it for this user, and installs it into .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^llama-cpp-python==//p' constraints.txt)
if .venv/bin/python -c "import importlib.metadata as m, sys; sys.exit(m.version('llama-cpp-python') != '$version')" 2>/dev/null; then
    exit 0
fi
# GGML_NATIVE is off, so a wheel fits every machine of this architecture
kept=${XDG_CACHE_HOME:-$HOME/.cache}/stock-llm/wheels/$(uname -m)-$(.venv/bin/python -c 'import sys; print(sys.implementation.cache_tag)')
mkdir -p "$kept"
wheel=$(find "$kept" -name "llama_cpp_python-$version-*.whl" -print -quit)
if [ -z "$wheel" ]; then
    command -v c++ >/dev/null || { echo "install: a C++ compiler is needed for llama.cpp. On Debian and Ubuntu: apt install g++" >&2; exit 1; }
    printf '\033[1m==> compiling llama.cpp %s, once: about 3 minutes on two cores (the wheel is kept in %s)\033[0m\n' "$version" "$kept"
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=$PWD/scripts/no_common.cmake" \
        .venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python --wheel-dir "$fresh" "llama-cpp-python==$version"
    built=$(basename "$fresh"/*.whl)
    cp "$fresh/$built" "$kept/.$built.tmp"
    mv "$kept/.$built.tmp" "$kept/$built"
    wheel=$kept/$built
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "$wheel"
