import pytest
from factories.parrot_gguf import write_parrot, write_parrot_lora

from stock_llm.errors import StockLLMError
from stock_llm.llm.llama_cpp import LlamaModel


def test_an_adapter_that_is_not_added_is_an_error_and_not_the_bare_base(tmp_path, monkeypatch):
    import llama_cpp

    gguf = write_parrot(tmp_path / "base.gguf", "I am the base", others=["with the adapter"])
    lora = write_parrot_lora(tmp_path / "lora.gguf", 1, 1)
    monkeypatch.setattr(llama_cpp, "llama_set_adapters_lora", lambda *_: -1)
    with pytest.raises(StockLLMError, match="cannot compute with the adapter"):
        LlamaModel(gguf, 1, 256, lora)
