"""Which symbol of the candles is meant by what an export writes: an ISIN, a name, a Kraken pair, a
ticker of some exchange.

In: what a ledger names, the symbols that have candles, the table of instruments. Out: `Matching`:
what each is, what was learnt on the way, and what fits nothing. Nothing is guessed: where two
symbols fit equally well, none is taken, and the finding says so. Does not know prices.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from stock_llm.ledger.entries import AssetClass
from stock_llm.ledger.instruments import InstrumentLine, Instruments
from stock_llm.storage.findings import Finding

SKILL_ASSET_CLASSES = (AssetClass.STOCK, AssetClass.FUND)
"""Classes that fit the skills; only they need candles."""

SUFFIXES_BY_CURRENCY = {
    "GBP": ("L", "UK"), "GBX": ("L", "UK"), "CHF": ("SW",), "SEK": ("ST",), "DKK": ("CO",), "NOK": ("OL",), "PLN": ("WA",),
    "EUR": ("DE", "AS", "PA", "MI", "MC", "BR", "LS", "HE", "VI", "IR", "F"), "CAD": ("TO", "V"), "AUD": ("AX",), "NZD": ("NZ",),
    "JPY": ("T", "JP"), "HKD": ("HK",), "SGD": ("SI",), "THB": ("BK",), "INR": ("NS", "BO"), "ZAR": ("JO",), "ILS": ("TA",),
    "USD": ("US",), "BRL": ("SA",), "MXN": ("MX",), "TRY": ("IS",), "CZK": ("PR",), "HUF": ("BD", "HU"),
}  # fmt: skip
"""Currency → the suffixes by which Yahoo and Stooq tell the exchanges that trade in it."""

_ALL_SUFFIXES = frozenset(suffix for some in SUFFIXES_BY_CURRENCY.values() for suffix in some) | {
    "LN",
    "GY",
    "GR",
    "UN",
    "UW",
    "UQ",
    "NA",
    "FP",
}
_CASH = ("EUR", "USD", "GBP", "CHF", "CAD", "AUD", "JPY", "USDT", "USDC", "BUSD", "FDUSD", "DAI")
_KRAKEN = {"XBT": "BTC", "XDG": "DOGE"}
_LEGAL = re.compile(
    r"\b(inc|incorporated|corp|corporation|plc|ag|se|nv|n v|sa|s a|spa|ltd|limited|co|company|the|class [a-c]|cl [a-c]"
    r"|common stock|ordinary shares|registered shares|adr|reg|shs|ord|com|holdings?|group)\b"
)


@dataclass(frozen=True, order=True)
class LedgerName:
    """What one entry of a ledger calls its instrument; empty where it says nothing."""

    symbol: str
    isin: str
    name: str
    asset_class: str = AssetClass.STOCK
    currency: str = ""
    first_day: str = ""
    last_day: str = ""
    entries: int = 1


@dataclass(frozen=True)
class NameMatches:
    """What a ledger's names mean.

    Attributes:
        instrument: (symbol, isin, name) as the ledger has them → the symbol that it is, of the
            candles where they have it.
        learnt: lines for the table of instruments; those with an empty symbol wait for the user.
        findings: stocks and funds that fit no candles.
    """

    instrument: dict[tuple[str, str, str], str]
    learnt: list[InstrumentLine] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def match_names(
    named: Iterable[LedgerName], priced: frozenset[str], known: Instruments
) -> NameMatches:
    """What everything in a ledger is.

    Args:
        priced: symbols that have candles, in upper case.
    """
    everything = sorted(named)
    found = {one: _directly(one, priced, known) for one in everything}
    _by_relatives(everything, found, lambda one: one.isin)
    _by_relatives(everything, found, lambda one: plain_name(one.name))
    symbols = _own_symbols(everything)

    instrument: dict[tuple[str, str, str], str] = {}
    learnt: dict[tuple[str, str], InstrumentLine] = {}
    missing: dict[str, list[LedgerName]] = defaultdict(list)
    several: dict[str, str] = {}
    for one in everything:
        fits = found[one]
        own = symbols.get(one.isin, "") if one.isin and not one.symbol else one.symbol
        called = (own or one.isin or one.name).strip().upper()
        what = fits[0] if len(fits) == 1 else called
        instrument[one.symbol, one.isin, one.name] = what
        if len(fits) == 1 and what in priced:
            for text in (one.isin, one.symbol, "" if one.isin or one.symbol else one.name):
                if text and text.upper() not in (what, *known.aliases):
                    learnt.setdefault(
                        ("alias", text.upper()), InstrumentLine("alias", text, what, note=one.name)
                    )
        elif (
            len(fits) != 1
            and one.asset_class in SKILL_ASSET_CLASSES
            and called
            and called not in known.left_out
        ):
            missing[called].append(one)
            several[called] = " and ".join(fits)
            learnt.setdefault(
                ("alias", called),
                InstrumentLine("alias", one.isin or one.symbol or one.name, note=one.name),
            )
    findings = [
        _unmatched(called, some, several[called]) for called, some in sorted(missing.items())
    ]
    return NameMatches(instrument, list(learnt.values()), findings)


def _directly(one: LedgerName, priced: frozenset[str], known: Instruments) -> list[str]:
    """The symbols that fit best: what the user says, else the same text, else what it is called
    elsewhere.
    """
    for text in (one.isin, one.symbol, one.name):
        if text and (said := known.aliases.get(text.upper())):
            return [said]
    if now := known.renamed((one.isin, one.symbol, one.name), one.last_day):
        return [now]
    for text in (one.symbol, one.isin, one.name):
        if text and text.strip().upper() in priced:
            return [text.strip().upper()]
    return sorted(
        {
            other
            for other in ticker_variants(one.symbol, one.currency, one.asset_class)
            if other in priced
        }
    )


def ticker_variants(
    symbol: str, currency: str = "", asset_class: str = AssetClass.STOCK
) -> Iterator[str]:
    """What a symbol may be called in candles: `NASDAQ:AAPL`, `AAPL US`, `AAPL:xnas` and `AAPL.US`
    are AAPL, `BRK.B` is BRK-B, `VOD` in pounds is VOD.L, `XXBTZEUR` is BTC-EUR.
    """
    text = symbol.strip().upper()
    if not text:
        return
    if asset_class == AssetClass.CRYPTO:
        yield from _pairs(text, currency)
        return
    if ":" in text:
        before, after = text.split(":", 1)
        text = before if after.startswith("X") and len(after) == 4 else after
        yield text
    if parts := re.fullmatch(r"([A-Z0-9.]+) ([A-Z]{2})( EQUITY)?", text):
        text = parts[1]
        yield text
    dotted = re.fullmatch(r"(.+)[.]([A-Z]{1,2})", text)
    if dotted and dotted[2] in _ALL_SUFFIXES:
        text = dotted[1]
        yield text
    if shares := re.fullmatch(r"([A-Z0-9]+)[ ./-]([A-Z])", text):
        yield from (f"{shares[1]}{between}{shares[2]}" for between in ("-", ".", "/", " ", ""))
        text = f"{shares[1]}-{shares[2]}"
    for suffix in SUFFIXES_BY_CURRENCY.get(currency.upper(), ()):
        yield f"{text}.{suffix}"


def _pairs(text: str, currency: str) -> Iterator[str]:
    text = text.replace("/", "-").replace("_", "-")
    if kraken := re.fullmatch(r"X([A-Z]{3})Z([A-Z]{3})", text):
        coin, cash = kraken[1], kraken[2]
    elif "-" in text:
        coin, cash = text.split("-", 1)
    elif cash := next(
        (
            code
            for code in sorted(_CASH, key=len, reverse=True)
            if text.endswith(code) and text != code
        ),
        "",
    ):
        coin = text.removesuffix(cash)
    else:
        coin, cash = text, currency.upper()
    if re.fullmatch(r"X[A-Z]{3}", coin):
        coin = coin[1:]
    coin = _KRAKEN.get(coin, coin)
    yield from (coin, f"{coin}-{cash}", f"{coin}{cash}", f"{coin}/{cash}") if cash else (coin,)


def plain_name(name: str) -> str:
    """A company's name without what brokers write differently: `Apple Inc.` and `APPLE INC` are
    `apple`.
    """
    text = re.sub(r"[^a-z0-9]+", " ", name.casefold()).strip()
    return " ".join(_LEGAL.sub(" ", text).split())


def _by_relatives(
    everything: list[LedgerName],
    found: dict[LedgerName, list[str]],
    mark: Callable[[LedgerName], str],
) -> None:
    """What fits nothing itself is what others of the same mark are, if they agree."""
    known: dict[str, set[str]] = defaultdict(set)
    for one in everything:
        if mark(one) and len(found[one]) == 1:
            known[mark(one)].add(found[one][0])
    for one in everything:
        if not found[one] and len(known.get(mark(one), ())) == 1:
            found[one] = list(known[mark(one)])


def _own_symbols(everything: list[LedgerName]) -> dict[str, str]:
    """ISIN → the one symbol that exports write beside it."""
    beside: dict[str, set[str]] = defaultdict(set)
    for one in everything:
        if one.isin and one.symbol:
            beside[one.isin].add(one.symbol.strip().upper())
    return {isin: min(symbols) for isin, symbols in beside.items() if len(symbols) == 1}


def _unmatched(called: str, some: list[LedgerName], several: str) -> Finding:
    first = min(some)
    said = next((one.name for one in some if one.name), "")
    why = f"both {several} fit it" if several else "no candles fit it"
    said = f" ({said})" if said and said.upper() != called else ""
    text = (
        f"{why}{said}: it is in the positions, and nothing is learnt from it. Put its candles there, or write into "
        f"data/instruments.csv which symbol it is (kind alias, match {first.isin or called}) or that it is to be left out "
        f"(kind leave-out, symbol {called})"
    )
    return Finding(
        rule="no candles",
        symbol=called,
        first_day=min(one.first_day for one in some),
        last_day=max(one.last_day for one in some),
        rows=sum(one.entries for one in some),
        factor=1.0,
        text=text,
    )
