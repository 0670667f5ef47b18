"""Base models: where the files are, what they hash to, how they are loaded.

Returns a model with its tokenizer, in 4-bit NF4 or in the profile's precision. What a model's files
can do is limited: weights only from safetensors, transformers' own classes and of config.json only
the fields that these need (`architectures`), no remote code, and nothing from the hub but the
commit that the profile pins.
"""

import os
import re
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError, MissingExtra
from stock_llm.llm.architectures import read_config
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.profiles import Profile, local_base
from stock_llm.storage.checksums import files_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

FILES = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*.json",
    "tokenizer.model",
)
"""What a base consists of, as patterns. Mistral's repositories hold every weight a second time as
`consolidated.safetensors`.
"""


@dataclass(frozen=True)
class LoadedBase:
    """A loaded base. `model` is in evaluation mode, on the GPU where there is one."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerFast"

    @property
    def padding(self) -> int:
        """The token that rows are padded with: the tokenizer's, or the end where it has none."""
        token: int | None = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if token is None else token  # type: ignore[return-value]


def base_digest(profile: Profile, home: Path) -> str:
    """What the base is, in one string: the SHA-256 over its files, or `id@commit` for a base from
    the hub.

    Raises:
        InputError: there is no such base.
    """
    if (folder := local_base(profile, home)) is not None:
        return files_sha256(base_files(folder), folder)
    return f"{profile.path}@{_pinned(profile, home)}"


def base_files(folder: Path) -> list[Path]:
    """The files of the base in `folder`, as far as they matter to what it computes.

    Raises:
        InputError: config, tokenizer or weights are not there.
    """
    files = sorted({path for pattern in FILES for path in folder.glob(pattern) if path.is_file()})
    names = {path.name for path in files}
    for needed in ("config.json", "tokenizer.json"):
        if needed not in names:
            raise InputError(f"{needed} is missing", file=folder, remedy=_HOW_TO_GET)
    if not any(name.endswith(".safetensors") for name in names):
        raise InputError(
            "there are no weights (model*.safetensors; other formats are not read)",
            file=folder,
            remedy=_HOW_TO_GET,
        )
    return files


def fetch_base(profile: Profile, home: Path) -> Path:
    """The folder with the base's files; a base from the hub is downloaded first, if it was not
    before.

    Raises:
        InputError: there is no such base, or it cannot be downloaded.
    """
    folder = local_base(profile, home) or _downloaded(profile, home)
    base_files(folder)
    return folder


def load_base(profile: Profile, home: Path, four_bit: bool, unpacked: bool = False) -> LoadedBase:
    """The base with its tokenizer.

    Args:
        four_bit: linear layers as NF4 with double quantization (Dettmers et al. 2023), computing in
            the profile's precision; embeddings, norms and lm_head stay in that precision. False:
            everything in it.
        unpacked: those 4-bit numbers as the floats that they stand for: faster, and larger. A base
            that is sharded holds them so already.

    Raises:
        InputError: there is no such base, or it is of no architecture that is known here.
        MissingExtra: the extra `train` is not installed.
    """
    folder = fetch_base(profile, home)
    try:
        import torch
        import transformers
        from safetensors import SafetensorError
        from transformers import BitsAndBytesConfig
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "train") from None

    config = read_config(folder)
    architecture = config.architecture
    model_class: Any = getattr(transformers, architecture.model_class)
    precision = getattr(torch, profile.training.precision)
    try:
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        # it warns of a faster kernel that would have to be fetched from the hub and run
        getLogger("bitsandbytes.backends.cpu.ops").setLevel("ERROR")
        loaded: Any = model_class.from_pretrained(
            folder,
            config=config.for_transformers(),
            key_mapping={f"^{re.escape(architecture.prefix)}": ""} if architecture.prefix else None,
            dtype=precision,
            device_map={"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"},
            quantization_config=BitsAndBytesConfig(  # type: ignore[no-untyped-call]
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=precision,
                bnb_4bit_quant_storage=precision if is_sharded() else torch.uint8,
            )
            if four_bit
            else None,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"not a base model that can be loaded: {error}", file=folder, remedy=_HOW_TO_GET
        ) from error
    model, loading = loaded
    # transformers would fill gaps with random weights
    odd = sorted(
        name
        for name in {*loading["missing_keys"], *loading["unexpected_keys"]}
        if not name.endswith(".rotary_emb.inv_freq")  # computed; old files hold it
        and not (architecture.ignored and name.startswith(architecture.ignored))
    )
    if odd:
        raise InputError(
            f"{len(odd)} weights are missing or unknown, the first '{odd[0]}'",
            file=folder,
            remedy=_HOW_TO_GET,
        )
    if unpacked and not is_sharded():
        # it warns that it does so
        getLogger("transformers.integrations.bitsandbytes").setLevel("ERROR")
        model.dequantize()
    return LoadedBase(model.eval(), tokenizer)


def is_sharded() -> bool:
    """Whether `accelerate launch` was told to give each GPU a part of the base (FSDP), which holds
    floats only: the same 4-bit numbers are then stored as if they were such.
    """
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def load_skeleton(profile: Profile, home: Path) -> "PreTrainedModel":
    """The base without weights: its layers with their shapes, on PyTorch's meta device.

    Raises:
        InputError: there is no such base, or it is of no architecture that is known here.
        MissingExtra: the extra `train` is not installed.
    """
    folder = fetch_base(profile, home)
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "train") from None
    config = read_config(folder)
    architecture = config.architecture
    with torch.device("meta"):
        model: PreTrainedModel = getattr(transformers, architecture.model_class)(
            getattr(transformers, architecture.config_class)(**config.fields)
        )
    return model


def _downloaded(profile: Profile, home: Path) -> Path:
    commit = _pinned(profile, home)
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra(error.name or "huggingface_hub", "train") from None

    try:
        return Path(snapshot_download(profile.path, revision=commit, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:  # huggingface_hub's errors are both
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{profile.path} at {commit[:8]} cannot be downloaded: {reason}",
            remedy="Check the network; run `hf auth login` if the model asks for a licence",
        ) from error


def _pinned(profile: Profile, home: Path) -> str:
    """The commit of a hub base. A branch can move under an adapter, and a missing folder must not
    become a stranger's model.
    """
    if profile.package:
        raise InputError(
            f"the base of '{profile.name}' is not there",
            file=home / profile.path,
            remedy=f"Run: stock-llm base fetch {profile.name}",
        )
    if not re.fullmatch(r"[0-9a-f]{40}", profile.revision):
        raise InputError(
            f"the base '{profile.path}' does not exist, and a hub model needs a pinned commit",
            file=home / f"models/profiles/{profile.name}.toml",
            remedy=f"{_HOW_TO_GET}; for a hub model, `stock-llm profiles pin {profile.name}` sets "
            "`revision` to today's commit",
        )
    return profile.revision


_HOW_TO_GET = "`stock-llm base build` makes stock-tiny, `stock-llm base fetch` SmolLM2"
