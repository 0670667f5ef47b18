"""The user's exports, candles, rates and feedback as one checked history.

In: what the settings name. Out: the files of a `History`: the ledger, what is held and what skills learn from, candles, feedback,
the rows that were set aside, and what a person should know; the same bytes for the same input, in whatever order its files come.
A file that was read before is not read again (data/artifacts/parts). A row is kept, set aside with its reason, or counted as a
repetition, as no event or as forgotten; none is lost. The ledger has account ids as salted hashes and no notes; only the
quarantine, which nothing is trained on, shows bad rows as they were written. Does not know skills, splits by time or Prefect:
collect is the stage.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stock_llm.artifacts import History, load_or_make
from stock_llm.errors import InputError
from stock_llm.feedback.item import write_parquet
from stock_llm.ledger import instruments
from stock_llm.ledger.instruments import Instruments
from stock_llm.market import fx
from stock_llm.market.calendars import Exchanges, exchanges_of
from stock_llm.market.candles import candle_table, closes
from stock_llm.market.candles.closes import StockSplit
from stock_llm.pipeline import exports, forgetting
from stock_llm.pipeline.inputs import (
    candle_files,
    input_digest,
    open_feedback,
    rate_files,
    trade_files,
)
from stock_llm.portfolio import merging, positions
from stock_llm.portfolio.matching import LedgerName, NameMatches, match_names
from stock_llm.portfolio.valuation import ValuationInputs
from stock_llm.settings import Settings
from stock_llm.storage import findings, parquet, parse_cache, quarantine
from stock_llm.storage.parse_cache import CachedParse

REPEATED_ROW = "the row repeats "
"""How the engine's reasons begin for rows that say a trade once more."""


def current(settings: Settings) -> History:
    """The history of what is there now; read from disk when nothing is new.

    Raises:
        InputError: a file cannot be what it should be, or what was traded has no candles.
    """
    digest = input_digest(settings)
    return load_or_make(
        History, settings.artifacts, digest, lambda folder: build_history(settings, digest, folder)
    )


def build_history(settings: Settings, digest: str, folder: Path) -> History:
    """Reads everything and writes the files of a history into `folder`."""
    names = ("ledger", "steps", "positions", "candles", "feedback", "quarantine", "findings")
    paths = {name: folder / f"{name}.parquet" for name in names}
    told = _exports(settings)
    known = instruments.load_instruments(settings.path(settings.instruments))
    exchanges = exchanges_of(settings, known.exchanges)
    priced = _priced(settings, exchanges)

    store = open_feedback(settings)
    merged = merging.merge_ledger([one.path for one in told], paths["ledger"])
    left_out = forgetting.drop_forgotten(paths["ledger"], store.forgotten())
    with_candles = frozenset(symbol for one in priced for symbol in one.facts["symbols"])
    matching = match_names(_named(paths["ledger"], known), with_candles, known)
    _refuse_unpriced(paths["ledger"], matching, with_candles, settings)
    elsewhere = _splits(paths["ledger"], matching, known)
    made = candle_table.merge_candles(
        [one.path for one in priced],
        paths["candles"],
        elsewhere,
        exchanges,
    )
    priced_days = pq.read_table(
        paths["candles"], columns=["symbol", "date", "close", "as_of", "split"]
    )
    meant = pc.is_in(priced_days["symbol"], pa.array(sorted(_meant(matching))))
    books = ValuationInputs(
        known=known,
        market=closes.closes_by_symbol(priced_days.filter(meant), elsewhere),
        splits=elsewhere,
        rates=fx.load_rates(rate_files(settings)),
        base=settings.base_currency.upper(),
    )
    held = positions.write_positions(
        paths["ledger"], matching.instrument, books, paths["positions"], paths["steps"]
    )
    said = store.all(sample=settings.uses_sample)
    write_parquet(said, paths["feedback"])

    rejected = {
        "trades": [row for one in told for row in one.rejected] + merged.conflicts,
        "candles": [row for one in priced for row in one.rejected] + made.rejected,
    }
    quarantine.write([row for some in rejected.values() for row in some], paths["quarantine"])
    found = [*matching.findings, *held.findings, *made.findings, *exports.difference_findings(told)]
    found += merging.suspected_duplicates(
        paths["ledger"], positions.names_table(matching.instrument)
    )
    findings.write(found, paths["findings"])
    instruments.learn(settings.path(settings.instruments), matching.learnt)
    parse_cache.prune(settings.artifacts / "parts", [one.path for one in (*told, *priced)])

    skipped = Counter(
        reason
        for one in told
        for reason, count in one.facts["skipped"].items()
        for _ in range(count)
    )
    again = sum(count for reason, count in skipped.items() if reason.startswith(REPEATED_ROW))
    days = pc.min_max(priced_days["date"]).as_py()
    return History(
        digest=digest,
        folder=folder,
        trades=paths["ledger"],
        steps=paths["steps"],
        positions=paths["positions"],
        candles=paths["candles"],
        feedback=paths["feedback"],
        quarantine=paths["quarantine"],
        findings=paths["findings"],
        rows_read={
            "trades": sum(one.facts["rows_read"] for one in told),
            "candles": sum(one.facts["rows_read"] for one in priced),
            "feedback": len(said),
        },
        rows_kept={"trades": merged.rows - left_out, "candles": made.kept, "feedback": len(said)},
        rows_quarantined={kind: len(rows) for kind, rows in rejected.items()} | {"feedback": 0},
        rows_duplicate={
            "trades": merged.repeated + again,
            "candles": made.duplicates,
            "feedback": 0,
        },
        rows_skipped={"trades": skipped.total() - again, "candles": 0, "feedback": 0},
        rows_forgotten={"trades": left_out, "candles": 0, "feedback": 0},
        entries=_entries(paths["ledger"]),
        findings_count=dict(sorted(Counter(one.rule for one in found).items())),
        exports={one.facts["file"]: one.facts["formats"] for one in told},
        ledger_digest=merged.digest,
        symbols=sorted(pc.unique(priced_days["symbol"]).to_pylist()),
        first_day=days["min"].isoformat(),
        last_day=days["max"].isoformat(),
        feedback_ids=sorted(item.id for item in said),
    )


def _exports(settings: Settings) -> list[CachedParse]:
    root = _root(settings, settings.trades)
    told = [
        exports.read_export(file, file.relative_to(root).as_posix(), settings)
        for file in trade_files(settings)
    ]
    if settings.trades_sql:
        from stock_llm.pipeline.trades_database import (
            fetch_trades,  # SQLAlchemy only where it is needed
        )

        told.append(fetch_trades(settings))
    return told


def _root(settings: Settings, given: Path) -> Path:
    path = settings.path(given)
    return path if path.is_dir() else path.parent


def _named(ledger: Path, known: Instruments) -> list[LedgerName]:
    """What the ledger's entries call their instruments, cash apart."""
    with parquet.connect(ledger.parent) as connection:
        rows = connection.execute(
            f"""
            select symbol, isin, name, mode(asset_class order by asset_class), mode(currency order by currency),
                min(executed_at)::date::text, max(executed_at)::date::text, count(*)
            from {parquet.rows_of([ledger])}
            where (symbol <> '' or isin <> '' or name <> '') and kind not in ('DEPOSIT', 'WITHDRAWAL')
                and not (asset_class = 'CASH')
            group by symbol, isin, name
            """
        ).fetchall()
    return [
        LedgerName(symbol, isin, name, known.classes.get(symbol.upper(), asset), *rest)
        for symbol, isin, name, asset, *rest in rows
    ]


def _priced(settings: Settings, exchanges: Exchanges) -> list[CachedParse]:
    """The candle files, two at a time: one is parsed while another is read from or written to the disk."""
    with ThreadPoolExecutor(2) as pool:
        return list(
            pool.map(
                partial(candle_table.load_candle_file, settings=settings, exchanges=exchanges),
                candle_files(settings),
            )
        )


def _meant(matching: NameMatches) -> set[str]:
    return set(matching.instrument.values())


def _refuse_unpriced(
    ledger: Path, matching: NameMatches, with_candles: frozenset[str], settings: Settings
) -> None:
    """A plain file whose symbols the user writes as the candles have them must find all of them; of brokers' exports, some.

    Raises:
        InputError: it names the first trade without candles.
    """
    missing = {one.symbol: one for one in matching.findings}
    if not missing:
        return
    names = positions.names_table(matching.instrument)
    with parquet.connect(ledger.parent) as connection:
        connection.register("names", names)
        query = f"""
            select instrument, source_file, source_row from {parquet.rows_of([ledger])} join names using (symbol, isin, name)
            where kind in ('BUY', 'SELL') and list_contains($missing, instrument) and (source_format = 'generic' or $none)
            order by source_file, source_row
        """
        none = not with_candles & _meant(matching)
        rows = connection.execute(query, {"missing": sorted(missing), "none": none}).fetchall()
    if not rows:
        return
    symbol, file, row = rows[0]
    others = sorted({one for one, _, _ in rows} - {symbol})
    more = f" (and for {len(others)} more: {', '.join(others[:5])})" if others else ""
    raise InputError(
        f"there are trades in {symbol} but no candles for it in {settings.path(settings.candles)}{more}",
        file=_root(settings, settings.trades) / file,
        row=row,
        remedy=f"Put {symbol}.csv with Date,Open,High,Low,Close,Volume there; or write into {settings.instruments} that it is "
        f"to be left out (kind leave-out, symbol {symbol}) or which symbol it is (kind alias, match {symbol})",
    )


def _splits(
    ledger: Path, matching: NameMatches, known: Instruments
) -> dict[str, tuple[StockSplit, ...]]:
    """Splits by symbol that the table of instruments tells, then those that the ledger does."""
    told: dict[str, list[StockSplit]] = {}
    for line in known.of("split"):
        if line.day and line.ratio:
            told.setdefault(line.symbol, []).append(StockSplit(line.day, line.ratio))
    booked: dict[str, list[StockSplit]] = {}
    with parquet.connect(ledger.parent) as connection:
        rows = connection.execute(
            f"""
            select distinct symbol, isin, name, executed_at::date, ratio from {parquet.rows_of([ledger])}
            where kind = 'SPLIT' and ratio > 0
            """
        ).fetchall()
    for symbol, isin, name, day, ratio in rows:
        if instrument := matching.instrument.get((symbol, isin, name)):
            booked.setdefault(instrument, []).append(StockSplit(day, ratio))
    return {
        symbol: closes.merge_splits(told.get(symbol, ()), booked.get(symbol, ()))
        for symbol in sorted({*told, *booked})
    }


def _entries(ledger: Path) -> dict[str, int]:
    kinds = pq.read_table(ledger, columns=["kind"])["kind"]
    return {
        row["values"]: row["counts"]
        for row in sorted(pc.value_counts(kinds).to_pylist(), key=lambda row: row["values"])
    }
