"""What a base needs of a machine: memory to train, merge and judge it, and disk.

Computed from the sizes of the model and its profile before a byte of it is loaded. Memory is an
upper estimate of a process's own, libraries included: a training that is refused here would have
been killed, or would have swapped, near its end. docs/performance.md has what was measured.
"""

from dataclasses import dataclass
from pathlib import Path

from stock_llm.errors import StockLLMError
from stock_llm.llm.architectures import ModelShape, read_shape
from stock_llm.llm.profiles import Profile, local_base
from stock_llm.llm.quantization import AUTO, QUANTIZATIONS
from stock_llm.machine import Machine, free_disk, this_machine

GIB = 1 << 30

TOKENS_AT_ONCE = 4096
"""Padded tokens in a forward pass of a training, at most, where a row has no more."""

LOGITS_AT_ONCE = 1 << 27
"""Logits that a training holds at once; those of more tokens are computed in parts, twice."""

LARGE_MODEL = 500_000_000
"""Weights from which on activations may be computed a second time in the backward pass (gradient
checkpointing), where memory does not hold them.
"""

TOKENS_PER_ROW = 290
"""Mean of the sample's rows, a third of them Thai, prompt and answer: 287 of SmolLM2's tokens, 253
of Mistral's v3, which both spell Thai byte by byte."""

REPLAYED_ROWS = 4
"""Rows of fine-tuning that preference tuning trains on again beside each pair."""

PROMPTS_AT_ONCE = 16
"""Questions that an adapter answers together in PyTorch, for preference tuning."""

_LIBRARIES = int(1.2 * GIB)
"""Memory of Python with torch, transformers and Prefect, before any model."""

_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Of a weight in 4-bit NF4: blocks of 64 have a scale of one byte, 256 of those a scale of four
(double quantization; Dettmers et al. 2023).
"""

_KEPT = {"float32": (24, 16, 8), "bfloat16": (36, 10, 4)}
"""Bytes that a layer keeps for its backward pass, for each token: times its width, that of its
feed-forward part, and that of its keys. Counted with `torch.autograd.graph.saved_tensors_hooks` in
this trainer, on Mistrals of four shapes. The adapter keeps its inputs in float32 beside bfloat16.
"""

_QUANTIZING_BYTES = 16
"""Of a weight of the matrix that bitsandbytes is quantizing on a CPU: four float32 copies."""

_WRITING_BYTES = 10
"""Of a weight of the matrix that is merged and written: itself and what is added in float32, and
the sum in float16.
"""

MEASURED_ROWS = 32
"""Rows on which tasks/quantize.py measures a merge, at most."""

LARGEST_LOGITS = 256 << 20
"""Bytes of a file of logits (stock_llm/parity), at most; there are as many as `_LOGITS` says."""

_LOGITS = 6

_ADAPTER_BYTES = 16
"""Of an adapter's weight: itself, its gradient and AdamW's two moments, in float32."""

_LOGIT_BYTES = 14
"""Of a logit: in bfloat16, in float32, its share and its gradient."""

_FALLBACK_BITS = 8.5
"""Of a weight in Q8_0, the largest type that llama.cpp falls back to for rows that a K-quant cannot
hold, and above what embeddings get.
"""

_RECORDS = 64 << 20
"""Bytes of tokenizers, metadata and records beside weights."""

_CHECKPOINT_BYTES = 4 * 3 * 3 + 4
"""Of an adapter's weight on disk: itself and two moments in float32, in two checkpoints that are
kept and one being written; and the adapter.
"""


_COPIES_BYTES = 4 * 3 + 4 * 3
"""Of an adapter's weight on disk while preferences are tuned: its frozen copy in three checkpoints,
and the adapters that each kind of opinions and both made.
"""


@dataclass(frozen=True)
class StageNeeds:
    """What a stage of a run needs, in bytes.

    Attributes:
        name: what it does, as people read it.
        memory: of a GPU where there is one and the stage uses it, else main memory.
        disk: of files that lie side by side while it works.
        on_gpu: whether it uses a GPU that is there.
        remedy: what helps besides a smaller base and more memory; empty where nothing does.
    """

    name: str
    memory: int
    disk: int
    on_gpu: bool
    remedy: str = ""


def find_base(profile: Profile, home: Path) -> Path | None:
    """The folder with the base's weights: below `home`, or downloaded from the hub before; None
    where they are not here.
    """
    folder = local_base(profile, home)
    if folder is None and profile.revision:
        try:
            from huggingface_hub import try_to_load_from_cache

            config = try_to_load_from_cache(profile.path, "config.json", revision=profile.revision)
        except (ImportError, ValueError):  # not installed; no id of a model
            return None
        folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder and any(folder.glob("model*.safetensors")) else None


def find_shape(profile: Profile, home: Path) -> ModelShape | None:
    """The sizes of the base: from its config.json where it is here, else from the profile; None
    where neither tells.

    Raises:
        InputError: config.json cannot be read.
    """
    folder = find_base(profile, home)
    return read_shape(folder) if folder else profile.shape


def fine_tuning(profile: Profile, shape: ModelShape) -> StageNeeds:
    """What tasks/finetune.py needs: the 4-bit base, the adapter with its optimizer, activations."""
    return StageNeeds(
        "fine-tuning", training_memory(profile, shape), training_disk(profile, shape), on_gpu=True
    )


def preference_tuning(profile: Profile, shape: ModelShape) -> StageNeeds:
    """What tasks/align.py needs, where there are opinions: the 4-bit base with the adapter, its
    optimizer and a frozen copy of it; and the activations of a pair of the longest answers with
    replayed rows twice as long as the mean. Or, while the validation questions are answered, their
    keys and values.
    """
    adapter, limit = adapter_weights(profile, shape), profile.training.max_tokens
    pairs = _pairs_at_once(profile)
    replayed = REPLAYED_ROWS * min(limit, 2 * TOKENS_PER_ROW)
    logits = 2 * limit * shape.vocab_size + min(replayed * shape.vocab_size / 2, LOGITS_AT_ONCE)
    kept = _kept(profile, shape, shape.weights > LARGE_MODEL) * (2 * limit + replayed)
    tuned = (_ADAPTER_BYTES + 4) * adapter + pairs * (kept + _LOGIT_BYTES * logits)
    answer = min(limit, 2 * TOKENS_PER_ROW) + profile.serving.num_predict
    cache = 2 * _width(profile) * shape.num_hidden_layers * shape.key_value_width
    asked = 4 * adapter + PROMPTS_AT_ONCE * (answer * cache + _LOGIT_BYTES * shape.vocab_size)
    return StageNeeds(
        "preference tuning",
        int(_LIBRARIES + _four_bit_weights(profile, shape) + max(tuned, asked)),
        training_disk(profile, shape) + _COPIES_BYTES * adapter,
        on_gpu=True,
        remedy="raise at_least of [training.preferences] there, which leaves opinions unlearnt",
    )


def _pairs_at_once(profile: Profile) -> int:
    """Pairs in a forward pass of preference tuning, at most, where they are as long as `kept`
    counts them.
    """
    tokens = 2 * profile.training.max_tokens
    return max(1, min(profile.training.batch // 2, TOKENS_AT_ONCE // tokens))


def quantizing(profile: Profile, shape: ModelShape) -> StageNeeds:
    """What tasks/quantize.py needs. In memory are, one after the other: the 4-bit base with the
    adapter on it; a layer of a merge in float32 with the states of the sample's rows; a matrix that
    is written. On the disk are the f16 file and the quantized one, the adapter and logits.
    """
    hidden, layer = shape.hidden_size, shape.linear_weights // shape.num_hidden_layers
    largest = max(inputs * out for inputs, out in shape.matrices)
    tokens = profile.training.max_tokens
    logits = 2 * 4 * tokens * shape.vocab_size
    adapted = (
        _four_bit_weights(profile, shape)
        + 4 * adapter_weights(profile, shape)
        + max(_QUANTIZING_BYTES * largest, logits)
    )
    states = 4 * MEASURED_ROWS * TOKENS_PER_ROW * hidden
    embeddings = 4 * shape.vocab_size * hidden
    layerwise = states + max(4 * layer + _QUANTIZING_BYTES * largest, embeddings + logits)
    written = _WRITING_BYTES * max(largest, shape.vocab_size * hidden)
    beside = 4 * adapter_weights(profile, shape) + logits_disk(profile, shape)
    return StageNeeds(
        "merging",
        int(_LIBRARIES + max(adapted, layerwise, written)),
        2 * shape.weights + quantized_disk(profile, shape) + beside + _RECORDS,
        on_gpu=True,
    )


def logits_disk(profile: Profile, shape: ModelShape) -> int:
    """Bytes of the files of logits that tasks/quantize.py compares, at most."""
    tokens = MEASURED_ROWS * profile.training.max_tokens
    return _LOGITS * min(LARGEST_LOGITS, 4 * shape.vocab_size * tokens)


def judging(profile: Profile, shape: ModelShape) -> StageNeeds:
    """What tasks/evaluate.py needs: a quantized file in memory, with the keys, values (f16) and
    logits of a whole context; the untuned base as f16 and quantized file on the disk.
    """
    context = profile.serving.num_ctx
    cache = 2 * 2 * context * shape.num_hidden_layers * shape.key_value_width
    logits = 4 * context * shape.vocab_size
    return StageNeeds(
        "judging",
        _LIBRARIES + quantized_bytes(profile, shape) + cache + logits,
        2 * shape.weights + quantized_disk(profile, shape) + _RECORDS,
        on_gpu=False,
    )


def stages(profile: Profile, shape: ModelShape) -> list[StageNeeds]:
    """The stages of a run that need much, in their order."""
    return [make(profile, shape) for make in (fine_tuning, quantizing, judging)]


def run_disk(profile: Profile, shape: ModelShape, home: Path) -> int:
    """Bytes that a whole run lays side by side, at most; with the base's files where they are not
    here yet.
    """
    quantized = quantized_disk(profile, shape)
    downloaded = 0 if find_base(profile, home) else 2 * shape.weights
    most = max(
        fine_tuning(profile, shape).disk,
        quantizing(profile, shape).disk,
        quantized + judging(profile, shape).disk,
        3 * quantized,  # the candidate, its published copy, the base
    )
    return downloaded + most


def memory_lacks(stage: StageNeeds, machine: Machine) -> str:
    """What is missing of the memory that a stage needs, in words; empty where nothing is."""
    card = machine.gpu if stage.on_gpu else None
    free = card.free if card else machine.memory
    if free >= stage.memory:
        return ""
    where = f" on {card.name}" if card else ""
    return f"{stage.name} needs {size(stage.memory)} of memory{where}, {size(free)} are free"


def disk_lacks(name: str, needed: int, folder: Path) -> str:
    """The same of the disk that `folder` is on, or will be."""
    free = free_disk(folder)
    return (
        "" if free >= needed else f"{name} needs {size(needed)} in {folder}, {size(free)} are free"
    )


def require(stage: StageNeeds, profile: Profile, folder: Path) -> None:
    """
    Raises:
        StockLLMError: there is less memory, or less room in `folder`, than the stage needs.
    """
    if lack := memory_lacks(stage, this_machine()):
        also = f", or {stage.remedy}" if stage.remedy else ""
        raise StockLLMError(f"{lack}. {memory_remedy(profile)}{also}")
    if lack := disk_lacks(stage.name, stage.disk, folder):
        raise StockLLMError(f"{lack}. Free some space and run again")


def memory_remedy(profile: Profile) -> str:
    """What to do where memory is missing."""
    return (
        "Close other programs or raise the limit of the container, lower max_tokens in "
        f"models/profiles/{profile.name}.toml, or take a smaller base: stock-llm profiles list"
    )


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count >> 20} MiB"


def training_memory(
    profile: Profile,
    shape: ModelShape,
    checkpointing: bool | None = None,
    unpacked: bool = False,
) -> int:
    """The 4-bit base, the adapter with its optimizer, and the activations of a forward pass.

    Args:
        checkpointing: as `activations` has it.
        unpacked: the base's weights lie there as floats.
    """
    width = _width(profile)
    packed = _four_bit_weights(profile, shape)
    weights = width * shape.weights if unpacked else packed
    adapter = _ADAPTER_BYTES * adapter_weights(profile, shape)
    largest = max(inputs * out for inputs, out in shape.matrices)
    kept = activations(profile, shape, checkpointing)
    working = max(_QUANTIZING_BYTES * largest, kept + width * 2 * largest)
    return int(_LIBRARIES + weights + adapter + working)


def _four_bit_weights(profile: Profile, shape: ModelShape) -> float:
    """Bytes of a base whose linear layers are in 4 bits."""
    return _NF4_BYTES * shape.linear_weights + _width(profile) * shape.other_weights


def activations(profile: Profile, shape: ModelShape, checkpointing: bool | None = None) -> float:
    """Bytes that a forward pass keeps for its backward pass: the inputs of all layers, or, with
    checkpointing, of each layer and all of one; and the logits of answers, half of the tokens.

    Args:
        checkpointing: None: the least that the base can be trained with.
    """
    if checkpointing is None:
        checkpointing = shape.weights > LARGE_MODEL
    training = profile.training
    tokens = min(training.batch * training.max_tokens, max(TOKENS_AT_ONCE, training.max_tokens))
    logits = min(tokens * shape.vocab_size / 2, LOGITS_AT_ONCE)
    return tokens * _kept(profile, shape, checkpointing) + _LOGIT_BYTES * logits


def _kept(profile: Profile, shape: ModelShape, checkpointing: bool) -> float:
    """Bytes that a token leaves for the backward pass, logits apart."""
    per_hidden, per_feed_forward, per_key = _KEPT[profile.training.precision]
    layer = (
        per_hidden * shape.hidden_size
        + per_feed_forward * shape.intermediate_size
        + per_key * shape.key_value_width
        + 4 * profile.lora.rank * len(shape.matrices)
    )
    layers = shape.num_hidden_layers
    inputs = layers * _width(profile) * shape.hidden_size
    return inputs + layer if checkpointing else layers * layer


def training_disk(profile: Profile, shape: ModelShape) -> int:
    """Checkpoints and the adapter."""
    return _CHECKPOINT_BYTES * adapter_weights(profile, shape) + (32 << 20)


def quantized_bytes(profile: Profile, shape: ModelShape) -> int:
    """Size of the quantized file, vocabulary apart. K-quants want rows of a multiple of 256.
    `auto` hardly ever takes more than Q8_0, which loses next to nothing.
    """
    kind = profile.gguf.quantization
    bits = QUANTIZATIONS["Q8_0" if kind == AUTO else kind].bits
    other = max(bits, _FALLBACK_BITS)
    fits = all(inputs % 256 == 0 for inputs, _ in shape.matrices)
    linear = bits if fits else other
    return int((linear * shape.linear_weights + other * shape.other_weights) / 8)


def quantized_disk(profile: Profile, shape: ModelShape) -> int:
    """The same on the disk, at most: the last file that `auto` may try is another F16."""
    if profile.gguf.quantization == AUTO:
        return 2 * shape.weights
    return quantized_bytes(profile, shape)


def adapter_weights(profile: Profile, shape: ModelShape) -> int:
    """Weights of the adapter on all linear layers."""
    sides = sum(inputs + out for inputs, out in shape.matrices)
    return profile.lora.rank * shape.num_hidden_layers * sides


def adapter_bytes(profile: Profile, shape: ModelShape, kind: str = "Q8_0") -> int:
    """Size of the adapter as a GGUF, names apart: what an update moves where the base is shared.

    Args:
        kind: F16 or Q8_0, as `write_adapter_gguf` has them: rows of B are as long as the rank, and
            Q8_0 wants a multiple of 32.
    """
    bits = QUANTIZATIONS[kind].bits
    bits_of_b = bits if profile.lora.rank % 32 == 0 else QUANTIZATIONS["F16"].bits
    sides = sum(bits * inputs + bits_of_b * out for inputs, out in shape.matrices)
    return int(profile.lora.rank * shape.num_hidden_layers * sides / 8)


def _width(profile: Profile) -> int:
    """Bytes of a float in the profile's precision."""
    return 4 if profile.training.precision == "float32" else 2
