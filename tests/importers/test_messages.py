"""Errors about files that cannot be imported name what they are, and never what a title names."""

from pathlib import Path

import pytest

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.importers.scaffold.draft import draft_format

PREAMBLE = """Name: Jane Private
UserID: jane@example.org
Date Generated: 2023-12-15

TXID,Time (UTC),Transaction,Order Type,Market,Base,Quote
a,2017-12-03T12:04:16,Bought,Limit,SWT/BTC,SWT,BTC
"""


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        engine.read_export(path, lambda account: account)
    return str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_file_with_titles_is_described_by_its_header(tmp_path, separator):
    path = tmp_path / "statement.csv"
    path.write_text(PREAMBLE.replace(",", separator))
    message = refusal(path)
    assert (
        f"statement.csv, row 5: no format knows this file; its header is: TXID{separator}"
        in message
    )
    assert "--draft" in message
    assert "Jane" not in message and "jane" not in message


def test_prose_is_no_table_and_is_not_quoted(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear Ms Private,\n\nyour account 778899 was closed.\nRegards\n")
    assert "no line of it looks like the header of a table" in refusal(path)
    assert "Private" not in refusal(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.4\n1 0 obj", "a PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old Excel workbook (XLS)"),
        (b"\x1f\x8b\x08\x00" + bytes(20), "a gzip file"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, content, kind):
    path = tmp_path / "statement.csv"
    path.write_bytes(content)
    assert f"statement.csv: this is {kind}, not text" in refusal(path)
    with pytest.raises(InputError, match="not text"):
        draft_format(path)
