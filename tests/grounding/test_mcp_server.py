"""The MCP server, asked by the SDK's own client: over stdio as Claude Desktop starts it, and over HTTP behind the token."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from factories.ports import free_port

from stock_llm.pipeline.ask import own_data
from stock_llm.settings import load_settings

mcp = pytest.importorskip("mcp")

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
COMMAND = ["-c", "from stock_llm.cli.main import main; main()", "mcp"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with the sample, and the environment of a program in it."""
    home, secrets = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("secrets")
    shutil.copytree(SAMPLE, home / "data" / "sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCK_LLM_SECRETS", str(secrets))
        assert own_data(load_settings(home=home, ollama_host="")).history  # read before it is asked
    return os.environ | {"STOCK_LLM_HOME": str(home), "STOCK_LLM_SECRETS": str(secrets)}


def test_a_program_that_starts_it_finds_and_calls_the_tools(project):
    async def session():
        server = mcp.StdioServerParameters(command=sys.executable, args=[*COMMAND, "--share", "everything"], env=project)  # fmt: skip
        async with mcp.Client(server, read_timeout_seconds=600) as client:
            tools = (await client.list_tools()).tools
            positions = await client.call_tool("positions", {})
            wrong = await client.call_tool("candles", {"symbol": "NOPE"})
            unknown = await client.call_tool("sell", {"symbol": "KESTRO"})
            return tools, positions, wrong, unknown

    tools, positions, wrong, unknown = asyncio.run(session())
    assert {tool.name for tool in tools} == {"positions", "performance", "trades", "candles", "income", "findings", "term"}  # fmt: skip
    for tool in tools:
        assert tool.annotations.read_only_hint and not tool.annotations.destructive_hint
        assert tool.description and tool.input_schema["type"] == "object"
    assert json.loads(positions.content[0].text)["positions"] and not positions.is_error
    assert wrong.is_error and "there are no candles of NOPE" in wrong.content[0].text
    assert unknown.is_error and "there is no tool" in unknown.content[0].text


def test_without_sharing_it_tells_nothing_of_the_ledger(project):
    async def session():
        server = mcp.StdioServerParameters(command=sys.executable, args=COMMAND, env=project)
        async with mcp.Client(server, read_timeout_seconds=600) as client:
            return (await client.list_tools()).tools, await client.call_tool("positions", {})

    tools, refused = asyncio.run(session())
    assert {tool.name for tool in tools} == {"candles", "term"}
    assert refused.is_error and "not shared" in refused.content[0].text


def test_over_http_it_asks_for_the_token(project):
    with served_over_http(project, "percentages") as (url, server):
        assert _status(url, server) == 401
        assert _status(url, server, "Bearer wrong") == 401

        async def session():
            import httpx2
            from mcp.client.streamable_http import streamable_http_client

            headers = {"Authorization": "Bearer secret"}
            async with httpx2.AsyncClient(headers=headers, timeout=120) as http:
                transport = streamable_http_client(url, http_client=http)
                async with mcp.Client(transport) as client:
                    return (await client.list_tools()).tools, await client.call_tool("positions", {})  # fmt: skip

        tools, positions = asyncio.run(session())
        assert {tool.name for tool in tools} == {"positions", "performance", "candles", "term"}
        assert "quantity" not in positions.content[0].text


INSPECTOR = Path("~/.cache/stock-llm/node_modules/.bin/mcp-inspector").expanduser()
needs_inspector = pytest.mark.skipif(
    not INSPECTOR.exists() or not shutil.which("node"),
    reason="no MCP inspector: npm install --prefix ~/.cache/stock-llm @modelcontextprotocol/inspector@2.12.0",
)


def inspect(*arguments, env):
    """What the inspector prints, which fails where the server breaks the protocol or a schema is not portable."""
    command = [str(INSPECTOR), "--cli", "--connect-timeout", "600000", *arguments]
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900, check=False)  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    return json.loads(told.stdout)


@needs_inspector
@pytest.mark.timeout(1200)
def test_the_inspector_finds_nothing_wrong_over_stdio(project, tmp_path):
    start = tmp_path / "program.py"
    start.write_text("from stock_llm.cli.main import main; main()")
    served = [sys.executable, str(start), "mcp"]
    passed = [part for name in ("STOCK_LLM_HOME", "STOCK_LLM_SECRETS", "PYTHONPATH") if name in project for part in ("-e", f"{name}={project[name]}")]  # fmt: skip
    listed = inspect(*passed, "--method", "tools/list", "--strict", *served, env=project)
    assert {tool["name"] for tool in listed["tools"]} == {"candles", "term"}
    passed += [
        "-e",
        "STOCK_LLM_GATEWAY__CLOUD_REDACTION=false",
    ]  # its import may take the inspector's minute
    called = inspect("--tool-arg", "term=RSI14", "--tool-name", "term", "--method", "tools/call", *passed, *served, env=project)  # fmt: skip
    assert "RSI" in called["content"][0]["text"] and not called.get("isError")


@needs_inspector
@pytest.mark.timeout(1200)
def test_the_inspector_finds_nothing_wrong_over_http(project):
    with served_over_http(project, "everything") as (url, server):
        assert _status(url, server) == 401
        bearer = ("--transport", "http", "--header", "Authorization: Bearer secret")
        listed = inspect(url, "--method", "tools/list", "--strict", *bearer, env=project)
        assert len(listed["tools"]) == 7


def test_over_http_without_a_token_it_does_not_start(project):
    started = subprocess.run([sys.executable, *COMMAND, "--http", "--port", "0"], env=project, capture_output=True, text=True, check=False)  # fmt: skip
    assert started.returncode == 1 and "STOCK_LLM_GATEWAY__TOKEN" in started.stderr


@contextmanager
def served_over_http(project, share):
    """A server with the token "secret"; its address and process."""
    port = free_port()
    command = [sys.executable, *COMMAND, "--http", "--port", str(port), "--share", share]
    with subprocess.Popen(command, env=project | {"STOCK_LLM_GATEWAY__TOKEN": "secret"}) as server:
        try:
            yield f"http://127.0.0.1:{port}/mcp", server
        finally:
            server.terminate()
            server.wait(20)


def _status(url, server, authorization=""):
    """The status of a request, once the server listens."""
    until = time.monotonic() + 120
    while True:
        request = urllib.request.Request(url, b"{}", {"Authorization": authorization})
        try:
            with urllib.request.urlopen(request, timeout=20) as answered:
                return answered.status
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            assert server.poll() is None and time.monotonic() < until
            time.sleep(0.2)
