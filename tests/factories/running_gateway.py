"""The real gateway on 127.0.0.1, in a thread: uvicorn, sockets and all."""

import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

import httpx

from stock_llm.cli.gateway_context import gateway_context, project_functions
from stock_llm.gateway.app import GatewayServer, create_app
from stock_llm.settings import Settings, load_settings


class RunningGateway:
    """A gateway that runs while the `with` block does.

    Args:
        settings: its dials; `home` should be a test's own folder.
        project: functions of the project in place of the real ones, by name.
    """

    def __init__(
        self,
        settings: Settings,
        shutdown_seconds: float = 5,
        project: dict[str, Callable[..., object]] | None = None,
    ):
        self.settings = settings
        functions = replace(project_functions(settings), **(project or {}))
        app = create_app(settings.gateway, gateway_context(settings), functions)
        self._server = GatewayServer(app, shutdown_seconds, host="127.0.0.1", port=0)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> "RunningGateway":
        self._thread.start()
        until = time.monotonic() + 60
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

    def connect(self) -> socket.socket:
        """A new connection."""
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=20)

    def longest_wait(self, seconds: float = 0.3, answering: Sequence[socket.socket] = ()) -> float:
        """The longest time that /healthz took while it was asked again and again, in seconds.

        Args:
            seconds: how long it is asked.
            answering: connections; it is asked until an answer came on each of them.
        """
        longest, until, unanswered = 0.0, time.monotonic() + seconds, len(answering)
        while time.monotonic() < until or unanswered:
            began = time.monotonic()
            assert self.http.get("/healthz").status_code == 200
            longest = max(longest, time.monotonic() - began)
            unanswered = len(answering) - len(select.select(answering, [], [], 0)[0])
        return longest

    def stall(self, attack: Callable[[ExitStack], Sequence[socket.socket] | None]) -> float:
        """The longest time that /healthz took under attack, in seconds, in the best of five rounds.

        An attack that stalls the gateway does so every time; other processes do not.

        Args:
            attack: begins a round, gives the connections on which answers are due; what it puts on
                the stack is closed at the end of the round.
        """
        waits = []
        self.longest_wait(0.0)
        for _ in range(5):
            with ExitStack() as opened:
                waits.append(self.longest_wait(answering=attack(opened) or ()))
            if waits[-1] < 0.05:
                break
        return min(waits)

    def stop(self) -> None:
        """Tells it to end, as SIGTERM would."""
        self._server.should_exit = True


def post(path: str, body: bytes | str) -> bytes:
    """The bytes of a request with JSON; its connection is closed after the answer."""
    content = body.encode() if isinstance(body, str) else body
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def answer_of(connection: socket.socket) -> tuple[int, str]:
    """Status and text of what the gateway sends before it closes a connection."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body.decode()


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
