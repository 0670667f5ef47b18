"""No column with values is left unread in silence: a format reads it, ignores it by name, or says so."""

from pathlib import Path

import pytest
from importers.test_exports import SAMPLES
from importers.test_shared_samples import SAMPLES as SHARED_SAMPLES

from stock_llm.importers import engine
from stock_llm.importers.format_spec import bundled_formats
from stock_llm.tabular.text import read_text


@pytest.mark.parametrize(
    "path", list(dict.fromkeys([*SAMPLES, *SHARED_SAMPLES])), ids=lambda path: path.name
)
def test_every_column_with_values_is_read_or_ignored_by_name(path):
    notes = engine.read_export(path, lambda account: account).notes
    assert [note.text for note in notes if note.rule == "unread column"] == []


@pytest.mark.parametrize(
    "path", [path for path in SAMPLES if path.suffix == ".csv"], ids=lambda path: path.name
)
def test_an_unread_column_is_reported(path, tmp_path):
    """Each row gets one more value, under a name that no broker uses."""
    before = engine.read_export(path, lambda account: account)
    form = before.formats[0]
    if form.section:
        pytest.skip("a statement has a header for each of its sections")
    lines = read_text(path).split("\n")
    changed, below_header = [], False
    for line in lines:
        separator = max(",;\t|", key=line.count)
        header = not below_header and engine.first_header([line], bundled_formats()) is not None
        below_header = below_header or header
        value = (
            "Swamp levy" if header else "0.07" if below_header and line.count(separator) > 3 else ""
        )
        changed.append(f"{value}{separator}{line}" if value else line)
    other = tmp_path / path.name
    other.write_text("\n".join(changed) + "\n", encoding="utf-8")
    notes = engine.read_export(other, lambda account: account).notes
    assert any("nothing reads the column 'Swamp levy'" in note.text for note in notes)


def test_ignored_columns_are_a_list_of_names_and_never_all():
    for form in bundled_formats():
        assert not {"*", "**"} & set(form.ignored), form.name


def test_the_finding_names_file_column_and_how_often(tmp_path: Path):
    path = tmp_path / "trades.csv"
    path.write_text(
        "date,symbol,side,quantity,price,levy\n2024-03-04,ACME,BUY,1,10,0.5\n2024-03-05,ACME,BUY,1,10,\n"
    )
    (note,) = engine.read_export(path, lambda account: account).notes
    assert note.text == "trades.csv: nothing reads the column 'levy', which has 1 values (generic)"
    assert note.rows == 1
