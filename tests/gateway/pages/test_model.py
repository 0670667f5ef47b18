"""The page of the model, and the way back to an earlier version."""

from functools import partial

import pytest
from factories.page_browser import Browser
from factories.running_gateway import RunningGateway

from stock_llm.errors import PublishError
from stock_llm.gateway.pages.project import AnswerPair, ModelVersion, ModelVersions
from stock_llm.operations.reports.answers import alternate
from stock_llm.settings import load_settings


def read_versions():
    common = {
        "created_at": "2026-03-01T10:00:00+00:00",
        "profile": "stock-tiny",
        "gaps": (),
        "feedback": 12,
        "rollback_reason": "",
        "run_url": "http://127.0.0.1:5000/#/models/stock-llm/versions/1",
    }
    second = ModelVersion(
        number=2, verdict="promote", reasons=("better, <i>difference</i> +0.1",),
        aliases=("champion",), scores={"challenger": 0.85, "champion": 0.75}, low=0.8, high=0.9,
        **common,
    )  # fmt: skip
    first = ModelVersion(
        number=1, verdict="keep", reasons=("not enough evidence",), aliases=(),
        scores={"challenger": 0.75, "base": 0.1}, low=None, high=None, **common,
    )  # fmt: skip
    pair = AnswerPair(
        "Analyze X.\n\nClose: 1", "old answer", "new <script>answer</script>", 0.2, 0.9
    )
    return ModelVersions((second, first), (pair,), "champion", "http://127.0.0.1:5000", "http://p")


def roll_back(folder, number, reason):
    if number == 9:
        raise PublishError("stock-llm:v9 does not exist at the folder")
    (folder / "gone-back").write_text(f"{number}: {reason}")


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
