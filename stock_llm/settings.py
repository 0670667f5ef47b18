"""The settings of a project folder: one object that composes the settings of all parts.

Read from, in this order: arguments, environment variables (`STOCK_LLM_TRADES=…`), stock-llm.toml in
the home folder, the defaults below. Relative paths are taken from `home`.
"""

import os
import tomllib
from datetime import date
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stock_llm.dataset.config import DatasetSettings
from stock_llm.errors import InputError
from stock_llm.feedback.config import FeedbackSettings
from stock_llm.gateway.config import GatewaySettings
from stock_llm.ollama.config import PublishSettings
from stock_llm.services.config import ScheduleSettings, ServicesSettings

CONFIG_FILE = "stock-llm.toml"

MOVED = {"holdout_rows": "models/profiles/NAME.toml, as `holdout_rows` in its table [evaluation]"}
"""Former settings, and where each is set today."""


def _home() -> Path:
    return Path(os.environ.get("STOCK_LLM_HOME", Path.cwd())).resolve()


class Settings(BaseSettings):
    """Everything a person may set. `Settings()` reads environment and file; keyword arguments win
    over both.
    """

    model_config = SettingsConfigDict(
        env_prefix="STOCK_LLM_", env_nested_delimiter="__", extra="forbid", validate_default=True
    )

    home: Path = Field(default_factory=_home)
    """The folder that data/, models/ and mlflow/ are in. Default: the current one."""

    trades: Path = Path("data/sample/trades.csv")
    """Export of a broker, or folder of such exports: CSV, Excel, JSON, XML, OFX or QFX, each
    recognised by its content.
    """

    trades_sql: str = ""
    """SQLAlchemy URL of a database with trades, read besides `trades`. Empty: none."""

    trades_query: str = ""
    """SELECT for it, its columns named as in a plain trades file: date, symbol, side, quantity,
    price, trade_id, …
    """

    trades_watermark: str = ""
    """Column of the query that only grows; each night only rows from the last one seen on are read.
    Empty: all of them.
    """

    formats: Path = Path("data/formats")
    """Folder with your own export formats, as `stock-llm import FILE --draft` writes them."""

    instruments: Path = Path("data/instruments.csv")
    """The table of instruments: what exports call a symbol, splits, mergers; you edit it, collect
    adds to it.
    """

    fx: Path = Path("data/fx")
    """File or folder with exchange rates: the European Central Bank's eurofxref-hist.csv, or pairs
    as candles (EURUSD.csv).
    """

    base_currency: str = ""
    """Currency in which returns are told besides an instrument's own, such as EUR. Empty: none."""

    candles: Path = Path("data/sample/candles")
    """Folder of daily candles, one CSV or Parquet file per symbol, or one file with a symbol
    column.
    """

    exchange: str = "XNYS"
    """Calendar of symbols that have no suffix such as `.L` and no exchange in the table of
    instruments: a code of exchange_calendars, or 24/5 or 24/7."""

    feedback_url: str = "sqlite:///data/feedback.db"
    """SQLAlchemy URL of the feedback store."""

    feedback: FeedbackSettings = FeedbackSettings()
    """The table `[feedback]`: how much one person or one stock may teach."""

    profile: str = "stock-tiny"
    """Name of a base model: a file models/profiles/NAME.toml."""

    holdout_from: date | None = None
    """First day of the holdout. Default: of the quarter at seven eighths of the candle history."""

    train_rows: int = Field(default=1000, ge=50)
    """How many rows are made for training, feedback apart. More is better and slower."""

    dataset: DatasetSettings = DatasetSettings()
    """What is mixed into the dataset, and what is made smaller or larger in it."""

    seed: int = 7
    """Seed of sampling, shuffling and training."""

    retrain_after: int = Field(default=100, ge=1)
    """`retrain` trains when more than this many feedback items are ready: items that would teach
    something and that no judged model has seen."""

    retrain_after_trades: int = Field(default=0, ge=0)
    """`retrain` also trains when so many entries of the ledger are newer than the newest version.
    0: trades alone never set it off."""

    retrain_below_accuracy: float = Field(default=0.0, ge=0, le=1)
    """`retrain` also trains when fewer than this share of the champion's recommendations through
    the gateway came true, of at least 30. 0: this never sets it off."""

    notify: str = ""
    """Notification block of Prefect that is told of promotions, rejections, blocked candidates and
    failures: KIND/NAME, such as slack-webhook/me. Empty: nobody is told."""

    mlflow_uri: str = "sqlite:///mlflow/mlflow.db"
    """MLflow tracking and registry URI."""

    ollama_store: Path = Path("models/ollama")
    """Folder in Ollama's on-disk format that every version is published to first."""

    ollama_host: str = Field(
        default_factory=lambda: os.environ.get("OLLAMA_HOST", "http://127.0.0.1:11434")
    )
    """Ollama server that gets every version of the folder. One that is named, here or by
    OLLAMA_HOST, has to answer; the default one need not. The empty string: the folder alone.
    """

    publish: PublishSettings = PublishSettings()
    """The table `[publish]`: where versions go besides, and how many stay."""

    true_sentences: bool = True
    """Whether `stock-llm ask` leaves a model that it runs itself the choice among the true
    sentences about the numbers of the question, and no other words. An Ollama server takes no such
    grammar.
    """

    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """CPU threads for training and generation."""

    gateway: GatewaySettings = GatewaySettings()
    """The table `[gateway]`: what `stock-llm serve` listens on, asks and may spend."""

    services: ServicesSettings = ServicesSettings()
    """The table `[services]`: ports, folders and databases of the servers of `stock-llm up`."""

    schedule: ScheduleSettings = ScheduleSettings()
    """The table `[schedule]`: in which time zone the deployments run."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().resolve()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, _home() / CONFIG_FILE),
        )

    def path(self, path: Path | str) -> Path:
        """`path`, taken from `home` unless absolute."""
        return self.home / Path(path).expanduser()

    def url(self, url: str) -> str:
        """`url` with the relative file of a `sqlite:///…` URL taken from `home`."""
        prefix = "sqlite:///"
        if (
            not url.startswith(prefix)
            or url.startswith(prefix + "/")
            or url == "sqlite:///:memory:"
        ):
            return url
        return prefix + str(self.path(url.removeprefix(prefix)))

    @cached_property
    def artifacts(self) -> Path:
        """Folder of digest-addressed stage results."""
        return self.path("data/artifacts")

    @cached_property
    def secrets(self) -> Path:
        """Folder outside the repository for the hashing salt and signing keys; made with mode 0700
        when first used.
        """
        return Path(os.environ.get("STOCK_LLM_SECRETS", "~/.config/stock-llm")).expanduser()

    @property
    def ollama_is_named(self) -> bool:
        """Whether somebody chose the Ollama that is published to."""
        return bool(self.ollama_host and self.ollama_named_by)

    @property
    def ollama_named_by(self) -> str:
        """What names the Ollama that is published to; empty: it is the default one."""
        if "ollama_host" in self.model_fields_set:
            return "the setting ollama_host"
        return "OLLAMA_HOST" if os.environ.get("OLLAMA_HOST") else ""

    @property
    def uses_sample(self) -> bool:
        """Whether the trades are the committed, fictional ones."""
        return not self.trades_sql and self.path(self.trades).resolve().is_relative_to(
            self.path("data/sample").resolve()
        )


def load_settings(**given: object) -> Settings:
    """Settings, with a refusal that names the dial.

    Raises:
        InputError: a value does not fit, a dial does not exist or has moved, or stock-llm.toml is
            not TOML.
    """
    for dial in MOVED:
        if f"STOCK_LLM_{dial.upper()}" in os.environ:
            raise _moved(dial, f"the variable STOCK_LLM_{dial.upper()}")
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", file=_home() / CONFIG_FILE) from None
    except ValidationError as error:
        first = error.errors()[0]
        dial = ".".join(str(part) for part in first["loc"])
        if dial in MOVED:
            raise _moved(dial, f"'{dial}'") from None
        raise InputError(
            f"setting '{dial}': {first['msg']} (got {first['input']!r})",
            remedy=f"Set {dial} in {CONFIG_FILE}, or STOCK_LLM_{dial.upper().replace('.', '__')}",
        ) from None


def _moved(dial: str, given: str) -> InputError:
    return InputError(
        f"{given} is no setting any more: it belongs to the profile of a base model",
        remedy=f"Remove it (from {CONFIG_FILE} or the environment) and set it in {MOVED[dial]}",
    )
