"""Clients that are not written in Python: a browser's page in JavaScript, `ollama list` in Go."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from factories import go_program
from factories.running_gateway import gateway

HERE = Path(__file__).parent
PAGE, STRANGER = "https://chat.example", "https://evil.example"


@pytest.fixture(scope="module")
def guarded(home, backend):
    settings = {"token": "secret", "origins": [PAGE]}
    with gateway(home / "guarded", backend.host, **settings) as started:
        yield started


def seen_by_page(running, *arguments):
    """Path → status that the page may read, or "blocked"."""
    if not shutil.which("node"):
        pytest.skip("needs Node.js: apt-get install nodejs")
    command = ["node", HERE / "browser_page.mjs", running.url, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_a_page_of_this_machine_reads_its_answers(running):
    statuses = seen_by_page(running, "http://localhost:3000")
    assert list(statuses.values()) == [200, 200, 200, 422]


def test_a_page_of_the_settings_reads_its_answers_with_the_token(guarded):
    assert list(seen_by_page(guarded, PAGE, "secret").values()) == [200, 200, 200, 422]
    assert set(seen_by_page(guarded, PAGE, "wrong").values()) == {401}  # the page sees why


@pytest.mark.parametrize("token", ["", "secret"])
def test_a_page_of_a_stranger_is_blocked(running, guarded, token):
    for asked in (running, guarded):
        assert set(seen_by_page(asked, STRANGER, token).values()) == {"blocked"}


def test_every_model_is_listed_with_a_digest(running, tmp_path):
    program = go_program.build((HERE / "ollama_list.go").read_text(), tmp_path)
    listed = subprocess.run(
        [program, running.url], capture_output=True, text=True, check=True, timeout=60
    )
    digests = dict(line.split("\t") for line in listed.stdout.splitlines())
    assert list(digests) == [
        model["name"] for model in running.http.get("/api/tags").json()["models"]
    ]
    assert "auto" in digests and all(len(bytes.fromhex(digest)) == 6 for digest in digests.values())
