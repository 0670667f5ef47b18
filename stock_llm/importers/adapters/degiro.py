"""DEGIRO's account statement: an order stands in several rows, and what a row is stands in a
sentence, in one of many languages.

In: the `Sheet` of a statement. Out: the sheet with what each row is, as the columns that
degiro-account.toml names; the costs of an order go with its trade. Rows that say nothing of their
own are added to the `Reading` with the reason.
"""

import re
from dataclasses import dataclass, replace
from decimal import Decimal

from stock_llm.importers.table_reader import Sheet, Workbook

_NUMBER = r"\d[\d.,'\s\u00a0\u202f]*"
_BUYS = (
    "koop|buy|bought|compra|achat|kauf|acquisto|kupno|køb|köp|kjøp|nákup|osto|vétel|cumpărare|αγορά"
)
_SELLS = (
    "verkoop|sell|sold|venda|venta|vente|verkauf|vendita|sprzedaż|salg|sälj|sälg|prodej|myynti"
    "|eladás|vânzare|πώληση"
)
_TRADE = re.compile(
    rf"^(?:(?P<why>[^:]*?)\s*:\s*)?(?P<side>{_BUYS}"
    rf"|{_SELLS})\s+(?P<quantity>{_NUMBER}?)(?:\s+(?P<name>\S.*?))?\s*"
    rf"(?:@|\bat\b|\bzu je\b|\bà\b)\s*(?P<price>{_NUMBER}?)\s*(?P<currency>[A-Z]{{3}})\b",
    re.IGNORECASE,
)
_MONEY_FUND = re.compile(
    r"cash fund|geldmarkt|monétaire|money market|monetar|rynku pieniężnego|fundshare", re.IGNORECASE
)
_NO_SALE = re.compile(
    r"split|wijziging|change|wechsel|cambio|changement|isin|fusi|merger|spin|stock divid"
    r"|dividende?n? en|aandelendividend"
    r"|umtausch|conversi|delisting|regularis|corporate action|zmian",
    re.IGNORECASE,
)
_SENTENCES = tuple(
    (re.compile(pattern, re.IGNORECASE), event)
    for pattern, event in (
        (
            r"valuta (?:cred|deb)|\bfx (?:cred|deb|with|dep)|währungswechsel|opération de change"
            r"|cambio de divisa|de divisa$"
            r"|cambio valut|cambio di valuta|currency (?:cred|deb|exch)|wymian\w* walut"
            r"|valutaväxling|valutaveksling|vekslen"
            r"|směna měny",
            "exchange",
        ),
        (
            r"cash sweep|flatexdegiro bank|geldrekening|processed flatex|your cash account|compte"
            r" (?:espèces|bancaire flatex)"
            r"|geldkonto|cuenta (?:de efectivo|flatex)|conto (?:deposito|liquidità)|conta (?:caixa"
            r"|flatex)|rachun\w* got"
            r"|money market fund conversion|conversion (?:du )?fonds monétaires|omzetting"
            r" geldmarkt|umwandlung geldmarkt",
            "sweep",
        ),
        (r"reserv|rezerw", "reservation"),
        (
            r"^(?!.*(?:\btax\b|belasting|impôt|steuer|\btaxe\b|\btassa\b|impost|impuesto))"
            r".*(?:transact|transac|transaz|transak|kosten van derden|third part|courtage|parties"
            r" tierces"
            r"|terceiros|terceros|terzi|drittanbieter|dritter)",
            "order costs",
        ),
        (
            r"belasting|\btax\b|stamp duty|impôt|imposto|impuesto|retenci|retenç|steuer|ritenuta"
            r"|imposta"
            r"|\btaxe\b|\btassa\b|\bftt\b|podatek|källskatt|kildeskat|kildeskatt|\bskat\b|srážková"
            r"|vero\b",
            "tax",
        ),
        (
            r"dividend|dividende|ausschüttung|uitkering|distribu|capital return|kapitaals"
            r"|kapitalrück|coupon|dywidend|utbytte"
            r"|udbytte|utdelning|osinko|rimborso di capitale|reembolso de capital|remboursement de"
            r" capital",
            "dividend",
        ),
        (
            r"kosten|\bcosts?\b|\bfees?\b|\bfrais\b|comiss|comisi|gebühr|commission|\bcosto\b"
            r"|\bcosti\b|custo|koszt|opłat|avgift"
            r"|gebyr|poplatek|tarif|kulut|handelsmodalitäten",
            "fee",
        ),
        (
            r"\brente\b|debetrente|\binterest|zins|intérêt|interess|interés|odsetki|ränta|\bkorko"
            r"|úrok"
            r"|(?:koersverandering|price change|preisänderung|variation|variazione|variación"
            r"|variação).*"
            r"(?:geldmarkt|money market|monétaire|monetar)|geldmarkt.*preis",
            "interest",
        ),
        (r"courtesy|compensati|kulanz|goodwill|promo|bonus|geste commercial", "courtesy"),
        (
            r"deposit|storting|ingreso|dépôt|einzahlung|einlage|depósito|versement|versamento"
            r"|wpłata|insättning|indbetaling"
            r"|innskudd|vklad|ideal|sofort|withdraw|terugstorting|opname|uitbetaling|retrait"
            r"|auszahlung|retirada|levantamento"
            r"|prelievo|wypłata|uttag|udbetaling|uttak|výběr|talletus|nosto",
            "cash",
        ),
    )
)


_ROLES = ("date", "time", "name", "description", "change", "change_currency", "order_id")


@dataclass
class _Row:
    """A row of the statement; `amount` is the change of the cash account."""

    at: int
    row: int
    product: str
    text: str
    amount: Decimal | None
    currency: str
    order: str
    when: str


@dataclass(frozen=True)
class _Event:
    """What a row is."""

    what: str
    quantity: Decimal | None = None
    price: Decimal | None = None
    currency: str = ""
    cash: Decimal | None = None
    cash_currency: str = ""
    fee: Decimal | None = None
    fee_currency: str = ""


def account(sheet: Sheet, workbook: Workbook) -> Sheet:
    """The `steps` of degiro-account.toml."""
    rows, rest = _joined_ids(sheet)
    events = {row.at: _event(row) for row in rows}
    for row in rows:
        if _FLATEX.search(row.text) and events[row.at].what == "sweep" and not _answered(row, rows):
            events[row.at] = replace(events[row.at], what="cash")
    trades: dict[str, list[_Row]] = {}
    for row in rows:
        if row.order and events[row.at].what in ("buy", "sell"):
            trades.setdefault(row.order, []).append(row)
    for row in rows:
        event = events[row.at]
        if event.what == "order costs" and row.order in trades and (row.amount or 0) <= 0:
            trade = _dearest(trades[row.order], row)
            with_costs = _with_costs(events[trade.at], row)
            if with_costs is not None:
                events[trade.at] = with_costs
                del events[row.at]
                rest[row.at] = f"the costs of the order in row {workbook.locate(trade.row)[1]}"
    for at, reason in rest.items():
        number = int(sheet.rows[at])
        workbook.skip(number, reason, sheet.raw(number))
    places = sorted(events)
    return sheet.with_columns(
        places,
        {
            "Event": [
                "fee" if events[at].what == "order costs" else events[at].what for at in places
            ],
            "Event Quantity": [_exact(events[at].quantity) for at in places],
            "Event Price": [_exact(events[at].price) for at in places],
            "Event Currency": [events[at].currency for at in places],
            "Event Fee": [_exact(events[at].fee) for at in places],
            "Event Fee Currency": [events[at].fee_currency for at in places],
            "Cash": [_exact(events[at].cash) for at in places],
            "Cash Currency": [events[at].cash_currency for at in places],
        },
    )


_FLATEX = re.compile(r"processed flatex (?:withdrawal|deposit)", re.IGNORECASE)
"""A booking that another row takes back where the statement tells of both accounts; alone it is
cash that left or came."""


def _answered(row: _Row, rows: list[_Row]) -> bool:
    """Whether another row moves the same amount the other way."""
    amount = row.amount
    return amount is not None and any(other.amount == -amount for other in rows if other is not row)


def transactions(sheet: Sheet, _workbook: Workbook) -> Sheet:
    """The `steps` of degiro-transactions.toml: recognises splits.

    They stand there as a sale of the old units and a purchase of the new ones, at one time, for as
    much, without an order.
    """
    roles = ("date", "time", "name", "isin", "quantity", "net", "order_id")
    columns = {role: sheet.cells(role) for role in roles}
    groups: dict[tuple[str, str, str], list[int]] = {}
    for at, order in enumerate(columns["order_id"]):
        if not order:
            asset = columns["isin"][at] or columns["name"][at]
            groups.setdefault((columns["date"][at], columns["time"][at], asset), []).append(at)
    split: set[int] = set()
    for places in groups.values():
        cash = [_readings(columns["net"][at]) for at in places]
        units = [_readings(columns["quantity"][at]) for at in places]
        if (
            len(places) == 2
            and all(cash)
            and all(units)
            and cash[0][0] == -cash[1][0]
            and units[0][0] * units[1][0] < 0
        ):
            split.update(places)
    rows = range(len(sheet.rows))
    return sheet.with_columns(rows, {"Event": ["split" if at in split else "" for at in rows]})


def _joined_ids(sheet: Sheet) -> tuple[list[_Row], dict[int, str]]:
    """The rows; an order id that broke off goes on in the row below, which has nothing else."""
    columns = {role: sheet.cells(role) for role in _ROLES}
    rows: list[_Row] = []
    rest: dict[int, str] = {}
    for at, order in enumerate(columns["order_id"]):
        text = columns["description"][at]
        if rows and order and not columns["date"][at] and not text and not columns["change"][at]:
            rows[-1].order += order
            rest[at] = "the rest of the order id above"
            continue
        amounts = _readings(columns["change"][at])
        currency = columns["change_currency"][at]
        when = f"{columns['date'][at]} {columns['time'][at]}"
        amount = amounts[0] if amounts else None
        rows.append(
            _Row(at, int(sheet.rows[at]), columns["name"][at], text, amount, currency, order, when)
        )
    return rows, rest


def _event(row: _Row) -> _Event:
    if _TRADE.match(row.text) and _MONEY_FUND.search(f"{row.product} {row.text}"):
        return _Event("sweep")
    if trade := _TRADE.match(row.text):
        return _traded(trade, row)
    if row.amount is None:
        return _Event("sweep" if row.text else "")
    for pattern, what in _SENTENCES:
        if pattern.search(row.text):
            return _Event(what, currency=row.currency, cash=row.amount, cash_currency=row.currency)
    return _Event(row.text, cash=row.amount, cash_currency=row.currency)


def _traded(trade: re.Match[str], row: _Row) -> _Event:
    buys = re.fullmatch(_BUYS, trade["side"], re.IGNORECASE) is not None
    whole, currency = row.amount or Decimal(0), trade["currency"]
    currency = {"GBx": "GBX", "GBp": "GBX"}.get(currency, currency.upper())
    factor = 100 if currency == "GBX" and row.currency == "GBP" else 1
    quantities = list(reversed(_readings(trade["quantity"])))
    # `1 046,38 ACME`, or one share of `046 ACME`
    if rest := re.match(r"\d{3}(?:[.,]\d+)?(?=\s)", trade["name"] or ""):
        quantities += _readings(trade["quantity"] + rest[0])
    readings = [
        (abs(quantity * price - abs(whole) * factor), quantity, price)
        for quantity in quantities
        for price in _readings(trade["price"])
    ]
    if not readings:
        return _Event(row.text)
    _, quantity, price = min(readings, key=lambda reading: reading[0]) if whole else readings[0]
    if not whole or (trade["why"] and _NO_SALE.search(trade["why"])):
        return _Event("units in" if buys else "units out", quantity, currency=currency)
    return _Event("buy" if buys else "sell", quantity, price, currency, row.amount, row.currency)


def _dearest(trades: list[_Row], costs: _Row) -> _Row:
    """The fill that an order's costs go with: the largest of those at the same time, whatever the
    order of the file."""
    return max(trades, key=lambda row: (row.when == costs.when, abs(row.amount or 0), row.text))


def _with_costs(event: _Event, costs: _Row) -> _Event | None:
    """The trade with its costs; None where it has some in another currency already."""
    if event.fee is not None and event.fee_currency != costs.currency:
        return None
    amount = costs.amount or Decimal(0)
    cash = event.cash
    if cash is not None and event.cash_currency == costs.currency:
        cash += amount
    return replace(
        event, fee=(event.fee or Decimal(0)) - amount, fee_currency=costs.currency, cash=cash
    )


def _readings(text: str) -> list[Decimal]:
    """What a number may mean, the decimal sign first: `1.234` is a little more than one, or more
    than a thousand."""
    text = re.sub(r"[\s'\u00a0\u202f]", "", text)
    if not re.fullmatch(r"[+-]?\d[\d.,]*", text):
        return []
    signs = [sign for sign in text if sign in ".,"]
    if not signs:
        return [Decimal(text)]
    if len(set(signs)) == 2:
        group = signs[0]
        plain = text.replace(group, "").replace(signs[-1], ".")
        return [Decimal(plain)] if plain.count(".") == 1 else []
    plain = text.replace(signs[0], "")
    if len(signs) > 1:
        return [Decimal(plain)]
    decimal = Decimal(text.replace(",", "."))
    return (
        [decimal, Decimal(plain)]
        if re.fullmatch(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", text)
        else [decimal]
    )


def _exact(value: Decimal | None) -> str:
    """With so many places that the sign before them can only be that of decimals."""
    return "" if value is None else f"{value:.12f}"
