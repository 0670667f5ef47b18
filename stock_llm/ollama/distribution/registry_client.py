"""Pushes versions to a registry of a company: the stored bytes, so that the digest stays.

Ollama's own push writes the manifest anew without its last newline, and so another digest.
Protocol: OCI distribution-spec, monolithic uploads. A blob that is there is not sent.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode, urljoin, urlsplit

from stock_llm.errors import MissingExtra, PublishError
from stock_llm.ollama.address import bypasses_proxies
from stock_llm.ollama.manifest import MANIFEST_TYPE, digest_of_bytes, parse_manifest
from stock_llm.ollama.model_name import MODEL
from stock_llm.ollama.store import OllamaStore
from stock_llm.progress import transfer_progress

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 600.0
"""For one answer: a registry on S3 copies a large blob before it answers."""
_PIECE = 1 << 20


@dataclass(frozen=True)
class RegistryClient:
    """The registry at `where`: https://HOST/NAMESPACE."""

    http: "httpx.Client"
    where: str

    def digest(self, name: str) -> str | None:
        """Digest of the manifest that a name of ours stands for (hex); None where there is none.

        Raises:
            PublishError: the registry refuses or does not answer.
        """
        content = self._content(name)
        return None if content is None else digest_of_bytes(content)

    def _content(self, name: str) -> bytes | None:
        with self._translated(f"look up {name}"):
            answer = self.http.get(self._manifest(name), headers={"Accept": MANIFEST_TYPE})
            if answer.status_code == 404:
                return None
            return answer.raise_for_status().content

    def push(self, store: OllamaStore, name: str) -> bool:
        """Bring a version there; False where it was there already.

        Args:
            name: a version of `store`, which is sound.

        Raises:
            PublishError: `name` is another model there; or the registry refuses, does not answer,
                or lists another digest then.
        """
        content, before = store.read_manifest(name), self._content(name)
        digest = digest_of_bytes(content)
        if before == content:
            return False
        if before is not None and not _is_same_model(before, content):
            raise PublishError(
                f"{name} exists in the registry {self.where} and is another model; "
                "a version is never overwritten. Use a namespace of this project's own"
            )
        with self._translated(f"take {name}"):
            with transfer_progress(f"pushing {name} to {self.where}") as show:
                for layer in parse_manifest(content).blobs:
                    self._push_blob(store.blob(layer).path, layer.digest, layer.size, show)
            self._put_manifest(name, content)
        if (there := self.digest(name)) != digest:
            raise PublishError(
                f"{self.where} lists {name} as {(there or 'nothing')[:12]}, not as {digest[:12]}: "
                "it changes manifests. Push to distribution (deploy/registry) in its place"
            )
        return True

    def tag(self, store: OllamaStore, source: str, target: str) -> None:
        """Let `target` stand there for the same model as `source`, which is there."""
        with self._translated(f"tag {source} as {target}"):
            self._put_manifest(target, store.read_manifest(source))

    def _push_blob(
        self, path: Path, digest: str, size: int, show: Callable[[str, int, int], None]
    ) -> None:
        if self.http.head(f"{self._repository}/blobs/{digest}").status_code == 200:
            return
        begun = self.http.post(f"{self._repository}/blobs/uploads/").raise_for_status()
        upload = urljoin(str(begun.request.url), begun.headers["Location"])
        joined = "&" if urlsplit(upload).query else "?"

        def pieces() -> Iterator[bytes]:
            sent = 0
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
                    sent += len(piece)
                    show(digest[7:19], sent, size)

        is_there = urlsplit(upload).netloc == urlsplit(self.where).netloc
        self.http.request(
            "PUT",
            f"{upload}{joined}{urlencode({'digest': digest})}",
            content=pieces(),
            auth=self.http.auth if is_there else None,
            headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
        ).raise_for_status()

    def _put_manifest(self, name: str, content: bytes) -> None:
        headers = {"Content-Type": MANIFEST_TYPE}
        self.http.put(self._manifest(name), content=content, headers=headers).raise_for_status()

    def _manifest(self, name: str) -> str:
        return f"{self._repository}/manifests/{name.partition(':')[2]}"

    @property
    def _repository(self) -> str:
        parts = urlsplit(self.where)
        namespace = parts.path.strip("/") or "library"
        return f"{parts.scheme}://{parts.netloc}/v2/{namespace}/{MODEL}"

    @contextmanager
    def _translated(self, task: str) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.HTTPStatusError as error:
            reason = f"{error.response.status_code} {error.response.text.strip()[:200]}"
            raise PublishError(f"the registry {self.where} would not {task}: {reason}") from None
        except (httpx.HTTPError, KeyError) as error:
            raise PublishError(
                f"the registry {self.where} went away while it was to {task}: {error}. "
                "Run again: stock-llm publish --to registry"
            ) from None


def _is_same_model(first: bytes, second: bytes) -> bool:
    try:
        return parse_manifest(first).is_same_model(parse_manifest(second))
    except ValueError:
        return False


@contextmanager
def open_registry(url: str) -> Iterator[RegistryClient]:
    """A client of the registry at a URL, as `publish.registry` has it. A name and a password in it
    go to that host alone and into no message.

    Raises:
        MissingExtra: the extra `local` is not installed.
    """
    try:
        import httpx
    except ImportError:
        raise MissingExtra("httpx", "local") from None
    limits = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
    login, _, host = urlsplit(url).netloc.rpartition("@")
    user, _, password = login.partition(":")
    auth = httpx.BasicAuth(unquote(user), unquote(password)) if login else None
    where = urlsplit(url)._replace(netloc=host).geturl().rstrip("/")
    with httpx.Client(timeout=limits, trust_env=not bypasses_proxies(url), auth=auth) as http:
        yield RegistryClient(http, where)
