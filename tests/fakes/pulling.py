"""How Ollama pulls, as server/download.go and server/auth.go do it: the pull side of `LoopbackOllama`.

Manifest; for each blob that is missing a HEAD, a GET whose answer must carry `Location` and is dropped in mid-body, then parts
with `Range` and without Authorization into a `-partial` file that a cut pull goes on from. A 401 is answered once, by a signature
of the server's ed25519 key.
"""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stock_llm.ollama.model_name import ModelName
from stock_llm.ollama.store import OllamaStore

PART = 100_000
"""Bytes of a part; Ollama's are 100 MB and more."""


class PullFailed(Exception):
    """What Ollama writes into the stream as an error."""


class Puller:
    """One Ollama that pulls into its store.

    Attributes:
        key: what it signs with, as ~/.ollama/id_ed25519.
        fails_writing: why no blob can be written; empty: it can.
        cut_after: bytes of a blob after which the connection breaks, for every try; None: never.
    """

    def __init__(self, store: OllamaStore):
        self.store, self.key = store, Ed25519PrivateKey.generate()
        self.cut_after: int | None = None
        self.clock = time.time
        self.fails_writing = ""

    @property
    def public_key(self) -> str:
        """As in ~/.ollama/id_ed25519.pub."""
        return self.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def pull(self, model: str, insecure: bool) -> Iterator[dict]:
        """The lines of /api/pull."""
        name = ModelName.parse(model)
        base = f"{'http' if insecure else 'https'}://{name.host}"
        repository = f"{name.namespace}/{name.model}"
        yield {"status": "pulling manifest"}
        accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
        with httpx.Client(trust_env=False, timeout=30, headers=accept) as http:
            headers: dict[str, str] = {}
            url = f"{base}/v2/{repository}/manifests/{name.tag}"
            content = self._send(http, "GET", url, headers).content
            manifest = json.loads(content)
            for layer in [*manifest["layers"], manifest["config"]]:
                yield from self._blob(http, base, repository, layer["digest"], headers)
        yield {"status": "verifying sha256 digest"}
        for layer in [*manifest["layers"], manifest["config"]]:
            blob = self.store.root / "blobs" / layer["digest"].replace(":", "-")
            if "sha256:" + hashlib.sha256(blob.read_bytes()).hexdigest() != layer["digest"]:
                blob.unlink()
                raise PullFailed("digest mismatch, file must be downloaded again")
        yield {"status": "writing manifest"}
        path = self.store.root / "manifests" / name.host / name.namespace / name.model / name.tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        yield {"status": "success"}

    def _blob(self, http, base, repository, digest, headers) -> Iterator[dict]:
        final = self.store.root / "blobs" / digest.replace(":", "-")
        state = {"status": f"pulling {digest[7:19]}", "digest": digest}
        if final.exists():
            size = final.stat().st_size
            yield {**state, "total": size, "completed": size}
            return
        url = f"{base}/v2/{repository}/blobs/{digest}"
        size = int(self._send(http, "HEAD", url, headers).headers["Content-Length"])
        location = self._location(http, url, headers)
        partial = final.with_name(final.name + "-partial")
        if self.fails_writing:
            raise PullFailed(f"open {partial.name}: {self.fails_writing}")
        partial.touch()
        while (there := partial.stat().st_size) < size:
            yield {**state, "total": size, "completed": there}
            last = min(there + PART, size) - 1
            with http.stream("GET", location, headers={"Range": f"bytes={there}-{last}"}) as part:
                if part.status_code != 206:
                    raise PullFailed(f"unexpected status code {part.status_code}")
                with partial.open("ab") as out:
                    for piece in part.iter_bytes():
                        out.write(piece)
            if self.cut_after is not None and partial.stat().st_size > self.cut_after:
                raise PullFailed("max retries exceeded: unexpected EOF")
        partial.replace(final)
        yield {**state, "total": size, "completed": size}

    def _location(self, http, url, headers) -> str:
        """Where the parts are; the answer's body is dropped."""
        while True:
            with http.stream("GET", url, headers=headers) as answer:
                there = answer.headers.get("Location")
                if there is None:
                    raise PullFailed("http: no Location header in response")
                there = urljoin(url, there)
                if answer.status_code == 200:
                    return there
                if answer.status_code != 307:
                    raise PullFailed(f"unexpected status code {answer.status_code}")
                if urlsplit(there).hostname != urlsplit(url).hostname:
                    return there
                url = there

    def _send(self, http, method, url, headers) -> httpx.Response:
        for attempt in range(2):
            try:
                answer = http.request(method, url, headers=headers)
            except httpx.ConnectError:
                refused = f'{method.title()} "{url}": dial tcp {urlsplit(url).netloc}: connect: connection refused'
                raise PullFailed(f"pull model manifest: {refused}") from None
            if answer.status_code == 401 and attempt == 0:
                headers["Authorization"] = (
                    f"Bearer {self.token(http, url, answer.headers['WWW-Authenticate'])}"
                )
                continue
            if answer.status_code == 404:
                raise PullFailed("pull model manifest: file does not exist")
            if answer.status_code >= 400:
                raise PullFailed(f"pull model manifest: {answer.status_code}: {answer.text}")
            return answer
        raise PullFailed("pull model manifest: unauthorized")

    def token(self, http, url: str, challenge: str, nonce: str = "") -> str:
        """The token that the realm gives for a signature."""
        asked, headers = self.signed(url, challenge, nonce)
        answer = http.get(asked, headers=headers)
        if answer.status_code >= 400:
            raise PullFailed(f"pull model manifest: {answer.status_code}: {answer.text}")
        return answer.json()["token"]

    def signed(self, url: str, challenge: str, nonce: str = "") -> tuple[str, dict[str, str]]:
        """URL and header of the GET that asks for a token."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if urlsplit(fields["realm"]).netloc != urlsplit(url).netloc:
            raise PullFailed("realm host does not match original host")
        query = {
            "nonce": nonce
            or base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("="),
            "scope": fields["scope"],
            "service": fields["service"],
            "ts": str(int(self.clock())),
        }
        asked = f"{fields['realm']}?{urlencode(query)}"
        return asked, {"Authorization": self.signature(asked)}

    def signature(self, url: str) -> str:
        """The header for a GET of `url`."""
        empty = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
        signed = base64.b64encode(self.key.sign(f"GET,{url},{empty}".encode())).decode()
        return f"{self.public_key.split()[1]}:{signed}"


def partials(folder: Path) -> list[str]:
    """The files of pulls that were cut."""
    return sorted(path.name for path in (folder / "blobs").glob("*-partial*"))
