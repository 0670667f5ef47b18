"""A streamed response that ends with its caller: a caller who hangs up stops the generation, a slow
reader slows it down.

The next piece is fetched only when the connection has taken the last one. `end_streams` ends all of
them with an error line, for a server that shuts down.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stock_llm.gateway.api.disconnect import ClientDisconnect, cancel_on_disconnect
from stock_llm.gateway.api.handler import StreamResult
from stock_llm.gateway.chat import AnswerChunk
from stock_llm.gateway.errors import Cut, GatewayError


class AnswerStreamResponse(Response):
    """The pieces of an answer as they come.

    Args:
        write: a piece → bytes to send; it may look at the metadata, which is complete at the last
            piece.
        write_error: what to send when the answer breaks off.
        end: sent after the last piece.
    """

    def __init__(
        self,
        stream: StreamResult,
        media_type: str,
        write: Callable[[AnswerChunk], bytes],
        write_error: Callable[[GatewayError], bytes],
        end: bytes = b"",
    ):
        self.status_code, self.background = 200, None
        self._stream, self._write, self._write_error, self._end = stream, write, write_error, end
        headers = {"content-type": media_type, "cache-control": "no-store"}
        self.init_headers(headers | stream.metadata.headers())
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's own signature
        """Sends the pieces until the answer ends or the caller hangs up."""
        sending = asyncio.ensure_future(self._send_all(send))
        # whoever hung up is not there to be told
        with (
            self._stream.handler.track(sending.cancel),
            suppress(ClientDisconnect, asyncio.CancelledError, OSError),
        ):
            await cancel_on_disconnect(receive, sending)

    async def _send_all(self, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                async for chunk in self._stream:
                    await _send(send, self._write(chunk))
            except GatewayError as failure:
                await _send(send, self._write_error(failure))
            except asyncio.CancelledError:
                if not self._stream.handler.shutting_down:
                    raise
                cut = Cut("gateway", "the gateway is shutting down")
                await _send(send, self._write_error(cut))
            else:
                await _send(send, self._end)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._stream.close()


async def _send(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})
