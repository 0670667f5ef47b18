"""How the champion does on what came after it: its answers through the gateway whose outcome is
known by now.

In: the answers that the gateway keeps, and today's candles. Out: how many of them recommended what
came, by the same labels that the holdout has.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import sqlalchemy as sa

from stock_llm.dataset.decisions import Market
from stock_llm.evaluation.answers import AnswerError, parse_answer
from stock_llm.gateway.accounting.answer_log import ANSWER
from stock_llm.gateway.accounting.tables import SCHEMA
from stock_llm.pipeline.history import current
from stock_llm.pipeline.registry import VersionInfo
from stock_llm.settings import Settings
from stock_llm.skills import analyse, signal
from stock_llm.skills.decision_point import outcome_of, outcomes
from stock_llm.storage.database import open_database, read_transaction

FEWEST = 30
"""Answers below which a share of right ones says too little."""


@dataclass(frozen=True)
class ResolvedAnswers:
    """Answers whose outcome is known, and how many of them recommended it."""

    known: int
    right: int

    @property
    def share(self) -> float:
        return self.right / self.known if self.known else 0.0


def resolved_answers(settings: Settings, champion: VersionInfo) -> ResolvedAnswers:
    """The answers of the champion, since it was registered, to questions about a decision.

    Raises:
        InputError, StoreError: the history or the gateway's database cannot be read.
    """
    answers = _answers(settings, champion)
    if not answers:
        return ResolvedAnswers(0, 0)
    market = Market.of(current(settings))
    known = right = 0
    for symbol, as_of, text in answers:
        label = _outcome(market, symbol, as_of)
        if label is None:
            continue
        known += 1
        try:
            right += parse_answer(text).recommendation == label
        except AnswerError:
            continue  # an answer in no format recommends nothing
    return ResolvedAnswers(known, right)


def _answers(settings: Settings, champion: VersionInfo) -> list[tuple[str, str, str]]:
    """Symbol, day and text, one for each question that was asked."""
    names = (f"stock-llm:v{champion.number}", "stock-llm:latest", "stock-llm")
    since = champion.created_at.astimezone(UTC).isoformat(timespec="microseconds")
    chosen = sa.select(ANSWER.c.symbol, ANSWER.c.as_of, ANSWER.c.response).where(
        ANSWER.c.skill.in_((signal.NAME, analyse.NAME)),
        ANSWER.c.symbol != "",
        ANSWER.c.as_of != "",
        ANSWER.c.model.in_(names),
        ANSWER.c.at >= since,
    )
    engine = open_database(settings.url(settings.gateway.costs_url), SCHEMA)
    try:
        with read_transaction(engine, SCHEMA) as connection:
            rows = [(row.symbol, row.as_of, row.response) for row in connection.execute(chosen)]
    finally:
        engine.dispose()
    return sorted(set(rows))


def _outcome(market: Market, symbol: str, as_of: str) -> str | None:
    """What came after a close; None where that is not known, or there are no such candles."""
    series = market.series_of(symbol)
    if series is None:
        return None
    try:
        day = np.datetime64(datetime.fromisoformat(as_of).date())
    except ValueError:
        return None  # an application may put any text there
    index = int(np.searchsorted(series.candles.day, day))
    if index == len(series.candles.day) or series.candles.day[index] != day:
        return None
    score = outcomes(series)[index]
    return outcome_of(float(score)) if np.isfinite(score) else None
