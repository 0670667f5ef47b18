"""Collects the user's exports, candles, rates and feedback into one checked history.

The same files give the same bytes, in whatever order they come; a file that was parsed before is
read from the cache. Every row is kept, quarantined with its reason, or counted as a repetition, as
no event or as forgotten. The ledger has account ids as salted hashes and no notes. Trade ids and
file names stand in it as they were given, bad rows in the quarantine: a history lies in the private
folder, and what is made from it names trades by salted hashes.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from stock_llm.artifacts import History, load, load_or_make
from stock_llm.errors import InputError
from stock_llm.feedback.item import write_parquet
from stock_llm.ledger import instruments
from stock_llm.ledger.instruments import Instruments
from stock_llm.market import fx
from stock_llm.market.calendars import Exchanges
from stock_llm.market.candles import candle_table, closes
from stock_llm.market.candles.closes import StockSplit
from stock_llm.pipeline import exports, forgetting
from stock_llm.pipeline.input_files import candle_files, folder_of, name_of, rate_files, trade_files
from stock_llm.pipeline.inputs import input_digest, open_feedback
from stock_llm.pipeline.private_folder import parse_cache, private_folder
from stock_llm.portfolio import merging, positions
from stock_llm.portfolio.matching import LedgerName, NameMatches, match_names
from stock_llm.portfolio.valuation import ValuationInputs
from stock_llm.settings import Settings
from stock_llm.storage import findings, parquet, quarantine
from stock_llm.storage.parse_cache import CachedParse, prune

REPEATED_ROW = "the row repeats "
"""How the importers' reasons begin for rows that state a trade once more."""


def current(settings: Settings, *, candles_required: bool = True) -> History:
    """Return the history of what is there now; read from disk when nothing is new.

    Args:
        candles_required: False makes a history without prices where there are no candles at all.

    Raises:
        InputError: a file cannot be what it should be, or what was traded has no candles.
    """
    digest, private = (
        input_digest(settings, candles_required=candles_required),
        private_folder(settings),
    )
    if known := load(History, private / "history" / digest):
        return known
    # a gateway and a run that see a new file would both write the same folder
    with FileLock(private / ".history.lock"):
        return load_or_make(
            History, private, digest, lambda folder: build_history(settings, digest, folder)
        )


@dataclass(frozen=True)
class _Files:
    """The files of a history."""

    trades: Path
    steps: Path
    positions: Path
    candles: Path
    feedback: Path
    quarantine: Path
    findings: Path


def build_history(settings: Settings, digest: str, folder: Path) -> History:
    """Read everything and write the files of a history into `folder`."""
    names = ("ledger", "steps", "positions", "candles", "feedback", "quarantine", "findings")
    files = _Files(*(folder / f"{name}.parquet" for name in names))
    ledger = files.trades
    known = instruments.load_instruments(settings.path(settings.instruments))
    exchanges = Exchanges(known.exchanges, settings.exchange)
    trade_parses = read_exports(settings)
    candle_parses = load_candles(settings, exchanges)

    store = open_feedback(settings)
    merged = merging.merge_ledger([parse.path for parse in trade_parses], ledger)
    forgotten = forgetting.drop_forgotten(ledger, store.forgotten())
    priced = frozenset(symbol for parse in candle_parses for symbol in parse.facts["symbols"])
    matches = match_names(_ledger_names(ledger, known), priced, known)
    if candle_parses:
        _refuse_unpriced(ledger, matches, priced, settings)
    splits = _known_splits(ledger, matches, known)
    candles = candle_table.merge_candles(
        [parse.path for parse in candle_parses], files.candles, splits, exchanges
    )
    days = pq.read_table(files.candles, columns=["symbol", "date", "close", "as_of", "split"])
    traded = pc.is_in(days["symbol"], pa.array(sorted(set(matches.instrument.values()))))
    inputs = ValuationInputs(
        known=known,
        market=closes.closes_by_symbol(days.filter(traded), splits),
        splits=splits,
        rates=fx.load_rates(rate_files(settings)),
        base=settings.base_currency.upper(),
    )
    held = positions.write_positions(
        ledger, matches.instrument, inputs, files.positions, files.steps
    )
    feedback = store.all(sample=settings.uses_sample)
    write_parquet(feedback, files.feedback)

    rejected = {
        "trades": [row for parse in trade_parses for row in parse.rejected] + merged.conflicts,
        "candles": [row for parse in candle_parses for row in parse.rejected] + candles.rejected,
    }
    quarantine.write([row for rows in rejected.values() for row in rows], files.quarantine)
    all_findings = [
        *matches.findings,
        *held.findings,
        *candles.findings,
        *exports.difference_findings(trade_parses),
        *merging.suspected_duplicates(ledger, positions.names_table(matches.instrument)),
    ]
    findings.write(all_findings, files.findings)
    for path in folder.glob("*.parquet"):
        path.chmod(0o600)
    instruments.learn(settings.path(settings.instruments), matches.learnt)
    used = [parse.path for parse in (*trade_parses, *candle_parses)]
    prune(parse_cache(settings), used)

    skipped: Counter[str] = Counter()
    for parse in trade_parses:
        skipped.update(parse.facts["skipped"])
    repeated = sum(count for reason, count in skipped.items() if reason.startswith(REPEATED_ROW))
    first_day, last_day = _days(days, ledger)
    return History(
        digest=digest,
        folder=folder,
        **vars(files),
        rows_read={
            "trades": sum(parse.facts["rows_read"] for parse in trade_parses),
            "candles": sum(parse.facts["rows_read"] for parse in candle_parses),
            "feedback": len(feedback),
        },
        rows_kept={
            "trades": merged.rows - forgotten,
            "candles": candles.kept,
            "feedback": len(feedback),
        },
        rows_quarantined={kind: len(rows) for kind, rows in rejected.items()} | {"feedback": 0},
        rows_duplicate={
            "trades": merged.repeated + repeated,
            "candles": candles.duplicates,
            "feedback": 0,
        },
        rows_skipped={"trades": skipped.total() - repeated, "candles": 0, "feedback": 0},
        rows_forgotten={"trades": forgotten, "candles": 0, "feedback": 0},
        entries=dict(sorted(Counter(_column(ledger, "kind").to_pylist()).items())),
        findings_count=dict(sorted(Counter(finding.rule for finding in all_findings).items())),
        exports={parse.facts["file"]: parse.facts["formats"] for parse in trade_parses},
        ledger_digest=merged.digest,
        symbols=sorted(pc.unique(days["symbol"]).to_pylist()),
        first_day=first_day,
        last_day=last_day,
        feedback_ids=sorted(item.id for item in feedback),
    )


def read_exports(settings: Settings) -> list[CachedParse]:
    """Read the user's exports and database of trades."""
    given = settings.path(settings.trades)
    files = trade_files(settings)
    parses = [exports.read_export(file, name_of(file, given), settings) for file in files]
    if settings.trades_sql:
        from stock_llm.pipeline.trades_database import fetch_trades  # brings SQLAlchemy

        parses.append(fetch_trades(settings))
    return parses


def load_candles(settings: Settings, exchanges: Exchanges | None = None) -> list[CachedParse]:
    """Load the candle files, two at a time: one is parsed while another is read or written.

    Args:
        exchanges: those of the table of instruments, which is read where they are not given.
    """
    if exchanges is None:
        known = instruments.load_instruments(settings.path(settings.instruments))
        exchanges = Exchanges(known.exchanges, settings.exchange)
    given, cache = settings.path(settings.candles), parse_cache(settings)

    def load(file: Path) -> CachedParse:
        name = name_of(file, given)
        return candle_table.load_candle_file(file, name, exchanges, cache)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(load, candle_files(settings, required=False)))


def _ledger_names(ledger: Path, known: Instruments) -> list[LedgerName]:
    """Return what the ledger's entries call their instruments, cash apart."""
    with parquet.connect(ledger.parent) as connection:
        rows = connection.execute(
            f"""
            select symbol, isin, name,
                mode(asset_class order by asset_class), mode(currency order by currency),
                min(executed_at)::date::text, max(executed_at)::date::text, count(*)
            from {parquet.rows_of([ledger])}
            where (symbol <> '' or isin <> '' or name <> '')
                and kind not in ('DEPOSIT', 'WITHDRAWAL') and asset_class <> 'CASH'
            group by symbol, isin, name
            """
        ).fetchall()
    return [
        LedgerName(symbol, isin, name, known.classes.get(symbol.upper(), asset_class), *rest)
        for symbol, isin, name, asset_class, *rest in rows
    ]


def _refuse_unpriced(
    ledger: Path, matches: NameMatches, priced: frozenset[str], settings: Settings
) -> None:
    """Refuse trades without candles: all those of a generic file, or where no trade has candles.

    A generic file has symbols that the user writes as the candles have them.

    Raises:
        InputError: it names the first trade without candles.
    """
    missing = sorted(finding.symbol for finding in matches.findings)
    if not missing:
        return
    names = positions.names_table(matches.instrument)
    with parquet.connect(ledger.parent) as connection:
        connection.register("names", names)
        query = f"""
            select instrument, source_file, source_row
            from {parquet.rows_of([ledger])} join names using (symbol, isin, name)
            where kind in ('BUY', 'SELL') and list_contains($missing, instrument)
                and (source_format = 'generic' or $none)
            order by source_file, source_row
        """
        none = priced.isdisjoint(matches.instrument.values())
        rows = connection.execute(query, {"missing": missing, "none": none}).fetchall()
    if not rows:
        return
    symbol, file, row = rows[0]
    others = sorted({name for name, _, _ in rows} - {symbol})
    more = f" (and for {len(others)} more: {', '.join(others[:5])})" if others else ""
    candles = settings.path(settings.candles)
    raise InputError(
        f"there are trades in {symbol} but no candles for it in {candles}{more}",
        file=folder_of(settings.path(settings.trades)) / file,
        row=row,
        remedy=f"Put {symbol}.csv with Date,Open,High,Low,Close,Volume there; or write into"
        f" {settings.instruments} that it is to be left out (kind leave-out, symbol {symbol}) or"
        f" which symbol it is (kind alias, match {symbol})",
    )


def _known_splits(
    ledger: Path, matches: NameMatches, known: Instruments
) -> dict[str, tuple[StockSplit, ...]]:
    """Return splits by symbol: those of the table of instruments, then those of the ledger."""
    listed: dict[str, list[StockSplit]] = {}
    for line in known.of("split"):
        if line.day and line.ratio:
            listed.setdefault(line.symbol, []).append(StockSplit(line.day, line.ratio))
    booked: dict[str, list[StockSplit]] = {}
    with parquet.connect(ledger.parent) as connection:
        rows = connection.execute(
            f"""
            select distinct symbol, isin, name, executed_at::date, ratio
            from {parquet.rows_of([ledger])} where kind = 'SPLIT' and ratio > 0
            """
        ).fetchall()
    for symbol, isin, name, day, ratio in rows:
        if instrument := matches.instrument.get((symbol, isin, name)):
            booked.setdefault(instrument, []).append(StockSplit(day, ratio))
    return {
        symbol: closes.merge_splits(listed.get(symbol, ()), booked.get(symbol, ()))
        for symbol in sorted({*listed, *booked})
    }


def _days(candles: pa.Table, ledger: Path) -> tuple[str, ...]:
    """Return the first and last day of the candles, or of the ledger where there are none."""
    days = candles["date"] if len(candles) else _column(ledger, "executed_at").cast(pa.date32())
    return tuple(str(day or "") for day in pc.min_max(days).as_py().values())


def _column(ledger: Path, name: str) -> pa.ChunkedArray:
    return pq.read_table(ledger, columns=[name])[name]
