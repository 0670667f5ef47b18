"""A model that is computed layer after layer, with the weights of one layer in memory.

All rows go through a layer before the next one is read, as quantizers such as GPTQ do it. So a
model of any size is computed in the memory of its largest layer and the states of the rows, and the
weights may be those of a merge that nobody has written down. The arithmetic is transformers' own,
in float32. What a linear layer gets to see can be watched, for an importance matrix.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import MissingExtra
from stock_llm.llm.architectures import read_config
from stock_llm.llm.merging.weights import Weights
from stock_llm.progress import progress

if TYPE_CHECKING:
    import torch

Watch = Callable[[str, "torch.Tensor"], None]
"""Gets the name of a linear layer and what one row puts into it, shape (tokens, inputs)."""

Take = Callable[[int, "torch.Tensor"], None]
"""Gets the number of a row and the logits of its answer, shape (tokens, vocabulary): those at one
place predict the token there."""


@dataclass(frozen=True)
class TokenizedAnswer:
    """Token ids of a row: its prompt, and its answer with the end token."""

    prompt: list[int]
    answer: list[int]


def empty_model(folder: Path) -> Any:
    """The model of a folder's config.json with its parameters on PyTorch's meta device; what is
    computed from the configuration (rotary frequencies) is there.

    Raises:
        InputError: config.json has values that transformers does not take.
        MissingExtra: the extra `train` is not installed.
    """
    try:
        import transformers
        from accelerate import init_empty_weights
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "train") from None

    config = read_config(folder)
    settings = config.for_transformers()
    settings._attn_implementation = "sdpa"
    with init_empty_weights(include_buffers=False):
        model: Any = getattr(transformers, config.architecture.model_class)(settings)
    return model.eval()


def linear_weights(folder: Path) -> frozenset[str]:
    """Names of the weights that loading in 4 bits quantizes: of all linear layers but lm_head.

    Raises:
        InputError: config.json has values that transformers does not take.
        MissingExtra: the extra `train` is not installed.
    """
    model = empty_model(folder)
    from torch import nn

    return frozenset(
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != "lm_head"
    )


def compute_logits(
    folder: Path,
    weights: Weights,
    rows: Sequence[TokenizedAnswer],
    take: Take,
    description: str,
    watch: Watch | None = None,
    device: str = "cpu",
) -> None:
    """Computes the logits of the rows' answers.

    Args:
        folder: with the config.json of the model.
        take: is called with the logits of each row, in their order.
        description: of the progress bar.
        watch: is called with what each linear layer gets of each row.
        device: where it is computed, and where `weights` puts its tensors.

    Raises:
        InputError: a weight is missing.
    """
    import torch

    model = empty_model(folder)
    body, tied = model.model, model.config.tie_word_embeddings
    layers = list(body.layers)
    for name, buffer in list(model.named_buffers()):
        owner, _, kind = name.rpartition(".")
        setattr(model.get_submodule(owner), kind, buffer.to(device))
    with torch.inference_mode():
        _fill(body.embed_tokens, "model.embed_tokens", weights)
        states = _embed(body, rows, device)
        body.embed_tokens = None
        for number in progress(range(len(layers)), description):
            name, layer = f"model.layers.{number}", layers[number]
            _fill(layer, name, weights)
            with _watched(layer, f"{name}.", watch):
                for state in states:
                    out = layer(state.hidden, **state.options)
                    state.hidden = out[0] if isinstance(out, tuple) else out
            layers[number] = layer = None
        body.layers = torch.nn.ModuleList()
        for name, module in body.named_children():
            if name != "layers" and module is not None:
                _fill(module, f"model.{name}", weights)
        _fill(model.lm_head, "model.embed_tokens" if tied else "lm_head", weights)
        with _watched(model, "", watch):
            for number, (state, row) in enumerate(zip(states, rows, strict=True)):
                # the layers are done: what is left is the norm and the head
                kept = len(row.answer) + 1
                out = model(inputs_embeds=state.hidden, use_cache=False, logits_to_keep=kept)
                take(number, out.logits[0, :-1].float())


class _Caught(Exception):
    """Ends a forward pass at the first layer."""


@dataclass
class _State:
    """What a layer gets of one row.

    Attributes:
        options: positions and mask, which are the same for each layer.
    """

    hidden: Any
    options: dict[str, Any]


def _embed(body: Any, rows: Sequence[TokenizedAnswer], device: str) -> list[_State]:
    """What the first layer gets of each row."""
    import torch

    states: list[_State] = []

    class Catch(torch.nn.Module):
        def forward(self, hidden: Any, **options: Any) -> None:
            states.append(_State(hidden, options))
            raise _Caught

    body.layers = torch.nn.ModuleList([Catch()])
    for row in rows:
        try:
            body(input_ids=torch.tensor([row.prompt + row.answer], device=device), use_cache=False)
        except _Caught:
            continue
    return states


def _fill(module: Any, prefix: str, weights: Weights) -> None:
    """Reads the parameters of a module."""
    names = list(module.state_dict())
    module.load_state_dict({name: weights.read(f"{prefix}.{name}") for name in names}, assign=True)


@contextmanager
def _watched(module: Any, prefix: str, watch: Watch | None) -> Iterator[None]:
    """Calls `watch` for each linear layer in `module` inside of the block."""
    from torch import nn

    def hook(name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def call(_: Any, given: tuple[Any, ...]) -> None:
            assert watch
            watch(name, given[0].reshape(-1, given[0].shape[-1]))

        return call

    handles = [
        inner.register_forward_pre_hook(hook(prefix + name))
        for name, inner in module.named_modules()
        if watch and isinstance(inner, nn.Linear)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
