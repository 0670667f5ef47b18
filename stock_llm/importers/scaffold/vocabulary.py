"""Knows the words that brokers use for columns, in the languages of their exports, and for actions.

In: the name of a column, an action. Out: how much it is like a role of format_spec.py, the ledger
kind that it probably is. Used for guesses that a person looks at; formats themselves say what they
mean.
"""

import re
from functools import cache

from stock_llm.importers.format_spec import bundled_formats
from stock_llm.tabular.text import without_accents

ROLES = {
    "date": (
        "date datum fecha data dato day dag buchungstag handelstag valuta timestamp zeitpunkt "
        "executed wann"
    ),
    "time": "time uhrzeit zeit hora ora tijd heure tid",
    "action": (
        "action type typ art side operation vorgang transaktion transaction tipo sens direction "
        "richtung umsatzart buchungstext geschäftsart transaktionsart soort activity aktion "
        "event"
    ),
    "symbol": (
        "symbol ticker kürzel wkn instrument code stock coin asset security valor epic pair "
        "market valoren"
    ),
    "isin": "isin",
    "name": (
        "name bezeichnung product produkt titel title wertpapier wertpapiername description "
        "beschreibung descripción valeur libellé company värdepapper verdipapir værdipapir "
        "papier titolo título fonds aandeel"
    ),
    "quantity": (
        "quantity qty shares units stück stücke anzahl menge nominal nominale cantidad quantité "
        "quantità aantal antal volume size filled stk"
    ),
    "price": "price kurs preis precio cours prezzo koers rate stückpreis",
    "amount": (
        "amount value total betrag gesamt wert umsatz kurswert importe montant importo bedrag "
        "belopp proceeds consideration net gross sum summe endbetrag"
    ),
    "fee": (
        "fee fees commission commissions gebühr gebühren provision kosten spesen entgelt "
        "comisión comisiones frais commissione courtage brokerage charges"
    ),
    "tax": (
        "tax taxes steuer steuern impuesto impuestos impôt imposta belasting skatt withholding duty"
    ),
    "currency": "currency währung ccy moneda devise valuta divisa munt cur",
    "account": (
        "account iban rekeningnummer depot konto kontonummer depotnummer cuenta compte conto "
        "rekening portfolio"
    ),
    "trade_id": (
        "id reference referenz ref order orden ordre ordernummer auftragsnummer "
        "transaktionsnummer number nummer nr"
    ),
    "balance": "balance saldo guthaben solde",
    "status": "status orderstatus auftragsstatus zustand stato estado statut state",
}
"""Role → words of a column's name."""

UNDONE = ("cancel*", "reject*", "expired", "open", "new", "pending*")
"""What an order that is no trade, or not yet one, has for a status."""

_KINDS = (
    ("~", r"cancel|storn|annul|reject|abgelehnt|failed|pending|offen|expired order"),
    ("SPLIT", r"split"),
    ("TAX", r"tax|steuer|withh|impuest|imp[oô]t|impost|ritenut|belasting|skatt"),
    (
        "FEE",
        r"\bfees?\b|geb[uü]hr|commission|provision|kosten|entgelt|charge|spesen|comisi|frais|courtage|custody",
    ),
    (
        "INTEREST",
        r"interest|zins|int[eé]r[eê]t|inter[eé]s|interess|\brente\b|r[aä]nta|coupon|kupon|cedol|staking|reward",
    ),
    (
        "DIVIDEND",
        r"divid|^div\b|aussch[uü]ttung|ertr[aä]g|distribution|utdelning|utbytte|udbytte|ปันผล",
    ),
    (
        "SELL",
        r"sell|sold|\bsale|verkauf|vent[ae]|vend[ia]|verkoop|s[aä]lj|s[aå]l[dt]\b|salg|sprzeda|ขาย|^(?:s|v|sld)$",
    ),
    (
        "BUY",
        r"buy|bought|purchase|kauf|compra|achat|acquist|koop|k[oö]pt?\b|kj[oø]p|k[oø]b\b|kupno|subscri|zeichnung|sparplan"
        r"|savings? plan|reinvest|^drip$|ซื้อ|^(?:b|k|bot)$",
    ),
    ("TRANSFER+", r"einlieferung|einbuchung|transfer.?in\b|incoming|delivery.*in"),
    ("TRANSFER-", r"auslieferung|ausbuchung|transfer.?out\b|outgoing|delivery.*out"),
    (
        "WITHDRAWAL",
        r"withdraw|auszahlung|retir|retrait|prelev|preliev|opname|uttag|removal|entnahme",
    ),
    (
        "DEPOSIT",
        r"deposit|einzahlung|ingreso|d[eé]pôt|versement|storting|ins[aä]ttning|einlage|top.?up|funding",
    ),
    (
        "DEPOSIT/WITHDRAWAL",
        r"transfer|[uü]berweisung|lastschrift|gutschrift|wire|\bach\b|umbuchung|virement|bonifico",
    ),
    ("BUY/SELL", r"trade|order|wertpapier|transa[ck]tion|execution|fill"),
)
"""Kind → what its words look like, in the order in which they are tried: a Verkauf is no Kauf. `~`
is left out on purpose."""


def kind_of(word: str) -> str:
    """Returns the ledger kind that an action probably is, `~` for none, "" if it is unknown."""
    text = f"{word}\n{without_accents(word)}"
    kinds = (kind for kind, words in _KINDS if re.search(words, text, re.IGNORECASE | re.MULTILINE))
    return next(kinds, "")


def likeness(role: str, name: str) -> float:
    """Returns how much a column's name is like a role: 3 for a word of it, less for a part."""
    plain = re.sub(r"[(\[].*?[)\]]|[_:#]", " ", name.lower()).strip()
    plain = " ".join(plain.split())
    if role in _names_elsewhere().get(plain, ()):
        return 3
    plain, words = without_accents(plain), without_accents(ROLES[role]).split()
    if plain in words:
        return 3
    parts = re.split(r"[ /.'-]+", plain)
    if any(part in words for part in parts):
        return 2
    return 1.5 if any(plain.endswith(word) for word in words if len(word) > 3) else 0


@cache
def _names_elsewhere() -> dict[str, frozenset[str]]:
    """Name of a column → what the project's formats say that it is."""
    roles_of: dict[str, set[str]] = {}
    for form in bundled_formats():
        named = [(role, name) for role, column in form.columns.items() for name in column.names]
        named += [(charge.kind.lower(), name) for charge in form.charges for name in charge.amount]
        for role, name in named:
            role = {"net": "amount", "order_id": "trade_id"}.get(role, role)
            if role in ROLES:
                roles_of.setdefault(name.lower(), set()).add(role)
    return {name: frozenset(roles) for name, roles in roles_of.items()}
