"""The gateway's tool loop: scripted models that call, the official `anthropic` client, bounds, and what a cloud may see."""

import json
from decimal import Decimal

import anthropic  # now: it takes a second, and a gateway in a thread would wait for it
import openai  # noqa: F401 - as well
import pytest
from factories.running_gateway import gateway
from factories.sample_home import home_with_sample
from fakes.scripted_cloud import ScriptedCloud
from fakes.scripted_ollama import ScriptedOllama

from stock_llm.gateway.accounting.prices import load_prices
from stock_llm.gateway.accounting.request_context import RequestAccounting
from stock_llm.gateway.accounting.tables import Reservation
from stock_llm.gateway.chat import ChatMessage, ChatRequest
from stock_llm.gateway.providers import claude_api
from stock_llm.gateway.query import Query

CLAUDE = "claude-sonnet-5-5"


@pytest.fixture(scope="module")
def sample_home(tmp_path_factory):
    with home_with_sample(tmp_path_factory) as home:
        yield home


@pytest.fixture
def calling(sample_home, monkeypatch):
    """A gateway before a scripted Claude; call it with the answers of Claude and settings."""
    monkeypatch.setenv(claude_api.KEY, "sk-test")

    def start(cloud, **dials):
        settings = {"tools": {"claude-api": ["*"]}, "ledger_to_cloud": "everything", "daily_dollars": 1000, "monthly_dollars": 1000, "tool_seconds": 600, "timeout": 600} | dials  # fmt: skip
        return gateway(sample_home, "", claude_api=True, claude_api_url=cloud.url, embedded=False, **settings)  # fmt: skip

    return start


def use(name, id="t1", **arguments):
    return {"type": "tool_use", "id": id, "name": name, "input": arguments}


def says(text):
    return {"type": "text", "text": text}


def ask(running, path="/api/chat", stream=False, text="What do I hold?"):
    body = {"model": CLAUDE, "stream": stream, "max_tokens": 500, "messages": [{"role": "user", "content": text}]}  # fmt: skip
    return running.http.post(path, json=body, timeout=600)


@pytest.mark.parametrize("stream", [False, True])
def test_the_gateway_makes_the_calls_and_passes_on_what_comes_after_them(calling, stream):
    with ScriptedCloud(
        [says("Let me look. "), use("positions"), use("term", "t2", term="RSI14")], [says("You hold stocks.")]
    ) as cloud, calling(cloud) as running:  # fmt: skip
        answered = ask(running, stream=stream)
        assert answered.status_code == 200, answered.text
    first, second = (body for _, body in cloud.asked)
    assert {tool["name"] for tool in first["tools"]} == {"positions", "performance", "trades", "candles", "income", "findings", "term"}  # fmt: skip
    assert all(tool["input_schema"]["type"] == "object" for tool in first["tools"])
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in second["messages"][1]["content"]] == ["text", "tool_use", "tool_use"]  # fmt: skip
    results = {block["tool_use_id"]: json.loads(block["content"]) for block in second["messages"][2]["content"]}  # fmt: skip
    assert results["t1"]["positions"] and results["t2"]["term"] == "RSI"
    if stream:
        lines = [json.loads(line) for line in answered.text.splitlines()]
        text, told = "".join(line["message"]["content"] for line in lines), lines[-1]["stock_llm"]
        assert text == "Let me look. You hold stocks."
        assert not any("tool_calls" in line["message"] for line in lines)
        assert "tools called: positions, term" in told["notes"]
        assert told["cost_usd"] > 0
    else:
        assert answered.json()["message"]["content"] == "You hold stocks."
        assert "tools called: positions, term" in answered.headers["x-stock-llm-note"]
        assert answered.json()["prompt_eval_count"] == 24  # of both rounds


@pytest.mark.parametrize("stream", [False, True])
def test_a_tools_name_that_a_model_made_up_is_shown_short_and_clean(calling, stream):
    names = ["sell\x00\r\nset-cookie: a=b", "ขาย" * 5000, "x" * 70_000, "<script>"]
    calls = [use(name, f"t{number}") for number, name in enumerate(names)]
    with ScriptedCloud(calls, [says("There is no such tool.")]) as cloud, calling(cloud) as running:
        answered = ask(running, stream=stream)
        assert answered.status_code == 200, answered.text[:300]
    assert "set-cookie" not in answered.headers
    if stream:
        told = "; ".join(json.loads(answered.text.splitlines()[-1])["stock_llm"]["notes"])
    else:
        told = answered.headers["x-stock-llm-note"]
    note = told[told.index("tools called: ") :]
    assert note.startswith("tools called: sell???set-cookie??a?b, ???") and len(note) < 250
    assert "<" not in note


def test_the_official_client_gets_the_answer_after_the_calls(calling):
    with ScriptedCloud([use("candles", symbol="KESTRO", sessions=2)], [says("It closed.")]) as cloud, calling(cloud) as running:  # fmt: skip
        client = anthropic.Anthropic(api_key="none", base_url=running.url, max_retries=0)
        message = client.messages.create(model=CLAUDE, max_tokens=100, messages=[{"role": "user", "content": "How did it close?"}])  # fmt: skip
        assert [block.text for block in message.content] == ["It closed."]
        assert message.stop_reason == "end_turn"
        cloud.answers[:] = [[use("candles", symbol="KESTRO", sessions=2)], [says("It closed.")]]
        with client.messages.stream(model=CLAUDE, max_tokens=100, messages=[{"role": "user", "content": "How did it close?"}]) as stream:  # fmt: skip
            assert "".join(stream.text_stream) == "It closed."
    result = json.loads(cloud.asked[1][1]["messages"][-1]["content"][0]["content"])
    assert len(result["candles"]) == 2 and "RSI14" in result["indicators"]


def test_a_client_that_brings_its_own_tools_gets_the_calls(calling):
    with ScriptedCloud([use("weather", city="Paris")]) as cloud, calling(cloud) as running:
        client = anthropic.Anthropic(api_key="none", base_url=running.url, max_retries=0)
        tool = {"name": "weather", "description": "", "input_schema": {"type": "object", "properties": {}}}  # fmt: skip
        message = client.messages.create(model=CLAUDE, max_tokens=100, tools=[tool], messages=[{"role": "user", "content": "Paris?"}])  # fmt: skip
    assert (message.content[0].type, message.content[0].name, message.stop_reason) == ("tool_use", "weather", "tool_use")  # fmt: skip
    assert [each["name"] for each in cloud.asked[0][1]["tools"]] == ["weather"]
    assert len(cloud.asked) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_only_calls_is_stopped(calling, stream):
    with ScriptedCloud([use("positions")]) as cloud, calling(cloud, tool_rounds=2) as running:
        answered = ask(running, stream=stream)
        assert "the model called tools 2 times and gave no answer" in answered.text
        assert answered.status_code == 503 or stream
    assert len(cloud.asked) == 3
    assert [body.get("tool_choice") for _, body in cloud.asked] == [None, None, {"type": "none"}]


def test_a_round_of_too_many_calls_and_results_that_are_too_long_are_cut(calling):
    many = [use("candles", f"t{number}", symbol="KESTRO", sessions=100) for number in range(12)]
    with ScriptedCloud(many, [says("Done.")]) as cloud, calling(cloud, tool_bytes=15_000) as running:  # fmt: skip
        assert ask(running).json()["message"]["content"] == "Done."
    results = [block["content"] for block in cloud.asked[1][1]["messages"][-1]["content"]]
    assert len(results) == 12
    assert sum(map(len, results)) < 18_000
    assert any("too long together" in result for result in results)
    assert sum("not called" in result for result in results) <= 4


def test_time_is_bounded(calling):
    with ScriptedCloud([use("positions")], [says("Late.")]) as cloud, calling(cloud, tool_seconds=0.001) as running:  # fmt: skip
        answered = ask(running)
        assert "of tool calls" in answered.text and answered.status_code in (503, 504)


@pytest.mark.parametrize("sharing", ["nothing", "percentages"])
def test_a_cloud_that_may_not_see_the_ledger_gets_no_tool_that_tells_it(calling, sharing):
    calls = [use("positions"), use("trades", "t2", symbol="KESTRO"), use("candles", "t3", symbol="KESTRO")]  # fmt: skip
    with ScriptedCloud(calls, [says("Done.")]) as cloud, calling(cloud, ledger_to_cloud=sharing) as running:  # fmt: skip
        ask(running)
    offered = {tool["name"] for tool in cloud.asked[0][1]["tools"]}
    assert offered == {"candles", "term"} | ({"positions", "performance"} if sharing == "percentages" else set())  # fmt: skip
    results = [json.loads(block["content"]) for block in cloud.asked[1][1]["messages"][-1]["content"]]  # fmt: skip
    assert ("error" in results[0]) == (sharing == "nothing") and "not shared" in results[1]["error"]
    assert " at " not in results[2]["indicators"].get("Position", "")
    assert "quantity" not in json.dumps(results)


def test_a_guest_gets_nothing_of_the_ledger_from_tools(calling):
    with ScriptedCloud([use("positions")], [says("Done.")]) as cloud, calling(cloud, token="mine", users={"guest": "theirs"}) as running:  # fmt: skip
        running.http.headers["Authorization"] = "Bearer theirs"
        ask(running)
    assert {tool["name"] for tool in cloud.asked[0][1]["tools"]} == {"candles", "term"}
    assert "not shared" in cloud.asked[1][1]["messages"][-1]["content"][0]["content"]


def test_a_guest_gets_nothing_of_the_ledger_from_tools_of_the_service(calling):
    with ScriptedCloud([use("positions")], [says("Done.")]) as cloud, calling(cloud, token="mine", users={"guest": "theirs"}) as running:  # fmt: skip
        for token, tells in (("theirs", False), ("mine", True)):
            cloud.asked.clear()
            cloud.answers[:] = [[use("positions")], [says("Done.")]]
            running.http.headers["Authorization"] = f"Bearer {token}"
            body = {"model": CLAUDE, "text": "What do I hold?", "to": "th"}
            assert running.http.post("/translate", json=body, timeout=600).status_code == 200
            offered = {tool["name"] for tool in cloud.asked[0][1]["tools"]}
            assert ("positions" in offered) == tells
            result = cloud.asked[1][1]["messages"][-1]["content"][0]["content"]
            assert ("not shared" in result) != tells


def test_what_the_owner_was_told_is_not_repeated_to_a_guest(calling):
    body = {"model": CLAUDE, "stream": False, "temperature": 0, "messages": [{"role": "user", "content": "What do I hold?"}]}  # fmt: skip
    with ScriptedCloud([says("137 of KESTRO.")]) as cloud, calling(cloud, token="mine", users={"guest": "theirs"}) as running:  # fmt: skip
        told = []
        for token in ("mine", "mine", "theirs"):
            headers = {"Authorization": f"Bearer {token}"}
            told.append(running.http.post("/v1/chat/completions", json=body, headers=headers))
        hits = [each.headers.get("x-stock-llm-cache", "") for each in told]
    assert hits == ["", "hit", ""] and len(cloud.asked) == 2


def test_models_that_the_settings_do_not_name_are_offered_no_tool(sample_home):
    with ScriptedOllama() as ollama, gateway(sample_home, ollama.host, tools={"ollama": ["qwen3:*"]}) as running:  # fmt: skip
        running.http.post("/api/chat", json={"model": "mistral:7b", "stream": False, "messages": [{"role": "user", "content": "What do I hold?"}]})  # fmt: skip
    assert "tools" not in ollama.generations()[-1]


def test_the_budget_is_reserved_for_every_round(calling, tmp_path):
    store = f"sqlite:///{tmp_path}/costs.db"
    with ScriptedCloud([says("Hi.")]) as cloud, calling(cloud, daily_dollars="0.05", costs_url=store) as running:  # fmt: skip
        refused = ask(running)
        assert refused.status_code != 200 and "the call may cost" in refused.text
    assert cloud.asked == []
    with ScriptedCloud([says("Hi.")]) as cloud, calling(cloud, daily_dollars="0.05", costs_url=store, tools={}) as running:  # fmt: skip
        assert ask(running).status_code == 200


@pytest.mark.parametrize(("calls", "all_is_spent"), [(1, False), (5, True)])
def test_a_stream_that_is_broken_off_between_tool_calls_costs_what_was_reserved(calls, all_is_spent):  # fmt: skip
    class Costs:
        def record(self, call, _reservations):
            self.charged = call.charged

    costs, reserved = Costs(), Decimal("0.5")
    accounting = RequestAccounting(costs, load_prices(), {"claude-api": "usage"}, 100, most={"claude-api": lambda _: (calls, 0)})  # fmt: skip
    context = accounting.begin(ChatRequest((ChatMessage("user", "Hi."),), "auto"), Query())
    context.reserved = Reservation("r", "2026-01-01", "claude-api", CLAUDE, "chat", reserved, "")
    accounting.give_up(context, "cancelled", 10)
    assert (costs.charged == reserved) == all_is_spent and costs.charged > 0


def test_settings_that_name_no_provider_are_refused(sample_home):
    from stock_llm.errors import InputError

    with ScriptedOllama() as ollama, pytest.raises(InputError, match=r"names the provider 'nobody'.*switched on: ollama"):  # fmt: skip
        gateway(sample_home, ollama.host, tools={"nobody": ["*"]})
