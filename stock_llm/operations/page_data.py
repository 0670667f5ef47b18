"""What the gateway's pages show of the project, and what they may change: `ProjectFunctions`.

Runs in a process of the gateway's, apart from its event loop. Nothing is remembered here between
two questions but what `history.current` has on the disk, and the candles of the last chart.
"""

from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq

from stock_llm.artifacts import Dataset, Scorecard, load
from stock_llm.errors import InputError
from stock_llm.evaluation.answers import Language
from stock_llm.feedback.event import prefect_api_url
from stock_llm.gateway.pages.project import (
    AnswerPair,
    CandleChart,
    FindingGroup,
    Holding,
    ImportPreview,
    KeptImport,
    ModelVersion,
    ModelVersions,
    Portfolio,
    PreviewLine,
    PriceLevel,
    ScoreGap,
)
from stock_llm.grounding.questions import find_symbol
from stock_llm.market.candles import candle_table
from stock_llm.market.situation import compute_indicators
from stock_llm.operations.reports.answers import alternate, read_answers
from stock_llm.pipeline import history, import_command, positions_table, registry
from stock_llm.pipeline.registry import VersionInfo
from stock_llm.settings import Settings
from stock_llm.skills.row import read_rows

CHART_CANDLES = 250
"""Candles of a chart: about a year."""

MAX_PAIRS = 20
"""Answers of champion and challenger that are shown side by side."""

SUGGESTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Analyze {symbol}.",
        "Should I buy, hold or sell {symbol}?",
        "Review my portfolio.",
        "What does RSI14 mean?",
    ),
    "th": (
        "วิเคราะห์ {symbol}",
        "ควรซื้อ ถือ หรือขาย {symbol}",
        "ช่วยดูพอร์ตของฉัน",
        "RSI14 หมายถึงอะไร",
    ),
}
"""Questions to begin with; `{symbol}` is one that is held, else one with candles."""


def find_chart(settings: Settings, question: str) -> CandleChart | None:
    """The chart of the first stock of the candles that a question names.

    Raises:
        InputError: candles or trades cannot be read.
    """
    known = history.current(settings, candles_required=False)
    symbol = find_symbol(question, frozenset(known.symbols))
    return _chart(known.candles, known.positions, symbol) if symbol else None


@lru_cache(maxsize=64)
def _chart(candles: Path, positions: Path, symbol: str) -> CandleChart:
    table = pq.read_table(candles, filters=[("symbol", "=", symbol)])
    (series,) = candle_table.candles_by_symbol(table)
    last = slice(-CHART_CANDLES, None)
    columns = (series.open, series.high, series.low, series.close)
    prices = zip(*(column[last].tolist() for column in columns), strict=True)
    days = series.day[last].astype(str).tolist()
    shown = tuple((day, *row) for day, row in zip(days, prices, strict=True))
    levels: list[PriceLevel] = []
    if situation := compute_indicators(series).at(len(series) - 1):
        levels = [
            PriceLevel("support", situation.support),
            PriceLevel("resistance", situation.resistance),
        ]
    held = pq.read_table(positions, filters=[("instrument", "=", symbol)]).to_pylist()
    for row in held:
        if row["quantity"] > row["unknown_cost"] and row["cost_fifo"] > 0:
            units = row["quantity"] - row["unknown_cost"]
            levels.append(PriceLevel("cost", float(row["cost_fifo"] / units)))
    return CandleChart(symbol, shown, tuple(levels))  # type: ignore[arg-type]


def suggest(settings: Settings, language: str) -> tuple[str, ...]:
    """Questions to begin with, about what is held where something is."""
    known = history.current(settings, candles_required=False)
    held = [
        row["instrument"]
        for row in positions_table.position_rows(known.positions)
        if row["quantity"] and row["instrument"] in known.symbols
    ]
    symbol = next(iter(held or known.symbols), "")
    texts = SUGGESTIONS["th" if language == "th" else "en"]
    return tuple(text.format(symbol=symbol) for text in texts if symbol or "{symbol}" not in text)


def read_portfolio(settings: Settings) -> Portfolio:
    """What is held, what it cost and returned, and the findings.

    Raises:
        InputError: candles or trades cannot be read.
    """
    known = history.current(settings, candles_required=False)
    holdings = tuple(
        Holding(
            instrument=row["instrument"],
            currency=row["currency"],
            quantity=row["quantity"],
            cost=row["cost_fifo"],
            value=row["value"],
            unrealised=row["unrealised_fifo"],
            realised=row["realised_fifo"],
            sold_cost=row["sold_cost_fifo"],
            income=row["dividends"] + row["interest"],
            charges=row["fees"] + row["taxes"],
        )
        for row in positions_table.position_rows(known.positions)
    )
    groups = positions_table.finding_groups(known)
    findings = tuple(FindingGroup(each.rule, each.symbols, each.text) for each in groups)
    return Portfolio(holdings, findings, known.last_day, settings.uses_sample)


def preview_import(settings: Settings, file: Path, name: str) -> ImportPreview:
    """What an export holds, as `stock-llm import --look` shows it.

    Args:
        name: the file's own name; `file` is a copy of it.

    Raises:
        InputError: the file cannot be read, or no format knows it.
    """
    try:
        (preview,) = import_command.preview_exports([file], settings)
    except InputError as error:
        raise InputError(str(error).replace(str(file), name)) from None
    lines = tuple(
        PreviewLine(line.label, line.count, line.text, bool(line.severity))
        for line in import_command.preview_lines(preview)
    )
    refused = "more than half of its rows are bad" if preview.mostly_bad else ""
    return ImportPreview(name, import_command.preview_title(preview), lines, refused)


def keep_import(settings: Settings, file: Path, name: str) -> KeptImport:
    """Copies an export into the folder of trades, as `stock-llm import` does.

    Raises:
        InputError: the file cannot be read, no format knows it, or most of its rows are bad.
    """
    preview = preview_import(settings, file, name)
    if preview.refused:
        raise InputError(f"not kept: {preview.refused}", file=name)
    kept = import_command.copy_to_trades(file, settings)
    shown = kept.relative_to(settings.home) if kept.is_relative_to(settings.home) else kept
    is_read = settings.path(settings.trades) == import_command.trades_folder(settings)
    return KeptImport(str(shown), "" if is_read else str(settings.trades))


def read_versions(settings: Settings) -> ModelVersions:
    """All versions with their judgements, and answers of the newest beside those that it was
    judged against.

    Raises:
        InputError: the registry cannot be opened.
    """
    known = registry.versions(settings)
    cards = {item.number: _scorecard(settings, item) for item in known}
    versions = tuple(_version(settings, item, cards[item.number]) for item in known)
    newest = known[0] if known else None
    card = cards[newest.number] if newest else None
    against = "champion" if newest and newest.champion_then else "base"
    pairs = _pairs(settings, newest, card, against) if newest and card else ()
    prefect = prefect_api_url() or f"http://127.0.0.1:{settings.services.prefect_port}"
    return ModelVersions(
        versions,
        pairs,
        against,
        registry.models_page(settings),
        prefect.removesuffix("/api"),
    )


def _scorecard(settings: Settings, item: VersionInfo) -> Scorecard | None:
    if not item.scorecard:
        return None
    return load(Scorecard, settings.artifacts / "scorecard" / item.scorecard)


def _version(settings: Settings, item: VersionInfo, card: Scorecard | None) -> ModelVersion:
    gaps = card.differences if card else {}
    against = "champion" if item.champion_then else "base"
    overall = next((gap for name, gap in gaps.items() if name.startswith("challenger - ")), None)
    rival = item.scores.get(against)
    low = high = None
    if overall and rival is not None:
        low, high = rival + overall["low"], rival + overall["high"]
    return ModelVersion(
        number=item.number,
        created_at=item.created_at.isoformat(),
        profile=item.profile,
        verdict=item.verdict,
        reasons=tuple(item.reasons),
        aliases=item.aliases,
        scores=item.scores,
        gaps=tuple(ScoreGap(name, g["mean"], g["low"], g["high"]) for name, g in gaps.items()),
        low=low,
        high=high,
        feedback=item.feedback,
        rollback_reason=item.rollback_reason,
        run_url=registry.version_page(settings, item.number),
    )


def _pairs(
    settings: Settings, item: VersionInfo, card: Scorecard, against: str
) -> tuple[AnswerPair, ...]:
    """The answers that changed most, for better and for worse in turn."""
    dataset = load(Dataset, settings.artifacts / "dataset" / item.dataset)
    if dataset is None or not card.items.exists():
        return ()
    judged = read_answers(card.items)
    before = {answer.id: answer for answer in judged.get(against, ())}
    after = {answer.id: answer for answer in judged.get("challenger", ())}
    changed = sorted(
        (after[id].value - before[id].value, id)
        for id in before.keys() & after.keys()
        if before[id].answer != after[id].answer
    )
    chosen = alternate(changed, MAX_PAIRS)
    questions = {row.id: row for row in read_rows(dataset.holdout) if row.id in chosen}
    return tuple(
        AnswerPair(
            f"{row.instruction}\n\n{row.input}".strip(),
            before[id].answer,
            after[id].answer,
            before[id].value,
            after[id].value,
        )
        for id in chosen
        if (row := questions.get(id))
    )
