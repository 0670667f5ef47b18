"""Stage 2: a history becomes instruction rows, split by time.

In: the ledger, candle and feedback files of a `History`. Out: train.jsonl, holdout.jsonl, corrections.jsonl and a card. Every
row knows only what was known at its `as_of`; every number in an answer stands in its input. Train rows whose label reaches
into the holdout, or into the embargo before it, are purged; feedback about an event of the holdout waits until that holdout
is over. Does not know models or tokens.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import zip_longest
from pathlib import Path

import pyarrow.parquet as pq
from prefect import task

from stock_llm import candles, holdings, moments, situation
from stock_llm.answers import Language
from stock_llm.artifacts import Dataset, History, digest_of, file_sha256, produce
from stock_llm.errors import InputError
from stock_llm.feedback_item import FeedbackItem, read_parquet
from stock_llm.moments import HORIZON, Moment, Odds
from stock_llm.prompts import PROMPT_VERSION
from stock_llm.rows import Row, write_rows
from stock_llm.settings import Settings
from stock_llm.situation import Indicators, Situation, percent
from stock_llm.skills import analyse, code, explain, follow, review, signal

RECIPE = 1
"""Raised whenever this file makes other rows from the same history."""

EMBARGO_DAYS = 7
"""Calendar days kept empty between the last train label and the holdout, against effects that linger."""

SHARES = {signal.NAME: 0.32, analyse.NAME: 0.26, explain.NAME: 0.17, review.NAME: 0.13, code.NAME: 0.12}
"""Skill → its share of the rows, feedback apart."""

THAI_SHARE = 0.2

FROZEN_CORRECTIONS = 4
"""One correction in so many is never trained on; it measures whether corrections are followed."""


@task(task_run_name="build_dataset")
def build_dataset(settings: Settings, history: History) -> Dataset:
    """The dataset of this history; read from disk where it was built before.

    Raises:
        InputError: the history is too short to judge anything on.
    """
    digest = digest_of(
        history=history.digest,
        holdout_from=settings.holdout_from,
        rows=(settings.train_rows, settings.holdout_rows),
        seed=settings.seed,
        prompt=PROMPT_VERSION,
        recipe=RECIPE,
    )
    return produce(Dataset, settings.artifacts, digest, lambda folder: build(settings, history, digest, folder))


def build(settings: Settings, history: History, digest: str, folder: Path) -> Dataset:
    """Writes the files of a dataset into `folder`."""
    split = settings.holdout_from or default_split(history)
    material = read_material(history, split)
    train = _Draw(settings.seed, "train", settings.train_rows).rows(material, material.train, known=())
    holdout = _Draw(settings.seed, "holdout", settings.holdout_rows).rows(material, material.holdout, known=train)
    learnt, frozen, waiting = feedback_rows(read_parquet(history.feedback), split, holdout)
    train += learnt
    random.Random(settings.seed).shuffle(train)
    check_split(train, holdout, split)

    counts = {
        name: dict(sorted(Counter(row.skill for row in rows).items())) for name, rows in (("train", train), ("holdout", holdout))
    }
    paths = {name: folder / f"{name}.jsonl" for name in ("train", "holdout", "corrections")}
    write_rows(train, paths["train"])
    write_rows(holdout, paths["holdout"])
    write_rows(frozen, paths["corrections"])
    card = folder / "card.md"
    card.write_text(_card(history, split, train, holdout, frozen, material.purged, waiting), encoding="utf-8")
    return Dataset(
        digest=digest,
        folder=folder,
        train=paths["train"],
        holdout=paths["holdout"],
        corrections=paths["corrections"],
        card=card,
        holdout_from=split.isoformat(),
        train_until=max(row.label_until for row in train),
        horizon_days=HORIZON,
        prompt_version=PROMPT_VERSION,
        train_rows=len(train),
        holdout_rows=len(holdout),
        correction_rows=len(frozen),
        counts=counts,
        purged=material.purged,
        holdout_digest=file_sha256(paths["holdout"])[:16],
        feedback_ids=sorted(row.source["ref"] for row in (*learnt, *frozen)),
    )


def default_split(history: History) -> date:
    """First day of the quarter that lies at seven eighths of the candles: it moves once in three months, not every day."""
    first, last = date.fromisoformat(history.first_day), date.fromisoformat(history.last_day)
    near = first + (last - first) * 7 // 8
    return near.replace(month=(near.month - 1) // 3 * 3 + 1, day=1)


@dataclass(frozen=True)
class Side:
    """What lies on one side of the split."""

    moments: list[Moment]
    trades: list[review.ClosedTrade]
    days: list[str]


@dataclass(frozen=True)
class Material:
    """Everything that rows are made of."""

    train: Side
    holdout: Side
    odds: Odds
    purged: int


def read_material(history: History, split: date) -> Material:
    """All decision records and closed trades, on their side of the split.

    Raises:
        InputError: nothing is left on one of the sides.
    """
    series = {one.symbol: situation.compute(one) for one in candles.by_symbol(pq.read_table(history.candles))}
    ordered = holdings.fills(pq.read_table(history.steps))
    held = holdings.follow(ordered)
    limit = (split - timedelta(days=EMBARGO_DAYS)).isoformat()
    start = split.isoformat()
    train, holdout, purged = [], [], 0
    for moment in _moments(series, held, ordered):
        if moment.situation.as_of >= start:
            holdout.append(moment)
        elif moment.outcome_until < limit:
            train.append(moment)
        else:
            purged += 1
    trades = list(_closed_trades(series, held))
    sides = (
        Side(train, [trade for trade in trades if trade.closed < limit], sorted({moment.situation.as_of for moment in train})),
        Side(
            holdout, [trade for trade in trades if trade.opened >= start], sorted({moment.situation.as_of for moment in holdout})
        ),
    )
    for side, name in zip(sides, ("before", "in"), strict=True):
        if not side.moments:
            raise InputError(
                f"no decision can be made {name} the holdout that begins on {split}: the candles run from "
                f"{history.first_day} to {history.last_day}, {situation.WARM_UP} sessions are needed to warm up and "
                f"{HORIZON} after a decision to know its outcome",
                remedy="Give a longer candle history or set holdout_from",
            )
    return Material(*sides, odds=Odds(train), purged=purged)


def _moments(series: dict[str, Indicators], held: dict[str, holdings.Holding], ordered: list[holdings.Fill]) -> Iterator[Moment]:
    """The user's own decisions, each at the last close strictly before its fill, then every other market day."""
    scores = {symbol: moments.outcomes(indicators) for symbol, indicators in series.items()}
    own: set[tuple[str, int]] = set()
    for fill in ordered:
        if (indicators := series.get(fill.symbol)) is None or not fill.decided:
            continue
        index = indicators.last_before(fill.day)
        if (fill.symbol, index) in own:
            continue
        own.add((fill.symbol, index))
        seen = indicators.at(index, held[fill.symbol].before(fill.day))
        source = {"kind": "trade", "ref": fill.ref}
        if seen and (moment := moments.moment_at(indicators, scores[fill.symbol], index, seen, source)):
            yield moment
    for symbol, indicators in series.items():
        days = indicators.candles.day.tolist()
        for index in range(situation.WARM_UP, len(days)):
            if (symbol, index) in own:
                continue
            seen = indicators.at(index, held[symbol].after(days[index]) if symbol in held else None)
            source = {"kind": "day", "ref": f"{symbol} {days[index]}"}
            if seen and (moment := moments.moment_at(indicators, scores[symbol], index, seen, source)):
                yield moment


def _closed_trades(series: dict[str, Indicators], held: dict[str, holdings.Holding]) -> Iterator[review.ClosedTrade]:
    for symbol, holding in held.items():
        if symbol not in series:
            continue
        indicators = series[symbol]
        for sale in holding.sales:
            entry = indicators.at(indicators.last_before(sale.opened))
            if entry and percent(sale.fill.price, sale.bought) != "+0.0%":
                yield review.ClosedTrade(
                    entry=entry,
                    bought=situation.as_printed(sale.bought),
                    sold=situation.as_printed(sale.fill.price),
                    opened=sale.opened.isoformat(),
                    closed=sale.fill.day.isoformat(),
                    days=(sale.fill.day - sale.opened).days,
                    ref=sale.fill.ref,
                )


class _Draw:
    """Draws the rows of one side: the same seed and material give the same rows."""

    def __init__(self, seed: int, side: str, size: int):
        self._chance = random.Random(f"{seed} {side}")
        self._size = size

    def rows(self, material: Material, side: Side, known: Iterable[Row]) -> list[Row]:
        """About `size` rows, each skill its share; code tasks that `known` already has are left out."""
        taken = {row.source["ref"] for row in known if row.skill == code.NAME}
        decisions = self._sample(side.moments, signal.NAME, analyse.NAME)
        cut = self._count(signal.NAME)
        made = [signal.row(moment, material.odds, self._language(), self._phrasing()) for moment in decisions[:cut]]
        made += [analyse.row(moment, material.odds, self._language(), self._phrasing()) for moment in decisions[cut:]]
        made += [
            explain.row(seen, indicator, self._language(), self._phrasing()) for seen, indicator in self._readings(side.moments)
        ]
        for trade in self._sample(side.trades, review.NAME):
            made.append(review.row(trade, self._language(), self._phrasing()))
        while len(taken) < 3000 and self._count(code.NAME) > sum(row.skill == code.NAME for row in made):
            strategy = code.draw(str(self._chance.random()))
            row = code.row(strategy, self._chance.choice(side.days), self._language(), self._phrasing())
            if row.source["ref"] not in taken:
                taken.add(row.source["ref"])
                made.append(row)
        return made

    def _readings(self, choices: list[Moment]) -> list[tuple[Situation, str]]:
        """Indicators of drawn situations, each reading of each indicator as often as there are any: most closes are NEUTRAL."""
        wanted = self._count(explain.NAME)
        groups: dict[tuple[str, str], list[tuple[Situation, str]]] = {}
        for moment in self._chance.sample(choices, min(len(choices), 10 * wanted)):
            for indicator, book in explain.TEXTBOOK.items():
                groups.setdefault((indicator, book.reading(moment.situation)), []).append((moment.situation, indicator))
        turns = zip_longest(*(groups[key] for key in sorted(groups)))
        return [pick for turn in turns for pick in turn if pick][:wanted]

    def _count(self, skill: str) -> int:
        return round(SHARES[skill] * self._size)

    def _sample(self, choices: list, *skills: str) -> list:
        return self._chance.sample(choices, min(len(choices), sum(map(self._count, skills))))

    def _language(self) -> Language:
        return "th" if self._chance.random() < THAI_SHARE else "en"

    def _phrasing(self) -> int:
        return self._chance.randrange(1 << 16)


def feedback_rows(items: list[FeedbackItem], split: date, holdout: list[Row]) -> tuple[list[Row], list[Row], int]:
    """Rows from feedback: those to be learnt, the frozen corrections, and how many wait because the holdout judges their event.

    An event is a symbol's window of the label's horizon; in calendar days it is taken half as long again, for weekends.
    """
    window = timedelta(days=HORIZON * 3 // 2 + 1)
    judged: dict[str, list[date]] = {}
    for row in holdout:
        judged.setdefault(row.symbol, []).append(date.fromisoformat(row.as_of))
    learnt: list[Row] = []
    frozen: list[Row] = []
    waiting = 0
    for item in items:
        if (answer := follow.wanted(item)) is None:
            continue
        row = follow.row(item, answer)
        day = date.fromisoformat(row.as_of)
        near = row.symbol and day >= split - window and any(abs(day - other) <= window for other in judged.get(row.symbol, ()))
        if near:
            waiting += 1
        elif item.correction and int(digest_of(id=item.id), 16) % FROZEN_CORRECTIONS == 0:
            frozen.append(row)
        else:
            learnt.append(row)
    return learnt, frozen, waiting


def check_split(train: list[Row], holdout: list[Row], split: date) -> None:
    """Last look before anything is written.

    Raises:
        InputError: a train label touches the holdout, or the same question stands on both sides; names the rows.
    """
    start = split.isoformat()
    late = [row.id for row in train if row.label_until >= start and row.skill != follow.NAME]
    early = [row.id for row in holdout if row.as_of < start]
    asked = {(row.instruction, row.input) for row in train}
    copied = [row.id for row in holdout if (row.instruction, row.input) in asked]
    for names, what in (
        (late, "train rows reach into the holdout"),
        (early, "holdout rows lie before it"),
        (copied, "holdout rows are trained on"),
    ):
        if names:
            raise InputError(f"leakage: {len(names)} {what}: {', '.join(names[:5])}")


def _card(
    history: History, split: date, train: list[Row], holdout: list[Row], frozen: list[Row], purged: int, waiting: int
) -> str:
    """The dataset in Markdown: where it came from, how it was split, what is in it."""
    lines = [
        "# Dataset card",
        "",
        f"From {history.rows_kept.get('trades', 0)} trades, {history.rows_kept.get('candles', 0)} candles of "
        f"{len(history.symbols)} symbols ({history.first_day} to {history.last_day}) and "
        f"{history.rows_kept.get('feedback', 0)} feedback items; "
        f"{sum(history.rows_quarantined.values())} rows were set aside by collect.",
        "",
        f"- Holdout from **{split}**. Train labels end {EMBARGO_DAYS} days before it; {purged} decisions were purged in between.",
        f"- A label is the outcome of the {HORIZON} sessions after the next open, in the stock's own volatility.",
        f"- {len(frozen)} corrections are frozen: never trained on, they measure whether corrections are followed.",
        f"- {waiting} feedback items wait: the holdout judges the same event.",
        "",
        "| skill | label | train | holdout |",
        "|---|---|--:|--:|",
    ]
    here, there = (Counter((row.skill, row.label) for row in rows) for rows in (train, holdout))
    lines += [f"| {skill} | {label} | {here[skill, label]} | {there[skill, label]} |" for skill, label in sorted(here | there)]
    thai = [sum(row.language == "th" for row in rows) for rows in (train, holdout)]
    lines += [f"| all | | {len(train)} | {len(holdout)} |", f"| of them Thai | | {thai[0]} | {thai[1]} |", ""]
    return "\n".join(lines)
