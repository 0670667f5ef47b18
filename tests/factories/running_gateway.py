"""The real gateway on 127.0.0.1, in a thread: uvicorn, sockets and all."""

import threading
import time

import httpx

from stock_llm.cli.gateway_context import gateway_context
from stock_llm.gateway.app import GatewayServer, create_app
from stock_llm.settings import Settings, load_settings


class RunningGateway:
    """A gateway that runs while the `with` block does.

    Args:
        settings: its dials; `home` should be a test's own folder.
    """

    def __init__(self, settings: Settings, shutdown_seconds: float = 5):
        self.settings = settings
        app = create_app(settings.gateway, gateway_context(settings))
        self._server = GatewayServer(app, shutdown_seconds, host="127.0.0.1", port=0)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> "RunningGateway":
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started:
            assert self._thread.is_alive(), "the gateway did not start"
            assert time.monotonic() < until, "the gateway did not start in time"
            time.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.stop()
        self._thread.join(20)
        assert not self._thread.is_alive(), "the gateway did not end"

    def keep_connections_open_for(self, seconds: float) -> None:
        """How long connections that are opened from now on may be idle between requests."""
        self._server.config.timeout_keep_alive = seconds

    def stop(self) -> None:
        """Tells it to end, as SIGTERM would."""
        self._server.should_exit = True


def gateway(
    home,
    ollama_host: str = "",
    shutdown_seconds: float = 5,
    feedback: dict[str, object] | None = None,
    **dials: object,
) -> RunningGateway:
    """A gateway with its home in `home`; without an Ollama unless one is named.

    `feedback` is the table `[feedback]`."""
    dials = {"embedded": bool(not ollama_host)} | dials
    return RunningGateway(
        load_settings(
            home=home, ollama_host=ollama_host, gateway=dials, feedback=feedback or {}, threads=1
        ),
        shutdown_seconds,
    )
