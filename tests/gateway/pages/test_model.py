"""The page of the model, and the way back to an earlier version."""

from functools import partial

import pytest
from factories.page_browser import Browser
from factories.planted_versions import read_versions, roll_back
from factories.running_gateway import RunningGateway

from stock_llm.operations.reports.answers import alternate
from stock_llm.settings import load_settings


@pytest.fixture
def page(tmp_path):
    settings = load_settings(home=tmp_path, ollama_host="", threads=1)
    project = {"read_versions": read_versions, "roll_back": partial(roll_back, tmp_path)}
    with RunningGateway(settings, project=project) as running:
        browser = Browser(running.url)
        browser.open("/pages/model")
        yield browser


def test_it_shows_versions_verdicts_and_what_changed(page):
    shown = page.open("/pages/model/versions").text
    for text in ("v2", "champion", "0.850", "0.800 – 0.900", "not enough evidence", "old answer"):
        assert text in shown
    assert "&lt;script&gt;answer" in shown and "<script" not in shown and "<i>" not in shown
    assert 'value="1"' in shown and 'value="2"' not in shown  # the champion is no earlier version
    assert "http://127.0.0.1:5000" in shown


def test_going_back_needs_a_reason_and_keeps_it(page, tmp_path):
    form = {"csrf_token": page.csrf, "number": "1"}
    for wrong in ({"reason": " "}, {"reason": "x", "number": "first"}):
        answer = page.post("/pages/model/rollback", data=form | wrong)
        assert answer.status_code == 400 and 'class="problem"' in answer.text
    assert (
        page.post("/pages/model/rollback", "", data={"number": "1", "reason": "x"}).status_code
        == 403
    )
    assert not (tmp_path / "gone-back").exists()
    answer = page.post("/pages/model/rollback", data=form | {"reason": "it invents\n numbers"})
    assert answer.headers["location"] == "/pages/model?to=1"
    assert (tmp_path / "gone-back").read_text() == "1: it invents numbers"
    assert "v1 answers now" in page.open("/pages/model?to=1").text


def test_a_version_that_is_not_there_is_told(page):
    form = {"csrf_token": page.csrf, "number": "9", "reason": "x"}
    answer = page.post("/pages/model/rollback", data=form)
    assert answer.status_code == 400 and "v9 does not exist" in answer.text


def test_a_project_without_versions_says_how_to_train_one(browser):
    browser.open("/pages/model")
    assert "stock-llm run" in browser.open("/pages/model/versions").text


def test_the_most_improved_and_the_most_worsened_come_in_turn():
    changed = [(-0.9, "a"), (-0.1, "b"), (0.0, "c"), (0.2, "d"), (0.8, "e")]
    assert alternate(changed, 4) == ["e", "a", "d", "b"]
    assert alternate(changed, 20) == ["e", "a", "d", "b", "c"]
