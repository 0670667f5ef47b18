"""The stock service: numbers computed and checked, answers read, feedback bound to answers that
were really given."""

import json
import random
from datetime import date, timedelta

import pytest
from factories.rows import situation
from factories.running_gateway import gateway

from stock_llm.feedback.store import FeedbackStore
from stock_llm.gateway.errors import STORE_FAILED
from stock_llm.llm import prompts
from stock_llm.skills import analyse, follow

SEEN = situation(random.Random(3))
INDICATORS = {
    "date": SEEN.as_of,
    "close": SEEN.close,
    "sma20": SEEN.sma20,
    "sma50": SEEN.sma50,
    "rsi14": SEEN.rsi14,
    "macd": SEEN.macd,
    "macd_signal": SEEN.macd_signal,
    "atr14": SEEN.atr14,
    "band_low": SEEN.band_low,
    "band_high": SEEN.band_high,
    "volume": SEEN.volume,
    "support": SEEN.support,
    "resistance": SEEN.resistance,
}
TAUGHT = analyse.answer(SEEN, "HOLD", 55, "en")
ASK = {"symbol": SEEN.symbol, "indicators": INDICATORS}


def test_the_published_model_is_asked_in_the_words_of_its_training(running, backend):
    backend.says = TAUGHT.text()
    answer = running.http.post("/analyze", json=ASK).json()
    asked = backend.generations()[-1]
    assert asked["model"] == "stock-llm:latest"
    expected = prompts.user_text(f"Analyze {SEEN.symbol}.", SEEN.block())
    assert asked["messages"] == [{"role": "user", "content": expected}]
    assert "format" not in asked
    assert (answer["recommendation"], answer["confidence"], answer["trend"]) == (
        "HOLD",
        55,
        SEEN.trend,
    )
    assert answer["insights"] == list(TAUGHT.insights)
    assert answer["levels"] == {"support": TAUGHT.support, "resistance": TAUGHT.resistance}
    assert answer["checks"] == {"grounded": 1.0, "invented": [], "truth": 1.0, "problem": ""}
    assert answer["indicators"] == SEEN.lines()
    assert answer["stock_llm"]["provider"] == "ollama"


def test_another_model_is_told_the_format_as_a_schema(running, backend):
    backend.says = json.dumps(
        {
            "trend": "UP",
            "recommendation": "BUY",
            "confidence": 61.0,
            "insights": [f"Close {SEEN.close:.2f} is above SMA50."],
            "risks": ["It may fall to 1234.56."],
            "support": f"${SEEN.support:.2f}",
            "resistance": "7,777.00",
        }
    )
    answer = running.http.post(
        "/analyze", json=ASK | {"model": "mistral:7b", "language": "th"}
    ).json()
    asked = backend.generations()[-1]
    assert asked["format"]["properties"]["recommendation"] == {"enum": ["BUY", "HOLD", "SELL"]}
    assert "in Thai" in asked["messages"][0]["content"]
    assert asked["messages"][1]["content"].startswith("วิเคราะห์หุ้น")
    assert (answer["recommendation"], answer["confidence"]) == ("BUY", 61)
    assert answer["levels"] == {"support": f"{SEEN.support:.2f}", "resistance": "7777.00"}
    assert answer["checks"]["invented"] == ["1234.56", "7777.00"]
    assert 0 < answer["checks"]["grounded"] < 1


def test_a_false_sentence_is_found(running, backend):
    word = "below" if SEEN.close > SEEN.sma50 else "above"
    lie = f"Close {SEEN.close:.2f} is {word} SMA50 {SEEN.sma50:.2f}."
    backend.says = TAUGHT.text().replace(TAUGHT.insights[0], lie)
    assert running.http.post("/analyze", json=ASK).json()["checks"]["truth"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("says", ["I would buy at 12.34!", '{"trend": "UP"}', '{"trend": ', "[]"])
def test_an_answer_that_cannot_be_read_is_told_and_not_guessed_at(running, backend, says):
    backend.says = says
    response = running.http.post("/analyze", json=ASK)
    assert response.status_code == 200
    assert response.json()["recommendation"] is None
    assert response.json()["checks"]["problem"]
    assert response.json()["text"] == says


def candles(count, **changes):
    chance = random.Random(1)
    price, rows = 100.0, []
    for number in range(count):
        price *= 1 + chance.gauss(0, 0.01)
        day = (date(2025, 1, 1) + timedelta(days=number)).isoformat()
        rows.append(
            {
                "date": day,
                "open": price,
                "high": price * 1.01,
                "low": price * 0.99,
                "close": price,
                "volume": 1000,
            }
        )
    rows[-1] |= changes
    return rows


def test_indicators_are_computed_from_candles(running, backend):
    response = running.http.post(
        "/analyze",
        json={"symbol": "orca", "candles": candles(150), "position": {"quantity": 3, "cost": 90}},
    )
    assert response.status_code == 200
    shown = response.json()["indicators"]
    assert (shown["Symbol"], shown["Date"]) == ("ORCA", "2025-05-30")
    assert shown["Position"].startswith("3 at 90.00 (")
    assert backend.generations()[-1]["messages"][0]["content"].endswith(
        "\n".join(f"{name}: {text}" for name, text in shown.items())
    )


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"symbol": "ORCA", "candles": candles(150), "indicators": INDICATORS}, "one of the two"),
        ({"symbol": "ORCA", "candles": candles(100)}, "at least 101"),
        ({"symbol": "ORCA", "candles": candles(150, date="2025-01-01")}, "ascending"),
        ({"symbol": "ORCA", "candles": candles(150, high=1)}, "highest"),
        ({"symbol": "../x", "indicators": INDICATORS}, "symbol"),
        (ASK | {"language": "fr"}, "language"),
        (ASK | {"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_analysed_is_refused_with_a_sentence(running, backend, asked, text):
    refused = running.http.post("/analyze", json=asked)
    assert (refused.status_code, text in refused.json()["error"]) == (422, True), refused.text
    assert backend.generations() == []


def test_code_is_taken_out_of_its_fence_and_parsed(running, backend):
    backend.says = "Here:\n```python\ndef f():\n    return 1\n```\nDone."
    answer = running.http.post("/generate-code", json={"description": "Return one."}).json()
    assert (answer["code"], answer["valid"]) == ("def f():\n    return 1", True)
    assert backend.generations()[-1]["model"] == "codellama:7b"
    assert backend.generations()[-1]["messages"][0]["content"] == "Write Python code: Return one."
    backend.says = "```\ndef f(:\n```"
    assert (
        running.http.post("/generate-code", json={"description": "Return one."}).json()["valid"]
        is False
    )
    assert (
        running.http.post("/generate-code", json={"description": "x", "language": "rust"}).json()[
            "valid"
        ]
        is None
    )


def test_a_text_is_translated(running, backend):
    backend.says = " ราคาปิดสูงกว่า SMA50 "
    answer = running.http.post(
        "/translate", json={"text": "The close is above SMA50.", "to": "th"}
    ).json()
    assert answer["text"] == "ราคาปิดสูงกว่า SMA50"
    assert backend.generations()[-1]["messages"][0]["content"].startswith("Translate into Thai.")


def test_feedback_is_about_an_answer_that_was_given_and_can_be_trained_on(running, backend):
    backend.says = TAUGHT.text()
    answer = running.http.post("/analyze", json=ASK).json()
    id = answer["stock_llm"]["response_id"]
    taken = running.http.post(
        "/feedback", json={"response_id": id, "thumb": "up", "comment": "good"}
    )
    assert (taken.status_code, taken.json()["new"], taken.json()["unused"]) == (200, True, 1)
    again = running.http.post(
        "/feedback", json={"response_id": id, "thumb": "up", "comment": "good"}
    ).json()
    assert (again["id"], again["new"]) == (taken.json()["id"], False)
    (item,) = FeedbackStore(running.settings.url(running.settings.feedback_url)).all(sample=True)
    assert (item.source, item.skill, item.symbol, item.as_of, item.response) == (
        "gateway",
        "analyse",
        SEEN.symbol,
        SEEN.as_of,
        TAUGHT.text(),
    )
    assert item.response_id == id.partition(".")[0]
    row = follow.row(item, follow.wanted(item))
    assert (row.instruction, row.input, row.output) == (
        f"Analyze {SEEN.symbol}.",
        SEEN.block(),
        TAUGHT.text(),
    )
    assert row.label == "HOLD"


def test_an_answer_in_json_is_kept_as_it_is_taught(running, backend):
    fields = {
        "trend": "UP",
        "recommendation": "BUY",
        "confidence": 61,
        "insights": ["A."],
        "risks": ["B."],
        "support": "1.00",
    }
    backend.says = json.dumps(fields | {"resistance": "2.00"})
    answer = running.http.post("/analyze", json=ASK | {"model": "mistral:7b"}).json()
    running.http.post(
        "/feedback", json={"response_id": answer["stock_llm"]["response_id"], "rating": 5}
    )
    (item,) = FeedbackStore(running.settings.url(running.settings.feedback_url)).all(sample=True)
    assert item.response.splitlines()[:3] == ["Trend: UP", "Recommendation: BUY", "Confidence: 61%"]


def test_feedback_refers_to_chats_of_every_api(running):
    turns = [{"role": "user", "content": "What is RSI?"}]
    users = []
    for path, more in {
        "/api/chat": {"messages": turns, "stream": False},
        "/api/chat?": {"messages": turns},
        "/v1/chat/completions": {"messages": turns},
        "/v1/responses": {"input": turns},
        "/v1/messages": {"messages": turns, "max_tokens": 50},
    }.items():
        answer = running.http.post(path, json={"model": "mistral:7b"} | more)
        body = {
            "response_id": answer.headers["x-stock-llm-response-id"],
            "correction": "RSI is a momentum indicator.",
        }
        users.append(f"user{len(users)}")  # one opinion of one answer a user
        taken = running.http.post("/feedback", json=body, headers={"X-User": users[-1]})
        assert taken.status_code == 200
    items = FeedbackStore(running.settings.url(running.settings.feedback_url)).all(sample=True)
    assert sorted(item.user for item in items) == users
    assert {(item.instruction, item.response) for item in items} == {("What is RSI?",) * 2}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_feedback_takes_the_id_that_clients_of_openai_see(running, path):
    body = {
        "model": "mistral:7b",
        "messages": [{"role": "user", "content": "What is RSI?"}],
        "prompt": "What is RSI?",
    }
    id = running.http.post(path, json=body).json()["id"]
    assert id.startswith(("chatcmpl-", "cmpl-"))
    assert (
        running.http.post("/feedback", json={"response_id": id, "thumb": "up"}).status_code == 200
    )
    refused = running.http.post("/feedback", json={"response_id": f"other-{id}", "thumb": "up"})
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/analyze", ASK),
        ("/generate-code", {"description": "x"}),
        ("/translate", {"text": "The close.", "to": "th"}),
    ],
)
def test_the_metadata_stands_in_headers_too(running, path, body):
    response = running.http.post(path, json=body)
    metadata = response.json()["stock_llm"]
    for name in ("response-id", "provider", "model", "rule", "policy"):
        assert response.headers[f"x-stock-llm-{name}"] == metadata[name.replace("-", "_")].replace(
            "→", "->"
        )
    assert response.headers["x-stock-llm-cost"] == "0"
    assert "provider=" in response.headers["x-stock-llm-time"]


@pytest.mark.parametrize("change", ["", "x", "none.at.all", "signature"])
def test_feedback_on_an_answer_that_was_not_given_is_refused(running, change):
    id = running.http.post(
        "/api/chat",
        json={
            "model": "mistral:7b",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": False,
        },
    ).headers["x-stock-llm-response-id"]
    forged = {
        "": id.partition(".")[0],
        "x": f"x{id}",
        "none.at.all": "none.at.all",
        "signature": id[:-5] + ("A" if id[-5] != "A" else "B") + id[-4:],
    }
    refused = running.http.post("/feedback", json={"response_id": forged[change], "thumb": "up"})
    assert (refused.status_code, "did not issue" in refused.json()["error"]) == (400, True)


def test_the_signing_key_lies_outside_the_project_and_survives_a_restart(backend, tmp_path):
    with gateway(tmp_path, backend.host) as running:
        key = running.settings.secrets / "signing-key"
        assert key.stat().st_mode & 0o777 == 0o600
        assert not key.resolve().is_relative_to(running.settings.home.resolve() / "data")
        id = running.http.post(
            "/api/chat",
            json={
                "model": "mistral:7b",
                "messages": [{"role": "user", "content": "hi"}],
                "stream": False,
            },
        ).headers["x-stock-llm-response-id"]
    with gateway(tmp_path, backend.host) as running:
        assert (
            running.http.post("/feedback", json={"response_id": id, "rating": 1}).status_code == 200
        )


def test_an_answer_that_was_not_kept_cannot_be_judged(backend, tmp_path):
    with gateway(tmp_path, backend.host, keep_answers_days=0) as running:
        id = running.http.post("/generate-code", json={"description": "x"}).json()["stock_llm"][
            "response_id"
        ]
        refused = running.http.post("/feedback", json={"response_id": id, "thumb": "down"})
    assert (refused.status_code, "not kept" in refused.json()["error"]) == (404, True)


def test_a_route_is_explained_and_nothing_is_executed(running, backend):
    decision = running.http.post(
        "/v1/route", json={"text": "Prove it.", "complexity": 9, "urgency": 10}
    ).json()
    assert decision["rule"] == "urgency > 9 and complexity > 8 → claude-api"
    assert decision["notes"][-1] == "claude-api is switched off: local instead"
    assert (decision["provider"], decision["policy"], decision["budget_left"]) == (
        "ollama",
        "service",
        {"today": 15.0, "month": 30.0},
    )
    assert decision["left_out"]["claude-cli"] == "is switched off"
    assert "type" in decision["estimated"] and "complexity" not in decision["estimated"]
    assert backend.asked == []


@pytest.mark.parametrize("model", ["auto", "auto:latest"])
def test_a_route_reads_headers_and_both_names_of_the_router(running, model):
    scores = {
        "x-stock-llm-complexity": "9",
        "x-stock-llm-urgency": "10",
        "x-stock-llm-type": "code",
    }
    decision = running.http.post(
        "/v1/route", json={"text": "Prove it.", "model": model}, headers=scores
    ).json()
    assert decision["rule"] == "urgency > 9 and complexity > 8 → claude-api"
    assert (decision["query"]["type"], decision["query"]["model"], decision["estimated"]) == (
        "code",
        "auto",
        ["language"],
    )
    private = running.http.post(
        "/v1/route", json={"text": "Prove it."}, headers=scores | {"x-stock-llm-privacy": "local"}
    ).json()
    assert (private["rule"], private["query"]["privacy"]) == ("privacy = local → local", "local")
    assert (
        running.http.post("/v1/route", json={}, headers={"x-stock-llm-urgency": "11"}).status_code
        == 400
    )


COMMON, ANN = ({"Authorization": f"Bearer {token}"} for token in ("common", "of-ann"))
TOKENS = {"token": "common", "users": {"Ann": "of-ann"}}
CHAT = {
    "model": "mistral:7b",
    "messages": [{"role": "user", "content": "Analyze KESTRO."}],
    "stream": False,
}


def send_feedback(running, headers):
    """Asks and judges the answer; the status and the refusal, if there is one."""
    access = {name: text for name, text in headers.items() if name != "X-User"}
    id = running.http.post("/api/chat", json=CHAT, headers=access).headers[
        "x-stock-llm-response-id"
    ]
    body = {"response_id": id, "thumb": "up"}
    response = running.http.post("/feedback", json=body, headers=headers)
    return response.status_code, response.json().get("error", "")


def kept_users(running):
    url = running.settings.url(running.settings.feedback_url)
    return sorted(item.user for item in FeedbackStore(url).all(sample=True))


def test_the_common_token_names_nobody_unless_the_header_is_trusted(backend, tmp_path):
    senders = [COMMON, COMMON | {"X-User": "owner"}, COMMON | {"X-User": "สมชาย".encode()}, ANN]
    with gateway(tmp_path, backend.host, **TOKENS) as running:
        statuses = [send_feedback(running, headers)[0] for headers in senders]
        assert statuses == [200] * 4
        assert kept_users(running) == ["ann", "shared-token"]  # the newest opinion of each


def test_a_trusted_header_names_the_user(backend, tmp_path):
    senders = [COMMON, COMMON | {"X-User": "สมชาย".encode()}, ANN | {"X-User": "bob"}]
    with gateway(tmp_path, backend.host, trust_user_header=True, **TOKENS) as running:
        for headers in senders:
            assert send_feedback(running, headers)[0] == 200
        for name in (b"owner", "\u200b".encode(), "ＯＷＮＥＲ".encode()):
            status, text = send_feedback(running, COMMON | {"X-User": name})
            assert (status, "feedback.owner_names" in text) == (400, True)
        assert kept_users(running) == ["ann", "shared-token", "สมชาย"]


def test_without_a_token_the_caller_is_the_owner_and_may_name_others(running):
    assert send_feedback(running, {})[0] == 200
    assert send_feedback(running, {"X-User": "bob"})[0] == 200
    assert send_feedback(running, {"X-User": "owner"})[0] == 400
    assert kept_users(running) == ["bob", "owner"]


@pytest.mark.parametrize(
    ("name", "headers"), [("ann", ANN), ("shared-token", COMMON), ("me", COMMON | {"X-User": "Me"})]
)
def test_the_owners_names_are_the_owner(backend, tmp_path, name, headers):
    feedback = {"owner_names": [name]}
    with gateway(
        tmp_path, backend.host, feedback=feedback, trust_user_header=True, **TOKENS
    ) as running:
        assert send_feedback(running, headers)[0] == 200
        assert kept_users(running) == ["owner"]


def test_feedback_beyond_the_daily_limit_waits(backend, tmp_path):
    with gateway(tmp_path, backend.host, feedback={"daily_limit": 1}) as running:
        for number, name in enumerate(("bob", "bob", "ann")):
            backend.says = f"answer {number}"
            assert send_feedback(running, {"X-User": name})[0] == 200
        assert kept_users(running) == ["ann", "bob"]
        url = running.settings.url(running.settings.feedback_url)
        assert [item.user for item in FeedbackStore(url).waiting()] == ["bob"]


def test_a_damaged_store_is_503_and_its_place_stands_in_the_log_alone(running, tmp_path, caplog):
    (tmp_path / "data" / "feedback.db").write_bytes(b"no database" * 500)
    assert send_feedback(running, {}) == (503, STORE_FAILED)
    (line,) = (
        record.getMessage() for record in caplog.records if "/feedback" in record.getMessage()
    )
    assert str(tmp_path / "data" / "feedback.db") in line and "put a copy from a backup" in line


@pytest.mark.parametrize("name", ["x" * 500, "\ufdfa" * 30], ids=["long", "long when normalised"])
def test_a_name_that_is_too_long_is_refused(running, name):
    assert send_feedback(running, {"X-User": name.encode()})[0] in (400, 422)
