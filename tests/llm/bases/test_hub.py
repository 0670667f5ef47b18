"""A profile's base on the hub, here one on loopback: what is shown before its commit is pinned."""

import json
import threading
from http.server import ThreadingHTTPServer

import pytest
from factories.profiles import PROFILES
from fakes.answering_handler import AnsweringHandler
from typer.testing import CliRunner

from stock_llm.cli.main import app
from stock_llm.errors import InputError
from stock_llm.llm.bases.hub import check_files, look_up, pin_commit
from stock_llm.llm.profiles import load_profile

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": 600,
    "tokenizer.json": 1_900_000,
    "tokenizer.model": 500_000,
    "model-00001-of-00002.safetensors": 9_900_000_000,
    "model-00002-of-00002.safetensors": 4_500_000_000,
    "consolidated.safetensors": 14_400_000_000,
    "evil.py": 10,
}


class Hub(AnsweringHandler):
    def do_GET(self):
        if not self.path.startswith("/api/models/mistralai/Mistral-7B-Instruct-v0.3"):
            self.send_response(404)
            self.end_headers()
            return
        body = json.dumps(
            {
                "id": "mistralai/Mistral-7B-Instruct-v0.3",
                "sha": COMMIT,
                "lastModified": "2025-12-03T00:00:00.000Z",
                "gated": self.server.gated,
                "cardData": {"license": "apache-2.0"},
                "siblings": [
                    {"rfilename": name, "size": size} for name, size in self.server.files.items()
                ],
            }
        ).encode()
        self.answer(200, "application/json", body)


@pytest.fixture
def hub(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.gated, server.files = False, dict(FILES)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "models" / "profiles"
    folder.mkdir(parents=True)
    for name in ("mistral-7b", "tinyllama-1.1b", "stock-tiny"):
        text = (PROFILES / f"{name}.toml").read_text(encoding="utf-8")
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    return tmp_path


def invoke(*words, answer=""):
    return CliRunner().invoke(app, list(words), input=answer)


@pytest.mark.usefixtures("hub")
def test_the_commit_is_pinned_after_a_look_at_licence_size_and_files(home):
    file = home / "models/profiles/mistral-7b.toml"
    before = file.read_text()
    refused = invoke("profiles", "pin", "mistral-7b", answer="n\n")
    assert refused.exit_code == 1
    assert file.read_text() == before
    for shown in (COMMIT, "licence: apache-2.0", "5 files, 14.4 GB", "9,900.0 MB", "2025-12-03"):
        assert shown in refused.output
    assert "consolidated" not in refused.output
    assert "evil.py" not in refused.output

    assert invoke("profiles", "pin", "mistral-7b", answer="y\n").exit_code == 0
    after = file.read_text()
    assert after == before.replace('revision = ""', f'revision = "{COMMIT}"')
    assert load_profile(home, "mistral-7b").revision == COMMIT
    assert "pinned already" in invoke("profiles", "pin", "mistral-7b").output


@pytest.mark.usefixtures("home")
def test_terms_that_must_be_accepted_are_named(hub):
    hub.gated = "manual"
    output = invoke("profiles", "pin", "mistral-7b", "--yes").output
    assert "wants terms to be accepted: https://huggingface.co/mistralai/" in output


def test_a_model_without_safetensors_is_not_pinned(hub, home):
    hub.files = {"config.json": 1, "tokenizer.json": 1, "pytorch_model.bin": 10}
    with pytest.raises(InputError, match=r"no model\*\.safetensors; it has pytorch_model\.bin"):
        check_files(look_up(load_profile(home, "mistral-7b")))


@pytest.mark.usefixtures("hub")
def test_what_is_not_on_the_hub_is_said(home):
    with pytest.raises(InputError, match=r"TinyLlama-1\.1B-Chat-v1\.0 cannot be looked up"):
        look_up(load_profile(home, "tinyllama-1.1b"))
    with pytest.raises(InputError, match="the folder 'models/stock-tiny'"):
        look_up(load_profile(home, "stock-tiny"))


def test_only_a_commit_is_pinned(home):
    file = home / "models/profiles/mistral-7b.toml"
    for commit in ("main", COMMIT[:39], f'{COMMIT}"'):
        with pytest.raises(InputError, match="is not a commit"):
            pin_commit(file, commit)
    file.write_text('name = "mistral-7b"\n')
    with pytest.raises(InputError, match="there is no line `revision`"):
        pin_commit(file, COMMIT)


@pytest.mark.usefixtures("home")
def test_the_list_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    listed = " ".join(invoke("profiles", "list").output.split())
    assert "tinyllama-1.1b: Apache-2.0; stock-llm profiles pin tinyllama-1.1b" in listed
    assert "mistral-7b: Apache-2.0; stock-llm profiles pin mistral-7b" in listed
