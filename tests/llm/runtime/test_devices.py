"""How many layers of a model go onto a GPU; the GPU itself is a value here, since this machine need not have one."""

import gguf
import llama_cpp
import pytest

from stock_llm.llm.runtime.devices import ALL_LAYERS, Device, find_device, layers_on

MIB = 1 << 20


@pytest.fixture
def model(tmp_path):
    """32 layers in 100 MiB."""
    file = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with file.open("r+b") as stream:
        stream.truncate(100 * MIB)
    return file


@pytest.mark.parametrize(
    ("free", "layers"), [(10_000, ALL_LAYERS), (126, ALL_LAYERS), (63, 16), (2, 0)]
)
def test_as_many_layers_as_fit_with_their_keys_and_values(model, free, layers):
    card = Device("Card", free * MIB, 80_000 * MIB)
    assert layers_on(card, model) == layers


def test_without_a_gpu_nothing_is_put_there(model):
    assert layers_on(None, model) == 0


def test_a_build_for_the_cpu_finds_no_device_and_one_for_a_gpu_names_it():
    found = find_device()
    if llama_cpp.llama_supports_gpu_offload() and found:
        assert found.name and 0 < found.free <= found.total
    else:
        assert found is None
