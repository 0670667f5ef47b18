"""docs/formats.md says of every format what its samples hold; a table that is out of date fails.

`python tests/importers/test_formats_page.py` writes it anew.
"""

import re
import tomllib
from collections import Counter
from pathlib import Path

from stock_llm.importers import engine
from stock_llm.importers.engine import Import
from stock_llm.importers.format_spec import Format, bundled_formats

EXPORTS = Path(__file__).parents[1] / "exports"
SUFFIXES = (".csv", ".json", ".xml", ".ofx", ".qfx")
PAGE = Path(__file__).parents[2] / "docs" / "formats.md"

HEAD = r"""# Broker exports

What `stock-llm import` reads: CSV, Excel workbooks (XLSX), JSON, XML, OFX and QFX. A format is recognised by its header, whatever
the file is called; each is one small file in `stock_llm/importers/formats/`.

Every row of a file is imported, skipped or quarantined ("set aside"); a row that is not imported has a reason. Where a row states the
cash that moved, the booked amount is compared with it to the cent, and a difference is reported. So is every column with values that
the format neither reads nor lists as ignored.

## A format of your own

`stock-llm import FILE --draft` drafts one for a table that no format recognises. It is a TOML file in your formats folder
(`data/formats`), and replaces the project's format of the same name:

```toml
name = "my-broker"
title = "What people call it"
header = ["Date", "Action|Type", "Symbol", "Units", "Total (*)"]   # all are required; | separates alternatives, * is any text
dates = "DMY"                     # what 3/4/2024 means, where the file does not show it
decimal = ","                     # what 1,234 means, where the file does not show it
timezone = "Europe/Amsterdam"     # of times without a zone
costs = "-"                       # a fee or tax has a minus; without one it was given back
ignored = ["Note", "Balance*"]    # columns that are not needed; any other unread column with values is reported

[columns]                         # role = column, or columns of which the first that is not empty counts
date = "Date"
action = ["Action", "Type"]
symbol = "Symbol"
quantity = "Units"
net = "Total (*)"                 # the cash that moved, with its sign; * is its currency. Gross would be `amount`
currency = "Price >"              # the column without a name right behind Price
cash = "Settled"                  # what moved, without a sign: compared with what is booked, to the cent
rate = "FX rate"                  # between the currency of the price and that of the cash
fee = "Commission"                # fee, tax, and fee_currency, tax_currency

[[extract]]                       # values that are part of another column
from = "text"
pattern = '^(?P<name>.+) \((?P<isin>[A-Z0-9]{12})\)$'

[[rules]]                         # the first that fits decides, before [skip], [kinds] and the built-in words
if = { action = "Journal*", quantity = [">0", "<0"] }
kind = "TRANSFER"

[kinds]                           # BUY, SELL, DIVIDEND, INTEREST, FEE, TAX, SPLIT, DEPOSIT, WITHDRAWAL, TRANSFER
BUY = ["Buy", "Savings plan*"]
SELL = "Sell"
"DEPOSIT/WITHDRAWAL" = "Cash"     # the sign decides

[skip]                            # reason = actions that are no transactions
"one currency for another" = "FX *"
```

`stock_llm/importers/format_spec.py` describes every key; the files in `formats/` beside it are examples.

## What is read

The samples are made up and lie in `tests/exports/`. `python tests/importers/test_formats_page.py` writes this page; a test compares it.
"""


_POINTER = re.compile(r"(in row|with the id|not a number:) .*")


def samples() -> list[Path]:
    """Every export that comes with the tests."""
    return [path for path in sorted(EXPORTS.iterdir()) if path.suffix in SUFFIXES]


def page() -> str:
    """The page as it should be."""
    rows: dict[str, list[str]] = {export_format.name: [] for export_format in bundled_formats()}
    reasons = []
    for path in samples():
        read = engine.read_export(path, lambda account: account)
        name = path.relative_to(EXPORTS.parent).as_posix()
        first = read.formats[0]
        counts = (
            f"{read.rows_read} | {read.rows_kept} | {len(read.skipped)} | {len(read.quarantined)}"
        )
        rows[first.name].append(f"| {first.name} | {first.title} | {name} | {counts} |")
        reasons += [f"- {name}: {line}" for line in _reasons(read)]
        for other in read.formats[1:]:
            if not rows[other.name]:
                rows[other.name].append(
                    f"| {other.name} | {other.title} | {name} | (see {first.name}) | | | |"
                )
    lines = [line for name in sorted(rows) for line in rows[name]]
    table = "| format | title | sample | rows read | imported | skipped | set aside |\n|---|---|---|---|---|---|---|\n"
    return (
        f"{HEAD}\n{len(_exports())} different exports in {len(bundled_formats())} formats: each table of one that holds several is a"
        f" format.\n\n{table}"
        + "\n".join(lines)
        + "\n\n## Why rows were skipped or set aside\n\n"
        + "\n".join(reasons)
        + "\n"
    )


_TABLES = {
    "ibkr-activity-": "ibkr-activity",
    "ibkr-flex-xml-": "ibkr-flex-xml",
    "vanguard-cash": "vanguard",
    "vanguard-investments": "vanguard",
}
"""Beginnings of formats that are tables of one export."""


def _exports() -> set[str]:
    """What somebody can download, counted once however many tables it holds."""
    return {
        next(
            (export for begin, export in _TABLES.items() if export_format.name.startswith(begin)),
            export_format.name,
        )
        for export_format in bundled_formats()
    }


def _reasons(read: Import) -> list[str]:
    """The reasons of a file; those that differ only in what they point at count as one."""
    return [
        f"{what} {count} × {reason}"
        for what, rejected in (("skipped", read.skipped), ("set aside", read.quarantined))
        for reason, count in sorted(
            Counter(_POINTER.sub(r"\1 …", row.reason) for row in rejected).items()
        )
    ]


def test_the_page_states_what_the_samples_contain():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run: python tests/importers/test_formats_page.py"
    )


def test_every_format_has_a_sample():
    seen = {
        export_format.name
        for path in samples()
        for export_format in engine.read_export(path, lambda account: account).formats
    }
    assert {export_format.name for export_format in bundled_formats()} - seen == set()
    assert len(_exports()) >= 45


def test_the_example_of_the_page_is_a_format():
    example = HEAD.split("```toml\n")[1].split("```")[0]
    assert Format.model_validate(tomllib.loads(example)).name == "my-broker"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
