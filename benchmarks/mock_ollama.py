"""An Ollama that answers at once, on 127.0.0.1: what is left of a measured time is the gateway's.

In: a port, and for faults a share. Out: /api/tags, /api/chat and /api/generate as Ollama 0.32 writes them. A streamed answer has
WORDS pieces, PAUSE seconds apart (`x-pause` in the options of a request overrides it). Run: python benchmarks/mock_ollama.py PORT
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
DETAILS = {"format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "7B", "quantization_level": "Q4_K_M"}


class MockOllama:
    """The server's handlers.

    Args:
        faults: share of generations that go wrong: a third each 503, garbage, and a hang of HANG seconds.
        cuts: share of streams that break after their first piece.
        seed: of the faults.
    """

    HANG = 30.0

    def __init__(self, faults: float = 0.0, cuts: float = 0.0, seed: int = 7):
        self._faults, self._cuts = faults, cuts
        self._random = random.Random(seed)
        self.asked = 0
        self.injected = {"503": 0, "garbage": 0, "hang": 0, "cut": 0}

    def app(self) -> web.Application:
        """Everything that the gateway asks for."""
        app = web.Application(client_max_size=2**24)
        app.router.add_get("/api/tags", self.tags)
        app.router.add_get("/api/version", self.version)
        app.router.add_post("/api/chat", self.generate)
        app.router.add_post("/api/generate", self.generate)
        return app

    async def tags(self, _: web.Request) -> web.Response:
        listed = [
            {"name": name, "model": name, "modified_at": STAMP, "size": 1, "digest": f"{number:064x}", "details": DETAILS}
            for number, name in enumerate(MODELS)
        ]
        return _json({"models": listed})

    async def version(self, _: web.Request) -> web.Response:
        return _json({"version": "0.32.15"})

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.asked += 1
        if self._random.random() < self._faults and (answer := await self._fault()):
            return answer
        chat = request.path.endswith("/chat")
        if not body.get("stream", True):
            return _json(_piece(body["model"], chat, " ".join(["word"] * WORDS)) | END)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        pause = float((body.get("options") or {}).get("x-pause", 0))
        cut = self._random.random() < self._cuts
        for number in range(WORDS):
            await response.write(orjson.dumps(_piece(body["model"], chat, "word ") | {"done": False}) + b"\n")
            if cut:
                self.injected["cut"] += 1
                request.transport.abort()  # type: ignore[union-attr]
                return response
            if pause and number < WORDS - 1:
                await asyncio.sleep(pause)
        await response.write(orjson.dumps(_piece(body["model"], chat, "") | END) + b"\n")
        return response

    async def _fault(self) -> web.Response | None:
        kind = self._random.choice(("503", "garbage", "hang"))
        self.injected[kind] += 1
        if kind == "503":
            return _json({"error": "server busy, please try again.  maximum pending requests exceeded"}, 503)
        if kind == "garbage":
            return web.Response(text="<html>bad gateway</html>", content_type="text/html")
        await asyncio.sleep(self.HANG)
        return _json({"error": "context canceled"}, 500)


def _piece(model: str, chat: bool, text: str) -> dict[str, Any]:
    said = {"message": {"role": "assistant", "content": text}} if chat else {"response": text}
    return {"model": model, "created_at": STAMP, **said}


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


if __name__ == "__main__":
    uvloop.install()
    web.run_app(MockOllama().app(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, backlog=4096)
