"""The tables `[services]` and `[schedule]` of stock-llm.toml: what `stock-llm up` starts, where it
keeps its data, and in which time zone schedules are.
"""

from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ServicesSettings(BaseModel):
    """The servers that `stock-llm up` starts. All of them listen on 127.0.0.1; the gateway listens
    where `[gateway]` says.
    """

    model_config = ConfigDict(extra="forbid")

    prefect_port: int = Field(default=4200, ge=1, le=65535)
    """Port of Prefect's server."""

    prefect_folder: Path = Path("data/prefect")
    """Prefect's home: its database and what runs leave there."""

    prefect_database: str = ""
    """Database of Prefect's server, `postgresql+asyncpg://me@host/prefect`. Empty: SQLite in
    `prefect_folder`. MLflow's database is the setting `mlflow_uri`.
    """

    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    """Port of MLflow's server; it is not started where `mlflow_uri` is a server already."""

    mlflow_artifacts: Path = Path("mlflow/artifacts")
    """Folder of the files that MLflow keeps."""

    gateway: bool = True
    """Whether the gateway is started too."""

    logs: Path = Path("data/logs")
    """Folder with one log file per service; a file above 10 MB is put aside at the next start."""


class ScheduleSettings(BaseModel):
    """When the deployments of prefect.yaml run."""

    model_config = ConfigDict(extra="forbid")

    timezone: str = "UTC"
    """Time zone of the schedules, such as Asia/Bangkok: `collect` then runs at 01:00 there."""

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError):
            raise ValueError("no time zone of this name; one is Asia/Bangkok") from None
        return name
