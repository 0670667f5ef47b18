"""Sets environment variables of the libraries before any of them is imported, and names the command
that installs an extra.

What the user has set wins. Nothing is sent to anyone: the telemetry of Prefect, MLflow and Hugging
Face is off.
"""

import os
from pathlib import Path

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_MLFLOW_LOG_ARTIFACTS": "0",  # else every checkpoint is copied
    "TOKENIZERS_PARALLELISM": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # it takes 15 to 27 s on two cores
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # the failed command prints its error; INFO shows more
}


_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def prepare() -> None:
    """Set every default that is not set yet, and let no proxy of the environment stand before this
    machine: Prefect, MLflow and the rest ask their own servers directly.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if any(name.lower().endswith("_proxy") and value for name, value in os.environ.items()):
        given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")).split(",")
        hosts = dict.fromkeys(filter(None, [*map(str.strip, given), *_LOOPBACK]))
        value = "*" if "*" in hosts else ",".join(hosts)
        os.environ.update(no_proxy=value, NO_PROXY=value)


def install_command(extra: str) -> str:
    """The command that installs an extra: from the checkout that this package is run from, else as
    pip installed it.
    """
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").is_file():
        where = f"{checkout}{os.sep}" if checkout != Path.cwd() else ""
        return f"pip install -c {where}constraints.txt -e '{where or '.'}[{extra}]'"
    return f"pip install 'stock-llm[{extra}]'"
