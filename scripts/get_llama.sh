#!/usr/bin/env bash
# Installs llama-cpp-python into .venv: the wheel that was kept from an earlier call, else its source from PyPI, compiled once.
# A wheel that does not load on this machine is not used. In the end it says what it took.
#
#   TORCH=cuda scripts/get_llama.sh       a build that puts layers on a GPU, where this machine can compile one: with CUDA (nvcc),
#                                         else with Vulkan (glslc and vulkan.h); else one for the CPU
#   LLAMA=ready scripts/get_llama.sh      first asks the authors' index for a ready wheel, which no hash here vouches for; with
#                                         TORCH=cuda one for the driver's CUDA, else for Vulkan
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^llama-cpp-python==//p' constraints.txt)
python=.venv/bin/python
indexes=https://abetlen.github.io/llama-cpp-python/whl
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
say() { printf '    %s\n' "$*"; }
took() { say "llama.cpp $version: $1, $2"; exit 0; } # WHERE FROM, BACKEND
loads() { said=$("$python" -c 'import llama_cpp; llama_cpp.llama_backend_init()' 2>&1); }
offloads() { "$python" -c 'import llama_cpp, sys; sys.exit(not llama_cpp.llama_supports_gpu_offload())' 2>/dev/null; }
use() { # BACKEND WHEEL: installs it; one that does not load, or lacks its backend, is taken out again
    pip install --no-deps --force-reinstall "$2" || return 1
    if ! loads; then
        pip uninstall --yes llama-cpp-python
        return 1
    fi
    if [ "$1" != cpu ] && ! offloads; then
        said="it has no GPU backend"
        pip uninstall --yes llama-cpp-python
        return 1
    fi
}

# What this machine can compile: the first of these is tried, then the next, the CPU last.
backends=(cpu)
if [ "${TORCH:-}" = cuda ]; then
    if command -v glslc >/dev/null && [ -e "${VULKAN_SDK:-/usr}/include/vulkan/vulkan.h" ]; then backends=(vulkan "${backends[@]}"); fi
    if command -v nvcc >/dev/null; then backends=(cuda "${backends[@]}"); fi
fi

if "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('llama-cpp-python') != '$version')" 2>/dev/null && loads; then
    if [ "${backends[0]}" = cpu ] || offloads; then exit 0; fi
fi

all=${XDG_CACHE_HOME:-$HOME/.cache}/stock-llm/wheels/$(uname -m)-$("$python" -c 'import sys; print(sys.implementation.cache_tag)')
kept() { if [ "$1" = cpu ]; then echo "$all"; else echo "$all/$1"; fi; } # BACKEND
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
keep() { # BACKEND: the wheel that was just used
    local built
    built=$(basename "$fresh"/*.whl)
    mkdir -p "$(kept "$1")"
    cp "$fresh/$built" "$(kept "$1")/.$built.tmp"
    mv "$(kept "$1")/.$built.tmp" "$(kept "$1")/$built"
}

# Names of the authors' indexes for this machine: CUDA up to what the driver says, the newest first.
ready_indexes() {
    if [ "${TORCH:-}" = cuda ]; then
        local driver release
        driver=$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: \([0-9]*\)\.\([0-9]\).*/\1\2/p')
        for release in 132 130 125 124 123 122 121; do
            if [ "${driver:-0}" -ge "$release" ]; then echo "cu$release"; fi
        done | head -2
        echo vulkan
    fi
    echo cpu
}
ready_wheel() { # BACKEND INDEX: downloads the wheel of the authors' index and installs it
    rm -f "$fresh"/*.whl
    timeout "$([ "$1" = cpu ] && echo 90 || echo 900)" "$python" -m pip --disable-pip-version-check --quiet download --no-deps \
        --only-binary :all: --timeout 5 --retries 0 --index-url "$indexes/$2" --dest "$fresh" "llama-cpp-python==$version" 2>/dev/null &&
        use "$1" "$fresh"/*.whl
}

compile() { # BACKEND
    local cached=() flags="-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=$PWD/scripts/no_common.cmake"
    # GGML_NATIVE is off, so that a wheel fits every machine of this architecture; CUDA is compiled for the GPU that is here.
    # pip's own cache of wheels does not know the backend: a GPU's stay out of it.
    case $1 in
        cuda) cached=(--no-cache-dir) flags="$flags -DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=native" ;;
        vulkan) cached=(--no-cache-dir) flags="$flags -DGGML_VULKAN=ON" ;;
    esac
    rm -f "$fresh"/*.whl
    CMAKE_ARGS=$flags pip wheel --no-deps --no-binary llama-cpp-python "${cached[@]}" --wheel-dir "$fresh" "llama-cpp-python==$version"
}

use_kept() { # BACKEND
    local wheel
    wheel=$(find "$(kept "$1")" -maxdepth 1 -name "llama_cpp_python-$version-*.whl" -print -quit 2>/dev/null || true)
    if [ -n "$wheel" ] && use "$1" "$wheel"; then
        took "the wheel kept in $(kept "$1")" "$1"
    fi
}

for backend in $([ "${TORCH:-}" != cuda ] || echo cuda vulkan); do
    use_kept "$backend"
done
if [ "${backends[0]}" = cpu ] && { [ "${TORCH:-}" != cuda ] || [ "${LLAMA:-}" != ready ]; }; then
    use_kept cpu
fi

if [ "${LLAMA:-}" = ready ]; then
    for index in $(ready_indexes); do
        backend=${index/#cu[0-9]*/cuda}
        if ready_wheel "$backend" "$index"; then
            keep "$backend"
            took "the ready wheel of $indexes/$index" "$backend"
        fi
        say "no ready wheel from $indexes/$index that works here"
    done
fi

for backend in "${backends[@]}"; do
    use_kept "$backend"
    command -v c++ >/dev/null || { echo "install: a C++ compiler is needed for llama.cpp. On Debian and Ubuntu: apt install g++" >&2; exit 1; }
    case $backend in
        cpu) if [ "${TORCH:-}" = cuda ]; then
                 say "neither CUDA (nvcc) nor Vulkan (glslc, vulkan.h) can be compiled here: llama.cpp computes on the CPU alone."
                 say "Models are then judged and asked without the GPU. apt install nvidia-cuda-toolkit, or libvulkan-dev glslc, or: make LLAMA=ready TORCH=cuda install"
             fi
             say "compiling, once, about 3 minutes on two cores (the wheel is kept in $all)" ;;
        *) say "compiling with $backend, once, 10 minutes and more (the wheel is kept in $(kept "$backend"))" ;;
    esac
    if compile "$backend" && use "$backend" "$fresh"/*.whl; then
        keep "$backend"
        took "compiled" "$backend"
    fi
    [ "$backend" = cpu ] || say "the build with $backend failed: ${said:-it does not compile}. Trying the next"
done
echo "install: llama.cpp was compiled but does not load: ${said##*$'\n'}" >&2
exit 1
