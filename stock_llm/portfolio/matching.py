"""Matches what exports write (an ISIN, a name, a Kraken pair, a ticker) to symbols.

Symbols are those of the candles, where they have one. What was learnt on the way goes into the
table of instruments.
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
    "GBP": ("L", "UK"), "GBX": ("L", "UK"), "CHF": ("SW",), "SEK": ("ST",), "DKK": ("CO",),
    "NOK": ("OL",), "PLN": ("WA",),
    "EUR": ("DE", "AS", "PA", "MI", "MC", "BR", "LS", "HE", "VI", "IR", "F"), "CAD": ("TO", "V"),
    "AUD": ("AX",), "NZD": ("NZ",), "JPY": ("T", "JP"), "HKD": ("HK",), "SGD": ("SI",),
    "THB": ("BK",), "INR": ("NS", "BO"), "ZAR": ("JO",), "ILS": ("TA",), "USD": ("US",),
    "BRL": ("SA",), "MXN": ("MX",), "TRY": ("IS",), "CZK": ("PR",), "HUF": ("BD", "HU"),
}  # fmt: skip
"""Currency → the suffixes by which Yahoo and Stooq tell the exchanges that trade in it."""

_BLOOMBERG_SUFFIXES = {"LN", "GY", "GR", "UN", "UW", "UQ", "NA", "FP"}
_ALL_SUFFIXES = _BLOOMBERG_SUFFIXES.union(*SUFFIXES_BY_CURRENCY.values())
_CASH = ("EUR", "USD", "GBP", "CHF", "CAD", "AUD", "JPY", "USDT", "USDC", "BUSD", "FDUSD", "DAI")
_KRAKEN = {"XBT": "BTC", "XDG": "DOGE"}
_LEGAL = re.compile(
    r"\b(inc|incorporated|corp|corporation|plc|ag|se|nv|n v|sa|s a|spa|ltd|limited|co|company|the"
    r"|class [a-c]|cl [a-c]|common stock|ordinary shares|registered shares|adr|reg|shs|ord|com"
    r"|holdings?|group)\b"
)


@dataclass(frozen=True, order=True)
class LedgerName:
    """What entries of a ledger call an instrument; empty where they say nothing."""

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
    names: Iterable[LedgerName], priced: frozenset[str], known: Instruments
) -> NameMatches:
    """Find out which instrument each name in a ledger means.

    Nothing is guessed: where two symbols fit equally well, none is taken, and a finding says so.

    Args:
        priced: symbols that have candles, in upper case.
    """
    names = sorted(names)
    symbols = {name: _direct_matches(name, priced, known) for name in names}
    _match_by(lambda name: name.isin, symbols)
    _match_by(lambda name: plain_name(name.name), symbols)
    symbol_of_isin = _symbols_by_isin(names)

    instrument: dict[tuple[str, str, str], str] = {}
    learnt: dict[str, InstrumentLine] = {}
    missing: dict[str, list[LedgerName]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for name in names:
        fits = symbols[name]
        label = name.symbol or symbol_of_isin.get(name.isin) or name.isin or name.name
        label = label.strip().upper()
        match = fits[0] if len(fits) == 1 else label
        instrument[name.symbol, name.isin, name.name] = match
        if len(fits) == 1 and match in priced:
            for text in (name.isin, name.symbol, "" if name.isin or name.symbol else name.name):
                if text and text.upper() not in (match, *known.aliases):
                    line = InstrumentLine("alias", text, match, note=name.name)
                    learnt.setdefault(text.upper(), line)
        elif len(fits) != 1 and name.asset_class in SKILL_ASSET_CLASSES:
            if not label or label in known.left_out:
                continue
            missing[label].append(name)
            reasons[label] = f"both {' and '.join(fits)} fit it" if fits else "no candles fit it"
            text = name.isin or name.symbol or name.name
            learnt.setdefault(label, InstrumentLine("alias", text, note=name.name))
    findings = [_unmatched(label, own, reasons[label]) for label, own in sorted(missing.items())]
    return NameMatches(instrument, list(learnt.values()), findings)


def _direct_matches(name: LedgerName, priced: frozenset[str], known: Instruments) -> list[str]:
    """Return the symbols that fit: the user's alias, else the same text, else variants of it."""
    for text in (name.isin, name.symbol, name.name):
        if text and (symbol := known.aliases.get(text.upper())):
            return [symbol]
    if symbol := known.renamed((name.isin, name.symbol, name.name), name.last_day):
        return [symbol]
    for text in (name.symbol, name.isin, name.name):
        if text and (symbol := text.strip().upper()) in priced:
            return [symbol]
    variants = ticker_variants(name.symbol, name.currency, name.asset_class)
    return sorted(priced.intersection(variants))


def ticker_variants(
    symbol: str, currency: str = "", asset_class: str = AssetClass.STOCK
) -> Iterator[str]:
    """Yield what a symbol may be called in candles.

    `NASDAQ:AAPL`, `AAPL US`, `AAPL:xnas` and `AAPL.US` are AAPL, `BRK.B` is BRK-B, `VOD` in pounds
    is VOD.L, `XXBTZEUR` is BTC-EUR.
    """
    text = symbol.strip().upper()
    if not text:
        return
    if asset_class == AssetClass.CRYPTO:
        yield from _pair_variants(text, currency)
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


def _pair_variants(text: str, currency: str) -> Iterator[str]:
    """Yield the names of a coin and of its pair with a currency."""
    text = text.replace("/", "-").replace("_", "-")
    quotes = (code for code in _CASH if text.endswith(code) and text != code)
    if kraken := re.fullmatch(r"X([A-Z]{3})Z([A-Z]{3})", text):
        coin, cash = kraken[1], kraken[2]
    elif "-" in text:
        coin, cash = text.split("-", 1)
    elif cash := max(quotes, key=len, default=""):
        coin = text.removesuffix(cash)
    else:
        coin, cash = text, currency.upper()
    if re.fullmatch(r"X[A-Z]{3}", coin):
        coin = coin[1:]
    coin = _KRAKEN.get(coin, coin)
    yield from (coin, f"{coin}-{cash}", f"{coin}{cash}", f"{coin}/{cash}") if cash else (coin,)


def plain_name(name: str) -> str:
    """Return a company's name without what brokers write differently: `Apple Inc.` is `apple`."""
    text = re.sub(r"[^a-z0-9]+", " ", name.casefold()).strip()
    return " ".join(_LEGAL.sub(" ", text).split())


def _match_by(key: Callable[[LedgerName], str], symbols: dict[LedgerName, list[str]]) -> None:
    """Match names that fit nothing to what others with the same key are, if those agree."""
    known: dict[str, set[str]] = defaultdict(set)
    for name, fits in symbols.items():
        if key(name) and len(fits) == 1:
            known[key(name)].add(fits[0])
    for name, fits in symbols.items():
        if not fits and len(known.get(key(name), ())) == 1:
            symbols[name] = list(known[key(name)])


def _symbols_by_isin(names: Iterable[LedgerName]) -> dict[str, str]:
    """Return ISIN → the one symbol that exports write beside it."""
    symbols: dict[str, set[str]] = defaultdict(set)
    for name in names:
        if name.isin and name.symbol:
            symbols[name.isin].add(name.symbol.strip().upper())
    return {isin: min(own) for isin, own in symbols.items() if len(own) == 1}


def _unmatched(label: str, names: list[LedgerName], reason: str) -> Finding:
    first = min(names)
    full_name = next((name.name for name in names if name.name), "")
    shown = f" ({full_name})" if full_name and full_name.upper() != label else ""
    text = (
        f"{reason}{shown}: it is in the positions, and nothing is learnt from it. Put its candles"
        " there, or write into data/instruments.csv which symbol it is (kind alias, match"
        f" {first.isin or label}) or that it is to be left out (kind leave-out, symbol {label})"
    )
    return Finding(
        rule="no candles",
        symbol=label,
        first_day=min(name.first_day for name in names),
        last_day=max(name.last_day for name in names),
        rows=sum(name.entries for name in names),
        factor=1.0,
        text=text,
    )
