"""A GGUF as llama.cpp loads it, with a LoRA adapter beside it or without: weights and vocabulary,
which any number of contexts can share.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from stock_llm.errors import MissingExtra, StockLLMError
from stock_llm.llm.runtime.devices import find_device, layers_on

BYTES_PER_THREAD = 64 * 2**20
"""Bytes of weights for each thread. Threads wait for each other, spinning, at every layer: beside
other busy processes on two cores a model of 8 MB took 17 s for an answer with two threads and 0.06
s with one."""

_ERROR = 4  # GGML_LOG_LEVEL_ERROR


@cache
def silence_logs() -> None:
    """Keeps llama.cpp's own log lines off the screen, errors apart."""
    import llama_cpp

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def say(level: int, text: bytes, _: ctypes.c_void_p) -> None:
        if level == _ERROR:
            print(text.decode(errors="replace"), end="", flush=True)

    silence_logs.callback = say  # type: ignore[attr-defined]  # ctypes does not keep it alive
    llama_cpp.llama_log_set(say, ctypes.c_void_p(0))


def useful_threads(gguf: Path, threads: int) -> int:
    """How many of `threads` a model of that size can use."""
    return min(threads, 1 + gguf.stat().st_size // BYTES_PER_THREAD)


class Weights:
    """A loaded GGUF, its layers on a GPU where llama.cpp has one that holds them. Its memory is not
    Python's: `close` frees it.

    Args:
        lora: a LoRA adapter as a GGUF, which is added while the model computes.

    Attributes:
        pointer: llama.cpp's model.
        vocabulary: llama.cpp's vocabulary.
        size: tokens of the vocabulary.
        token_bytes: memory of a token's keys and values in all layers, in 16 bits.

    Raises:
        StockLLMError: llama.cpp cannot load a file, or the adapter is of another model.
        MissingExtra: the extra `local` is not installed.
    """

    def __init__(self, gguf: Path, lora: Path | None = None):
        try:
            import llama_cpp
        except ImportError:
            raise MissingExtra("llama-cpp-python", "local") from None
        silence_logs()
        self._llama: Any = llama_cpp
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = layers_on(find_device(), gguf)
        self.pointer: Any = llama_cpp.llama_model_load_from_file(str(gguf).encode(), parameters)
        if not self.pointer:
            raise StockLLMError(f"llama.cpp cannot load {gguf}")
        self._lora: Any = None
        if lora:  # before a context is made, whose buffers depend on it
            self._lora = llama_cpp.llama_adapter_lora_init(self.pointer, str(lora).encode())
            if not self._lora:
                self.close()
                raise StockLLMError(f"llama.cpp cannot add the adapter {lora} to {gguf}")
        self.vocabulary: Any = llama_cpp.llama_model_get_vocab(self.pointer)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        heads = llama_cpp.llama_model_n_head(self.pointer)
        key_width = llama_cpp.llama_model_n_embd(self.pointer) // max(1, heads)
        key_heads = llama_cpp.llama_model_n_head_kv(self.pointer)
        layers = llama_cpp.llama_model_n_layer(self.pointer)
        self.token_bytes: int = 2 * 2 * layers * key_heads * key_width

    def make_context(self, parameters: Any) -> Any:
        """A context of llama.cpp that computes with the adapter, where there is one; None where
        there is not enough memory.

        Raises:
            StockLLMError: it cannot compute with the adapter.
        """
        context = self._llama.llama_init_from_model(self.pointer, parameters)
        if context and self._lora:
            adapters = (self._llama.llama_adapter_lora_p_ctypes * 1)(self._lora)
            scale = (ctypes.c_float * 1)(1.0)
            if self._llama.llama_set_adapters_lora(context, adapters, 1, scale):
                self._llama.llama_free(context)
                raise StockLLMError("llama.cpp cannot compute with the adapter")
        return context

    def close(self) -> None:
        """Frees the memory, the adapter's with it; the object cannot be used afterwards."""
        if self.pointer:
            self._llama.llama_model_free(self.pointer)
        self.pointer = None

    def tokenize(self, text: str, bos: bool = True) -> list[int]:
        """Token ids; special tokens in the text count as such, as they do in Ollama."""
        raw = text.encode()
        room = (self._llama.llama_token * (len(raw) + 8))()
        count = self._llama.llama_tokenize(
            self.vocabulary, raw, len(raw), room, len(room), bos, True
        )
        if count < 0:
            raise StockLLMError(f"llama.cpp needs {-count} tokens for a text of {len(raw)} bytes")
        return list(room[:count])

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for."""
        room = ctypes.create_string_buffer(64)
        count = self._llama.llama_token_to_piece(self.vocabulary, token, room, len(room), 0, True)
        if count < 0:
            room = ctypes.create_string_buffer(-count)
            count = self._llama.llama_token_to_piece(
                self.vocabulary, token, room, len(room), 0, True
            )
        return room.raw[:count]

    def ends_answer(self, token: int) -> bool:
        """Whether a model says with this token that its answer is whole."""
        return bool(self._llama.llama_vocab_is_eog(self.vocabulary, token))
