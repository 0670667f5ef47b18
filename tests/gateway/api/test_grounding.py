"""Questions through every API get the numbers that `stock-llm ask` adds, and answers are judged against them."""

import json
import sqlite3

import pytest
from factories.running_gateway import gateway
from factories.sample_home import home_with_sample
from fakes.scripted_ollama import ScriptedOllama

from stock_llm.evaluation.numbers_in_text import find_numbers
from stock_llm.llm.prompts import user_text
from stock_llm.market.situation import read_situation
from stock_llm.pipeline.ask import own_data
from stock_llm.settings import load_settings
from stock_llm.skills import analyse

QUESTIONS = ["Analyze KESTRO.", "Review my portfolio.", "ทบทวนพอร์ตของฉัน", "How was my last trade?", "Explain MACD of lumbra."]  # fmt: skip


@pytest.fixture(scope="module")
def sample_home(tmp_path_factory):
    with home_with_sample(tmp_path_factory) as home:
        trades = home / "data" / "sample" / "trades.csv"
        lines = trades.read_text().splitlines(keepends=True)
        trades.write_text("".join(line for line in lines if ",ALDREN," not in line))
        yield home


@pytest.fixture(scope="module")
def data(sample_home):
    return own_data(load_settings(home=sample_home, ollama_host=""))


@pytest.fixture(scope="module")
def ollama():
    with ScriptedOllama() as running:
        yield running


@pytest.fixture(scope="module")
def asked(sample_home, data, ollama):
    assert data.block_for("Analyze KESTRO.")  # the history is there before the gateway starts
    with gateway(sample_home, ollama.host) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(ollama):
    ollama.says = ""
    ollama.asked.clear()


def chat(text, **more):
    return {"model": "auto", "stream": False, "messages": [{"role": "user", "content": text}]} | more  # fmt: skip


def routes(text):
    """Each API's path and body for a question."""
    return {
        "/api/chat": chat(text),
        "/api/generate": {"model": "auto", "stream": False, "prompt": text},
        "/v1/chat/completions": chat(text),
        "/v1/completions": {"model": "auto", "prompt": text},
        "/v1/responses": {"model": "auto", "input": text},
        "/v1/messages": chat(text, max_tokens=100),
    }


def prompt_of(body):
    return body["messages"][-1]["content"] if "messages" in body else body["prompt"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_gets_the_numbers_of_ask_on_every_api(asked, data, ollama, question):
    block = data.block_for(question)
    for path, body in routes(f" {question} ").items():
        answered = asked.http.post(path, json=body)
        assert answered.status_code == 200, answered.text
        assert prompt_of(ollama.generations()[-1]) == user_text(question, block.text), path
        added = answered.json()["stock_llm"]["grounding"]
        assert (added["kind"], added["symbol"], added["as_of"], added["numbers"]) == (
            block.kind, block.symbol, block.as_of, block.text,
        )  # fmt: skip
        assert added["as_of"] in answered.headers["x-stock-llm-grounding"]


@pytest.mark.parametrize(
    "question", ["What about AAPL?", "Is NVDA a buy?", "หุ้น PTT เป็นอย่างไร", "hello"]
)
def test_a_question_about_a_strangers_symbol_gets_no_number(asked, ollama, question):
    for path, body in routes(question).items():
        answered = asked.http.post(path, json=body)
        assert prompt_of(ollama.generations()[-1]) == question
        assert "x-stock-llm-grounding" not in answered.headers
        assert not find_numbers(prompt_of(ollama.generations()[-1]))


SYMBOLS = ("KESTRO", "LUMBRA", "DORNIA", "ELMORA", "HUSKEN", "GALDOR")
SIXTY = [
    *(wording.format(symbol) for symbol in SYMBOLS for wording in ("Analyze {}.", "How does {} look?", "Review my trade in {}.")),
    "Review my portfolio.", "Is my portfolio too concentrated?", "How was my last trade?", "How are my holdings doing?",
    "Explain RSI14 of KESTRO.", "What does MACD say about LUMBRA?", "Should I sell $ELMORA?", "What is the trend of galdor?",
    "What does RSI14 mean?", "What about AAPL?", "Is TSLA a buy?", "Which stock should I buy?",
    *(wording.format(symbol) for symbol in SYMBOLS for wording in ("วิเคราะห์หุ้น {}", "หุ้น {} เป็นอย่างไร", "การซื้อขาย {} ของฉันเป็นอย่างไร")),
    "ทบทวนพอร์ตของฉัน", "พอร์ตของฉันกระจุกตัวเกินไปไหม", "ไม้ล่าสุดเป็นอย่างไร", "พอร์ตของฉันเป็นอย่างไร",
    "อธิบาย RSI14 ของ KESTRO", "MACD ของ LUMBRA บอกอะไร", "ควรขาย ELMORA ไหม", "ควรซื้อ ถือ หรือขาย GALDOR",
    "RSI14 หมายถึงอะไร", "หุ้น PTT เป็นอย่างไร", "AAPL น่าซื้อไหม", "ควรซื้อหุ้นตัวไหน",
]  # fmt: skip


def test_sixty_questions_in_two_languages_get_the_same_numbers_as_ask(asked, data, ollama):
    assert len(set(SIXTY)) == 60
    added = 0
    for question in SIXTY:
        block = data.block_for(question)  # what `stock-llm ask` puts below the question
        added += block is not None
        wanted = user_text(question, block.text if block else "")
        for path in ("/api/chat", "/v1/chat/completions", "/v1/responses"):
            assert asked.http.post(path, json=routes(question)[path]).status_code == 200
            assert prompt_of(ollama.generations()[-1]) == wanted, (path, question)
        if block is None:
            assert not find_numbers(wanted)
    assert added == 52


def test_old_candles_are_said_to_be_old(asked):
    told = asked.http.post("/api/chat", json=chat("Analyze KESTRO.")).json()["stock_llm"]
    assert told["grounding"]["old"]
    assert "the candles of KESTRO are old: they end on 2025-12-31" in " ".join(told["notes"])


def test_a_request_may_refuse_numbers_in_a_header_or_a_field(asked, ollama):
    question = "Analyze KESTRO."
    for path, body in routes(question).items():
        asked.http.post(path, json=body, headers={"x-stock-llm-grounding": "off"})
        assert prompt_of(ollama.generations()[-1]) == question
        asked.http.post(path, json=body | {"grounding": "off"})
        assert prompt_of(ollama.generations()[-1]) == question
    refused = asked.http.post("/api/chat", json=chat(question), headers={"x-stock-llm-grounding": "maybe"})  # fmt: skip
    assert refused.status_code == 400


def test_a_gateway_may_add_nothing_unless_a_request_asks_for_it(sample_home, ollama):
    with gateway(sample_home, ollama.host, grounding="off") as quiet:
        quiet.http.post("/api/chat", json=chat("Analyze KESTRO."))
        assert prompt_of(ollama.generations()[-1]) == "Analyze KESTRO."
        quiet.http.post("/api/chat", json=chat("Analyze KESTRO.", grounding="auto"))
        assert "\n\nSymbol: KESTRO\n" in prompt_of(ollama.generations()[-1])


def test_what_cannot_be_computed_is_told_and_the_question_stays(asked, ollama):
    answered = asked.http.post("/api/chat", json=chat("Review my trade in ALDREN."))
    note = answered.headers["x-stock-llm-note"]
    assert "no numbers were added: there is no closed trade in ALDREN" in note
    assert prompt_of(ollama.generations()[-1]) == "Review my trade in ALDREN."


@pytest.mark.parametrize("question", ["Translate KESTRO's news into Thai.", "Write a Python function for KESTRO.", 'What is the sentiment of this text?\n\n"KESTRO rises"'])  # fmt: skip
def test_other_work_gets_no_numbers(asked, ollama, question):
    asked.http.post("/api/chat", json=chat(question))
    assert prompt_of(ollama.generations()[-1]) == question


def test_only_the_last_question_gets_numbers(asked, ollama):
    turns = [("user", "Analyze KESTRO."), ("assistant", "Trend: UP"), ("user", "Thanks!")]
    messages = [{"role": role, "content": text} for role, text in turns]
    asked.http.post("/api/chat", json=chat("", messages=messages))
    assert [turn["content"] for turn in ollama.generations()[-1]["messages"]] == [text for _, text in turns]  # fmt: skip


@pytest.fixture
def false_answer(data):
    """A whole answer about KESTRO of which two statements are false, and the same one true."""
    situation = read_situation(data.block_for("Analyze KESTRO.").text)
    right = analyse.answer(situation, "HOLD", 50, "en").text()
    trend = next(word for word in ("UP", "DOWN") if word != situation.trend)
    wrong = right.replace(f"Trend: {situation.trend}", f"Trend: {trend}")
    macd = "above" if "MACD is above" in right else "below"
    return wrong.replace(f"MACD is {macd}", f"MACD is {'below' if macd == 'above' else 'above'}"), right  # fmt: skip


def last_metadata(text):
    """The metadata in the last event of a stream of any API."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if "stock_llm" in line]
    value = json.loads(lines[-1])
    return value.get("stock_llm") or value["response"]["stock_llm"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_false_sentence_is_marked_with_the_true_one_beside_it(
    asked, ollama, false_answer, stream
):
    ollama.says, right = false_answer
    for path, body in routes("Analyze KESTRO.").items():
        text = asked.http.post(path, json=body | {"stream": stream}).text
        told = last_metadata(text) if stream else json.loads(text)["stock_llm"]
        assert told["check"]["false"] == 2 and told["check"]["replaced"] == 0, path
        for marked in told["check"]["false_sentences"]:
            assert marked["sentence"] in ollama.says and marked["sentence"] not in right
            assert marked["true_sentence"] in right
        if path == "/api/chat" and not stream:
            assert json.loads(text)["message"]["content"] == ollama.says


def text_of_stream(path, text):
    """The text of a stream."""
    values = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.removeprefix("data: ").startswith("{")]  # fmt: skip
    if path == "/api/chat":
        return "".join(value["message"]["content"] for value in values)
    if path == "/api/generate":
        return "".join(value["response"] for value in values)
    if path == "/v1/messages":
        return "".join(value["delta"].get("text", "") for value in values if value["type"] == "content_block_delta")  # fmt: skip
    if path == "/v1/responses":
        return "".join(value["delta"] for value in values if value["type"] == "response.output_text.delta")  # fmt: skip
    choices = [choice for value in values for choice in value["choices"]]
    return "".join(choice.get("text", "") or choice.get("delta", {}).get("content", "") for choice in choices)  # fmt: skip


def test_false_sentences_are_replaced_where_the_settings_say_so(sample_home, ollama, false_answer):
    ollama.says, right = false_answer
    with gateway(sample_home, ollama.host, repair=True) as repairing:
        for path, body in routes("Analyze KESTRO.").items():
            streamed = repairing.http.post(path, json=body | {"stream": True}).text
            assert text_of_stream(path, streamed) == right, path
            assert last_metadata(streamed)["check"]["replaced"] == 2
            whole = repairing.http.post(path, json=body)
            assert whole.json()["stock_llm"]["check"]["replaced"] == 2
            assert right in json.loads(whole.text.replace("\\\\n", "\\n")).__repr__().replace("\\n", "\n")  # fmt: skip
            assert ollama.says.splitlines()[0] not in whole.text.split("stock_llm")[0]
        twice = [repairing.http.post("/api/chat", json=chat("Analyze KESTRO.", options={"temperature": 0})).json() for _ in range(2)]  # fmt: skip
        assert [each["message"]["content"] for each in twice] == [right, right]
        assert twice[1]["stock_llm"]["cached"] and twice[1]["stock_llm"]["check"]["replaced"] == 2


def test_the_stock_service_takes_a_symbol_of_the_candles(asked, data, ollama, false_answer):
    ollama.says = false_answer[0]
    told = asked.http.post("/analyze", json={"symbol": "kestro"}).json()
    assert told["indicators"] == read_situation(data.block_for("Analyze KESTRO.").text).lines()
    instruction = analyse.INSTRUCTIONS["en"][0].format(symbol="KESTRO")
    assert user_text(instruction, data.block_for("KESTRO").text) in prompt_of(ollama.generations()[-1])  # fmt: skip
    assert told["stock_llm"]["grounding"]["as_of"] == "2025-12-31"
    assert told["stock_llm"]["check"]["false"] == 2
    unknown = asked.http.post("/analyze", json={"symbol": "AAPL"})
    assert unknown.status_code == 400 and "no candles of AAPL here" in unknown.text


def test_false_sentences_are_counted(sample_home, ollama, false_answer):
    ollama.says = false_answer[0]
    with gateway(sample_home, ollama.host) as counting:
        told = counting.http.post("/api/chat", json=chat("Analyze KESTRO."), timeout=60)
        id = told.headers["x-stock-llm-response-id"].rsplit(".", 1)[0]
        counting.http.post("/api/chat", json=chat("hello"))
        metrics = counting.http.get("/metrics").text
    assert 'stock_llm_sentences_total{gen_ai_provider_name="ollama",gen_ai_response_model="stock-llm:latest",verdict="false"} 2.0' in metrics  # fmt: skip
    assert 'stock_llm_grounded_total{kind="situation"} 1.0' in metrics
    assert 'result="false"} 1.0' in metrics
    with sqlite3.connect(sample_home / "data" / "costs.db") as store:
        row = store.execute("select grounding, false_sentences, repaired_sentences, parses from call where id = ?", (id,)).fetchone()  # fmt: skip
        plain = store.execute("select grounding, false_sentences from call where at = (select max(at) from call)").fetchone()  # fmt: skip
    assert row == ("situation", 2, 0, 1)
    assert plain == ("", None)


def test_feedback_is_about_the_question_with_its_numbers(sample_home, data, ollama):
    ollama.says = "Trend: UP"
    with gateway(sample_home, ollama.host) as learning:
        id = learning.http.post("/api/chat", json=chat("Review my portfolio.")).headers["x-stock-llm-response-id"]  # fmt: skip
        kept = learning.http.post("/feedback", json={"response_id": id, "thumb": "down"})
        assert kept.status_code == 200, kept.text
    with sqlite3.connect(sample_home / "data" / "costs.db") as store:
        row = store.execute("select instruction, input, skill, as_of from answer order by at desc limit 1").fetchone()  # fmt: skip
    block = data.block_for("Review my portfolio.")
    assert row == ("Review my portfolio.", block.text, "portfolio", block.as_of)


def test_the_ledger_is_its_owners(sample_home, ollama):
    with gateway(sample_home, ollama.host, token="mine", users={"guest": "theirs"}) as shared:
        owner, guest = ({"Authorization": f"Bearer {token}"} for token in ("mine", "theirs"))
        shared.http.post("/api/chat", json=chat("Review my portfolio."), headers=owner)
        assert "\n\nPortfolio: " in prompt_of(ollama.generations()[-1])
        refused = shared.http.post("/api/chat", json=chat("Review my portfolio."), headers=guest)
        assert prompt_of(ollama.generations()[-1]) == "Review my portfolio."
        assert "are its owner's" in refused.headers["x-stock-llm-note"]
        shared.http.post("/api/chat", json=chat("Analyze KESTRO."), headers=guest)
        prompt = prompt_of(ollama.generations()[-1])
        assert "\n\nSymbol: KESTRO\n" in prompt and "Position: " not in prompt
