"""The pull side of a registry on a loopback port: what Ollama asks for, ranges as RFC 9110 says, and nothing that is not published."""

import re
import socket

import httpx
import pytest
from factories.parrot_gguf import write_parrot

from stock_llm.ollama.distribution.listener import LoopbackListener
from stock_llm.ollama.manifest import parse_manifest
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore

MODELFILE = Modelfile("x", template="{{ .Prompt }}")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    store = OllamaStore(folder / "models")
    store.write_model("stock-llm:v1", write_parrot(folder / "1.gguf", "one"), MODELFILE)
    store.tag("stock-llm:v1", "stock-llm:latest")
    store.write_model("private:latest", write_parrot(folder / "2.gguf", "two"), MODELFILE)
    return store


@pytest.fixture(scope="module")
def http(store):
    with (
        LoopbackListener(store) as listener,
        httpx.Client(base_url=f"http://{listener.address}/v2/handover/", trust_env=False) as http,
    ):
        yield http


def weights(store, name="stock-llm:v1"):
    return next(
        layer for layer in parse_manifest(store.read_manifest(name)).layers if layer.kind == "model"
    )


@pytest.fixture(scope="module")
def blob(store):
    """Path and bytes of the weights."""
    layer = weights(store)
    return f"stock-llm/blobs/{layer.digest}", store.blob(layer).path.read_bytes()


def test_a_manifest_is_given_out_as_it_was_written(http, store):
    for reference in ("v1", "latest", f"sha256:{store.digest('stock-llm:v1')}"):
        answer = http.get(f"stock-llm/manifests/{reference}")
        assert answer.content == store.read_manifest("stock-llm:v1")
        assert answer.headers["content-type"].startswith(
            "application/vnd.docker.distribution.manifest.v2+json"
        )
        assert answer.headers["docker-content-digest"] == f"sha256:{store.digest('stock-llm:v1')}"
    head = http.head("stock-llm/manifests/v1")
    assert (head.content, int(head.headers["content-length"])) == (b"", len(answer.content))


def test_a_blob_says_its_length_and_where_its_parts_are(http, blob):
    path, content = blob
    head = http.head(path)
    assert (head.status_code, int(head.headers["content-length"])) == (200, len(content))
    whole = http.get(path)
    assert (whole.status_code, whole.content) == (200, content)
    location = whole.headers["location"]
    assert http.get(f"http://{http.base_url.netloc.decode()}{location}").content == content


SIZE = "SIZE"


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=0-0", 206, 0, 0),
        ("bytes=10-", 206, 10, SIZE),
        ("bytes=0-99999999", 206, 0, SIZE),
        ("bytes=-5", 206, -5, SIZE),
        ("bytes=1000-1999", 206, 1000, 1999),
        ("bytes=99999999-", 416, None, None),
        ("lines=0-1", 200, None, None),
        ("bytes=x", 200, None, None),
    ],
)
def test_one_range(http, blob, asked, status, first, last):
    path, content = blob
    answer = http.get(path, headers={"Range": asked})
    assert answer.status_code == status
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(content)}"
        return
    if status == 200:
        assert answer.content == content
        return
    end = len(content) if last == SIZE else last + 1
    start = len(content) + first if first < 0 else first
    assert answer.content == content[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(content)}"
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_several_ranges_come_in_parts_and_a_range_of_another_file_is_whole(http, blob):
    path, content = blob
    answer = http.get(path, headers={"Range": "bytes=0-9,100-109"})
    assert answer.status_code == 206
    boundary = re.search("boundary=(.+)", answer.headers["content-type"])[1].encode()
    parts = [
        part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n")
        for part in answer.content.split(b"--" + boundary)[1:-1]
    ]
    assert parts == [content[:10], content[100:110]]
    stale = http.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (stale.status_code, stale.content) == (200, content)


@pytest.mark.parametrize(
    "path",
    [
        "stock-llm/manifests/v9",
        "stock-llm/manifests/..%2f..%2fprivate%2flatest",
        "stock-llm/manifests/%2e%2e",
        "stock-llm/manifests/sha256:" + "0" * 64,
        "stock-llm/blobs/sha256:" + "0" * 64,
        "stock-llm/blobs/sha256:../../../../etc/passwd",
        "stock-llm/blobs/..%2f..%2fstock-llm.json",
        "private/manifests/latest",
        "../library/stock-llm/manifests/v1",
        "..%2flibrary/stock-llm/manifests/v1",
    ],
)
def test_nothing_else_is_given_out(http, path):
    assert http.get(path).status_code == 404


def test_blobs_of_other_models_in_the_folder_are_not_given_out(http, store):
    other = weights(store, "private:latest").digest
    assert store.blob(weights(store, "private:latest")).path.exists()
    for model in ("stock-llm", "private"):
        assert http.get(f"{model}/blobs/{other}").status_code == 404


def test_a_caller_who_drops_the_answer_is_no_error(http, blob, capfd):
    path, content = blob
    host, port = http.base_url.netloc.decode().split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET /v2/handover/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.recv(100)
    assert http.get(path).content == content
    assert capfd.readouterr().err == ""
