"""Makes Prefect's embedded server end with the process that started it, even when that is killed.

Prefect starts the server as a child and stops it in an exit handler, which `kill -9` does not run.
"""

import subprocess
import sys
from typing import Any

from prefect.client.base import ServerType, determine_server_type

from stock_llm.watchdog import end_with_parent


def prepare_embedded_server() -> None:
    """Lets the embedded server, where one will be started, be watched; with a Prefect server
    configured, does nothing.
    """
    if determine_server_type() is not ServerType.EPHEMERAL:
        return
    from prefect.server.api.server import SubprocessASGIServer

    if not hasattr(SubprocessASGIServer, "_run_uvicorn_command"):
        print(
            "this Prefect starts its server in a way that is not known: if the run is killed, the "
            "server stays. Install the pinned Prefect: constraints.txt",
            file=sys.stderr,
        )
        return

    class WatchedServer(SubprocessASGIServer):
        def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
            process = super()._run_uvicorn_command()
            end_with_parent(process.pid)
            return process

    WatchedServer()  # Prefect keeps one instance per port and takes the one that is there
