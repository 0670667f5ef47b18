"""Maps the columns of a sheet to what its format calls date, action, quantity and so on, as text,
decimals and instants.

In: a `Sheet`, some rows at a time, and how the whole file writes numbers and dates. Out: `Fields`.
What a row means is decided in classification.py.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.format_spec import Column, Extract, Format
from stock_llm.importers.table_reader import Sheet
from stock_llm.tabular import numbers
from stock_llm.tabular.dates import DateColumn, date_order, read_dates
from stock_llm.tabular.numbers import FACTOR, FIAT, MARKS
from stock_llm.tabular.table import map_distinct


@dataclass(frozen=True)
class Fields:
    """Columns of equal length by role.

    Attributes:
        rows: line numbers.
        texts, numbers: the columns.
        wrong: rows in which a number's text is none.
        written: the texts of the numbers.
        at: datetime64[us] in UTC, NaT where the text is no date.
        timed: whether a time of day was written.
    """

    format: Format
    rows: np.ndarray
    texts: dict[str, pa.Array]
    numbers: dict[str, pa.Array]
    wrong: dict[str, np.ndarray]
    written: dict[str, pa.Array]
    at: np.ndarray
    timed: np.ndarray

    def text(self, role: str) -> pa.Array:
        """Returns a column of text; empty texts where the export has none."""
        return self.texts[role] if role in self.texts else _empty(len(self.rows))

    def number(self, role: str) -> pa.Array:
        """Returns a column of decimals; null where the export has none."""
        return self.numbers[role] if role in self.numbers else pa.nulls(len(self.rows), FACTOR)

    def where(self, mask: np.ndarray) -> "Fields":
        """Returns the rows of a mask."""
        chosen = pa.array(mask)
        return replace(
            self,
            rows=self.rows[mask],
            texts={role: column.filter(chosen) for role, column in self.texts.items()},
            numbers={role: column.filter(chosen) for role, column in self.numbers.items()},
            wrong={role: column[mask] for role, column in self.wrong.items()},
            written={role: column.filter(chosen) for role, column in self.written.items()},
            at=self.at[mask],
            timed=self.timed[mask],
        )


@dataclass(frozen=True)
class Conventions:
    """How a whole file writes: its decimal sign and the order of its dates, both empty where it
    does not show them."""

    decimal: str
    dates: str


def conventions_of(sheet: Sheet, path: Path) -> Conventions:
    """Looks at all numbers and dates of a sheet.

    Raises:
        InputError: days and months cannot be told apart.
    """

    def chunks(roles: set[str]) -> list[pa.Array]:
        names = [name for role in sorted(roles) for name in sheet.format.columns[role].names]
        places = [place for name in names if (place := sheet.header.find(name)) is not None]
        return [chunk for place in places for chunk in sheet.columns[place].chunks]

    roles = sheet.format.columns.keys()
    return Conventions(
        decimal=numbers.decimal_sign(chunks(roles & sheet.format.numbers)),
        dates=sheet.format.dates or date_order(chunks(roles & {"date"}), path),
    )


def charge_role(number: int) -> str:
    """Returns the role of a format's n-th charge."""
    return f"charge {number}"


def read_fields(sheet: Sheet, start: int, size: int, conventions: Conventions) -> Fields:
    """Maps `size` rows of a sheet from `start` on."""
    form = sheet.format
    rows = sheet.rows[start : start + size]
    cells = [_combined(column.slice(start, size)) for column in sheet.columns]

    def column(spec: Column) -> pa.Array | None:
        places = [place for name in spec.names if (place := sheet.header.find(name)) is not None]
        if not places:
            return None
        found = [pc.utf8_trim_whitespace(cells[place]) for place in places]
        if spec.join:
            return pc.utf8_trim_whitespace(pc.binary_join_element_wise(*found, " "))
        chosen = found[0]
        for other in found[1:]:
            chosen = pc.if_else(pc.is_in(chosen, pa.array(["", "-", "--"])), other, chosen)
        return chosen

    texts = {
        role: found for role, spec in form.columns.items() if (found := column(spec)) is not None
    }
    for number, charge in enumerate(form.charges):
        amount = column(Column(any_of=charge.amount))
        if amount is not None:
            role = charge_role(number)
            currency = column(Column(any_of=charge.currency))
            texts[role] = amount
            texts[f"{role} currency"] = (
                currency
                if currency is not None
                else _empty(len(rows), _code_in_header(sheet, charge.amount))
            )
    for role in texts:
        if role not in ("action", "text") and not _is_charge(role):
            texts[role] = pc.if_else(pc.is_in(texts[role], pa.array(["-", "--"])), "", texts[role])
    for extract in form.extract:
        _extract(form, extract, texts, len(rows))
    written = {
        role: texts.pop(role) for role in list(texts) if role in form.numbers or _is_charge(role)
    }
    found = numbers.read_numbers(written, conventions.decimal, form.decimal, sheet.separator)
    values = found.values | {
        role: numbers.product(found.values[role], pa.scalar(Decimal(factor), FACTOR))
        for role, factor in form.scale.items()
        if role in written
    }
    _fill_currencies(sheet, texts, written, len(rows))
    dates = _dates(form, texts, conventions, len(rows))
    plausible = (dates.instant >= np.datetime64("1900-01-01")) & (
        dates.instant < np.datetime64("2100-01-01")
    )
    at = np.where(plausible, dates.instant, np.datetime64("NaT"))
    return Fields(form, rows, texts, values, found.wrong, written, at, dates.timed)


def _empty(size: int, text: str = "") -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), size)


def _is_charge(role: str) -> bool:
    return role.startswith("charge ") and not role.endswith(" currency")


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _extract(form: Format, extract: Extract, texts: dict[str, pa.Array], size: int) -> None:
    source = place_of(form, extract.source)
    if source not in texts:
        return
    groups = pc.extract_regex(texts[source], extract.pattern)
    for group in extract.groups:
        role = place_of(form, group)
        value = pc.utf8_trim_whitespace(pc.fill_null(pc.struct_field(groups, group), ""))
        texts[role] = pc.if_else(pc.equal(value, ""), texts.get(role, _empty(size)), value)


def place_of(form: Format, role: str) -> str:
    """Returns where the text of a role is: `fee` and `fee_currency` with the first fee of the
    format, `tax` likewise."""
    kind, _, rest = role.partition("_")
    if kind not in ("fee", "tax") or rest not in ("", "currency"):
        return role
    return f"{charge_role(form.charge_of(kind.upper()))} {rest}".rstrip()


def _code_in_header(sheet: Sheet, names: tuple[str, ...]) -> str:
    return next((code for name in names if (code := sheet.header.captured(name))), "")


def _fill_currencies(
    sheet: Sheet, texts: dict[str, pa.Array], written: dict[str, pa.Array], size: int
) -> None:
    """Fills in the currency columns: as a column says, else as the number beside it is marked, else
    as its header says."""
    form = sheet.format

    def filled(role: str, other: pa.Array | str) -> None:
        texts[role] = pc.if_else(pc.equal(texts[role], ""), other, texts[role])

    for role, beside in (("currency", ("price", "amount")), ("net_currency", ("net", "amount"))):
        texts.setdefault(role, _empty(size))
        for number in beside:
            if number in written and pc.any(pc.equal(texts[role], ""), min_count=0).as_py():
                filled(role, numbers.marks(written[number]))
                if number in form.columns:
                    filled(role, _code_in_header(sheet, form.columns[number].names))
    filled("net_currency", texts["currency"])
    own = {name.upper(): code for name, code in form.currencies.items()}
    for role in [role for role in texts if role.endswith("currency")]:
        texts[role] = map_distinct(texts[role], lambda text: _code(text, own))
    filled("currency", sheet.currency or form.currency)
    filled("net_currency", sheet.currency or form.currency)
    filled("currency", texts["net_currency"])


def _code(text: str, own: dict[str, str]) -> str:
    if text in ("GBp", "GBx"):
        return "GBX"
    code = text.partition(" (")[0].strip("() ").upper()
    code = own.get(code, MARKS.get(code, code))
    return {"-": "", "--": "", "N/A": "", "GBPENCE": "GBX", "GBP PENCE": "GBX"}.get(code, code)


def _dates(
    form: Format, texts: dict[str, pa.Array], conventions: Conventions, size: int
) -> DateColumn:
    dates = texts.get("date", _empty(size))
    if "time" in texts and form.columns["time"] != form.columns.get("date"):
        # one column may be both
        time = pc.if_else(pc.equal(texts["time"], dates), "", texts["time"])
        dates = pc.utf8_trim_whitespace(pc.binary_join_element_wise(dates, time, " "))
    return read_dates(dates, conventions.dates, form.timezone, texts.get("zone"))


def rounding(fields: Fields) -> pa.Array:
    """Returns what half of the last digit of a row's price and quantity may account for."""
    sums = pa.repeat(numbers.ZERO, len(fields.rows))
    for role, other in (("price", "quantity"), ("quantity", "price")):
        if role in fields.written and other in fields.numbers:
            off = numbers.product(half_digit(fields.written[role]), fields.number(other))
            sums = numbers.total(sums, pc.coalesce(pc.abs(off), numbers.ZERO))
    return sums


_HALVES = pa.array(
    [Decimal("0.5").scaleb(-digits) if digits > 1 else Decimal(0) for digits in range(12)], FACTOR
)


def half_digit(texts: pa.Array) -> pa.Array:
    """Returns half of the last digit that numbers are written with; those of no decimals or one are
    exact."""
    behind = pc.replace_substring_regex(texts, r"^[^.,]*$", "")
    behind = pc.replace_substring_regex(behind, r"^.*[.,]", "")
    digits = pc.utf8_length(pc.replace_substring_regex(behind, r"\D", ""))
    return _HALVES.take(pc.min_element_wise(digits, pa.scalar(11, digits.type)))


def is_money(codes: pa.Array) -> pa.Array:
    """Whether a symbol is a currency."""
    return pc.is_in(pc.utf8_upper(codes), pa.array(sorted(FIAT)))
