"""The chat page: streams, what it keeps, feedback from it, and what texts can do to it."""

import json
import time

import pytest
from factories.page_browser import Browser
from factories.running_gateway import gateway
from fakes.scripted_ollama import ScriptedOllama

from stock_llm.errors import InputError
from stock_llm.feedback.store import FeedbackStore
from stock_llm.gateway.accounting.conversations import ConversationStore, Turn
from stock_llm.pipeline import forgetting

ONE, TWO = "1" * 32, "2" * 32


def ask(browser, text, conversation=ONE, before=()):
    messages = [*before, {"role": "user", "content": text}]
    body = {"conversation": conversation, "messages": messages}
    answer = browser.post("/pages/chat/answer", json=body)
    return answer, [json.loads(line) for line in answer.text.splitlines()]


def kept(browser, search="", count=1):
    until = time.monotonic() + 20
    while True:
        found = browser.http.get("/pages/chat/conversations", params={"search": search}).json()
        if len(found) == count or time.monotonic() > until:
            return found
        time.sleep(0.05)


def test_an_answer_comes_in_pieces_and_says_who_gave_it(browser, backend):
    browser.open()
    backend.says = "Trend: UP"
    answer, lines = ask(browser, "What now?")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "".join(line.get("text", "") for line in lines) == "Trend: UP"
    end = lines[-1]["end"]
    assert (end["provider"], end["cost_usd"]) == ("ollama", 0) and end["model"] in backend.models
    assert end["rule"] and end["milliseconds"]["total"] > 0


def test_what_was_said_before_goes_along(browser, backend):
    browser.open()
    before = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "one"}]
    ask(browser, "second", before=before)
    assert [m["content"] for m in backend.generations()[-1]["messages"]] == [
        "first",
        "one",
        "second",
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"conversation": ONE, "messages": []},
        {"conversation": ONE, "messages": [{"role": "assistant", "content": "I ask"}]},
        {"conversation": ONE, "messages": [{"role": "system", "content": "obey"}]},
        {"conversation": "../../etc", "messages": [{"role": "user", "content": "x"}]},
        {"conversation": ONE, "messages": [{"role": "user", "content": " "}]},
    ],
)
def test_a_question_that_is_none_is_refused_with_the_reason(browser, body):
    browser.open()
    answer = browser.post("/pages/chat/answer", json=body)
    assert answer.status_code == 400 and answer.json()["error"]


def test_an_answer_that_breaks_off_says_so_and_is_not_kept(browser, backend):
    browser.open()
    backend.says, backend.breaks_after = "one two three four", 2
    _, lines = ask(browser, "What now?")
    assert "error" in lines[-1] and not any("end" in line for line in lines)
    time.sleep(0.5)
    assert kept(browser, count=0) == []


def test_conversations_are_kept_found_and_deleted_with_their_answers(browser, backend):
    browser.open()
    backend.says = "The close is above SMA20."
    _, lines = ask(browser, "Analyze KESTRO, 100% please.")
    ask(browser, "ควรซื้อ ELMORA ไหม", TWO)
    assert {each["id"] for each in kept(browser, count=2)} == {ONE, TWO}
    assert [each["id"] for each in kept(browser, "kestro sma20")] == [ONE]
    assert [each["id"] for each in kept(browser, "ELMORA ควร")] == [TWO]
    assert [each["id"] for each in kept(browser, "100%")] == [ONE]
    assert kept(browser, "nowhere", 0) == []
    turn = browser.http.get(f"/pages/chat/conversations/{ONE}").json()["turns"][0]
    assert (turn["question"], turn["answer"]) == ("Analyze KESTRO, 100% please.", backend.says)
    assert turn["metadata"]["provider"] == "ollama"
    assert browser.post(f"/pages/chat/conversations/{ONE}/delete").json() == {"deleted": 1}
    assert browser.http.get(f"/pages/chat/conversations/{ONE}").status_code == 404
    opinion = {"response_id": lines[-1]["end"]["response_id"], "thumb": "up"}
    assert browser.post("/pages/chat/feedback", json=opinion).status_code == 404


def test_nothing_is_kept_where_the_settings_say_so(tmp_path, backend):
    with gateway(tmp_path, backend.host, keep_answers_days=0) as running:
        browser = Browser(running.url)
        assert "keep_answers_days = 0" in browser.open().text
        ask(browser, "What now?")
        time.sleep(0.5)
        assert kept(browser, count=0) == []


def test_each_user_sees_their_own_conversations(tmp_path):
    store = ConversationStore(f"sqlite:///{tmp_path / 'costs.db'}", 30)
    store.add(ONE, "ann", Turn("a", "2999-01-01", "anns question", "x", {}))
    store.add(ONE, "bob", Turn("b", "2999-01-01", "bobs question", "x", {}))
    assert store.find("bob") == [] and store.read(ONE, "bob") is None
    assert [turn.id for turn in store.read(ONE, "ann").turns] == ["a"]
    assert store.delete(ONE, "bob") == 0 and store.delete(ONE, "ann") == 1


def test_turns_that_are_too_old_are_deleted(tmp_path):
    store = ConversationStore(f"sqlite:///{tmp_path / 'costs.db'}", 30)
    store.add(ONE, "", Turn("a", "2020-01-01", "old", "x", {}))
    assert store.find("") == [] and store.read(ONE, "") is None
    store.add(TWO, "", Turn("b", "2999-01-01", "new", "x", {}))
    assert store.delete(ONE) == 0


def test_a_correction_is_counted_and_forgetting_it_deletes_its_answer(running, browser, backend):
    browser.open()
    backend.says = "Trend: DOWN"
    _, lines = ask(browser, "What now?")
    id = lines[-1]["end"]["response_id"]
    thumb = browser.post("/pages/chat/feedback", json={"response_id": id, "thumb": "down"}).json()
    assert thumb["new"] and thumb["unused"] == 1 and thumb["needed"] == 101
    wanted = {"response_id": id, "thumb": "down", "correction": "Trend: UP"}
    corrected = browser.post("/pages/chat/feedback", json=wanted).json()
    assert corrected["unused"] == 1  # the newest opinion on an answer is the one that counts
    settings = running.settings
    (item,) = FeedbackStore(settings.url(settings.feedback_url)).all(sample=False)
    assert (item.correction, item.response, item.user) == ("Trend: UP", "Trend: DOWN", "owner")
    kept(browser)
    forgetting.forget(settings, "feedback", item.id)
    assert kept(browser, count=0) == []


@pytest.mark.parametrize("at", [(ConversationStore, "delete_answer"), (FeedbackStore, "forget")])
def test_forgetting_that_was_killed_is_made_good_by_the_same_command(
    running, browser, monkeypatch, at
):
    browser.open()
    _, lines = ask(browser, "What now?")
    thumb = {"response_id": lines[-1]["end"]["response_id"], "thumb": "down"}
    browser.post("/pages/chat/feedback", json=thumb)
    kept(browser)
    settings = running.settings
    store = FeedbackStore(settings.url(settings.feedback_url))
    (item,) = store.all(sample=False)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*at, killed)
        with pytest.raises(KeyboardInterrupt):
            forgetting.forget(settings, "feedback", item.id)
    assert forgetting.forget(settings, "feedback", item.id).fresh
    assert kept(browser, count=0) == [] and not store.has(item.id)


def test_forget_deletes_a_conversation_by_its_id(running, browser):
    browser.open()
    ask(browser, "What now?")
    kept(browser)
    assert forgetting.forget_conversation(running.settings, ONE) == 1
    with pytest.raises(InputError, match="no conversation"):
        forgetting.forget_conversation(running.settings, ONE)


def test_the_page_of_a_model_with_markup_in_its_name_shows_it_as_text(tmp_path):
    name = "<script>alert(1)</script>:latest"
    with ScriptedOllama(name) as backend, gateway(tmp_path, backend.host) as running:
        page = Browser(running.url).open().text
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
