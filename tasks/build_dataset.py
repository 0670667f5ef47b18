"""Stage 2: a history becomes instruction rows, split by time.

In: the ledger, candle and feedback files of a `History`. Out: train.jsonl, holdout.jsonl, corrections.jsonl and a card. Every
row knows only what was known at its `as_of`; every number in an answer stands in its input. Rows are planned first and built
one at a time on their way to the file, so that a million of them need little memory. Feedback about an event of the holdout
waits until that holdout is over. Does not know models or tokens.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from prefect import task

from stock_llm import drawing, leakage, splits
from stock_llm.artifacts import Dataset, History, digest_of, file_sha256, produce
from stock_llm.dataset_card import NAMES, Tally, write_card
from stock_llm.drawing import Draw, Planned, sides
from stock_llm.errors import InputError
from stock_llm.feedback_item import FeedbackItem, read_parquet
from stock_llm.looks import Looks
from stock_llm.market import Market
from stock_llm.moments import HORIZON
from stock_llm.prompts import PROMPT_VERSION
from stock_llm.rows import Row, read_rows, write_rows
from stock_llm.settings import Settings
from stock_llm.situation import WARM_UP
from stock_llm.skills import follow
from stock_llm.splits import Split

RECIPE = 2
"""Raised whenever this file, or what it calls, makes other rows from the same history."""


@task(task_run_name="build_dataset")
def build_dataset(settings: Settings, history: History) -> Dataset:
    """The dataset of this history; read from disk where it was built before.

    Raises:
        InputError: the history is too short to judge anything on.
        LeakageError: a row stands where it may not.
    """
    split = split_of(settings, history)
    looks = Looks(settings)
    draw = looks.draw(split.period)
    digest = digest_of(
        history=history.digest,
        holdout_from=settings.holdout_from,
        rows=(settings.train_rows, settings.holdout_rows),
        seed=settings.seed,
        draw=draw,
        prompt=PROMPT_VERSION,
        recipe=RECIPE,
    )
    dataset = produce(Dataset, settings.artifacts, digest, lambda folder: build(settings, history, digest, folder, draw))
    looks.freeze(split.period, dataset.holdout_digest)
    return dataset


def split_of(settings: Settings, history: History) -> Split:
    """Where the settings, or else the policy, cut this history."""
    return splits.split_of(date.fromisoformat(history.first_day), date.fromisoformat(history.last_day), settings.holdout_from)


def build(settings: Settings, history: History, digest: str, folder: Path, draw: int = 0) -> Dataset:
    """Writes the files of a dataset into `folder`."""
    split = split_of(settings, history)
    market = Market.of(history)
    train_side, holdout_side = sides(market, split)
    refuse_if_empty(train_side, holdout_side, history, split)
    odds = market.odds(train_side.decisions)
    paths = {name: folder / f"{name}.jsonl" for name in NAMES}
    tallies = {name: Tally() for name in NAMES}

    judge = Draw(market, holdout_side, odds, f"{settings.seed} holdout{f' {draw}' if draw else ''}", settings.holdout_rows)
    judging = judge.plan()
    write_rows(tallies["holdout"].counting(map(judge.row, judging)), paths["holdout"])

    learn = Draw(market, train_side, odds, f"{settings.seed} train", settings.train_rows)
    said = feedback_rows(read_parquet(history.feedback), leakage.Judging(read_rows(paths["holdout"])))
    plan: list[Planned | Row] = [*learn.plan(drawing.strategies(judging)), *said.learnt]
    random.Random(settings.seed).shuffle(plan)
    write_rows(tallies["train"].counting(_made(learn, plan)), paths["train"])
    write_rows(tallies["corrections"].counting(said.frozen), paths["corrections"])
    leakage.check(paths["train"], paths["holdout"], paths["corrections"], split, market)

    purged = len(market.decisions) - len(train_side.decisions) - len(holdout_side.decisions)
    holdout_digest = file_sha256(paths["holdout"])[:16]
    card = folder / "card.md"
    notes = [f"{said.waiting} feedback items wait: the holdout judges the same event."]
    write_card(card, history, split, holdout_digest, draw, tallies, purged, notes)
    return Dataset(
        digest=digest,
        folder=folder,
        train=paths["train"],
        holdout=paths["holdout"],
        corrections=paths["corrections"],
        card=card,
        holdout_from=split.start.isoformat(),
        train_until=tallies["train"].last_label,
        horizon_days=HORIZON,
        prompt_version=PROMPT_VERSION,
        train_rows=tallies["train"].rows,
        holdout_rows=tallies["holdout"].rows,
        correction_rows=tallies["corrections"].rows,
        counts={name: tallies[name].skills for name in ("train", "holdout")},
        purged=purged,
        holdout_digest=holdout_digest,
        feedback_ids=sorted(row.source["ref"] for row in (*said.learnt, *said.frozen)),
        history=history.digest,
        holdout_until=split.until.isoformat() if split.until else "",
        draw=draw,
    )


def _made(draw: Draw, plan: list[Planned | Row]) -> Iterator[Row]:
    """The rows of a plan, built as they are asked for."""
    for one in plan:
        yield one if isinstance(one, Row) else draw.row(one)


def refuse_if_empty(train: drawing.Side, holdout: drawing.Side, history: History, split: Split) -> None:
    """Raises:
    InputError: one of the sides has no decision.
    """
    for side, where in ((train, "before"), (holdout, "in")):
        if not len(side.decisions):
            raise InputError(
                f"no decision can be made {where} the holdout that begins on {split.start}: the candles run from "
                f"{history.first_day} to {history.last_day}, {WARM_UP} sessions are needed to warm up and "
                f"{HORIZON} after a decision to know its outcome",
                remedy="Give a longer candle history or set holdout_from",
            )


@dataclass(frozen=True)
class Said:
    """Rows from feedback: to be learnt, and frozen; how many items wait because the holdout judges their event."""

    learnt: list[Row]
    frozen: list[Row]
    waiting: int


def feedback_rows(items: list[FeedbackItem], judging: leakage.Judging) -> Said:
    """What is learnt from feedback. The items of a chain go one way: all of them are learnt, frozen, or wait."""
    chain = splits.chains(items)
    wanted = [(item, follow.row(item, answer)) for item in items if (answer := follow.wanted(item)) is not None]
    corrected = {chain[item.id] for item, _ in wanted if item.correction}
    held_back = {chain[item.id] for item, row in wanted if judging.shares_event(row) or judging.asks(row) or judging.says(row)}
    learnt: list[Row] = []
    frozen: list[Row] = []
    for item, row in wanted:
        if chain[item.id] in held_back:
            continue
        if chain[item.id] not in corrected or not splits.frozen(chain[item.id]):
            learnt.append(row)
        elif item.correction:
            frozen.append(row)
    return Said(learnt, frozen, sum(chain[item.id] in held_back for item, _ in wanted))
