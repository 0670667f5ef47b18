"""A slice of a sheet becomes fields: what its format calls date, action, quantity and so on, as text and as decimals.

In: a `Sheet`, from row to row, and what the whole file says of its numbers and dates. Out: `Fields`. Knows which column is what,
not what a row means.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.format_spec import Column, Extract, Format
from stock_llm.importers.sheets import Sheet
from stock_llm.tabular import values
from stock_llm.tabular.values import FACTOR, FIAT, Instants


@dataclass(frozen=True)
class Fields:
    """Columns of equal length. `wrong` says of a number where its text is none."""

    format: Format
    rows: np.ndarray
    texts: dict[str, pa.Array]
    numbers: dict[str, pa.Array]
    wrong: dict[str, np.ndarray]
    written: dict[str, pa.Array]
    when: Instants

    def text(self, role: str) -> pa.Array:
        """A column of text; empty where the export has none."""
        return (
            self.texts[role] if role in self.texts else pa.array([""] * len(self.rows), pa.string())
        )

    def number(self, role: str) -> pa.Array:
        """A column of decimals; null where the export has none."""
        return self.numbers[role] if role in self.numbers else pa.nulls(len(self.rows), FACTOR)

    def only(self, mask: np.ndarray) -> "Fields":
        """The rows of a mask."""
        keep = pa.array(mask)
        return replace(
            self,
            rows=self.rows[mask],
            texts={role: column.filter(keep) for role, column in self.texts.items()},
            numbers={role: column.filter(keep) for role, column in self.numbers.items()},
            wrong={role: column[mask] for role, column in self.wrong.items()},
            written={role: column.filter(keep) for role, column in self.written.items()},
            when=Instants(self.when.at[mask], self.when.timed[mask]),
        )


@dataclass(frozen=True)
class Conventions:
    """How a whole file writes: its decimal sign ("" unknown), the order of its dates, what separates its cells."""

    decimal: str
    dates: str
    separator: str


def conventions_of(sheet: Sheet, path: Path) -> Conventions:
    """Looks at all numbers and dates of a sheet.

    Raises:
        InputError: days and months cannot be told apart.
    """
    columns = {
        role: _chunked(sheet, column)
        for role, column in sheet.format.columns.items()
        if role == "date" or role in sheet.format.numbers
    }
    dates = columns.pop("date", pa.chunked_array([], pa.string()))
    return Conventions(
        decimal=values.comma_or_point(columns.values()),
        dates=sheet.format.dates or values.day_order(dates, path),
        separator=sheet.separator,
    )


def _chunked(sheet: Sheet, column: Column) -> pa.ChunkedArray:
    places = [place for name in column.names if (place := sheet.header.find(name)) is not None]
    return pa.chunked_array(
        [chunk for place in places for chunk in sheet.columns[place].chunks], pa.string()
    )


def charge_role(number: int) -> str:
    """The name under which a format's n-th charge is kept."""
    return f"charge {number}"


def read_fields(sheet: Sheet, start: int, stop: int, how: Conventions, path: Path) -> Fields:
    """The rows `start` to `stop` of a sheet."""
    form = sheet.format
    size = min(stop, len(sheet.rows)) - start
    part = [_combined(column.slice(start, size)) for column in sheet.columns]

    def column(one: Column) -> pa.Array | None:
        found = [
            values.trimmed(part[place])
            for name in one.names
            if (place := sheet.header.find(name)) is not None
        ]
        if not found:
            return None
        if one.join:
            return values.trimmed(pc.binary_join_element_wise(*found, " "))
        chosen = found[0]
        for other in found[1:]:
            chosen = pc.if_else(pc.is_in(chosen, pa.array(["", "-", "--"])), other, chosen)
        return chosen

    texts = {
        role: found for role, one in form.columns.items() if (found := column(one)) is not None
    }
    for number, charge in enumerate(form.charges):
        amount = column(Column(any_of=charge.amount))
        if amount is not None:
            texts[charge_role(number)] = amount
            currency = column(Column(any_of=charge.currency))
            if currency is None:
                code = next(
                    (code for name in charge.amount if (code := sheet.header.captured(name))), ""
                )
                currency = pa.array([code] * size, pa.string())
            texts[charge_role(number) + " currency"] = currency
    for role in texts:
        if role not in ("action", "text") and not _is_charge(role):
            texts[role] = pc.if_else(pc.is_in(texts[role], pa.array(["-", "--"])), "", texts[role])
    for one in form.extract:
        _extract(form, one, texts, size)

    numeric = {
        role: text for role, text in texts.items() if role in form.numbers or _is_charge(role)
    }
    for role in numeric:
        del texts[role]
    numbers = values.read_numbers(numeric, how.decimal, form.decimal, how.separator)
    scaled = {
        role: values.product(array, pa.scalar(Decimal(form.scale[role]), FACTOR))
        if role in form.scale
        else array
        for role, array in numbers.of.items()
    }
    _currencies(form, sheet, texts, numeric, size)
    when = _when(form, texts, how, path, size)
    return Fields(
        form, sheet.rows[start : start + size], texts, scaled, numbers.wrong, numeric, when
    )


def _is_charge(role: str) -> bool:
    return role.startswith("charge ") and not role.endswith(" currency")


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _extract(form: Format, one: Extract, texts: dict[str, pa.Array], size: int) -> None:
    source = place_of(form, one.source)
    if source not in texts:
        return
    found = pc.extract_regex(texts[source], one.pattern)
    for group in one.groups:
        role = place_of(form, group)
        value = values.trimmed(pc.fill_null(pc.struct_field(found, group), ""))
        old = texts.get(role, pa.array([""] * size, pa.string()))
        texts[role] = pc.if_else(pc.equal(value, ""), old, value)


def place_of(form: Format, role: str) -> str:
    """Where the text of a role is kept: `fee` and `fee_currency` with the first fee of the format, `tax` likewise."""
    kind, _, rest = role.partition("_")
    if kind not in ("fee", "tax") or rest not in ("", "currency"):
        return role
    return f"{charge_role(form.charge_of(kind.upper()))} {rest}".rstrip()


def _currencies(
    form: Format, sheet: Sheet, texts: dict[str, pa.Array], written: dict[str, pa.Array], size: int
) -> None:
    """Fills in the currency columns: as a column says, else as the number beside it is marked, else as its header says."""
    for role, beside in (("currency", ("price", "amount")), ("net_currency", ("net", "amount"))):
        found = texts.get(role, pa.array([""] * size, pa.string()))
        for number in beside:
            if number in written and pc.any(pc.equal(found, ""), min_count=0).as_py():
                found = pc.if_else(pc.equal(found, ""), values.marks(written[number]), found)
                if number in form.columns:
                    code = next(
                        (
                            code
                            for name in form.columns[number].names
                            if (code := sheet.header.captured(name))
                        ),
                        "",
                    )
                    found = pc.if_else(pc.equal(found, ""), code, found)
        texts[role] = found
    texts["net_currency"] = pc.if_else(
        pc.equal(texts["net_currency"], ""), texts["currency"], texts["net_currency"]
    )
    own = {name.upper(): code for name, code in form.currencies.items()}
    for role in [role for role in texts if role.endswith("currency")]:
        texts[role] = values.mapped(texts[role], lambda code: _code(code, own))
    for role in ("currency", "net_currency"):
        texts[role] = pc.if_else(
            pc.equal(texts[role], ""), sheet.currency or form.currency, texts[role]
        )
    texts["currency"] = pc.if_else(
        pc.equal(texts["currency"], ""), texts["net_currency"], texts["currency"]
    )


def _code(text: str, own: dict[str, str]) -> str:
    if text in ("GBp", "GBx"):
        return "GBX"
    code = text.partition(" (")[0].strip("() ").upper()
    code = own.get(code, values.MARKS.get(code, code))
    return (
        "" if code in ("-", "--", "N/A") else {"GBPENCE": "GBX", "GBP PENCE": "GBX"}.get(code, code)
    )


def _when(
    form: Format, texts: dict[str, pa.Array], how: Conventions, path: Path, size: int
) -> Instants:
    dates = texts.get("date", pa.array([""] * size, pa.string()))
    if "time" in texts and form.columns["time"] != form.columns.get("date"):
        time = pc.if_else(
            pc.equal(texts["time"], dates), "", texts["time"]
        )  # one column may be both
        dates = values.trimmed(pc.binary_join_element_wise(dates, time, " "))
    return values.read_instants(dates, how.dates, form.timezone, texts.get("zone"), path)


def is_money(codes: pa.Array) -> pa.Array:
    """Whether a symbol is an official currency."""
    return pc.is_in(pc.utf8_upper(codes), pa.array(sorted(FIAT)))
