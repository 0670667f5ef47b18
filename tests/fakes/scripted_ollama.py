"""An Ollama on 127.0.0.1 that says what it is told to say, in the shapes and statuses of a real
0.32.

It repeats the last text word by word, unless told otherwise, and fails on order: slowly, halfway,
with garbage, not at all. What it does not know is an error, never a success. For what models really
answer see loopback_ollama.py.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STAMP = "2026-11-23T04:43:32.530452914Z"
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "7.2B",
    "quantization_level": "Q4_K_M",
}
TIMES = {
    "total_duration": 269878477,
    "load_duration": 260330289,
    "prompt_eval_count": 27,
    "prompt_eval_duration": 4677000,
    "eval_duration": 2238000,
}


class ScriptedOllama:
    """A server that runs while the `with` block does.

    Attributes:
        models: names that it has; all others are 404.
        says: the answer; empty: the last user text.
        calls: functions that it wants called after the text of a stream, one in each line.
        pause: seconds between two words.
        unfinished: end answers with `done: false`, as Ollama does when a model repeats itself.
        breaks_after: words after which the connection breaks; None: never.
        refuses: (status, error) for every generation; None: none.
        garbage: answer with something that is no JSON.
        logprobs: of the tokens of an answer; where a real one has them.
        lists: what GET /api/tags answers in place of the list; empty: the list.
        context: words that fit; longer prompts are cut, or refused with `truncate: false`.
        asked: (path, body) of everything that was asked.
        headers: of the same requests.
        said: words that went out.
        hung_up: how often a caller went away in the middle.
        busy: most generations at once.
    """

    def __init__(self, *models: str):
        self.models = models or ("stock-llm:latest", "mistral:7b", "codellama:7b")
        self.digests = {name: f"{number:064x}" for number, name in enumerate(self.models, start=1)}
        self.says = ""
        self.calls: list[dict[str, Any]] = []
        self.pause = 0.0
        self.unfinished = self.garbage = False
        self.breaks_after: int | None = None
        self.refuses: tuple[int, str] | None = None
        self.lists = ""
        self.context = 4096
        self.asked: list[tuple[str, Any]] = []
        self.headers: list[Any] = []
        self.logprobs: list[dict[str, Any]] = []
        self.said = self.hung_up = self.busy = self.now = 0
        self.counting = threading.Lock()
        handler = type("Handler", (_Handler,), {"ollama": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.host = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "ScriptedOllama":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def generations(self) -> list[Any]:
        """Bodies of what was to be generated."""
        return [body for path, body in self.asked if path in ("/api/chat", "/api/generate")]


class _Handler(BaseHTTPRequestHandler):
    ollama: ScriptedOllama
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/api/tags":
            if self.ollama.lists:
                return self._send(self.ollama.lists, 200, "text/html")
            names = self.ollama.models
            return self._send({"models": [self._listed(name) for name in names]})
        if self.path == "/api/version":
            return self._send({"version": "0.32.15"})
        if self.path == "/api/ps":
            return self._send({"models": []})
        return self._send("404 page not found", 404, "text/plain")

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length) or b"{}")
        self.ollama.asked.append((self.path, body))
        self.ollama.headers.append(self.headers)
        name = body.get("model", "")
        if (name if ":" in name else f"{name}:latest") not in self.ollama.models:
            return self._send({"error": f"model '{name}' not found"}, 404)
        if self.path in ("/api/chat", "/api/generate"):
            return self._generate(body)
        if self.path == "/api/show":
            return self._send(
                {
                    "template": "{{ .Prompt }}",
                    "details": DETAILS,
                    "model_info": {},
                    "capabilities": ["completion"],
                }
            )
        if self.path == "/api/embeddings":
            return self._send({"embedding": [3.0, 4.0]})
        if self.path == "/api/embed":
            if "embed" not in name:
                text = "This server does not support embeddings. Start it with `--embeddings`"
                return self._send(
                    {"error": text},
                    501,
                )
            texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
            time.sleep(self.ollama.pause)
            if (
                body.get("truncate") is False
                and max(len(text.split()) for text in texts) > self.ollama.context
            ):
                return self._send({"error": "the input length exceeds the context length"}, 400)
            return self._send(
                {"model": name, "embeddings": [[0.6, 0.8] for _ in texts], "prompt_eval_count": 2}
            )
        return self._send("404 page not found", 404, "text/plain")

    def _listed(self, name):
        digest = self.ollama.digests[name]
        return {
            "name": name,
            "model": name,
            "modified_at": STAMP,
            "size": 4331796,
            "digest": digest,
            "details": DETAILS,
        }

    def _generate(self, body):
        with self.ollama.counting:
            self.works = 1
            self.ollama.now += 1
            self.ollama.busy = max(self.ollama.busy, self.ollama.now)
        try:
            self._answer(body)
        except (BrokenPipeError, ConnectionResetError):
            self.ollama.hung_up += 1
            self.close_connection = True
        finally:
            self._end()

    def _end(self):
        with self.ollama.counting:
            self.ollama.now -= self.works
            self.works = 0

    def _answer(self, body):
        ollama = self.ollama
        if ollama.refuses:
            status, error = ollama.refuses
            return self._send({"error": error}, status)
        if ollama.garbage:
            return self._send("<html>bad gateway</html>", 200, "text/html")
        chat = self.path == "/api/chat"
        prompt = (
            " ".join(turn["content"] for turn in body["messages"])
            if chat
            else body.get("prompt", "")
        )
        if not (body["messages"] if chat else prompt):
            empty = {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}
            reason = "unload" if body.get("keep_alive") == 0 else "load"
            return self._send(
                {
                    "model": body["model"],
                    "created_at": STAMP,
                    **empty,
                    "done": True,
                    "done_reason": reason,
                }
            )
        length = len(prompt.split())
        if length > ollama.context:
            if body.get("truncate") is False:
                size = f"the available context size ({ollama.context} tokens)"
                text = f"request ({length} tokens) exceeds {size}, try increasing it"
                inner = {
                    "error": {"code": 400, "message": text, "type": "exceed_context_size_error"}
                }
                return self._send({"error": json.dumps(inner)}, 400)
            length = ollama.context // 2
        words = (ollama.says or (body["messages"][-1]["content"] if chat else prompt)).split(" ")
        longest = body.get("options", {}).get("num_predict", len(words))
        reason = "length" if len(words) > longest else "stop"
        words = words[:longest]
        pieces = [word if number == 0 else f" {word}" for number, word in enumerate(words)]
        end = {
            "done": True,
            "done_reason": reason,
            **TIMES,
            "prompt_eval_count": length,
            "eval_count": len(words),
            **({"logprobs": ollama.logprobs} if ollama.logprobs else {}),
        }
        if not body.get("stream", True):
            for _ in pieces:
                time.sleep(ollama.pause)
            self._end()  # before the answer is sent: who gets it may ask again at once
            return self._send(
                self._piece(body, chat, "".join(pieces))
                | ({"done": False} if ollama.unfinished else end)
            )
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, piece in enumerate(pieces):
            if number == ollama.breaks_after:
                self.wfile.flush()
                self.connection.close()
                self.close_connection = True
                return None
            self._line(self._piece(body, chat, piece) | {"done": False})
            ollama.said += 1
            time.sleep(ollama.pause)
        self._end()
        for call in ollama.calls:
            message = {"role": "assistant", "content": "", "tool_calls": [{"function": call}]}
            self._line(
                {"model": body["model"], "created_at": STAMP, "message": message, "done": False}
            )
        if not ollama.unfinished:
            self._line(self._piece(body, chat, "") | end)
        self.wfile.write(b"0\r\n\r\n")
        return None

    @staticmethod
    def _piece(body, chat, text):
        content = (
            {"message": {"role": "assistant", "content": text}} if chat else {"response": text}
        )
        return {"model": body["model"], "created_at": STAMP, **content}

    def _line(self, value):
        data = json.dumps(value).encode() + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _send(self, body, status=200, kind="application/json; charset=utf-8"):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
