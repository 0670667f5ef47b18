"""The programs of `stock-llm up`: how each is started, where it listens, when it is healthy.

Prefect's server and MLflow's are started as their own commands, with everything in the project
folder and nothing sent to anyone.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stock_llm import environment
from stock_llm.network import local_url
from stock_llm.services.config import ServicesSettings
from stock_llm.services.prefect_api import POOL, PrefectApi, answers
from stock_llm.services.processes import MARK

PREFECT, MLFLOW, GATEWAY, WORKER, DEPLOY = "prefect", "mlflow", "gateway", "worker", "deploy"
REGISTRY = "registry"

_MAKE_REGISTRY = """
from stock_llm.pipeline import registry
from stock_llm.settings import load_settings
registry.connect(load_settings())
"""
"""MLflow's own server leaves half a database when it is killed while it makes one."""

START_SECONDS = 120
"""How long Prefect keeps the slot of a deployment for a run that was handed to the worker and has
not begun. A run that has begun renews its slot, which lasts five minutes, by itself."""


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Program:
    """One program that is kept running.

    Attributes:
        url: the page for people; empty where there is none.
        port: what it listens on; None where it does not.
        is_healthy: asks whether it works; called from another thread.
        after: names of the programs that have to be healthy, or done, before it is started.
        once: it ends by itself, with exit code 0, and is not started again then.
        is_server: it is ended last.
        before_start: called before each start.
        tidy: called once a minute while it runs; from another thread.
        environment: variables for this program alone. Passwords stand here: everybody on the
            machine can read a command line.
    """

    name: str
    command: list[str]
    url: str = ""
    port: int | None = None
    is_healthy: Callable[[], bool] = _always
    after: tuple[str, ...] = ()
    once: bool = False
    is_server: bool = False
    before_start: Callable[[], object] = field(default=_always)
    tidy: Callable[[], object] = field(default=_always)
    environment: Mapping[str, str] = field(default_factory=dict)


def programs(
    settings: ServicesSettings, home: Path, gateway_address: tuple[str, int], mlflow_uri: str
) -> list[Program]:
    """What `stock-llm up` runs, in the order in which it is started.

    Args:
        gateway_address: host and port that the gateway listens on.
        mlflow_uri: absolute, as `settings.url(settings.mlflow_uri)` gives it; no MLflow server is
            started where it is one.
    """
    api = PrefectApi(api_url(settings))
    ui = f"http://127.0.0.1:{settings.prefect_port}"
    prefect = [sys.executable, "-m", "prefect"]
    server = ["server", "start", "--host", "127.0.0.1", "--port", str(settings.prefect_port)]
    found = [
        Program(
            PREFECT,
            [*prefect, *server],
            ui,
            settings.prefect_port,
            api.is_healthy,
            is_server=True,
        )
    ]
    if not mlflow_uri.startswith("http"):
        found += _mlflow(settings, home, mlflow_uri)
    if settings.gateway:
        address, port = local_url(*gateway_address), gateway_address[1]
        command = [sys.executable, "-m", "stock_llm.cli.main", "serve"]
        found.append(
            Program(GATEWAY, command, address, port, lambda: answers(f"{address}/healthz"))
        )
    worker = ["worker", "start", "--pool", POOL, "--type", "process", "--name", "stock-llm"]
    return [
        *found,
        Program(
            WORKER,
            [*prefect, *worker],
            f"{ui}/work-pools/work-pool/{POOL}",
            is_healthy=api.has_worker,
            after=(PREFECT,),
            before_start=api.crash_lost_runs,
            tidy=api.crash_silent_runs,
        ),
        Program(
            DEPLOY,
            [*prefect, "--no-prompt", "deploy", "--all"],
            f"{ui}/deployments",
            after=(WORKER,),
            once=True,
        ),
    ]


def api_url(settings: ServicesSettings) -> str:
    """The URL of Prefect's API, as `PREFECT_API_URL` has it."""
    return f"http://127.0.0.1:{settings.prefect_port}/api"


def service_environment(settings: ServicesSettings, home: Path, timezone: str) -> dict[str, str]:
    """The environment of the programs, and of every run that the worker starts."""
    database = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": settings.prefect_database}
    leases = "prefect.server.concurrency.lease_storage.filesystem"  # outlives the server
    given = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return (
        environment.DEFAULTS
        | given
        | {
            MARK: str(home),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "STOCK_LLM_HOME": str(home),
            "STOCK_LLM_SCHEDULE__TIMEZONE": timezone,
            "PREFECT_HOME": str(home / settings.prefect_folder),
            "PREFECT_API_URL": api_url(settings),
            "PREFECT_LOGGING_LEVEL": "INFO",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": leases,
            "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": str(START_SECONDS),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        | (database if settings.prefect_database else {})
    )


def _mlflow(settings: ServicesSettings, home: Path, mlflow_uri: str) -> list[Program]:
    address = f"http://127.0.0.1:{settings.mlflow_port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    options = {
        "--port": str(settings.mlflow_port),
        "--workers": "1",
        "--artifacts-destination": str(home / settings.mlflow_artifacts),
    }
    file = mlflow_uri.removeprefix("sqlite:///")
    missing = file != mlflow_uri and not Path(file).exists()
    making = [Program(REGISTRY, [sys.executable, "-c", _MAKE_REGISTRY], once=True)]
    return [
        *(making if missing else []),
        Program(
            MLFLOW,
            command + [part for option in options.items() for part in option],
            f"{address}/#/models/stock-llm?workflowType=machine_learning",
            settings.mlflow_port,
            lambda: answers(f"{address}/health"),
            after=(REGISTRY,) if missing else (),
            is_server=True,
            environment={"MLFLOW_BACKEND_STORE_URI": mlflow_uri},
        ),
    ]
