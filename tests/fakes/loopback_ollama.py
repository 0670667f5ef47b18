"""An Ollama on 127.0.0.1 that answers as a real 0.32 was seen to: same paths, status codes, statuses and error texts.

Its store is a real folder in Ollama's format, its prompts are rendered from the published templates, and its answers come from
llama.cpp. It is strict: what it does not know is an error, never a success.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from fakes.pulling import Puller, PullFailed

from stock_llm.errors import InputError, PublishError
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.ollama import go_template, rendering
from stock_llm.ollama.model_name import ModelName
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore

STAMP = "2026-11-23T04:43:32.530452914Z"


class LoopbackOllama:
    """A server over `folder`, running while the `with` block does.

    Attributes:
        requests: method and path of everything that was asked.
        unfinished: answer chats with `done: false`, as Ollama does when it aborts a repetition.
        slow: seconds that every answer is held back.
        puller: its pull side.
        cannot_pull: an error that every pull ends with before anything is asked for.
        loaded: name → file of the models in memory.
        tells_no_prompt: answer where only the rendered prompt is asked for, as older versions do.
        ignores: a template to be used in place of the published one, as happens to a GGUF whose own Jinja mentions tools.
    """

    def __init__(self, folder: Path):
        self.store = OllamaStore(folder)
        (folder / "blobs").mkdir(parents=True)
        self.requests: list[str] = []
        self.unfinished = False
        self.slow = 0.0
        self.ignores = ""
        self.puller = Puller(self.store)
        self.cannot_pull = ""
        self.tells_no_prompt = False
        self.loaded: dict[str, Path] = {}
        handler = type("Handler", (_Handler,), {"ollama": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.host = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "LoopbackOllama":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Refused(Exception):
    def __init__(self, status: int, error: str):
        self.status, self.error = status, error


class _Handler(BaseHTTPRequestHandler):
    ollama: LoopbackOllama
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._routed()

    do_HEAD = do_POST = do_DELETE = do_GET

    def log_message(self, *_):
        pass

    def _routed(self):
        self.ollama.requests.append(f"{self.command} {self.path}")
        routes = {
            "/": ("GET", self._root),
            "/api/version": ("GET", lambda _: self._send({"version": "0.32.15"})),
            "/api/tags": ("GET", self._tags),
            "/api/ps": ("GET", self._ps),
            "/api/create": ("POST", self._create),
            "/api/show": ("POST", self._show),
            "/api/copy": ("POST", self._copy),
            "/api/pull": ("POST", self._pull),
            "/api/delete": ("DELETE", self._delete),
            "/api/chat": ("POST", self._chat),
            "/api/generate": ("POST", self._generate),
        }
        try:
            if self.path.startswith("/api/blobs/"):
                return self._blob(self.path.removeprefix("/api/blobs/"))
            method, route = routes.get(self.path, ("", None))
            if route is None:
                return self._send("404 page not found", 404)
            if self.command not in (method, "HEAD" if method == "GET" else method):
                return self._send("405 method not allowed", 405)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return route(json.loads(body) if body else {})
        except _Refused as refused:
            return self._send({"error": refused.error}, refused.status)

    def _send(self, body, status=200, kind="application/json; charset=utf-8"):
        data = (
            body.encode()
            if isinstance(body, str)
            else json.dumps(body, ensure_ascii=False).encode()
        )
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _root(self, _):
        self._send("Ollama is running", kind="text/plain; charset=utf-8")

    def _blob(self, digest):
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise _Refused(400, "invalid digest format")
        known = (self.ollama.store.root / "blobs" / digest.replace(":", "-")).exists()
        if self.command == "HEAD":
            return self._send("", 200 if known else 404)
        if known:  # answered without reading the body
            self.close_connection = True
            return self._send("")
        data = self._body()
        stored = self.ollama.store.put_blob(
            data
        ).digest  # under its true digest, also when it is refused
        if stored != digest:
            raise _Refused(400, f'digest mismatch, expected "{digest}", got "{stored}"')
        return self._send("", 201)

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _tags(self, _):
        models = [self.ollama.store.read_model(name) for name in self.ollama.store.list_models()]
        models.sort(key=lambda model: model.modified, reverse=True)
        listed = [
            {
                "name": model.name,
                "model": model.name,
                "modified_at": STAMP,
                "size": model.size,
                "digest": model.digest,
            }
            for model in models
        ]
        self._send({"models": listed})

    def _create(self, asked):
        try:
            ModelName.parse(asked["model"])
        except InputError:
            raise _Refused(400, "invalid model name") from None
        if not asked.get("files"):
            raise _Refused(400, "neither 'from' or 'files' was specified")
        (digest,) = asked["files"].values()
        file = digest.replace(":", "-")
        gguf = self.ollama.store.root / "blobs" / file
        if not gguf.exists():
            raise _Refused(500, f"open $OLLAMA_MODELS/blobs/{file}: no such file or directory")
        try:
            go_template.parse(asked.get("template", ""))
        except go_template.TemplateError as error:
            raise _Refused(
                400, f"template error: template: :1: {str(error).partition(': ')[2]}"
            ) from None
        licences = asked.get("license", ())
        modelfile = Modelfile(
            from_=str(gguf),
            template=asked.get("template", ""),
            system=asked.get("system", ""),
            parameters={
                key: tuple(value) if isinstance(value, list) else value
                for key, value in asked.get("parameters", {}).items()
            },
            license=(licences,) if isinstance(licences, str) else tuple(licences),
            messages=tuple(
                (message["role"], message["content"]) for message in asked.get("messages", ())
            ),
        )
        before = {path.name for path in (self.ollama.store.root / "blobs").iterdir()}
        self.ollama.store.write_model(asked["model"], gguf, modelfile)
        name = ModelName.parse(asked["model"])
        manifest = (
            self.ollama.store.root
            / "manifests"
            / name.host
            / name.namespace
            / name.model
            / name.tag
        )
        statuses = ["parsing GGUF", "verifying conversion"]
        for layer in json.loads(manifest.read_bytes())["layers"]:
            exists = layer["digest"].replace(":", "-") in before
            statuses.append(
                f"{'using existing' if exists else 'creating new'} layer {layer['digest']}"
            )
        statuses += ["writing manifest", "success"]
        if not asked.get("stream", True):
            return self._send({"status": "success"}, kind="application/json")
        lines = "".join(json.dumps({"status": status}) + "\n" for status in statuses)
        return self._send(lines, kind="application/x-ndjson")

    def _model(self, asked):
        if not asked.get("model"):
            raise _Refused(400, "model is required")
        try:
            return self.ollama.store.read_model(asked["model"])
        except InputError:
            raise _Refused(400, "invalid model name") from None
        except PublishError:
            name = (
                str(ModelName.parse(asked["model"])) if self.path == "/api/show" else asked["model"]
            )
            raise _Refused(404, f"model '{name}' not found") from None

    def _show(self, asked):
        modelfile = self._model(asked).modelfile
        shown = {
            "license": "\n".join(modelfile.license),
            "template": modelfile.template,
            "system": modelfile.system,
        }
        self._send(
            shown
            | {"modelfile": modelfile.write(), "model_info": {}, "capabilities": ["completion"]}
        )

    def _pull(self, asked):
        lines = []
        try:
            if self.ollama.cannot_pull:
                raise PullFailed(self.ollama.cannot_pull)
            lines += self.ollama.puller.pull(asked["model"], asked.get("insecure", False))
        except (PullFailed, httpx.HTTPError) as failed:
            lines.append({"error": str(failed)})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._send(text, kind="application/x-ndjson")

    def _copy(self, asked):
        try:
            self.ollama.store.tag(asked["source"], asked["destination"])
        except PublishError:
            raise _Refused(404, f'model "{asked["source"]}" not found') from None
        self._send("")

    def _delete(self, asked):
        self._model(asked)
        self.ollama.store.delete(asked["model"])
        self._send("")

    def _load(self, model):
        """Two names over one file are never in memory together."""
        for name, gguf in list(self.ollama.loaded.items()):
            if gguf == model.gguf:
                del self.ollama.loaded[name]
        self.ollama.loaded[model.name] = model.gguf

    def _ps(self, _):
        shown = [{"name": name, "model": name, "size": 1} for name in self.ollama.loaded]
        self._send({"models": shown})

    def _generate(self, asked):
        model = self._model(asked)
        if asked.get("prompt"):
            raise _Refused(500, "the loopback server only chats")
        reason = "unload" if asked.get("keep_alive") == 0 else "load"
        name = str(ModelName.parse(asked["model"]))
        if reason == "unload":
            self.ollama.loaded.pop(name, None)
        else:
            self._load(model)
        answer = {"model": asked["model"], "created_at": STAMP, "response": "", "done": True}
        self._send(answer | {"done_reason": reason})

    def _chat(self, asked):
        model = self._model(asked)
        answer = {"model": asked["model"], "created_at": STAMP}
        self._load(model)
        if not asked["messages"]:
            loaded = {
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "load",
            }
            return self._send(answer | loaded)
        if asked.get("stream", True):
            raise _Refused(500, "the loopback server does not stream chats")
        prompt = rendering.render(
            self.ollama.ignores or model.modelfile.template,
            asked["messages"],
            model.modelfile.system,
        )
        if asked.get("_debug_render_only") and not self.ollama.tells_no_prompt:
            empty = {"message": {"role": "", "content": ""}, "done": False}
            return self._send(answer | empty | {"_debug_info": {"rendered_template": prompt}})
        options = dict(model.modelfile.parameters)
        if self.ollama.slow:
            threading.Event().wait(self.ollama.slow)
        with LlamaModel(model.gguf, 1, options["num_ctx"], model.lora) as llama:
            generated = llama.generate(prompt, options["num_predict"], options["stop"])
        body = {
            "message": {"role": "assistant", "content": generated.text},
            "done": not self.ollama.unfinished,
            "prompt_eval_count": generated.tokens_in,
            "eval_count": generated.tokens_out,
        }
        return self._send(
            answer | body | ({} if self.ollama.unfinished else {"done_reason": generated.finish})
        )
