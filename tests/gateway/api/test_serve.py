"""`stock-llm serve` as a person starts it: soon there, small, and with one line when it cannot."""

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import psutil
import pytest

HEAVY = (
    "torch",
    "transformers",
    "mlflow",
    "prefect",
    "pandas",
    "pyarrow",
    "numpy",
    "llama_cpp",
    "anthropic",
    "openai",
)
RUN = "from stock_llm.cli.main import main; main()"


def start(home, *arguments, **environment):
    variables = os.environ | {
        "STOCK_LLM_HOME": str(home),
        "OLLAMA_HOST": "http://127.0.0.1:1",
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "serve", *arguments],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def served(tmp_path):
    with start(tmp_path, "--port", "0") as process:
        try:
            line = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
            with httpx.Client(base_url=url, timeout=10) as http:
                http.get("/healthz").raise_for_status()
                yield process, http
        finally:
            process.kill()


def test_it_is_soon_there_small_and_says_what_is_off(served):
    process, http = served
    assert (
        process.stdout.readline()
        == "off: claude_cli, claude_api (STOCK_LLM_GATEWAY__CLAUDE_CLI=true switches one on)\n"
    )
    spent = psutil.Process(process.pid).cpu_times()
    assert (
        spent.user + spent.system < 4
    )  # not the clock: it is there in 1.7 s, but other processes may be busy
    assert [model["name"] for model in http.get("/api/tags").json()["models"]] == ["auto"]
    assert http.get("/readyz").status_code == 503
    assert psutil.Process(process.pid).memory_info().rss < 150e6


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_told_without_a_traceback(served, how):
    process, _ = served
    process.send_signal(how)
    assert process.wait(60) in (0, -how)
    assert process.stderr.read() == ""


def test_heavy_libraries_are_not_imported(tmp_path):
    code = (
        "import sys; from stock_llm.settings import load_settings\n"
        "from stock_llm.gateway.app import create_app\n"
        "from stock_llm.cli.gateway_context import gateway_context, project_functions\n"
        f"settings = load_settings(home={str(tmp_path)!r})\n"
        "create_app(settings.gateway, gateway_context(settings), project_functions(settings))\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--host", "0.0.0.0", "--port", "0"), "there is no token"),
        (("--policy", "nonsense"), "there is no policy 'nonsense'"),
        (("--host", "nowhere.example"), "there is no token"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, arguments, text):
    with start(tmp_path, *arguments) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.startswith("error: ") and text in errors
    assert errors.count("\n") == 1


def test_a_taken_port_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with start(tmp_path, "--port", str(taken.getsockname()[1])) as process:
            _, errors = process.communicate(timeout=30)
        assert errors.startswith("error: cannot listen on 127.0.0.1:")
        assert errors.count("\n") == 1
