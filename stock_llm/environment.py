"""Environment variables of the libraries we stand on, set before any of them is imported.

What the user has set wins. Nothing is sent to anyone: the telemetry of Prefect, MLflow and Hugging Face is off.
"""

import os

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_MLFLOW_LOG_ARTIFACTS": "0",  # else every checkpoint is copied
    "TOKENIZERS_PARALLELISM": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # embedded start takes 15 to 27 s on two cores
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # an error is told once, by the command that failed; INFO shows the rest
}


def prepare() -> None:
    """Sets every default that is not set yet."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
