"""The pages of a version and of two versions: what they say, and that they need nothing else."""

import json
import math
import re

import pytest
from factories.judged_candidate import line

from stock_llm.errors import InputError
from stock_llm.evaluation.gate import Interval
from stock_llm.operations.reports import answers as judged
from stock_llm.operations.reports.comparison import (
    ComparedVersion,
    VersionComparison,
    _differences,
    compare,
    comparison_page,
    comparison_table,
)
from stock_llm.operations.reports.page import Page, PageTable, render
from stock_llm.operations.reports.version import version_page
from stock_llm.settings import load_settings
from stock_llm.skills.row import read_rows


def item(model, row, value, said="BUY", confidence=None, label=None):
    label = label or row.label
    brier = None if confidence is None else (confidence - (said == label)) ** 2
    return {
        "model": model, "id": row.id, "skill": row.skill, "label": label, "said": said,
        "answer": f"<b>{model}</b> says {said}", "value": value, "parsed": bool(said),
        "brier": brier, "false": ["RSI14 is above 70."] if value == 0 else [], "checks": {},
    }  # fmt: skip


@pytest.fixture
def given(tmp_path):
    """A judged candidate whose holdout has two rows, answered by base and challenger."""
    made = line(tmp_path)
    rows = list(read_rows(made.dataset.holdout))
    items = [item("base", row, 0.5) for row in rows] + [
        item("challenger", rows[0], 1.0, confidence=0.8),
        item("challenger", rows[1], 0.0, said="", confidence=0.3),
    ]
    made.scorecard.items.write_text("".join(json.dumps(each) + "\n" for each in items))
    return made


def test_a_version_is_one_file_with_verdict_tables_charts_and_answers(given):
    page = version_page(
        "stock-llm:v7", given.dataset, given.adapter, given.candidate, given.scorecard
    )
    text = re.sub(r"\s+", " ", page)
    verdict = (
        "promote: stock-llm:v7 against the untuned base: better (score 0.700 against 0.200, "
        "difference +0.500 [+0.400, +0.600]), so it became the champion."
    )
    assert text.index(verdict) < text.index("<h2>Holdout")
    assert (
        "<td>score</td><td>0.200</td><td>0.700</td><td>+0.500 [+0.400, +0.600]</td><td>2</td>"
        in text
    )
    assert "<td>tokens/s</td><td>100</td><td>99</td>" in text, "no digits that say nothing"
    assert "Signal accuracy of baselines: majority (HOLD) 0.400." in text
    assert "Other differences" not in text, "all of them stand in the table"
    assert re.findall("<h2>(.*?)</h2>", text)[-3:] == [
        "The 20 worst answers",
        "The 20 answers that changed most",
        "How it was made",
    ]
    for title in ("Scores by skill", "Training loss", "Ladder"):
        assert f"<h2>{title}</h2>" in text
    assert page.count("<svg") == 3
    assert "&lt;b&gt;challenger&lt;/b&gt; says" in page and "<b>challenger" not in page
    assert "RSI14 is above 70." in page
    outside = {url for url in re.findall(r"(?:src|href)=\"([^\"#]+)", page) if "w3.org" not in url}
    assert outside == set(), "the page loads nothing"


def test_scores_calibration_and_confusion(given):
    answers = judged.read_answers(given.scorecard.items)["challenger"]
    assert [answer.confidence for answer in answers] == pytest.approx([0.8, 0.3])
    points = judged.calibration(answers * judged.FEWEST_IN_BIN)
    assert [point.rows for point in points] == [judged.FEWEST_IN_BIN] * 2
    assert judged.calibration(answers) == [], "one answer has no share"
    assert [answer.value for answer in judged.worst(answers, 5)] == [0.0, 1.0]
    skill = answers[1].skill
    labels, said, counts = judged.confusion(answers, [skill])
    assert "–" in said and counts[answers[1].label, "–"] == 1
    scores = judged.skill_scores([*answers, *answers])
    assert {score.rows for score in scores} <= {2, 4} and all(
        math.isfinite(score.margin) for score in scores
    )
    assert labels


def compared(given, number, values):
    rows = list(read_rows(given.dataset.holdout))
    answers = [item("challenger", row, value) for row, value in zip(rows, values, strict=True)]
    path = given.candidate.folder / f"{number}.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in answers))
    info = type("Info", (), {"number": number, "verdict": "keep", "profile": "tiny", "feedback": 2})
    return ComparedVersion(
        info, given.dataset, given.scorecard, given.adapter, judged.read_answers(path)["challenger"]
    )


def test_the_answers_that_changed_most_are_those_for_better_and_for_worse(given):
    first = compared(given, 3, [0.0, 1.0]).answers
    second = compared(given, 7, [0.4, 0.0]).answers
    gaps = [after.value - before.value for after, before in judged.changed(second, first, 20)]
    assert gaps == [0.4, -1.0]
    assert len(judged.changed(second, first, 1)) == 1


def test_the_page_stays_within_a_phone(given):
    """What is wider than the screen scrolls in a frame of its own."""
    page = version_page("v7", given.dataset, given.adapter, given.candidate, given.scorecard)
    assert page.count('<div class="wide"><table>') + page.count('<div class="wide"><svg') == (
        page.count("<table") - 1 + page.count("<svg")
    )
    assert '<table class="facts">' in page and "width=device-width" in page


def test_two_versions_are_compared_on_what_both_answered(given):
    first, second = compared(given, 3, [0.0, 0.5]), compared(given, 7, [1.0, 0.5])
    pairs = list(zip(second.answers, first.answers, strict=True))
    differences = _differences(pairs, {}, seed=7)
    assert differences["overall"].mean == 0.5
    comparison = VersionComparison(first, second, differences, len(pairs))
    assert "v7 against v3: not different" in comparison.sentence
    score = next(row for row in comparison_table(comparison) if row[0] == "score")
    assert score[1:3] == ("0.700", "0.700") and score[3].startswith("+0.500")
    page = comparison_page(comparison)
    assert "v7 against v3" in page and page.count("<details>") == 1, "one answer changed"
    proven = {"overall": Interval(0.2, 0.1, 0.3, 2, 0.1)}
    assert "better, proven" in VersionComparison(first, second, proven, 2).sentence
    assert "other questions" in VersionComparison(first, second, {}, 0).sentence


def test_a_version_that_is_not_there_is_named(bare_home):
    with pytest.raises(InputError, match="there is no version 3"):
        compare(load_settings(home=bare_home), 3, 4)


def test_texts_are_escaped():
    page = render(Page("<script>", "a & b", "keep", tables=[PageTable("t", ("x",), [("<i>",)])]))
    assert "<script>" not in page and "<i>" not in page and "a &amp; b" in page
