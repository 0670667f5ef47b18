"""A registry on a loopback port for as long as a version is handed over to a running Ollama."""

import socket
import threading
import time
from typing import TYPE_CHECKING

from stock_llm.errors import MissingExtra, PublishError
from stock_llm.ollama.distribution.published_models import PublishedModels
from stock_llm.ollama.store import OllamaStore

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

HANDOVER = "handover"
"""The namespace under which a server pulls: a name that a kill left behind is known as ours."""

_START_SECONDS = 60.0


class LoopbackListener:
    """Gives out the versions of a folder, to this machine alone, while the `with` block runs.

    Attributes:
        address: 127.0.0.1 and the port.
        requests: how many came; none: whoever was to pull cannot reach this machine.
    """

    def __init__(self, store: OllamaStore):
        try:
            import uvicorn
            from starlette.applications import Starlette

            from stock_llm.ollama.distribution.routes import distribution_routes
        except ImportError as error:
            raise MissingExtra(error.name or "uvicorn", "gateway") from None
        self.requests = 0
        self._app = Starlette(
            routes=distribution_routes(PublishedModels(store), namespaces=(HANDOVER,))
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self._counted, log_config=None, log_level="critical", access_log=False, lifespan="off",
            ws="none", interface="asgi3", timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __enter__(self) -> "LoopbackListener":
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise PublishError(f"nothing could listen on {self.address}. Run again")
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_START_SECONDS)
        self._socket.close()

    async def _counted(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        self.requests += 1
        await self._app(scope, receive, send)
