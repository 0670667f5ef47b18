"""Read-only tools over the user's own data, for models and agents that can call functions.

What of the ledger a result may hold is asked for with each call: a tool that has nothing to tell
then is not offered, and calling it says so. A result is JSON; a mistake of the caller is a result
as well.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stock_llm.errors import StockLLMError
from stock_llm.grounding.current_data import CurrentData
from stock_llm.grounding.own_data import OwnData
from stock_llm.market.situation import format_percent, format_ratio, round_as_printed
from stock_llm.portfolio import holdings
from stock_llm.storage import findings
from stock_llm.synthetic.stock_tiny import glossary
from stock_llm.truth.blocks import LedgerSharing

MAX_ROWS = 100
"""Rows of a result; how many more there are is told."""

MAX_CHARACTERS = 12_000
"""Characters of a result; a longer one is an error that says so."""


_READING_SECONDS = 120.0
"""How long a call waits for the first reading of the files, which may be many."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as a model is told of it; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]


class OwnToolBox:
    """The tools over the numbers of the files as they are now."""

    def __init__(self, numbers: CurrentData):
        self._numbers = numbers

    def definitions(self, sharing: LedgerSharing) -> list[ToolDefinition]:
        """The tools that have something to tell."""
        return [
            ToolDefinition(each.name, each.description, each.schema()) for each in offered(sharing)
        ]

    async def call(self, name: str, arguments: Any, sharing: LedgerSharing) -> str:
        """The result of a tool as JSON."""
        if (data := await self._numbers.wait(_READING_SECONDS)) is None:
            unread = "there are no trades and candles here, or they are still being read"
            return _error(self._numbers.problem or unread)
        return await asyncio.to_thread(call, data, name, arguments, sharing)


class NoArguments(_Arguments):
    """Nothing."""


class SymbolArguments(_Arguments):
    """One symbol."""

    symbol: str = Field(max_length=40, description="A symbol of the candles, such as KESTRO")


class CandleArguments(SymbolArguments):
    """One symbol and how many sessions."""

    sessions: int = Field(default=20, ge=1, le=MAX_ROWS, description="How many of the last ones")


class YearArguments(_Arguments):
    """One year."""

    year: int = Field(ge=1970, le=2200)


class TermArguments(_Arguments):
    """One term."""

    term: str = Field(max_length=100, description="Such as RSI14, stop-loss or แนวรับ")
    language: Literal["en", "th"] = "en"


@dataclass(frozen=True)
class OwnTool:
    """A tool.

    Attributes:
        shared: what of the ledger has to be shared for it to have anything to tell.
        run: data, arguments and what is shared → the result.
    """

    name: str
    description: str
    arguments: type[_Arguments]
    shared: LedgerSharing
    run: Callable[[OwnData, Any, LedgerSharing], dict[str, Any]]

    def schema(self) -> dict[str, Any]:
        """The arguments as a JSON schema."""
        schema = self.arguments.model_json_schema()
        for named in (schema, *schema.get("properties", {}).values()):
            named.pop("title", None)
        schema.pop("description", None)
        return {"type": "object", "properties": {}} | schema


def offered(sharing: LedgerSharing) -> tuple[OwnTool, ...]:
    """The tools that have something to tell."""
    return tuple(tool for tool in TOOLS if _LEVELS.index(tool.shared) <= _LEVELS.index(sharing))


def call(data: OwnData, name: str, arguments: Any, sharing: LedgerSharing) -> str:
    """The result of a tool as JSON; never raises for what the caller or the data did wrong."""
    tool = next((tool for tool in TOOLS if tool.name == name), None)
    if tool is None:
        return _error(f"there is no tool {name!r}; there are {', '.join(t.name for t in TOOLS)}")
    if tool not in offered(sharing):
        return _error(f"{name} tells of the ledger, which is not shared with this caller")
    try:
        result = tool.run(data, tool.arguments.model_validate(arguments or {}), sharing)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "arguments"
        return _error(f"{place}: {first['msg']}")
    except StockLLMError as error:
        return _error(str(error))
    text = json.dumps(result, ensure_ascii=False, default=_plain)
    if len(text) > MAX_CHARACTERS:
        return _error(f"the result has {len(text)} characters, {MAX_CHARACTERS} at most are told")
    return text


_AMOUNTS = {
    "quantity": "quantity",
    "cost_fifo": "cost",
    "value": "value",
    "unrealised_fifo": "unrealised",
}
_RESULTS = {
    "realised_fifo": "realised",
    "unrealised_fifo": "unrealised",
    **{
        name: name
        for name in ("dividends", "interest", "fees", "taxes", "trades", "first_day", "last_day")
    },
}
"""Column of the positions → what a result calls it."""


def _positions(data: OwnData, _: NoArguments, sharing: LedgerSharing) -> dict[str, Any]:
    rows = [row for row in _rows(data) if row["quantity"]]
    total: dict[str, Decimal] = {}
    for row in rows:
        total[row["currency"]] = total.get(row["currency"], Decimal(0)) + (row["value"] or 0)
    rows.sort(key=lambda row: (row["currency"], -(row["value"] or 0)))
    held = []
    for row in rows:
        told: dict[str, Any] = {"instrument": row["instrument"], "currency": row["currency"]}
        if row["value"] is not None and total[row["currency"]]:
            told["weight"] = format_ratio(float(row["value"]), float(total[row["currency"]]))
        if row["unrealised_fifo"] is not None and row["cost_fifo"]:
            cost = float(row["cost_fifo"])
            told["return"] = format_percent(cost + float(row["unrealised_fifo"]), cost)
        if sharing == "everything":
            told |= {name: row[column] for column, name in _AMOUNTS.items()}
        held.append(told | {"as_of": row["value_day"]})
    return _listed("positions", held) | {"method": "first in, first out"}


def _performance(data: OwnData, _: NoArguments, sharing: LedgerSharing) -> dict[str, Any]:
    told = []
    for row in _rows(data):
        entry: dict[str, Any] = {"instrument": row["instrument"], "currency": row["currency"]}
        if row["sold_cost_fifo"]:
            cost = float(row["sold_cost_fifo"])
            entry["realised_return"] = format_percent(cost + float(row["realised_fifo"]), cost)
        if row["unrealised_fifo"] is not None and row["cost_fifo"]:
            cost = float(row["cost_fifo"])
            entry["unrealised_return"] = format_percent(cost + float(row["unrealised_fifo"]), cost)
        if sharing == "everything":
            entry |= {name: row[column] for column, name in _RESULTS.items()}
        told.append(entry)
    return _listed("instruments", told) | {
        "method": "first in, first out; gains are before fees and taxes"
    }


def _trades(data: OwnData, asked: SymbolArguments, _: LedgerSharing) -> dict[str, Any]:
    symbol = asked.symbol.upper()
    steps = pq.read_table(data.history.steps, filters=[("symbol", "=", symbol)])
    fills = holdings.read_fills(steps)
    if not fills:
        traded = sorted({row["instrument"] for row in _rows(data)})
        return {"error": f"there are no trades in {symbol[:40]}", "traded": traded[:MAX_ROWS]}
    sales = {
        sale.fill.ref: sale
        for history in holdings.holdings_by_symbol(fills).values()
        for sale in history.sales
    }
    told = []
    for fill in reversed(fills):
        kind = ("buy" if fill.quantity > 0 else "sell") if fill.decided else "move"
        entry = {"day": fill.day, "side": kind, "quantity": abs(fill.quantity), "price": fill.price}
        if sale := sales.get(fill.ref):
            entry |= {
                "average_cost": round_as_printed(sale.bought),
                "return": format_percent(fill.price, sale.bought),
            }
        told.append(entry)
    return {"symbol": symbol} | _listed("trades", told)


def _candles(data: OwnData, asked: CandleArguments, sharing: LedgerSharing) -> dict[str, Any]:
    symbol = asked.symbol.upper()
    if symbol not in data.symbols:
        known = sorted(data.symbols)
        return {"error": f"there are no candles of {symbol[:40]}", "symbols": known[:MAX_ROWS]}
    situation = data.situation(symbol)
    lines = situation.lines()
    position = lines.pop("Position", "")
    if position and sharing == "everything":
        lines["Position"] = position
    elif position and sharing == "percentages":
        lines["Position"] = position[position.rindex("(") + 1 : -1]
    columns = ["date", "open", "high", "low", "close", "volume"]
    table = pq.read_table(
        data.history.candles, columns=columns, filters=[("symbol", "=", symbol)]
    ).sort_by("date")
    rows = table.slice(max(0, len(table) - asked.sessions)).to_pylist()
    return {"symbol": symbol, "as_of": situation.as_of, "indicators": lines, "candles": rows}


def _income(data: OwnData, asked: YearArguments, _: LedgerSharing) -> dict[str, Any]:
    table = pq.read_table(data.history.trades)
    table = table.filter(pc.equal(pc.year(table["executed_at"]), asked.year))
    sums: dict[tuple[str, str], dict[str, Decimal]] = {}
    kinds = {"DIVIDEND": "dividends", "INTEREST": "interest", "TAX": "taxes", "FEE": "fees"}
    for row in table.to_pylist():
        key = row["currency"], row["symbol"] or row["name"]
        told = sums.setdefault(key, {})
        if name := kinds.get(row["kind"]):
            told[name] = told.get(name, Decimal(0)) + (row["amount"] or 0)
        for name, column in (("taxes", "tax"), ("fees", "fee")):
            if row[column]:
                told[name] = told.get(name, Decimal(0)) + row[column]
    entries = [
        {"instrument": name, "currency": currency} | told
        for (currency, name), told in sorted(sums.items())
        if any(told.values())
    ]
    totals: dict[str, dict[str, Decimal]] = {}
    for (currency, _name), told in sums.items():
        for kind, amount in told.items():
            total = totals.setdefault(currency, {})
            total[kind] = total.get(kind, Decimal(0)) + amount
    return {"year": asked.year, "totals": totals} | _listed("instruments", entries)


def _findings(data: OwnData, _: NoArguments, __: LedgerSharing) -> dict[str, Any]:
    found = findings.read(data.history.findings)
    told = [
        {"rule": each.rule, "symbol": each.symbol, "first_day": each.first_day,
         "last_day": each.last_day, "text": each.text[:500]}
        for each in found
    ]  # fmt: skip
    return _listed("findings", told)


def _term(_: OwnData, asked: TermArguments, __: LedgerSharing) -> dict[str, Any]:
    wanted = asked.term.strip().lower().replace("-", " ").rstrip("0123456789 ")
    names = [(term, (term.name.lower(), term.thai_name.lower())) for term in glossary.TERMS]
    found = [term for term, own in names if wanted in own]
    found += [term for term, own in names if wanted and any(wanted in name for name in own)]
    found += [term for term, own in names if any(name in wanted for name in own)]
    for term in found[:1]:
        meaning = term.thai if asked.language == "th" else term.english
        return {"term": term.name, "thai_name": term.thai_name, "meaning": list(meaning)}
    known = [term.name for term in glossary.TERMS]
    return {"error": f"the glossary does not have {asked.term[:40]!r}", "terms": known}


TOOLS = (
    OwnTool(
        "positions",
        "What the user holds: units, cost, value, share of the value and return of each position.",
        NoArguments,
        "percentages",
        _positions,
    ),
    OwnTool(
        "performance",
        "What each instrument that the user traded brought: realised and unrealised gains, "
        "dividends, fees and taxes.",
        NoArguments,
        "percentages",
        _performance,
    ),
    OwnTool(
        "trades",
        "The user's purchases and sales of a symbol, newest first, each sale with its return.",
        SymbolArguments,
        "everything",
        _trades,
    ),
    OwnTool(
        "candles",
        "The last daily candles of a symbol and its indicators at the last close.",
        CandleArguments,
        "nothing",
        _candles,
    ),
    OwnTool(
        "income",
        "Dividends, interest, taxes and fees of a calendar year (UTC), by instrument.",
        YearArguments,
        "everything",
        _income,
    ),
    OwnTool(
        "findings",
        "What is wrong or suspicious in the user's files of trades and candles.",
        NoArguments,
        "everything",
        _findings,
    ),
    OwnTool(
        "term",
        "What a word of charts and markets means.",
        TermArguments,
        "nothing",
        _term,
    ),
)

_LEVELS: tuple[LedgerSharing, ...] = ("nothing", "percentages", "everything")


def _rows(data: OwnData) -> list[dict[str, Any]]:
    return pq.read_table(data.history.positions).to_pylist()


def _listed(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    more = len(rows) - MAX_ROWS
    return {name: rows[:MAX_ROWS]} | ({"further": more} if more > 0 else {})


def _plain(value: Any) -> Any:
    """A decimal as the number that a reader would write, a day as ISO 8601."""
    if isinstance(value, Decimal):
        rounded = round(value, 4).normalize()
        return int(rounded) if rounded == rounded.to_integral_value() else float(rounded)
    return value.isoformat()


def _error(text: str) -> str:
    return json.dumps({"error": text}, ensure_ascii=False)
