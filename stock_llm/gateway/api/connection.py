"""uvicorn's HTTP protocol with limits on callers who send slowly, send too much, or never read.

    431  the head is larger than 32 KiB or has more than 100 fields
    408  the head is not complete after 10 s, no byte of the body came for 10 s, or the body took
         more than 2 minutes (an upload of a model may take longer)
    400  what came is not HTTP
    503  there are too many connections; the one whose incomplete head began first makes room, and
         only where there is none, the new one is refused
    --   the caller takes none of the answer for 10 s: the connection ends, the generation stops

These limits act before the ASGI app sees anything. The size of a body is the middleware's.
"""

import asyncio

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from stock_llm.gateway.api.ollama.requests import BLOBS_PATH

MAX_HEAD_BYTES = 32 * 1024
MAX_HEAD_FIELDS = 100
HEAD_SECONDS = 10.0
BODY_IDLE_SECONDS = 10.0
BODY_TOTAL_SECONDS = 120.0
UNREAD_SECONDS = 10.0
MAX_CONNECTIONS = 4096


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepts the connection and expects the first head within `HEAD_SECONDS`."""
        self._reading_head, self._body_complete = True, True
        self._head_bytes = self._chunk_bytes = 0
        self._head_since = self._last_data = self.loop.time()
        self._refusal: tuple[int, str] | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        full = len(self.connections) >= MAX_CONNECTIONS and not self._close_oldest_unfinished()
        super().connection_made(transport)
        self._start_read_timer(HEAD_SECONDS)
        if full:
            self._write_error(503, "the gateway has too many connections")
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timers."""
        self._stop_read_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what came; a head that is too large or no HTTP ends the connection."""
        self._last_data = self.loop.time()
        self._chunk_bytes = len(data)
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as a plain request
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, "the request is not valid HTTP")))
        else:
            if self._reading_head and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"the request head is larger than {MAX_HEAD_BYTES // 1024} KiB")

    def on_message_begin(self) -> None:
        """Starts the time of a head and ends the one of an idle connection, which the empty lines
        between requests leave as it is."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._reading_head, self._head_bytes = True, self._chunk_bytes
        self._field_bytes, self._head_since = 0, self.loop.time()
        self._start_read_timer(HEAD_SECONDS)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts fields and bytes, of a head and of a chunked body's trailer."""
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEAD_FIELDS:
            limit = f"{MAX_HEAD_FIELDS} fields or {MAX_HEAD_BYTES // 1024} KiB"
            self._refusal = (431, f"the request head has more than {limit}")
            raise ValueError(self._refusal)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Starts the time of the body."""
        self._unset_keepalive_if_required()  # an answer before may have ended within this head
        self._reading_head, self._body_complete = False, False
        self._body_until = self.loop.time() + BODY_TOTAL_SECONDS
        # `client` becomes what X-Forwarded-For says where uvicorn trusts the sender
        self.scope["peer"] = self.client  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        if self.scope["path"].startswith(BLOBS_PATH):
            self._body_until = float("inf")
        self._start_read_timer(BODY_IDLE_SECONDS)

    def on_message_complete(self) -> None:
        """Ends the time of the body."""
        self._body_complete = True
        self._stop_read_timer()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Gives a caller who does not read `UNREAD_SECONDS`."""
        super().pause_writing()
        self._stop_write_timer()
        self._write_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The caller reads again."""
        self._stop_write_timer()
        super().resume_writing()

    def _close_oldest_unfinished(self) -> bool:
        """Closes the connection whose incomplete head began first; False if there is none."""
        unfinished = [
            other
            for other in self.connections
            if isinstance(other, LimitedHttpProtocol)
            and other._reading_head
            and not other.transport.is_closing()
        ]
        if unfinished:
            min(unfinished, key=lambda other: other._head_since).transport.abort()
        return bool(unfinished)

    def _start_read_timer(self, seconds: float) -> None:
        self._stop_read_timer()
        self._read_timer = self.loop.call_later(seconds, self._check_reading)

    def _stop_read_timer(self) -> None:
        if self._read_timer:
            self._read_timer.cancel()
            self._read_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None

    def _check_reading(self) -> None:
        self._read_timer = None
        now = self.loop.time()
        if self._reading_head:
            self._refuse(408, f"the request head was not complete after {HEAD_SECONDS:g} s")
            return
        if self.flow.read_paused:  # the gateway itself is not reading
            self._last_data = now
        wait = min(self._last_data + BODY_IDLE_SECONDS, self._body_until) - now
        if wait > 0:
            self._start_read_timer(wait)
        else:
            self._refuse(408, "the request body came too slowly or stopped")

    def _refuse(self, status: int, text: str) -> None:
        """Answers with an error and closes; where an answer is under way, or this message has had
        its own, only closes."""
        self._stop_read_timer()
        cycle = self.cycle
        unanswered = cycle is not None and not cycle.response_complete
        if self.transport.is_closing():
            return
        if unanswered and (self._reading_head or cycle.response_started):
            self.transport.abort()
            return
        answered = not self._reading_head and not self._body_complete and not unanswered
        # a connection on which nothing came is closed without a word
        if (self._head_bytes or unanswered) and not answered:
            self._write_error(status, text)
        if unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        self._close()

    def _write_error(self, status: int, text: str) -> None:
        body = orjson.dumps({"error": text})
        fields = b"content-type: application/json\r\nconnection: close\r\n"
        length = b"content-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + fields + length + body)

    def _close(self) -> None:
        self.transport.close()
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)
