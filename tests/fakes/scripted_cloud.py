"""A cloud on 127.0.0.1: Anthropic's messages API and OpenAI's chat API, which say what they are told to say.

Each answer is a list of content blocks in Anthropic's format; without one it is a short text. What it does not know is an
error, never a success.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fakes.answering_handler import AnsweringHandler

USAGE = {"input_tokens": 12, "output_tokens": 9, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}  # fmt: skip


class ScriptedCloud:
    """A server that runs while the `with` block does.

    Attributes:
        answers: content blocks of the next answers; the last one is used again and again.
        asked: (path, body) of everything that was asked.
    """

    def __init__(self, *answers: list[dict[str, Any]]):
        self.answers = list(answers)
        self.asked: list[tuple[str, Any]] = []
        handler = type("Handler", (_Handler,), {"cloud": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "ScriptedCloud":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def next_answer(self) -> list[dict[str, Any]]:
        """The content blocks of the next answer."""
        if not self.answers:
            return [{"type": "text", "text": "I cannot say."}]
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(AnsweringHandler, BaseHTTPRequestHandler):
    cloud: ScriptedCloud
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, "application/json", json.dumps({"object": "list", "data": [{"id": "far-model", "object": "model"}]}).encode())  # fmt: skip

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.cloud.asked.append((self.path, body))
        if self.path.startswith("/v1/messages"):
            return self._message(body)
        if self.path.endswith("/chat/completions"):
            return self._completion(body)
        return self.answer(404, "application/json", b'{"error": {"message": "not found"}}')

    def _message(self, body):
        content = self.cloud.next_answer()
        calls = any(block["type"] == "tool_use" for block in content)
        stop = "tool_use" if calls else "end_turn"
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content, "stop_reason": stop, "stop_sequence": None, "usage": USAGE}  # fmt: skip
        if not body.get("stream"):
            return self.answer(200, "application/json", json.dumps(message).encode())
        events = [("message_start", {"message": message | {"content": [], "stop_reason": None}})]
        for index, block in enumerate(content):
            is_call = block["type"] == "tool_use"
            begun = block | ({"input": {}} if is_call else {"text": ""})
            events.append(("content_block_start", {"index": index, "content_block": begun}))
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])} if is_call else {"type": "text_delta", "text": block["text"]}  # fmt: skip
            events.append(("content_block_delta", {"index": index, "delta": delta}))
            events.append(("content_block_stop", {"index": index}))
        events.append(("message_delta", {"delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 9}}))  # fmt: skip
        events.append(("message_stop", {}))
        text = "".join(f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n" for kind, data in events)  # fmt: skip
        return self.answer(200, "text/event-stream", text.encode())

    def _completion(self, body):
        blocks = self.cloud.next_answer()
        text = "".join(block.get("text", "") for block in blocks)
        frame = {"id": "c1", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}  # fmt: skip
            whole = frame | {"object": "chat.completion", "choices": [choice], "usage": usage}
            return self.answer(200, "application/json", json.dumps(whole).encode())
        frame |= {"object": "chat.completion.chunk"}
        pieces = [
            frame | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]},
            frame | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            frame | {"choices": [], "usage": usage},
        ]  # fmt: skip
        lines = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces)
        return self.answer(200, "text/event-stream", f"{lines}data: [DONE]\n\n".encode())
