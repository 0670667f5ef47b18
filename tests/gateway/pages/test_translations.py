"""Every sentence of the pages is there in Thai, with the same blanks."""

import re
from importlib.resources import files

import pytest
from babel.messages.pofile import read_po

from stock_llm.gateway.accounting import kpis

FOLDER = files("stock_llm.gateway.pages")


def sentences() -> set[str]:
    found = set()
    for template in (FOLDER / "templates").iterdir():
        if template.name.endswith(".html"):
            text = template.read_text(encoding="utf-8")
            found |= {a or b for a, b in re.findall(r"""\b_\((?:"([^"]*)"|'([^']*)')\)""", text)}
    return found


@pytest.fixture(scope="module")
def catalog():
    with (FOLDER / "translations" / "th.po").open("rb") as stream:
        return {m.id: m.string for m in read_po(stream, locale="th") if m.id}


def test_every_sentence_of_a_template_is_translated(catalog):
    assert sorted(text for text in sentences() if not catalog.get(text)) == []


def test_names_and_explanations_of_kpis_are_translated(catalog, tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    sources = kpis.KpiSources(url, f"sqlite:///{tmp_path}/y.db", 1, 1)
    report = kpis.read_report(sources, *kpis.parse_period("", ""))
    texts = [text for kpi in report.kpis for text in (kpi.name, kpi.how)]
    assert sorted(text for text in texts if not catalog.get(text)) == []


def test_translations_have_the_same_blanks_and_no_markup(catalog):
    for english, thai in catalog.items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", thai)), (
            english
        )
        assert not re.search(r"[<>]", thai)
