"""What of the ledger reaches a cloud: canaries in the ledger, every API, every kind of cloud provider, whole and streamed."""

import asyncio
import json
import shutil
import sqlite3
import stat
import sys
from pathlib import Path

import anthropic  # noqa: F401 - now: it takes a second, and a gateway in a thread would wait for it
import openai  # noqa: F401 - as well
import pytest
from factories.running_gateway import gateway
from factories.sample_home import home_with_sample
from fakes.scripted_cloud import ScriptedCloud
from fakes.scripted_ollama import ScriptedOllama

from stock_llm.cli.gateway_context import gateway_context
from stock_llm.errors import StoreError
from stock_llm.gateway.accounting import ledger_answers
from stock_llm.gateway.accounting.ledger_answers import LedgerAnswers
from stock_llm.gateway.app import _ledger_questions
from stock_llm.gateway.chat import ChatMessage, ChatRequest
from stock_llm.gateway.providers import claude_api, openai_compatible
from stock_llm.gateway.providers.registry import ProviderRegistry
from stock_llm.gateway.routing.cloud_filter import WITHHELD, CloudFilter
from stock_llm.pipeline.ask import own_data
from stock_llm.settings import load_settings
from stock_llm.truth.blocks import has_ledger, share

TRADES = """trade_id,date,symbol,side,quantity,price,currency,account,note
A1,2024-03-04,KESTRO,BUY,137.31,241.57,USD,DE77-CANARY,canarymemo
A2,2024-03-05,LUMBRA,BUY,911.07,13.83,USD,DE77-CANARY,canarymemo
A3,2024-03-06,DORNIA,BUY,53.19,60.43,USD,DE77-CANARY,canarymemo
A4,2024-04-11,DORNIA,SELL,53.19,65.91,USD,DE77-CANARY,canarymemo
"""
AMOUNTS = ("137.31", "241.57", "911.07", "13.83", "53.19", "60.43", "65.91", "2024-03-06", "2024-04-11", "DE77-CANARY", "canarymemo")  # fmt: skip
QUESTIONS = ("Analyze KESTRO.", "Review my portfolio.", "How was my last trade?", "ทบทวนพอร์ตของฉัน")
MODELS = {"claude-api": "claude-sonnet-5-5", "claude-cli": "sonnet", "far": "far-model"}


@pytest.fixture(scope="module")
def ledger_home(tmp_path_factory):
    with home_with_sample(tmp_path_factory) as home:
        (home / "data" / "sample" / "trades.csv").write_text(TRADES)
        yield home


@pytest.fixture(scope="module")
def data(ledger_home):
    return own_data(load_settings(home=ledger_home, ollama_host=""))


@pytest.fixture(scope="module")
def returns(data):
    """Weights and returns of the ledger, which are percentages."""
    blocks = [data.block_for(question).text for question in QUESTIONS]
    lines = [line for block in blocks for line in block.split("\n") if has_ledger(line)]
    found = {word.strip("(),") for line in lines for word in line.split() if "%" in word}
    return found - {word.strip("(),") for block in blocks[:1] for line in block.split("\n") if not has_ledger(line) for word in line.split()}  # fmt: skip


def the_command(folder: Path) -> str:
    """An executable `claude` that writes down what it was asked and given."""
    script = folder / "claude"
    answer = {"type": "result", "subtype": "success", "is_error": False, "result": "I cannot say.", "total_cost_usd": 0.01, "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    script.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"open({str(folder / 'asked.txt')!r}, 'a').write(sys.stdin.read() + repr(sys.argv))\n"
        f"print(json.dumps({answer!r}))\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def conversations(question, answer):
    """Bodies of each API that ask a question, and that ask another one after its answer."""
    first = [{"role": "user", "content": question}]
    then = [*first, {"role": "assistant", "content": answer}, {"role": "user", "content": "And what now?"}]  # fmt: skip
    for messages in (first, then):
        yield "/api/chat", {"messages": messages}
        yield "/v1/chat/completions", {"messages": messages}
        yield "/v1/messages", {"messages": messages, "max_tokens": 50}
        yield "/v1/responses", {"input": messages}
    yield "/api/generate", {"prompt": question}
    yield "/v1/completions", {"prompt": question}


@pytest.mark.parametrize("sharing", ["nothing", "percentages", "everything"])
def test_the_ledger_leaves_the_machine_as_far_as_the_settings_say(
    ledger_home, data, returns, tmp_path, monkeypatch, sharing
):
    monkeypatch.setenv(claude_api.KEY, "sk-test")
    monkeypatch.setattr(openai_compatible, "is_loopback_url", lambda _: False)
    with ScriptedCloud() as cloud, ScriptedOllama() as local, gateway(
        ledger_home, local.host, ledger_to_cloud=sharing, claude_api=True, claude_api_url=cloud.url, claude_cli=True,
        claude_command=the_command(tmp_path), servers={"far": {"url": f"{cloud.url}/v1", "models": ["far-model"]}},
        daily_dollars=1000, monthly_dollars=1000, timeout=600,
    ) as running:  # fmt: skip
        running.http.timeout = 600  # what finds identities is imported at the first call
        for name, model in MODELS.items():
            for question in QUESTIONS:
                answer = (
                    f"Yes: {data.block_for(question).text}\nIt cost 241.57, and 137.31 are held."
                )
                for path, body in conversations(question, answer):
                    if name == "claude-cli" and (path != "/api/chat" or question not in QUESTIONS[:2]):  # fmt: skip
                        continue  # a process for each
                    for stream in (False, True) if question == QUESTIONS[1] else (False,):
                        asked = running.http.post(path, json=body | {"model": model, "stream": stream})  # fmt: skip
                        assert asked.status_code == 200, asked.text
                        assert asked.headers["x-stock-llm-provider"] == name
                        if sharing == "nothing":
                            assert "did not go to" in asked.headers.get("x-stock-llm-note", ""), (path, body)  # fmt: skip
            quoted = (
                f"Look:\n{data.block_for(QUESTIONS[1]).text}\n{data.block_for(QUESTIONS[2]).text}"
            )
            for path, body in (
                ("/analyze", {"symbol": "KESTRO"}),
                ("/translate", {"text": quoted, "to": "th"}),
                ("/generate-code", {"description": quoted}),
                ("/v1/embeddings", {"input": quoted}),
                ("/api/embed", {"input": quoted}),
            ):
                running.http.post(path, json=body | {"model": model})  # whatever is answered
    sent = json.dumps(cloud.asked, ensure_ascii=False) + (tmp_path / "asked.txt").read_text()
    assert "KESTRO" in sent and "RSI14" in sent  # a stock's indicators are no part of the ledger
    assert not local.generations()
    leaked = {canary for canary in AMOUNTS if canary in sent}
    told = {figure for figure in returns if figure in sent}
    if sharing == "nothing":
        assert (leaked, told, "DORNIA" in sent) == (set(), set(), False)
        assert WITHHELD in sent
    elif sharing == "percentages":
        assert leaked == set() and len(told) > len(returns) / 2
    else:
        assert {"137.31", "241.57", "13.83", "60.43", "2024-03-06"} <= leaked
    assert "DE77-CANARY" not in sent and "canarymemo" not in sent


def test_a_local_model_gets_everything(ledger_home):
    with ScriptedOllama() as local, gateway(ledger_home, local.host) as running:
        told = running.http.post("/api/chat", json={"model": "auto", "stream": False, "messages": [{"role": "user", "content": "Analyze KESTRO."}]})  # fmt: skip
        assert "Position: 137.31 at 241.57" in local.generations()[-1]["messages"][-1]["content"]
        assert "did not go to" not in told.headers.get("x-stock-llm-note", "")


def test_identities_are_redacted_before_they_leave_the_machine(ledger_home, monkeypatch):
    monkeypatch.setenv(claude_api.KEY, "sk-test")
    text = "Mail jane@example.org about DE77-CANARY and call 081-234-5678."
    body = {"model": "claude-sonnet-5-5", "stream": False, "messages": [{"role": "system", "content": text}, {"role": "user", "content": text}]}  # fmt: skip
    for redacts in (True, False):
        with ScriptedCloud() as cloud, ScriptedOllama() as local, gateway(
            ledger_home, local.host, claude_api=True, claude_api_url=cloud.url, cloud_redaction=redacts, timeout=600
        ) as running:  # fmt: skip
            running.http.timeout = 600
            running.http.post("/api/chat", json=body | {"model": "stock-llm:latest"})
            assert running.http.post("/api/chat", json=body).status_code == 200
        sent = json.dumps(cloud.asked)
        assert ("jane@example.org" in sent, "081-234-5678" in sent) == (not redacts, not redacts)
        assert sent.count("[EMAIL]") == 2 * redacts
        assert "jane@example.org" in json.dumps(local.asked)


BLOCKS = ("Position: 137.31 at 241.57 (+4.6%)", "Bought: 2024-03-06 at 60.43", "Held: 36 days", "Return: +14.2%", "- BRK.B: 35.0%, 239.50 to 250.00 (+5.1%)", "Best: KESTRO +5.1%", "Largest two: 80.0%", "Portfolio: 2025-12-31")  # fmt: skip


@pytest.mark.parametrize("line", BLOCKS)
@pytest.mark.parametrize("around", ["{}", "> {}", "    {}", "Look:\n{}\r\nand so on", "{} "])
def test_lines_of_the_ledger_are_found_wherever_they_stand(line, around):
    text = around.format(line)
    assert has_ledger(text) and not has_ledger(share(text, "nothing"))
    assert not any(figure in share(text, "percentages") for figure in ("137.31", "60.43", "239.50", "2024-03-06", "36 days"))  # fmt: skip
    assert share(text, "everything") == text


@pytest.mark.parametrize("text", ["Return: a list of names", "Best: buy low, sell high", "Position: fixed", "- item: 35.0%, of 100", "Held: yes"])  # fmt: skip
def test_other_lines_stay(text):
    assert share(text, "nothing") == text


def test_what_tools_said_about_the_ledger_stays_here():
    call = {"id": "1", "function": {"name": "positions", "arguments": {"symbol": "KESTRO"}}}
    turns = (
        ChatMessage("user", "What about my portfolio?"),
        ChatMessage("assistant", "", {"tool_calls": [call], "thinking": "137.31"}),
        ChatMessage("tool", '{"quantity": 137.31}', {"tool_call_id": "1"}),
        ChatMessage("user", "Which is the largest?"),
        ChatMessage("assistant", "KESTRO, with 137.31."),
        ChatMessage("user", "Thanks."),
    )
    filtered = CloudFilter("nothing", lambda text: "portfolio" in text).apply(ChatRequest(turns, "m"))  # fmt: skip
    assert filtered.withheld
    assert "137.31" not in repr(filtered.request.messages)
    assert [turn.content for turn in filtered.request.messages] == ["What about my portfolio?", WITHHELD, WITHHELD, "Which is the largest?", WITHHELD, "Thanks."]  # fmt: skip
    assert filtered.request.messages[1].extra["tool_calls"][0]["function"]["name"] == "positions"


def test_where_a_local_model_may_call_tools_every_earlier_answer_stays_here(tmp_path):
    settings = load_settings(home=tmp_path, gateway={"tools": {"ollama": ["qwen3:*"]}})
    with ScriptedOllama() as local:
        context = gateway_context(settings.model_copy(update={"ollama_host": local.host}))
        registry = ProviderRegistry(settings.gateway, local.host, tmp_path, 1)
        assert _ledger_questions(registry, settings.gateway, context)("What did I earn in 2025?")
        without = settings.gateway.model_copy(update={"tools": {}})
        context.numbers._has_files = False
        assert not _ledger_questions(registry, without, context)("What did I earn in 2025?")


CLOUD, LOCAL = MODELS["claude-api"], "stock-llm:latest"
TOLD = "KESTRO: 137.31 held at 241.57 each.\nThat is a loss of 41.2 %, and 5,021.77 in money."
REPEATED = "As I said, 137.31 of them, for 241.57 each."


def ask(running, path, messages, model, stream=False):
    """Asks with any API; the answer has been read whole."""
    field = "input" if path == "/v1/responses" else "messages"
    body = {"model": model, field: messages, "stream": stream, "max_tokens": 500}
    if path == "/v1/responses":
        del body["max_tokens"]
    answered = running.http.post(path, json=body)
    assert answered.status_code == 200, answered.text


def turns(*contents):
    """Messages of user and assistant in turns, the last one the user's."""
    roles = ("user", "assistant")
    return [{"role": roles[(len(contents) - 1 - at) % 2], "content": text} for at, text in enumerate(contents)]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses"])  # fmt: skip
def test_an_answer_stays_here_when_its_question_is_cut_from_the_history(
    ledger_home, tmp_path, monkeypatch, path, stream
):
    """Also what repeats it, after a restart, after the trades are gone, and quoted by a summary."""
    monkeypatch.setenv(claude_api.KEY, "sk-test")
    home = tmp_path / "home"
    shutil.copytree(ledger_home, home)
    with ScriptedCloud() as cloud, ScriptedOllama() as local:
        cloud_on = {"claude_api": True, "claude_api_url": cloud.url, "daily_dollars": 1000, "monthly_dollars": 1000, "timeout": 600}  # fmt: skip
        with gateway(home, local.host) as running:  # no cloud yet
            local.says = TOLD
            ask(running, path, turns("Analyze KESTRO."), LOCAL, stream)
            local.says = REPEATED
            ask(running, path, turns(TOLD, "Say that again."), LOCAL, stream)
            local.says = "The sky is blue, and 12 birds are in it."
            ask(running, path, turns("What is the weather?"), LOCAL, stream)
        (home / "data" / "sample" / "trades.csv").unlink()
        cloud.asked.clear()
        with gateway(home, local.host, **cloud_on) as running:
            running.http.timeout = 600
            for told in (TOLD, REPEATED, f"  {TOLD.upper()} \n", TOLD.split("\n")[1]):
                ask(running, path, turns(told, "And now?"), CLOUD, stream)
                ask(running, path, turns("Hello.", told, "And now?"), CLOUD, stream)
                ask(running, path, turns(f"Summary of before:\n{told}\nGo on."), CLOUD, stream)
            ask(running, path, turns("The sky is blue, and 12 birds are in it.", "Why?"), CLOUD)
    sent = json.dumps(cloud.asked, ensure_ascii=False).lower()
    assert not {canary for canary in ("137.31", "241.57", "5,021.77", "41.2 %") if canary in sent}
    assert sent.count(WITHHELD.lower()) == 8 and "12 birds" in sent


def test_an_answer_that_was_broken_off_is_recognised_too(tmp_path):
    answers = LedgerAnswers(f"sqlite:///{tmp_path}/costs.db", b"key", lambda text: "mine" in text)
    request = ChatRequest((ChatMessage("user", "How much is mine?"),), "m")

    async def remember():
        answers.add(request, "You hold 137.31 of KESTRO, at 24")
        assert answers.known(["You hold 137.31 of KESTRO, at 24"])  # before it is written
        await answers.close()

    asyncio.run(remember())
    again = LedgerAnswers(f"sqlite:///{tmp_path}/costs.db", b"key", lambda _: False)
    assert again.known(["Well:\nyou hold **137.31** of KESTRO, at 24\n"])
    other = LedgerAnswers(f"sqlite:///{tmp_path}/costs.db", b"other", lambda _: False)
    assert not other.known(["You hold 137.31 of KESTRO, at 24"])


def test_lines_that_an_answer_copies_from_its_question_are_no_secret_by_that(tmp_path):
    answers = LedgerAnswers(f"sqlite:///{tmp_path}/costs.db", b"key", lambda _: True)
    request = ChatRequest((ChatMessage("user", "Analyze it.\n\nBands: 441.23 to 468.94, below"),), "m")  # fmt: skip

    async def remember():
        answers.add(request, "Bands: 441.23 to 468.94, below\nIt cost 445.27 in May 2025.")
        await answers.close()

    asyncio.run(remember())
    known = answers.known(["Bands: 441.23 to 468.94, below\nIt cost 445.27 in May 2025."])
    assert answers.without("Bands: 441.23 to 468.94, below", known) == "Bands: 441.23 to 468.94, below"  # fmt: skip
    assert answers.without("a\nit cost 445.27 in May 2025\nb", known) == "a\nb"


def test_short_lines_with_amounts_are_recognised_by_themselves(tmp_path):
    answers = LedgerAnswers(f"sqlite:///{tmp_path}/costs.db", b"key", lambda _: True)
    request = ChatRequest((ChatMessage("user", "What do I hold?"),), "m")

    async def remember():
        answers.add(request, "You hold:\n- KESTRO: 137.31\n- A: 12")
        answers.add(request, "It is 12.")
        await answers.close()

    asyncio.run(remember())
    texts = ["Before:\n* kestro: 137.31\nafter", "It is 12.", "- A: 12"]
    known = answers.known(texts)
    assert [answers.without(text, known) for text in texts] == ["Before:\nafter", "", "- A: 12"]


@pytest.mark.parametrize("role", ["system", "tool", "assistant"])
def test_a_block_of_the_ledger_in_any_message_makes_the_answer_one_from_it(tmp_path, role):
    answers = LedgerAnswers(f"sqlite:///{tmp_path}/costs.db", b"key", lambda _: False)

    async def known(content):
        turns = (ChatMessage(role, content), ChatMessage("user", "And?"))
        answers.add(ChatRequest(turns, "m"), f"It is {len(content)} and 137.31 altogether.")
        return answers.known([f"It is {len(content)} and 137.31 altogether."])

    assert asyncio.run(known("Symbol: KESTRO\nPosition: 137.31 at 241.57 (+4.6%)"))
    assert not asyncio.run(known("Symbol: KESTRO\nClose: 241.57"))


def test_what_cannot_be_written_waits_and_is_logged_once(tmp_path, monkeypatch, caplog):
    """Whatever goes wrong; the newest answers stay where there is no room for all."""
    monkeypatch.setattr(ledger_answers, "_WRITE_SECONDS", 0.001)
    monkeypatch.setattr(ledger_answers, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(ledger_answers, "_MAX_WAITING", 2)
    failing = True

    def tells_ledger(text):
        if failing:
            raise RuntimeError(f"planted, not {text}")
        return True

    answers = LedgerAnswers(f"sqlite:///{tmp_path}/costs.db", b"key", tells_ledger)
    told = ["It is 137.31.", "It is 241.57.", "It is 911.07."]

    async def remember():
        nonlocal failing
        for text in told:
            answers.add(ChatRequest((ChatMessage("user", "And?"),), "m"), text)
        await asyncio.sleep(0.2)
        failing = False
        await answers.close()

    asyncio.run(remember())
    assert len(caplog.records) == 1
    known = answers.known(told)
    assert [answers.is_among(text, known) for text in told] == [False, True, True]


def test_of_what_cannot_be_written_the_newest_that_fit_wait_on(tmp_path, monkeypatch):
    """Also where others come while it is tried."""
    monkeypatch.setattr(ledger_answers, "_MOST_CHARACTERS", 60)

    async def remember():
        def tells_ledger(text):
            if text == "0":
                answers.add(ChatRequest((ChatMessage("user", "4"),), "m"), "It is 555.55.")
            raise RuntimeError("planted")

        answers = LedgerAnswers(f"sqlite:///{tmp_path}/costs.db", b"key", tells_ledger)
        for at in range(4):
            answers.add(ChatRequest((ChatMessage("user", f"{at}"),), "m"), f"It is {at}37.31.")
        with pytest.raises(RuntimeError):
            answers.known(())
        answers._tells_ledger = lambda _: True
        await answers.close()
        told = [f"It is {at}37.31." for at in range(4)] + ["It is 555.55."]
        known = answers.known(told)
        return [answers.is_among(text, known) for text in told]

    assert asyncio.run(remember()) == [False, True, True, True, True]


def test_a_cloud_is_not_asked_where_what_was_answered_cannot_be_read(tmp_path):
    answers = LedgerAnswers(f"sqlite:///{tmp_path}/costs.db", b"key", lambda _: True)
    with sqlite3.connect(tmp_path / "costs.db") as database:
        database.execute("DROP TABLE ledger_answer")
    turns = (ChatMessage("assistant", "You hold 137.31 of KESTRO."), ChatMessage("user", "And?"))
    with pytest.raises(StoreError):
        CloudFilter("nothing", answers=answers).apply(ChatRequest(turns, "m"))
