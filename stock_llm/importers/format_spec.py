"""The formats: what the TOML files beside this one say, checked once.

In: `*.toml`. Out: `Format`. Columns are found by name, never by place; `*` in a name stands for
anything and, where it is a currency code, for the currency (`Total (*)`); `A > B` is the column B
right behind A, for names that repeat or are empty. Does not read exports.
"""

import re
import tomllib
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stock_llm.errors import InputError
from stock_llm.ledger.entries import AssetClass, EntryKind

FOLDER = Path(__file__).parent / "formats"

TEXTS = frozenset(
    (
        *(
            "date",
            "time",
            "zone",
            "action",
            "text",
            "symbol",
            "isin",
            "name",
            "asset",
            "account",
            "trade_id",
            "order_id",
        ),
        *("currency", "net_currency", "cash_currency", "value_currency", "in_symbol", "out_symbol"),
    )
)
"""What a column may be besides a number, a fee, a tax, their currencies, and the inventions of a
format (`more`)."""

NUMBERS = frozenset(
    (
        "quantity",
        "price",
        "amount",
        "net",
        "cash",
        "rate",
        "ratio",
        "multiplier",
        "in_quantity",
        "out_quantity",
        "value",
        "balance",
    )
)
"""net: the cash that moved, with its sign. cash: what moved, sign ignored; compared with what is
booked, never booked. rate: how many of the one currency are one of the other, whichever way round.
amount: gross, sign ignored but for income. value: what a swap was worth in value_currency."""

SIGNED = ("BUY/SELL", "DEPOSIT/WITHDRAWAL")
SPECIAL = (*SIGNED, "TRANSFER+", "TRANSFER-", "SWAP")
"""Kinds that the row's sign decides, transfers whose direction the action says, and one asset for
another."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Part):
    """Where a value stands: the first of these columns that is not empty in a row, or several
    joined by a space."""

    any_of: tuple[str, ...] = ()
    join: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.any_of or self.join


class Charge(_Part):
    """A fee or tax of a row: its columns, and that of its currency where it has one."""

    kind: str = Field(pattern="^(FEE|TAX|INTEREST)$")
    """INTEREST: what a bond had earned since its last coupon; its buyer pays it."""
    amount: tuple[str, ...]
    currency: tuple[str, ...] = ()
    sign: str = Field(default="", pattern="^[+-]?$")
    """What a cost is written with, where the other sign means that it was given back; empty: every
    number is a cost."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, given: dict[str, Any]) -> dict[str, Any]:
        lists = ("amount", "currency")
        return {
            key: (value,) if isinstance(value, str) and key in lists else value
            for key, value in given.items()
        }


class Extract(_Part):
    """A pattern (RE2) whose named groups fill in what the columns do not say."""

    source: str = Field(alias="from")
    pattern: str

    @model_validator(mode="after")
    def _compiles(self) -> "Extract":
        if not re.compile(self.pattern).groupindex:
            raise ValueError("the pattern has no named group")
        return self

    @property
    def groups(self) -> list[str]:
        return list(re.compile(self.pattern).groupindex)


class RowRule(_Part):
    """What a row means when all of its conditions hold: text patterns, `>0`, `<0`, `=0`, `@money`,
    or "" for empty.

    A rule with neither a kind nor a reason only sets fields or the class: what comes after it says
    what the row means.
    """

    when: dict[str, str | tuple[str, ...]] = Field(alias="if")
    kind: str = ""
    skip: str = ""
    take: dict[str, str] = {}
    """Role → another role, `a * b`, `a / b`, `a - b` of two, or `'text'`."""
    asset: AssetClass | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> "RowRule":
        if self.kind and self.skip:
            raise ValueError("a rule has either a kind or a reason to skip")
        if not (self.kind or self.skip or self.take or self.asset):
            raise ValueError(
                "a rule has a kind, a reason to skip, or something to set (take, asset)"
            )
        if self.kind and self.kind not in (*EntryKind, *SPECIAL):
            raise ValueError(f"'{self.kind}' is not one of {', '.join((*EntryKind, *SPECIAL))}")
        return self


class LinePattern(_Part):
    """Lines that are no rows, such as a total behind the last: a pattern and the reason to skip
    them."""

    like: str
    reason: str


class Format(_Part):
    """One export format."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    header: tuple[str, ...] = Field(min_length=1)
    """All of these columns must be there; `a|b` is either."""
    content: str = Field(default="csv", pattern="^(csv|json|xml|ofx)$")
    steps: Literal[
        "",
        "binance_transactions",
        "cash_of_units",
        "coinbase_pro_account",
        "degiro_account",
        "degiro_transactions",
        "etoro",
        "etoro_dividends",
        "investimental",
        "kraken_ledgers",
        "vanguard_cash",
    ] = ""
    """The function in `adapters/` that makes one event of several rows."""
    decimal: str = Field(default="", pattern="^[.,]?$")
    """What `1,234` or `1.234` means where nothing else in the file tells."""
    dates: str = Field(default="", pattern="^(DMY|MDY|YMD)?$")
    """Order of `3/4/2024`; empty: the file must show it. YMD: of `24-07-25`, a year without its
    century first."""
    timezone: str = ""
    """IANA zone of times without one; empty: UTC."""
    currency: str = ""
    """Where the export names none."""
    currencies: dict[str, str] = {}
    """The export's own names of currencies → codes."""
    asset: AssetClass = AssetClass.STOCK
    assets: dict[str, AssetClass] = {}
    """Patterns of the column `asset` → class."""
    sign: str = "net"
    """The number whose sign tells BUY from SELL and DEPOSIT from WITHDRAWAL: its minus is a BUY or
    a WITHDRAWAL of cash."""
    scale: dict[str, str] = {}
    """Number → factor, for prices in pence."""
    section: bool = False
    """Every row begins with the first cell of the header; other lines belong to other sections of a
    statement."""
    ragged: bool = False
    """Rows may end early; otherwise such a row is cut off and set aside."""
    strict_buys: bool = False
    """A purchase with a negative quantity is set aside."""
    fee_from_net: bool = False
    """The fee is what the cash differs from quantity times price."""
    fallback: bool = False
    """Only where no other format knows the header."""
    currency_line: str = ""
    """Pattern of a line above the header that names the currency of the account, in a group
    `currency`."""
    total: str = ""
    """Pattern of the footer line whose last number is the sum of `net`."""

    columns: dict[str, Column]
    costs: str = Field(default="", pattern="^[+-]?$")
    """What charges are written with, where the other sign means that they were given back; empty:
    the cash of the row tells."""
    ignored: tuple[str, ...] = ()
    """Columns that tell nothing that is booked or checked; any other column with values that
    nothing reads is a finding."""
    unsigned: bool = False
    """Cash that left stands without a minus where no row of its kind in the file has one."""
    passive: tuple[str, ...] = ()
    """Sections of a statement that tell what is there, not what happened."""
    paid_out: tuple[str, ...] = ()
    paid_in: tuple[str, ...] = ()
    """Actions whose units and whose cash stand in two rows: units that leave, units that come."""
    charges: tuple[Charge, ...] = ()
    more: tuple[str, ...] = ()
    more_numbers: tuple[str, ...] = ()
    extract: tuple[Extract, ...] = ()
    rules: tuple[RowRule, ...] = ()
    skip: dict[str, tuple[str, ...]] = {}
    kinds: dict[str, tuple[str, ...]] = {}
    lines: tuple[LinePattern, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, given: dict[str, Any]) -> dict[str, Any]:
        given = dict(given)
        columns = dict(given.get("columns", {}))
        charges = list(given.get("charges", []))
        taken = {role for rule in given.get("rules", []) for role in rule.get("take", {})}
        for kind in ("fee", "tax"):
            if kind in columns or kind in taken:
                amount, currency = columns.pop(kind, []), columns.pop(kind + "_currency", [])
                charges.insert(0, {"kind": kind.upper(), "amount": amount, "currency": currency})
        costs = given.get("costs", "")
        given["charges"] = [
            {"sign": costs, **charge} if isinstance(charge, dict) else charge for charge in charges
        ]
        given["columns"] = {
            role: value
            if isinstance(value, dict)
            else {"any_of": [value] if isinstance(value, str) else value}
            for role, value in columns.items()
        }
        for part in ("skip", "kinds"):
            given[part] = {
                key: [value] if isinstance(value, str) else value
                for key, value in given.get(part, {}).items()
            }
        return given

    @model_validator(mode="after")
    def _knows_what_it_names(self) -> "Format":
        unknown = set(self.columns) - self.texts - self.numbers
        if unknown:
            raise ValueError(
                f"[columns] {min(unknown)}: name it in more or more_numbers, or use one of"
                f" {sorted(TEXTS | NUMBERS)}"
            )
        if kinds := set(self.kinds) - {*EntryKind, *SPECIAL}:
            raise ValueError(
                f"[kinds] {min(kinds)} is not one of {', '.join((*EntryKind, *SPECIAL))}"
            )
        return self

    @property
    def texts(self) -> frozenset[str]:
        return TEXTS | frozenset(self.more)

    @property
    def numbers(self) -> frozenset[str]:
        return NUMBERS | frozenset(self.more_numbers)

    @cached_property
    def known(self) -> tuple[str, ...]:
        """Every column name that the format speaks of."""
        named = [name for column in self.columns.values() for name in column.names]
        return tuple(
            dict.fromkeys(
                named
                + [name for charge in self.charges for name in charge.amount + charge.currency]
            )
        )

    def charge_of(self, kind: str) -> int:
        """Which of the charges is the first of a kind (FEE or TAX)."""
        return next(number for number, charge in enumerate(self.charges) if charge.kind == kind)

    def fits(self, header: "Header") -> int:
        """How many of its own columns a header has; 0 where one that it must have is missing."""
        if not all(
            any(header.find(name) is not None for name in entry.split("|")) for entry in self.header
        ):
            return 0
        return len(self.header) * 1000 + sum(header.find(name) is not None for name in self.known)


class Header:
    """The cells of a header row, to be asked for by name."""

    def __init__(self, cells: Iterable[str]):
        self.cells = [cell.strip(' \t"\ufeff') for cell in cells]
        self._lower = [_plain(cell) for cell in self.cells]
        self._first: dict[str, int] = {}
        for place, cell in enumerate(self._lower):
            self._first.setdefault(cell, place)

    def find(self, name: str) -> int | None:
        """Place of a column, None where there is none."""
        name = _plain(name)
        if " > " in name or name.endswith(" >"):
            before, _, after = name.partition(" >")
            return next(
                (
                    place + 1
                    for place in range(len(self._lower) - 1)
                    if self._lower[place] == before and self._lower[place + 1] == after.strip()
                ),
                None,
            )
        if "*" in name:
            pattern = glob(name)
            return next(
                (place for place, cell in enumerate(self._lower) if pattern.fullmatch(cell)), None
            )
        return self._first.get(name)

    def captured(self, name: str) -> str:
        """What stood for the `*` of a column's name, where it is a currency code."""
        place = self.find(name)
        if place is None or "*" not in name:
            return ""
        match = re.fullmatch(re.escape(_plain(name)).replace(r"\*", "(.*)"), self._lower[place])
        code = match.group(1).upper() if match else ""
        return {"€": "EUR", "$": "USD", "£": "GBP"}.get(
            code, code if re.fullmatch("[A-Z]{3}", code) else ""
        )


def _plain(cell: str) -> str:
    return " ".join(cell.lower().split())


@cache
def glob(pattern: str) -> re.Pattern[str]:
    """`*` stands for anything, `?` for any one sign; upper and lower case are the same."""
    return re.compile(
        re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.IGNORECASE | re.DOTALL
    )


@cache
def bundled_formats() -> tuple[Format, ...]:
    """Returns the formats that come with the project, by name."""
    return tuple(load_format(path) for path in sorted(FOLDER.glob("*.toml")))


def available_formats(folder: Path | None) -> tuple[Format, ...]:
    """Returns the user's formats in `folder`, then the project's; a user's name counts.

    Raises:
        InputError: one of the user's files is not a format.
    """
    files = sorted(folder.glob("*.toml")) if folder and folder.is_dir() else []
    users = tuple(map(load_format, files))
    names = {form.name for form in users}
    return users + tuple(form for form in bundled_formats() if form.name not in names)


def load_format(path: Path) -> Format:
    """Reads one TOML file.

    Raises:
        InputError: it is not TOML, or says something that a format cannot.
    """
    try:
        return Format.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not TOML: {error}", file=path) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "format"
        raise InputError(f"{place}: {first['msg']}", file=path) from None


def best_format(formats: Iterable[Format], header: Header, content: str) -> Format | None:
    """Returns the format that knows the most columns of a header."""
    fitting = [form for form in formats if form.content == content and form.fits(header)]
    return max(fitting, key=lambda form: (not form.fallback, form.fits(header)), default=None)
