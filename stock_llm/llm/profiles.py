"""Profiles of base models: weights, LoRA, training, quantization, serving.

One file each: models/profiles/NAME.toml.

stock-tiny and Mistral-7B differ in their profiles and nowhere else.
"""

import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from stock_llm.errors import InputError
from stock_llm.llm.architectures import ModelShape
from stock_llm.llm.prompt_formats import FORMATS, MISTRAL_V3, PromptFormat
from stock_llm.llm.quantization import AUTO, QUANTIZATIONS


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoraConfig(_Strict):
    """Low-rank adapter on all linear layers (Hu et al. 2021; on a 4-bit base, Dettmers et al.
    2023).
    """

    rank: int = Field(ge=1, le=256)
    """Rank of the adapter: how many directions a layer may change in."""

    alpha: int = Field(ge=1)
    """The adapter's change is multiplied by alpha / rank."""

    dropout: float = Field(ge=0, lt=1)
    """Share of the adapter's inputs that training sets to 0."""

    targets: tuple[str, ...] = ()
    """Names of the layers that get an adapter; empty: all linear ones but lm_head."""


class PreferencesConfig(_Strict):
    """Preference tuning, the stage after fine-tuning: DPO (Rafailov et al. 2023) on corrections and
    on judged answers, each beside another one of the model's own.
    """

    at_least: int = Field(default=16, ge=1)
    """Preferences of a kind; fewer are not trained on."""

    epochs: int = Field(default=1, ge=1)
    """Passes over the preferences."""

    learning_rate: float = Field(default=0.05, gt=0, le=1)
    """As a share of fine-tuning's: the adapter is trained already."""

    beta: float = Field(default=0.5, gt=0)
    """How soon an answer's likelihood has moved enough: at about 1 / beta nats."""

    validation_rows: int = Field(default=96, ge=8)
    """The last rows of the training time, which are not trained on: they say whether a stage
    becomes part of the candidate.
    """


class TrainingConfig(_Strict):
    """Fine-tuning. `effort` is the one dial: epochs, rows a step and learning rate follow from it
    and from the base's width, unless the profile gives them.
    """

    effort: float = Field(default=1.0, gt=0, le=16)
    """How much training, as a multiple of the usual: 1.0 is 2 epochs in steps of 16 rows. Twice the
    effort is twice the epochs; from 4 on a step has 32 rows.
    """

    epochs: float = Field(gt=0)
    """Passes over the rows; by default 2 times the effort."""

    batch: int = Field(default=4, ge=1)
    """Rows in a forward pass, at most."""

    accumulate: int = Field(ge=1)
    """Forward passes in a step; by default as many as make 16 rows, from effort 4 on 32."""

    learning_rate: float = Field(gt=0, lt=1)
    """At its peak; by default it follows from the base's width and the rows of a step."""

    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; it then falls as a cosine."""

    max_tokens: int = Field(ge=64)
    """Of a row, prompt and answer; longer rows are refused, never cut."""

    precision: str = Field(pattern="^(float32|bfloat16)$")
    """What is computed in: float32, or bfloat16 where the processor or GPU has it."""

    early_stopping_patience: int = Field(default=0, ge=0)
    """Evaluations (four in an epoch) without a lower loss on the validation rows after which
    training ends; the weights with the lowest loss are kept. The validation rows are the last of
    the training time, at most 96 and a tenth, and are not trained on. 0: no early stopping, all
    rows are trained on.
    """

    verdict_weight: float = Field(default=1.0, ge=1)
    """Weight of the loss on a verdict's tokens, such as BUY: few tokens that decide the rest."""

    preferences: PreferencesConfig = PreferencesConfig()


USUAL_EPOCHS = 2
USUAL_ROWS = 16
"""Of a step, as QLoRA's 7B models were trained (Dettmers et al. 2023)."""


def rows_of_step(effort: float) -> int:
    """Long trainings profit from larger, less noisy steps, LoRA less than others (Schulman et al.
    2025, "LoRA Without Regret"): there is one doubling only.
    """
    return USUAL_ROWS if effort < 4 else 2 * USUAL_ROWS


def learning_rate_of(width: int, rows: int) -> float:
    """The peak learning rate of LoRA on a base.

    Ten times that of full fine-tuning, falling with the width, as fitted on Llama models (Thinking
    Machines 2025, "Supervised learning hyperparameters" of Tinker's manual); rising with the square
    root of a step's rows, as Adam's does (Malladi et al. 2022). It gives 2.9e-4 for a width of
    4,096 and 16 rows, and 1.8e-3 for stock-tiny's 256 and 8, near those found by hand.

    Args:
        width: `hidden_size` of the base.
        rows: of a step.
    """
    rate = 5e-5 * 10 * (2000 / width) ** 0.781 * (rows / USUAL_ROWS) ** 0.5
    return float(f"{rate:.2g}")


class GgufConfig(_Strict):
    """The published file."""

    quantization: str
    """Q8_0, Q6_K, Q5_K_M, Q4_K_M or another one of stock_llm/llm/quantization.py; or `auto`: the
    smallest file to which the answers of the validation rows are as likely as to the f16 file,
    within `auto_margin`. Where there is no validation slice, the newest train rows stand for it.
    """

    auto_margin: float = Field(default=0.02, gt=0, lt=1)
    """Of `auto`: share by which the loss may rise above f16's, the upper end of its interval."""

    importance_matrix: bool = False
    """Whether quantizing weighs the columns of a layer by the inputs that train rows give it."""

    @field_validator("quantization")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in (*QUANTIZATIONS, AUTO):
            raise ValueError(f"'{name}' is not one of {', '.join((*QUANTIZATIONS, AUTO))}")
        return name


class ServingConfig(_Strict):
    """Becomes the Modelfile's PARAMETER lines."""

    temperature: float = Field(ge=0, le=2)
    """0: always the most likely token."""

    num_ctx: int = Field(ge=256)
    """Tokens of prompt and answer together."""

    num_predict: int = Field(ge=1)
    """Tokens of an answer at most."""


class EvaluationConfig(_Strict):
    """How a candidate is judged."""

    holdout_rows: int = Field(default=160, ge=20)
    """Rows of the holdout; what difference they show stands in the verdict's reasons."""

    minutes: float = Field(default=60, gt=0)
    """Time to judge a candidate in. Where this machine needs more for all rows of the holdout, as
    it was seen or as is computed from the base's sizes, a part of them judges, at least 20.
    """

    judge: Literal["llama.cpp", "ollama"] = "llama.cpp"
    """Who asks the models: this process, or the Ollama at `ollama_host`, so that the program and
    the GPU that serve are the ones that are judged. Where no Ollama answers, this process does.
    """

    seed_spread: float | None = Field(default=None, ge=0)
    """Standard deviation of the score over trainings that differ in the seed alone, as measured;
    None: not measured.
    """

    seeds: int = Field(default=0, ge=0)
    """Trainings that `seed_spread` was measured on."""


class AboutConfig(_Strict):
    """What people want to know of a base before they choose it."""

    parameters: float = Field(default=0, ge=0)
    """Billions; 0: not told."""

    architecture: str = ""
    """`model_type` of its text model."""

    tokenizer: str = Field(default="", pattern="^(|SentencePiece|byte-level BPE|Tekken)$")

    languages: tuple[str, ...] = ()
    """Those that its makers name."""

    own_template: str = ""
    """Whether `prompt_format` was compared with the chat template that the model brings."""

    ollama: str = ""
    """Ollama's name of the untuned base, from its library's pages; not asked for here."""

    ollama_sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    """SHA-256 of its weights there: the blob that `ollama show --modelfile` names. In
    `publish.mode = "adapter"` versions stand on that file where an Ollama of this machine has it:
    who has the base then pulls the adapter alone. Empty: not known."""


class PackageSource(_Strict):
    """A file of the Python package index that holds the base as a GGUF."""

    project: str
    file: str
    """Name of the file in the index."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    member: str
    """The GGUF inside it."""

    licence_member: str = ""
    about: str
    """What the model is, for its card."""


class Profile(_Strict):
    name: str
    """That of the file."""

    path: str
    """A folder with the base, taken from home, or a Hugging Face id."""

    revision: str
    """Commit of a Hugging Face id, as `stock-llm profiles pin` writes it; empty for a folder."""

    licence: str
    """Licence of the base; published versions name it."""

    knowledge_cutoff: date
    """Results from before this day may be known to the base: the verdict calls them in-sample."""

    prompt_format: str = MISTRAL_V3.name
    """One of stock_llm/llm/prompt_formats.py: how this base is asked, trained and served."""

    about: AboutConfig = AboutConfig()
    shape: ModelShape | None = None
    """Sizes of the base, for telling what it needs before its config.json is here."""

    package: PackageSource | None = None
    """Where `stock-llm base fetch` finds the base in the Python package index."""

    lora: LoraConfig
    training: TrainingConfig
    gguf: GgufConfig
    serving: ServingConfig
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _turn_the_dial(cls, given: Any) -> Any:
        """Fills in what follows from `effort` and the profile does not give."""
        training = given.get("training") if isinstance(given, dict) else None
        if not isinstance(training, dict):
            return given  # made in code, or refused below
        effort, batch = training.get("effort", 1.0), training.get("batch", 4)
        if not isinstance(effort, int | float) or not isinstance(batch, int) or batch < 1:
            return given
        training = {"epochs": USUAL_EPOCHS * effort, **training}
        training.setdefault("accumulate", max(1, rows_of_step(effort) // batch))
        if "learning_rate" not in training and isinstance(training["accumulate"], int):
            shape = given.get("shape")
            width = shape.get("hidden_size") if isinstance(shape, dict) else None
            if not isinstance(width, int) or width < 1:
                raise ValueError(
                    "[training] has no learning_rate, and [shape] has no hidden_size that it could "
                    "follow from"
                )
            training["learning_rate"] = learning_rate_of(width, batch * training["accumulate"])
        return given | {"training": training}

    @field_validator("prompt_format")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FORMATS:
            raise ValueError(f"'{name}' is not one of {', '.join(FORMATS)}")
        return name

    @property
    def format(self) -> PromptFormat:
        """The prompt format itself."""
        return FORMATS[self.prompt_format]


def profile_names(home: Path) -> list[str]:
    """The profiles below `home`, sorted."""
    return sorted(path.stem for path in (home / "models/profiles").glob("*.toml"))


def load_profile(home: Path, name: str) -> Profile:
    """The profile `models/profiles/NAME.toml` below `home`.

    Raises:
        InputError: there is no such file, or it does not fit the model above.
    """
    file = home / f"models/profiles/{name}.toml"
    if not file.is_file():
        known = ", ".join(profile_names(home)) or "none"
        raise InputError(
            f"there is no profile '{name}'",
            file=file,
            remedy=f"Known profiles: {known}",
        )
    try:
        return Profile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", file=file) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", file=file) from None


def local_base(profile: Profile, home: Path) -> Path | None:
    """The folder of the base weights, taken from `home`; None where `path` is the id of a model on
    the Hugging Face hub.
    """
    folder = home / Path(profile.path).expanduser()
    return folder if folder.is_dir() else None
