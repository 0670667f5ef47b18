"""The policy of the gate: what a candidate has to show before it becomes the champion.

Read from gate.toml, of the project folder or of this package, where each value is explained.
"""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stock_llm.errors import InputError

FILE = "gate.toml"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OverallPolicy(_Part):
    """What the difference over the whole holdout has to show."""

    margin: float = Field(ge=0, lt=1)
    minimum_rows: int = Field(ge=1)


class SkillPolicy(_Part):
    """What no skill may lose."""

    minimum_rows: int = Field(ge=1)
    margin: float = Field(ge=0, lt=1)
    holm: bool
    margins: dict[str, Annotated[float, Field(ge=0, lt=1)]] = {}


class FalseAnswerPolicy(_Part):
    """How many more answers may have a false sentence."""

    minimum_rows: int = Field(ge=1)
    margin: float = Field(ge=0, lt=1)


class ForgettingPolicy(_Part):
    """What may be forgotten, in nats per token. What the base does not know cannot be: a guess
    among seven is a loss of about 2.
    """

    known: float = Field(gt=0)
    may_rise: float = Field(ge=0)


class GatePolicy(_Part):
    """The content of gate.toml, where each value is explained."""

    overall: OverallPolicy
    skills: SkillPolicy
    false_answers: FalseAnswerPolicy
    forgetting: ForgettingPolicy


def load_policy(home: Path | None = None) -> GatePolicy:
    """The policy of a project folder: its gate.toml, else that of the package.

    Raises:
        InputError: the file is not TOML, or a value is missing, unknown or does not fit.
    """
    file = home / FILE if home and (home / FILE).is_file() else Path(__file__).with_name(FILE)
    remedy = f"Copy {Path(__file__).with_name(FILE)} and change what is to be different"
    try:
        return GatePolicy.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not TOML: {error}", file=file, remedy=remedy) from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name}: {first['msg']}", file=file, remedy=remedy) from None
