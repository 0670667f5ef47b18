"""An Ollama and a Claude API that answer at once, on 127.0.0.1: what is left of a measured time is the gateway's.

In: a port, and shares of calls that go wrong. Out: /api/tags, /api/chat and /api/generate as Ollama 0.32 writes them,
/v1/messages as Anthropic does, and under /told how much was asked, what went wrong on purpose, and what Claude's answers cost. A
streamed answer has WORDS pieces, `x-pause` seconds apart if the request's options say so.

Run: python benchmarks/mock_backends.py PORT [FAULTS [CUTS [HANG]]]
"""

import asyncio
import random
import sys
from typing import Any

import orjson
import uvloop
from aiohttp import web

MODELS = ("stock-llm:latest", "mistral:7b", "codellama:7b")
WORDS = 20
STAMP = "2026-11-23T04:43:32.530452914Z"
END = {
    "done": True, "done_reason": "stop", "total_duration": 2_000_000, "load_duration": 1_000_000, "prompt_eval_count": 20,
    "prompt_eval_duration": 500_000, "eval_count": WORDS, "eval_duration": 500_000,
}  # fmt: skip
DETAILS = {
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "7B",
    "quantization_level": "Q4_K_M",
}


KINDS = ("503", "garbage", "hang")

PER_TOKEN = (2e-6, 1e-5)
"""Dollars that a token of Claude Sonnet 5.5 costs, in and out."""


class MockBackends:
    """The server's handlers.

    Args:
        faults: share of generations that go wrong: a third each 503, garbage, and silence for `hang` seconds.
        cuts: share of Ollama's streams that break after their first piece.
    """

    def __init__(self, faults: float = 0.0, cuts: float = 0.0, hang: float = 30.0):
        self._faults, self._cuts, self._hang = faults, cuts, hang
        self._random = random.Random(7)
        self._told = {"ollama": 0, "claude": 0, "503": 0, "garbage": 0, "hang": 0, "cut": 0}
        self._dollars = 0.0

    def app(self) -> web.Application:
        """Everything that the gateway asks for."""
        app = web.Application(client_max_size=2**24)
        app.router.add_get("/api/tags", self.tags)
        app.router.add_get("/api/version", self.version)
        app.router.add_post("/api/chat", self.generate)
        app.router.add_post("/api/generate", self.generate)
        app.router.add_post("/v1/messages", self.messages)
        app.router.add_get("/told", self.told)
        return app

    async def told(self, _: web.Request) -> web.Response:
        return _json(self._told | {"dollars": self._dollars})

    async def tags(self, _: web.Request) -> web.Response:
        listed = [
            {
                "name": name,
                "model": name,
                "modified_at": STAMP,
                "size": 1,
                "digest": f"{number:064x}",
                "details": DETAILS,
            }
            for number, name in enumerate(MODELS)
        ]
        return _json({"models": listed})

    async def version(self, _: web.Request) -> web.Response:
        return _json({"version": "0.32.15"})

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self._told["ollama"] += 1
        if self._random.random() < self._faults:
            return await self._fault(self._random.choice(KINDS))
        chat = request.path.endswith("/chat")
        if not body.get("stream", True):
            return _json(_piece(body["model"], chat, " ".join(["word"] * WORDS)) | END)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        pause = float((body.get("options") or {}).get("x-pause", 0))
        cut = self._random.random() < self._cuts
        for number in range(WORDS):
            await response.write(
                orjson.dumps(_piece(body["model"], chat, "word ") | {"done": False}) + b"\n"
            )
            if cut:
                self._told["cut"] += 1
                request.transport.abort()  # type: ignore[union-attr]
                return response
            if pause and number < WORDS - 1:
                await asyncio.sleep(pause)
        await response.write(orjson.dumps(_piece(body["model"], chat, "") | END) + b"\n")
        return response

    async def messages(self, request: web.Request) -> web.Response:
        """A whole answer of Claude's; one that hangs or is garbage is charged all the same."""
        body = orjson.loads(await request.read())
        self._told["claude"] += 1
        tokens_in, tokens_out = 50 + len(str(body["messages"])) // 4, min(body["max_tokens"], 200)
        kind = self._random.choice(KINDS) if self._random.random() < self._faults else ""
        if kind != "503":
            self._dollars += tokens_in * PER_TOKEN[0] + tokens_out * PER_TOKEN[1]
        if kind:
            return await self._fault(kind)
        text, usage = "word " * 20, {"input_tokens": tokens_in, "output_tokens": tokens_out}
        message = {
            "id": f"msg_{self._told['claude']}", "type": "message", "role": "assistant", "model": body["model"],
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        if not body.get("stream"):
            return _json(message)
        events = [
            {"type": "message_start", "message": message | {"content": [], "stop_reason": None}},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": text},
            },
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": usage,
            },
            {"type": "message_stop"},
        ]
        sent = "".join(
            f"event: {event['type']}\ndata: {orjson.dumps(event).decode()}\n\n" for event in events
        )
        return web.Response(text=sent, content_type="text/event-stream")

    async def _fault(self, kind: str) -> web.Response:
        self._told[kind] += 1
        if kind == "503":
            return _json(
                {"error": "server busy, please try again.  maximum pending requests exceeded"}, 503
            )
        if kind == "garbage":
            return web.Response(text="<html>bad gateway</html>", content_type="text/html")
        await asyncio.sleep(self._hang)
        return _json({"error": "context canceled"}, 500)


def _piece(model: str, chat: bool, text: str) -> dict[str, Any]:
    content = {"message": {"role": "assistant", "content": text}} if chat else {"response": text}
    return {"model": model, "created_at": STAMP, **content}


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(print(__doc__))  # `make bench` runs every file here; this one is run by others
    uvloop.install()
    port, *shares = sys.argv[1:]
    web.run_app(
        MockBackends(*map(float, shares)).app(),
        host="127.0.0.1",
        port=int(port),
        print=None,
        access_log=None,
        backlog=4096,
    )
