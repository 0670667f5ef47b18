"""Stage 1: the user's files and feedback become one checked history.

In: trades, candles and the feedback store, as the settings name them. Out: ledger.parquet, candles.parquet, feedback.parquet and
quarantine.parquet, the same bytes for the same input. A row is kept, set aside with its reason, counted as a repetition, or left
out because it is to be forgotten; none is lost. The ledger has account ids as salted hashes and no notes; only the quarantine,
which nothing is trained on, shows bad rows as they were written. Does not know skills or splits.
"""

from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task

from stock_llm import candles, forgetting, quarantine, trades
from stock_llm.artifacts import History, produce
from stock_llm.errors import InputError
from stock_llm.feedback_item import write_parquet
from stock_llm.inputs import candle_files, input_digest, open_feedback, trade_files
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings


@task(task_run_name="collect")
def collect(settings: Settings) -> History:
    """The history of what is there now; read from disk when nothing is new.

    Raises:
        InputError: a file cannot be what it should be, or a traded symbol has no candles.
    """
    digest = input_digest(settings)
    return produce(History, settings.artifacts, digest, lambda folder: gather(settings, digest, folder))


def gather(settings: Settings, digest: str, folder: Path) -> History:
    """Reads everything and writes the files of a history into `folder`."""
    traded = trades.read(trade_files(settings), _root(settings, settings.trades), partial(account_hash, settings=settings))
    priced = candles.read(candle_files(settings), _root(settings, settings.candles))
    store = open_feedback(settings)
    ledger = forgetting.left(traded.table, store.forgotten())
    _refuse_unpriced(ledger, priced.table, settings.path(settings.candles))
    said = store.all(sample=settings.uses_sample)

    paths = {name: folder / f"{name}.parquet" for name in ("ledger", "candles", "feedback", "quarantine")}
    pq.write_table(ledger, paths["ledger"], compression="zstd")
    pq.write_table(priced.table, paths["candles"], compression="zstd")
    write_parquet(said, paths["feedback"])
    quarantine.write(traded.rejected + priced.rejected, paths["quarantine"])

    days = pc.min_max(priced.table["date"]).as_py()
    return History(
        digest=digest,
        folder=folder,
        trades=paths["ledger"],
        candles=paths["candles"],
        feedback=paths["feedback"],
        quarantine=paths["quarantine"],
        rows_read={"trades": traded.rows_read, "candles": priced.rows_read, "feedback": len(said)},
        rows_kept={"trades": len(ledger), "candles": len(priced.table), "feedback": len(said)},
        rows_quarantined={"trades": len(traded.rejected), "candles": len(priced.rejected), "feedback": 0},
        rows_duplicate={"trades": traded.duplicates, "candles": priced.duplicates, "feedback": 0},
        rows_forgotten={"trades": len(traded.table) - len(ledger), "candles": 0, "feedback": 0},
        symbols=sorted(pc.unique(priced.table["symbol"]).to_pylist()),
        first_day=days["min"].isoformat(),
        last_day=days["max"].isoformat(),
        feedback_ids=sorted(item.id for item in said),
    )


def _root(settings: Settings, given: Path) -> Path:
    path = settings.path(given)
    return path if path.is_dir() else path.parent


def _refuse_unpriced(ledger: pa.Table, priced: pa.Table, folder: Path) -> None:
    known = pc.unique(priced["symbol"])
    missing = sorted(set(pc.unique(ledger["symbol"]).to_pylist()) - set(known.to_pylist()))
    if missing:
        others = f" (and for {len(missing) - 1} more: {', '.join(missing[1:6])})" if len(missing) > 1 else ""
        raise InputError(
            f"there are trades in {missing[0]} but no candles for it{others}",
            file=folder,
            remedy=f"Put {missing[0]}.csv with Date,Open,High,Low,Close,Volume there, or take its trades out",
        )
