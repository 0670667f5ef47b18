"""docs/settings.md from the settings' own docstrings, so that it cannot say anything else.
`make docs` writes it, a test holds it."""

import ast
import inspect
import json
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from stock_llm.dataset.config import DatasetSettings, SourceSettings
from stock_llm.feedback.config import FeedbackSettings
from stock_llm.gateway.config import GatewaySettings, ServerSettings
from stock_llm.llm.profiles import (
    EvaluationConfig,
    GgufConfig,
    LoraConfig,
    PreferencesConfig,
    Profile,
    ServingConfig,
    TrainingConfig,
)
from stock_llm.ollama.config import PublishSettings
from stock_llm.services.config import ScheduleSettings, ServicesSettings
from stock_llm.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

HEAD = """\
# Settings

Written by `make docs` from the docstrings of the settings.

## The project folder: stock-llm.toml

Each setting stands in `stock-llm.toml` or in the environment, which wins: `STOCK_LLM_TRADES=…`, and
for a table two underscores, `STOCK_LLM_GATEWAY__PORT=…`. Relative paths are taken from the project
folder. A name that is no setting is refused. Other environment variables:
[README.md](../README.md#variables).

"""

PROFILE_HEAD = """\
## The base model: models/profiles/NAME.toml

`profile = "NAME"` in `stock-llm.toml`, or `stock-llm run --profile NAME`, chooses the file.
"required" stands where each profile has to say it. `[about]`, `[shape]` and `[package]` describe
the base: copy them from a profile that comes along. What a candidate has to show to become the
champion is a third file, `gate.toml` in the project folder;
[the one that comes along](../stock_llm/evaluation/gate.toml) explains its lines.

"""

TABLES: dict[str, type[BaseModel]] = {
    "": Settings,
    "[feedback]": FeedbackSettings,
    "[dataset]": DatasetSettings,
    "[[dataset.source]]": SourceSettings,
    "[gateway]": GatewaySettings,
    "[gateway.servers.NAME]": ServerSettings,
    "[publish]": PublishSettings,
    "[services]": ServicesSettings,
    "[schedule]": ScheduleSettings,
}

PROFILE_TABLES: dict[str, type[BaseModel]] = {
    "": Profile,
    "[lora]": LoraConfig,
    "[training]": TrainingConfig,
    "[training.preferences]": PreferencesConfig,
    "[gguf]": GgufConfig,
    "[serving]": ServingConfig,
    "[evaluation]": EvaluationConfig,
}

DERIVED = {
    (TrainingConfig, "epochs"): "from `effort`",
    (TrainingConfig, "accumulate"): "from `effort`",
    (TrainingConfig, "learning_rate"): "from the base's width",
    (Settings, "home"): "the current folder",
    (Settings, "ollama_host"): '`OLLAMA_HOST`, else `"http://127.0.0.1:11434"`',
    (Settings, "threads"): "all",
}
"""Defaults that are computed, in words."""


def page() -> str:
    """The Markdown."""
    parts = [HEAD, *tables(TABLES), PROFILE_HEAD, *tables(PROFILE_TABLES)]
    return "".join(parts).rstrip() + "\n"


def tables(of: dict[str, type[BaseModel]]) -> list[str]:
    """A Markdown table for each of the tables of a TOML file."""
    return [
        (f"### `{name}`\n\n" if name else "")
        + "| setting | default | meaning |\n|---|---|---|\n"
        + "".join(rows(model))
        + "\n"
        for name, model in of.items()
    ]


def rows(model: type[BaseModel]) -> list[str]:
    """A line for each field that is no table of its own."""
    meanings = docstrings(model)
    return [
        f"| `{name}` | {default(model, name, field)} | {meanings.get(name, '')} |\n"
        for name, field in model.model_fields.items()
        if not is_table(field.annotation)
    ]


def is_table(annotation: Any) -> bool:
    """Whether a field's type is a table, or may be one."""
    types = get_args(annotation) or (annotation,)
    return any(inspect.isclass(kind) and issubclass(kind, BaseModel) for kind in types)


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The string below each field, on one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(text.value.value.split()).replace("|", "\\|")
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def default(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """A field's default as it stands in TOML."""
    if (model, name) in DERIVED:
        return DERIVED[model, name]
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "none"
    return f"`{toml(field.default)}`"


def toml(value: Any) -> str:
    """A value as it stands in TOML."""
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if isinstance(value, bool | str | list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Path):
        return json.dumps(str(value))
    return str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
