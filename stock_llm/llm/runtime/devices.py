"""The GPU that this build of llama.cpp computes on, and how many layers of a model it can hold.

llama.cpp has the backends that it was compiled with (CUDA, Vulkan, Metal …) and lists their
devices, whoever made them: ggml-backend.h, `ggml_backend_dev_…`.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path

ALL_LAYERS = -1
"""llama.cpp's word for every layer and the output."""

_GPU = 1  # GGML_BACKEND_DEVICE_TYPE_GPU

_BESIDE = 1.25
"""Memory of a layer on a GPU, for each byte of its weights: keys, values and buffers."""


@dataclass(frozen=True)
class Device:
    """A GPU that llama.cpp can use. `free` and `total` are its memory in bytes."""

    name: str
    free: int
    total: int


def find_device() -> Device | None:
    """The first GPU of this build of llama.cpp; None where it computes on the CPU alone.

    Raises:
        ImportError: llama-cpp-python is not installed.
    """
    import llama_cpp
    from llama_cpp._ggml import libggml

    if not llama_cpp.llama_supports_gpu_offload():
        return None
    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    libggml.ggml_backend_dev_description.restype = ctypes.c_char_p
    libggml.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
    libggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    sizes = ctypes.POINTER(ctypes.c_size_t)
    libggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, sizes, sizes]
    for place in range(libggml.ggml_backend_dev_count()):
        device = libggml.ggml_backend_dev_get(place)
        if libggml.ggml_backend_dev_type(device) == _GPU:
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            libggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
            name = libggml.ggml_backend_dev_description(device).decode(errors="replace")
            return Device(name, free.value, total.value)
    return None


def layers_on(device: Device | None, gguf: Path) -> int:
    """How many layers of a model to put on a device, from the last one on; `ALL_LAYERS` where all
    fit, 0 where there is no device.
    """
    if device is None:
        return 0
    share = device.free / (_BESIDE * gguf.stat().st_size)
    return ALL_LAYERS if share >= 1 else int(share * _count_layers(gguf))


def _count_layers(gguf: Path) -> int:
    """Layers of the model, as its metadata say."""
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    architecture = str(fields["general.architecture"].contents())
    return int(fields[f"{architecture}.block_count"].contents())
