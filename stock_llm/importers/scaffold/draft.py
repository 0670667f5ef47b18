"""Drafts a format for a CSV file that no format knows: a commented TOML, its guesses filled in.

In: the file. Out: the text of a TOML file, which becomes a format once it is saved into the user's
folder of formats. Its first lines say how many rows of the file it already reads, and why the
others are quarantined. Run alone: `stock-llm import FILE --draft`. What columns and actions mean is
guessed in guesses.py.
"""

import json
import re
import tempfile
from collections import Counter
from pathlib import Path

from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.importers.excel_reader import is_workbook
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
    "trade_id": "the broker's own number of each execution; of rows with the same one counts",
    "order_id": "number of an order; if no two executions ever share one, write trade_id",
    "balance": "of the account; not imported",
    "status": "what became of an order",
}
"""Role → what it is, in the order in which a draft names them."""

_NEEDED = ("date", "quantity", "price")
_NAMES = frozenset(("symbol", "isin", "name"))


def draft_format(path: Path) -> str:
    """Returns the text of a draft for a CSV file.

    Raises:
        InputError: there is no table in the file, or a format of the project knows it already.
    """
    known = engine.identify_format(path)
    if known is not None and not known.fallback:
        raise InputError(
            f"the format '{known.name}' ({known.title}) knows this file",
            file=path,
            remedy="Import it; to read it otherwise, copy that format into yours and change it",
        )
    if not is_workbook(path) and is_document(read_text(path)):
        problem = "this is JSON or XML; drafts are made of tables"
        raise InputError(problem, file=path, remedy="Export it as CSV")
    guess = guess_format(path)
    if not guess.roles:
        raise InputError(
            "no column of it looks like a date, a symbol, a quantity or anything else of a trade",
            file=path,
            row=guess.row,
            remedy="Look whether this is the export of your trades",
        )
    text = _format(guess, path)
    return _trial(text, path) + text


def _trial(text: str, path: Path) -> str:
    """What the draft makes of the file that it was drafted from, as comments."""
    intro = f"A draft for files like {path.name}. Look at every line, then import the file again."
    lines = [intro, ""]
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "draft.toml"
        saved.write_text(text, encoding="utf-8")
        try:
            load_format(saved)
            result = engine.read_export(path, lambda account: account, own=Path(folder))
        except InputError as error:
            lines.append(f"As it stands it does not read the file: {error.problem}")
        else:
            reasons = Counter(row.reason for row in result.quarantined).most_common(10)
            skipped = len(result.skipped)
            left_out = f"; {_rows(skipped)} left out on purpose" if skipped else ""
            read = f"{result.rows_kept} of {_rows(result.rows_read)}{left_out}"
            lines.append(f"As it stands it reads {read}.")
            lines += [f"  quarantined, {_rows(count)}: {reason}" for reason, count in reasons]
    return "".join(f"# {_one_line(line)}".rstrip() + "\n" for line in lines) + "\n"


def _format(guess: FormatGuess, path: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "broker"
    if name in {form.name for form in bundled_formats()}:
        name = f"my-{name}"  # or it would take that format's place
    header, roles = guess.header, guess.roles
    named = [_reference(header, place) for place in range(len(header))]
    unused = [name for place, name in enumerate(header) if place not in roles.values() and name]
    lines = [
        f"name = {_text(name)}",
        f"title = {_text(path.stem)}  # as lists show it",
        "",
        "# A file is of this format if its header has all of these columns; `a|b` is either,",
        "# `*` is anything.",
        "header = [",
        # `|` means "or" here: in a name there any sign stands for it.
        *(f"    {_text(named[place].replace('|', '*'))}," for place in sorted(roles.values())),
        "]",
        f"# The header was found in line {guess.row}, its columns separated by"
        f" {json.dumps(guess.separator)}.",
        "",
        *_conventions(guess),
        "",
        "[columns]",
        *(
            f"{role} = {_text(named[roles[role]])}  # {what}"
            for role, what in _COLUMNS.items()
            if role in roles
        ),
        *_missing(guess),
        *(f"# not used: {_one_line(name)}" for name in unused),
        "",
        *_name_in_sentence(guess),
        *_rules(guess),
        *_vocabulary(guess),
    ]
    return "\n".join(lines) + "\n"


def _conventions(guess: FormatGuess) -> list[str]:
    with_currency = "currency" in guess.roles
    choices = (
        (guess.decimal, f"decimal = {_text(guess.decimal)}  # the sign before decimals"),
        (
            not guess.decimal,
            '# decimal = ","  # no number of the file tells whether 1,234 is more than a thousand',
        ),
        (guess.dates, f"dates = {_text(guess.dates)}  # order of day and month"),
        (
            guess.unsure_dates,
            '# dates = "DMY"  # or "MDY": every date can be read both ways, so the file is refused'
            " until this is said",
        ),
        (True, '# timezone = "Europe/Berlin"  # of times without a zone; without this line UTC'),
        (
            not with_currency and guess.currency,
            f"currency = {_text(guess.currency)}  # the header names no other",
        ),
        (
            not with_currency and not guess.currency,
            '# currency = "EUR"  # the file does not seem to name one',
        ),
        (True, '# asset = "CRYPTO"  # or FUND, OPTION, BOND, OTHER; without this line STOCK'),
        (guess.sign == "quantity", 'sign = "quantity"  # units with a minus were sold'),
        ("status" in guess.roles, 'more = ["status"]'),
    )
    return [line for applies, line in choices if applies]


def _missing(guess: FormatGuess) -> list[str]:
    roles = guess.roles.keys()
    lines = [
        f'# {role} = "?"  # {_COLUMNS[role]}: not found' for role in _NEEDED if role not in roles
    ]
    if not roles & _NAMES and "action" not in roles:
        lines.append('# symbol = "?"  # or isin, or name: none was found')
    elif not roles & _NAMES:
        column = _text(_reference(guess.header, guess.roles["action"]))
        lines.append(
            f"name = {column}  # no column names the paper; the pattern below takes it from the"
            " sentence"
        )
    return lines


def _name_in_sentence(guess: FormatGuess) -> list[str]:
    if guess.roles.keys() & _NAMES or "action" not in guess.roles:
        return []
    return [
        "# What the named group of the pattern (RE2) matches becomes the name; quantity and price",
        "# can be found the same way.",
        "[[extract]]",
        'from = "name"',
        "pattern = '^\\S+ (?:of |von |de |di |van |av )?(?P<name>.+)$'",
        "",
    ]


def _rules(guess: FormatGuess) -> list[str]:
    """Orders that were not carried out; where no column says what happened, the sign does."""
    lines = []
    if guess.undone:
        filled = "quantity" in guess.roles and re.search(
            r"fill|exec|ausgef", guess.header[guess.roles["quantity"]], re.IGNORECASE
        )
        statuses = json.dumps(guess.undone, ensure_ascii=False)
        nothing = ', quantity = ["=0", ""]' if filled else ""
        but = "; what was filled before counts." if filled else "."
        lines = [
            f"# An order that was not carried out is no trade{but}",
            "[[rules]]",
            f"if = {{ status = {statuses}{nothing} }}",
            'skip = "the order was not carried out"',
            "",
        ]
    if "action" not in guess.roles and guess.sign:
        lines += [
            "# No column says what happened: a row with units is a purchase or a sale, as the sign",
            "# says.",
            "[[rules]]",
            'if = { quantity = [">0", "<0"] }',
            'kind = "BUY/SELL"',
            "",
        ]
    return lines


def _vocabulary(guess: FormatGuess) -> list[str]:
    if not guess.words:
        return []
    words: dict[str, list[str]] = {}
    for word, kind in guess.kinds.items():
        words.setdefault(kind, []).append(word)
    others = ", ".join(kind for kind in (*EntryKind, *SPECIAL) if kind not in words)
    column = _one_line(guess.header[guess.roles["action"]])
    lines = [
        f"# The words of the column {column}, each under one kind. There are also",
        f"# {others}.",
        "[kinds]",
    ]
    for kind in sorted(words.keys() - {"", "~"}):
        rows = sum(guess.words[word] for word in words[kind])
        key = kind if kind.isalpha() else _text(kind)
        lines.append(f"{key} = {_texts(words[kind])}  # {_rows(rows)}")
    lines += [
        f"# ? = {_text(word)}  # {_rows(guess.words[word])}, quarantined until it has a kind"
        for word in words.get("", [])
    ]
    if "~" in words:
        lines += ["", "[skip]", f'"not carried out" = {_texts(words["~"])}']
    return lines


def _reference(header: list[str], place: int) -> str:
    """A column as a format names it: by the one before it where names repeat or are empty."""
    name = header[place]
    plain = [" ".join(cell.lower().split()) for cell in header]
    if name and plain.index(plain[place]) == place:
        return name.replace(" > ", "*")
    before = header[place - 1] if place else ""
    return f"{before} > {name}" if name else f"{before} >"


def _text(value: str) -> str:
    """A TOML string; JSON escapes the same signs but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _texts(values: list[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _rows(count: int) -> str:
    return f"{count} row" + "s" * (count != 1)


def _one_line(text: str) -> str:
    """Fit for a comment: TOML has no control characters there."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)
