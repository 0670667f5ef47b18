"""A format for a CSV file that no format knows: a commented TOML draft with its guesses filled in,
for the user to complete.

In: the file. Out: the text of a TOML file. Saved into the user's folder of formats it is one like
those beside this file. Its first lines say how many rows of the file it already reads, and why the
others are set aside. Run alone: `stock-llm import FILE --draft`. What columns and actions may mean
is guessed in guesses.py.
"""

import json
import re
import tempfile
from collections import Counter
from pathlib import Path

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.importers.format_spec import SPECIAL, bundled_formats, load_format
from stock_llm.importers.json_xml_reader import is_document
from stock_llm.importers.scaffold.guesses import FormatGuess, guess_format
from stock_llm.ledger.entries import EntryKind
from stock_llm.tabular.text import read_text

_COLUMNS = {
    "date": "when it happened",
    "time": "time of day, joined to the date",
    "action": "what happened: the words are explained below",
    "symbol": "ticker",
    "isin": "ISIN",
    "name": "name of the paper",
    "quantity": "units",
    "price": "per unit",
    "amount": "gross value, its sign not looked at",
    "net": "the cash that moved, a minus for money that left",
    "fee": "costs",
    "tax": "taxes",
    "currency": "of price and amount",
    "account": "account number; only a salted hash of it is kept",
    "trade_id": "the broker's own number of each execution: of rows with the same one only one counts",
    "order_id": "number of an order; if no two executions ever share one, write trade_id",
    "balance": "of the account; not imported",
    "status": "what became of an order",
}
"""Role → what it is, in the order in which a draft names them."""

_NEEDED = ("date", "quantity", "price")


def draft_format(path: Path) -> str:
    """The text of a draft for a CSV file.

    Raises:
        InputError: there is no table in the file, or a format of the project knows it already.
    """
    known = engine.identify_format(path)
    if known is not None and not known.fallback:
        raise InputError(
            f"the format '{known.name}' ({known.title}) knows this file",
            file=path,
            remedy="Import it; to read it otherwise, copy that format into your folder of formats and change it",
        )
    if is_document(read_text(path)):
        raise InputError(
            "this is JSON or XML; drafts are made of tables", file=path, remedy="Export it as CSV"
        )
    guess = guess_format(path)
    if not guess.roles:
        raise InputError(
            "no column of it looks like a date, a symbol, a quantity or anything else of a trade",
            file=path,
            row=guess.table.at + 1,
            remedy="Look whether this is the export of your trades",
        )
    text = _format(guess, path)
    return _verdict(text, path) + text


def _verdict(text: str, path: Path) -> str:
    """What the draft makes of the file that it was drafted from, as comments."""
    lines = [
        f"A draft for files like {path.name}. Look at every line, then import the file again.",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "draft.toml"
        saved.write_text(text, encoding="utf-8")
        try:
            load_format(saved)
            read = engine.read_export(path, lambda account: account, own=Path(folder))
        except InputError as error:
            lines.append(f"As it stands it does not read the file: {error.problem}")
        else:
            aside = Counter(row.reason for row in read.quarantined)
            left_out = f"; {_rows(len(read.skipped))} left out on purpose" if read.skipped else ""
            lines.append(
                f"As it stands it reads {read.rows_kept} of {_rows(read.rows_read)}{left_out}."
            )
            lines += [
                f"  set aside, {_rows(count)}: {reason}" for reason, count in aside.most_common(10)
            ]
    return "".join(f"# {_one_line(line)}".rstrip() + "\n" for line in lines) + "\n"


def _format(guess: FormatGuess, path: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "broker"
    if name in {one.name for one in bundled_formats()}:
        name = f"my-{name}"  # or it would take that format's place
    header = guess.table.header
    named = {place: _reference(header, place) for place in range(len(header))}
    used = sorted(guess.roles.values())
    parts = [
        f"name = {_text(name)}",
        f"title = {_text(path.stem)}  # as lists show it",
        "",
        "# A file is of this format if its header has all of these columns; `a|b` is either, `*` is anything.",
        "header = [",
        *(f"    {_text(_in_header(named[place]))}," for place in used),
        "]",
        f"# The header was found in line {guess.table.at + 1}, its columns separated by {json.dumps(guess.table.separator)}.",
        "",
        *_conventions(guess),
        "",
        "[columns]",
        *(
            f"{role} = {_text(named[guess.roles[role]])}  # {what}"
            for role, what in _COLUMNS.items()
            if role in guess.roles
        ),
        *_missing(guess),
        *(
            f"# not used: {_one_line(header[place])}"
            for place in range(len(header))
            if place not in used and header[place]
        ),
        "",
        *_name_in_sentence(guess),
        *_rules(guess),
        *_vocabulary(guess),
    ]
    return "\n".join(parts) + "\n"


def _conventions(guess: FormatGuess) -> list[str]:
    if guess.decimal:
        lines = [f"decimal = {_text(guess.decimal)}  # the sign before decimals"]
    else:
        lines = [
            '# decimal = ","  # no number of the file tells whether 1,234 is more than a thousand'
        ]
    if guess.dates:
        lines.append(f"dates = {_text(guess.dates)}  # order of day and month")
    elif guess.unsure_dates:
        lines.append(
            '# dates = "DMY"  # or "MDY": every date can be read both ways, so the file is refused until this is said'
        )
    lines.append(
        '# timezone = "Europe/Berlin"  # of times without a zone; without this line they are UTC'
    )
    if "currency" not in guess.roles and guess.currency:
        lines.append(f"currency = {_text(guess.currency)}  # the header names no other")
    elif "currency" not in guess.roles:
        lines.append('# currency = "EUR"  # the file does not seem to name one')
    lines.append(
        '# asset = "CRYPTO"  # or FUND, OPTION, BOND, OTHER; without this line it is STOCK'
    )
    if guess.sign == "quantity":
        lines.append('sign = "quantity"  # units with a minus were sold')
    if "status" in guess.roles:
        lines.append('more = ["status"]')
    return lines


def _missing(guess: FormatGuess) -> list[str]:
    roles = guess.roles.keys()
    lines = [
        f'# {role} = "?"  # {_COLUMNS[role]}: not found' for role in _NEEDED if role not in roles
    ]
    if roles & {"symbol", "isin", "name"}:
        return lines
    if "action" not in roles:
        return [*lines, '# symbol = "?"  # or isin, or name: none was found']
    column = _text(_reference(guess.table.header, guess.roles["action"]))
    return [
        *lines,
        f"name = {column}  # no column names the paper; the pattern below takes it from the sentence",
    ]


def _name_in_sentence(guess: FormatGuess) -> list[str]:
    if guess.roles.keys() & {"symbol", "isin", "name"} or "action" not in guess.roles:
        return []
    return [
        "# What the named group of the pattern (RE2) matches becomes the name; quantity and price can be found the same way.",
        "[[extract]]",
        'from = "name"',
        "pattern = '^\\S+ (?:of |von |de |di |van |av )?(?P<name>.+)$'",
        "",
    ]


def _rules(guess: FormatGuess) -> list[str]:
    """Orders that were not carried out; where no column says what happened, the sign of the units
    or of the cash does."""
    lines = []
    if guess.undone:
        filled = _is_filled(guess)
        nothing = ', quantity = ["=0", ""]' if filled else ""
        lines = [
            "# An order that was not carried out is no trade"
            + ("; what was filled before counts." if filled else "."),
            "[[rules]]",
            f"if = {{ status = {json.dumps(guess.undone, ensure_ascii=False)}{nothing} }}",
            'skip = "the order was not carried out"',
            "",
        ]
    if "action" in guess.roles or not guess.sign:
        return lines
    return [
        *lines,
        "# No column says what happened: a row with units is a purchase or a sale, as the sign says.",
        "[[rules]]",
        'if = { quantity = [">0", "<0"] }',
        'kind = "BUY/SELL"',
        "",
    ]


def _is_filled(guess: FormatGuess) -> bool:
    """Whether the units are those that were traded, not those that were ordered."""
    name = guess.table.header[guess.roles["quantity"]] if "quantity" in guess.roles else ""
    return re.search(r"fill|exec|ausgef", name, re.IGNORECASE) is not None


def _vocabulary(guess: FormatGuess) -> list[str]:
    if not guess.words:
        return []
    words: dict[str, list[str]] = {}
    for word, kind in guess.kinds.items():
        words.setdefault(kind, []).append(word)
    others = [kind for kind in (*EntryKind, *SPECIAL) if kind not in words]
    lines = [
        f"# The words of the column {_one_line(guess.table.header[guess.roles['action']])}, each under one kind. There are also",
        f"# {', '.join(others)}.",
        "[kinds]",
    ]
    for kind in sorted(words.keys() - {"", "~"}):
        rows = sum(guess.words[word] for word in words[kind])
        key = kind if kind.isalpha() else _text(kind)
        lines.append(f"{key} = [{', '.join(_text(word) for word in words[kind])}]  # {_rows(rows)}")
    lines += [
        f"# ? = {_text(word)}  # {_rows(guess.words[word])}, set aside until it has a kind"
        for word in words.get("", [])
    ]
    if "~" in words:
        lines += [
            "",
            "[skip]",
            f'"not carried out" = [{", ".join(_text(word) for word in words["~"])}]',
        ]
    return lines


def _reference(header: list[str], place: int) -> str:
    """How a format names a column: by its name, by the one before it where names repeat or are
    empty."""
    name = header[place]
    plain = [" ".join(cell.lower().split()) for cell in header]
    if name and plain.index(plain[place]) == place:
        return name.replace(" > ", "*")
    before = header[place - 1] if place else ""
    return f"{before} > {name}" if name else f"{before} >"


def _in_header(name: str) -> str:
    """In the list of columns that must be there `|` means "or": there any sign stands for it."""
    return name.replace("|", "*")


def _text(value: str) -> str:
    """A TOML string; JSON escapes the same signs but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _rows(count: int) -> str:
    return f"{count} row" + "s" * (count != 1)


def _one_line(text: str) -> str:
    """Fit for a comment: TOML has no control characters there."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)
