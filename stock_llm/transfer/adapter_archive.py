"""An adapter that was trained from a bundle on another machine, on its way home.

In it: the LoRA weights as safetensors, and the facts of the training. Whoever trains it need not be
trusted: the weights are taken only if every tensor has the name, shape and type that the base and
the profile *here* ask for, and every number is finite; the adapter's configuration is not read from
the archive at all, but made from the profile. Whether the adapter is any good, evaluation says.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from stock_llm.artifacts import Adapter
from stock_llm.errors import InputError, MissingExtra
from stock_llm.llm.base import load_skeleton
from stock_llm.llm.profiles import Profile
from stock_llm.transfer.archive import open_archive, write_archive

KIND = "adapter"
WEIGHTS = "adapter_model.safetensors"

LARGEST_HEADER = 1 << 20
"""Bytes of the list of tensors in a safetensors file; an adapter of a 13 B base has 0.1 million."""

Count = Annotated[int, Field(ge=0, le=1 << 53)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class LossPoint(BaseModel):
    """A step of the training, as `Adapter.loss_curve` has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Count
    loss: FiniteFloat
    learning_rate: FiniteFloat
    seconds: FiniteFloat


class AdapterContent(BaseModel):
    """What an adapter's archive says beside its weights.

    `dataset` and `profile` name what it was trained for; `inputs` are those of the bundle;
    `trained_on` names the machine. The other facts are those of `Adapter`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: Digest
    dataset: Digest
    profile: str = Field(max_length=100)
    inputs: dict[str, Any]
    trained_on: str = Field(max_length=200, pattern=r"^[\x20-\x7e]*$")
    rows: Count
    tokens: Count
    steps: Count
    train_loss: FiniteFloat
    seconds: FiniteFloat
    resumed_from_step: Count
    kept_step: Count
    loss_curve: list[LossPoint] = Field(min_length=1)


FACTS = (
    *("rows", "tokens", "steps", "kept_step", "train_loss", "seconds", "resumed_from_step"),
    "loss_curve",
)


def write_adapter(
    path: Path, adapter: Adapter, profile: str, inputs: dict[str, Any], trained_on: str
) -> None:
    """Writes a trained adapter to `path`.

    Args:
        profile: its name.
        inputs: of the training, as the bundle has them.
        trained_on: the machine in words.
    """
    facts = {name: getattr(adapter, name) for name in FACTS}
    content = AdapterContent(
        digest=adapter.digest,
        dataset=inputs["dataset"],
        profile=profile,
        inputs=inputs,
        trained_on=trained_on,
        **facts,
    )
    files = {WEIGHTS: adapter.weights / WEIGHTS}
    write_archive(path, KIND, content.model_dump(mode="json"), files)


def read_content(path: Path) -> AdapterContent:
    """What an archive says of its adapter; nothing of it is to be believed yet.

    Raises:
        InputError: it is damaged, or holds no adapter.
    """
    with open_archive(path, KIND, lambda name: name == WEIGHTS) as archive:
        return archive.content_as(AdapterContent)


def unpack_adapter(path: Path, profile: Profile, home: Path, base: str, folder: Path) -> Adapter:
    """Unpacks an adapter for this profile and its base into `folder`.

    Args:
        base: digest of the base.

    Raises:
        InputError: the archive is damaged, or its weights do not fit the base.
        MissingExtra: the extra `train` is not installed.
    """
    expected = _layout(profile, home)
    data = 4 * sum(math.prod(shape) for shape in expected.shapes.values())
    weights = folder / "adapter" / WEIGHTS
    with open_archive(path, KIND, lambda name: name == WEIGHTS) as archive:
        content = archive.content_as(AdapterContent)
        if WEIGHTS not in archive.files:
            raise InputError(f"{WEIGHTS} is missing", file=path)
        if archive.files[WEIGHTS].bytes > data + LARGEST_HEADER:
            raise InputError(
                f"{WEIGHTS} has {archive.files[WEIGHTS].bytes:,} bytes, an adapter of "
                f"'{profile.name}' has {data:,}",
                file=path,
            )
        archive.extract(WEIGHTS, weights)
    _check_weights(weights, expected.shapes, path)
    expected.config.save_pretrained(str(weights.parent))
    return Adapter(
        digest=content.digest,
        folder=folder,
        weights=weights.parent,
        profile=profile.name,
        base_digest=base,
        trained_on=content.trained_on,
        **{
            item.name: getattr(content, item.name)
            for item in fields(Adapter)
            if item.name in FACTS and item.name != "loss_curve"
        },
        loss_curve=[point.model_dump() for point in content.loss_curve],
    )


@dataclass(frozen=True)
class _Layout:
    """The adapter that the profile asks for: its configuration, and name → shape of its weights."""

    config: Any
    shapes: dict[str, tuple[int, ...]]


def _layout(profile: Profile, home: Path) -> _Layout:
    """Worked out on the base without its weights."""
    try:
        from peft import get_peft_model
        from peft.utils import get_peft_model_state_dict
    except ImportError as error:
        raise MissingExtra(error.name or "peft", "train") from None
    from stock_llm.llm.trainer import lora_config

    model = get_peft_model(load_skeleton(profile, home), lora_config(profile))
    config = model.peft_config["default"]
    config.base_model_name_or_path = profile.path
    config.inference_mode = True
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return _Layout(config, {name: tuple(weight.shape) for name, weight in state.items()})


def _check_weights(file: Path, shapes: dict[str, tuple[int, ...]], archive: Path) -> None:
    """
    Raises:
        InputError: a tensor is missing, unknown, of another shape or type, or not finite.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            for name in sorted(shapes.keys() ^ set(tensors.keys())):
                what = "is missing" if name in shapes else "does not belong into it"
                raise InputError(f"the adapter is for another base: {name!r} {what}", file=archive)
            for name, shape in shapes.items():
                stored = tensors.get_slice(name)
                if tuple(stored.get_shape()) != shape or stored.get_dtype() != "F32":
                    raise InputError(
                        f"the adapter is for another base: {name!r} is {stored.get_dtype()} "
                        f"{stored.get_shape()}, not F32 {list(shape)}",
                        file=archive,
                    )
                if not torch.isfinite(tensors.get_tensor(name)).all():
                    raise InputError(f"{name!r} holds numbers that are not finite", file=archive)
    except SafetensorError as error:
        raise InputError(f"{WEIGHTS} is no safetensors file: {error}", file=archive) from None
