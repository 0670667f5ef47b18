"""Stage 2: makes instruction rows from a history, split by time.

In: the ledger, candle and feedback files of a `History`, and other people's data. Out: train.jsonl,
holdout.jsonl, corrections.jsonl, preference.jsonl and a card. A row knows only what was known at
its `as_of`; every number in an answer stands in its input. Rows are planned first and built one at
a time on their way to the file, so that a million of them need little memory.
"""

import random
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task

from stock_llm.artifacts import Dataset, History, load_or_make
from stock_llm.dataset import preferences, sampling, splits
from stock_llm.dataset.card import NAMES, Tally, write_card
from stock_llm.dataset.decisions import Market
from stock_llm.dataset.feedback_rows import FeedbackRows, feedback_rows, repeats
from stock_llm.dataset.feedback_shares import largest_shares, limit_shares
from stock_llm.dataset.holdout_usage import HoldoutUsage
from stock_llm.dataset.leakage import check
from stock_llm.dataset.leakage.duplicates import ACROSS, DuplicateIndex
from stock_llm.dataset.leakage.free_text import own_words
from stock_llm.dataset.leakage.overlap import OverlapIndex, row_identity
from stock_llm.dataset.privacy.redaction import Redactor
from stock_llm.dataset.sampling import PlannedRow, Sampler, split_sides
from stock_llm.dataset.sources import (
    definitions,
    general_questions,
    general_rows,
    mixing,
    unanswerable,
)
from stock_llm.dataset.sources.mixing import MixedRows
from stock_llm.dataset.splits import TimeSplit
from stock_llm.errors import InputError
from stock_llm.feedback.item import read_parquet
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.prompts import PROMPT_VERSION
from stock_llm.market.situation import WARM_UP
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings
from stock_llm.skills.decision_point import HORIZON
from stock_llm.skills.row import Row, write_rows
from stock_llm.storage import quarantine
from stock_llm.storage.checksums import digest_of, file_sha256

RECIPE = 12
"""Raised whenever this file, or what it calls, makes other rows from the same history."""


@task(task_run_name="build_dataset")
def build_dataset(settings: Settings, history: History) -> Dataset:
    """The dataset of this history; read from disk where it was built before.

    Raises:
        InputError: the history is too short to judge anything on, or other people's data cannot be
            used.
        LeakageError: a row stands where it may not.
    """
    split = split_of(settings, history)
    looks = HoldoutUsage(settings.path("data/looks.db"))
    draw = looks.draw(split.period)
    digest = digest_of(
        history=history.digest,
        holdout_from=settings.holdout_from,
        rows=(settings.train_rows, _holdout_rows(settings)),
        mixed=(
            mixing.digest(settings.dataset.sources(settings.home)),
            settings.dataset.amount_scale,
        ),
        shares=(settings.feedback.user_share, settings.feedback.ticker_share),
        seed=settings.seed,
        draw=draw,
        prompt=PROMPT_VERSION,
        recipe=RECIPE,
    )
    dataset = load_or_make(
        Dataset,
        settings.artifacts,
        digest,
        lambda folder: build(settings, history, digest, folder, draw),
    )
    looks.freeze(split.period, dataset.holdout_digest)
    return dataset


def _holdout_rows(settings: Settings) -> int:
    return load_profile(settings.home, settings.profile).evaluation.holdout_rows


def split_of(settings: Settings, history: History) -> TimeSplit:
    """Splits this history by the settings, or by the default policy."""
    return splits.split_of(
        date.fromisoformat(history.first_day),
        date.fromisoformat(history.last_day),
        settings.holdout_from,
    )


def build(
    settings: Settings, history: History, digest: str, folder: Path, draw: int = 0
) -> Dataset:
    """Writes the files of a dataset into `folder`."""
    split = split_of(settings, history)
    redactor = _redactor(settings, history)
    market = Market.of(history, settings.dataset.amount_scale, redactor.trade_ref)
    train_side, holdout_side = split_sides(market, split)
    refuse_if_empty(train_side, holdout_side, history, split)
    base_rates = market.base_rates(train_side.decisions)
    holdout_rows = _holdout_rows(settings)
    paths = {name: folder / f"{name}.jsonl" for name in NAMES}
    tallies = {name: Tally() for name in NAMES}

    judge = Sampler(
        market,
        holdout_side,
        base_rates,
        f"{settings.seed} holdout{f' {draw}' if draw else ''}",
        holdout_rows,
    )
    questions = judge.plan()
    holdout = list(_made(judge, questions))
    feedback = feedback_rows(read_parquet(history.feedback), OverlapIndex(holdout), redactor)
    mixed = mixing.mix(
        settings.dataset.sources(settings.home),
        redactor,
        _texts(feedback.frozen),
        settings.train_rows,
        settings.seed,
    )
    texts, mixed_in = sampling.holdout_texts(mixed.rows, holdout_rows)
    unanswered = round(unanswerable.HOLDOUT_SHARE * holdout_rows)
    texts += unanswerable.rows(settings.seed + draw, unanswered, judging=True)
    write_rows(tallies["holdout"].counting([*holdout, *texts]), paths["holdout"])
    write_rows(tallies["corrections"].counting(feedback.frozen), paths["corrections"])
    quarantine.write(mixed.rejected, folder / "quarantine.parquet")
    general = general_rows.rows(settings.seed, round(general_rows.SHARE * settings.train_rows))
    terms = definitions.rows(settings.seed, definitions.each(settings.train_rows))
    bare = unanswerable.rows(
        settings.seed,
        min(round(unanswerable.TRAIN_SHARE * settings.train_rows), unanswerable.MOST),
        [series.candles.symbol for series in market.series],
    )
    also_judging = OverlapIndex([*texts, *general_questions.rows()])  # not seen by feedback yet
    judged = OverlapIndex([*holdout, *texts, *feedback.frozen, *general_questions.rows()])
    words = _unjudged([*feedback.learnt, *mixed_in, *terms, *general, *bare], judged)
    shares = settings.feedback
    limited = limit_shares(words, feedback.preferred, shares.user_share, shares.ticker_share)
    lighter = sum(new.weight < old.weight for new, old in zip(limited, words, strict=True))
    largest = largest_shares(limited, feedback.preferred)
    above = [
        f"A {who} has {share:.0%} of feedback's weight, more than {limit:.0%}: there are too few "
        "others."
        for who, share, limit in zip(
            ("user", "ticker"), largest, (shares.user_share, shares.ticker_share), strict=True
        )
        if share > limit + 0.005
    ]

    learn = Sampler(market, train_side, base_rates, f"{settings.seed} train", settings.train_rows)
    plan: list[PlannedRow | Row] = [*learn.plan(sampling.strategies(questions)), *limited]
    random.Random(settings.seed).shuffle(plan)
    # a frozen correction may be about such a row
    unasked = (row for row in _made(learn, plan) if not judged.asks(row))
    write_rows(tallies["train"].counting(unasked), paths["train"])
    preferable = [item for item in feedback.preferred if not repeats(item, also_judging)]
    wishes = preferences.preferences(
        preferable, preferences.OutcomeLookup(market, split.train_before)
    )
    preferred = preferences.write(wishes, folder / "preference.jsonl")
    check.check(check.DatasetFiles(**paths, preference=folder / "preference.jsonl"), split, market)

    purged = len(market.decisions) - len(train_side.decisions) - len(holdout_side.decisions)
    holdout_digest = file_sha256(paths["holdout"])[:16]
    card = folder / "card.md"
    write_card(
        card,
        history,
        split,
        holdout_digest,
        draw,
        tallies,
        purged,
        [*above, *_notes(feedback, lighter, mixed, redactor, preferred)],
    )
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
        feedback_ids=sorted(
            {
                *(row.source["ref"] for row in feedback.frozen),
                *(item.id for item in feedback.preferred),
            }
        ),
        history=history.digest,
        holdout_until=split.until.isoformat() if split.until else "",
        draw=draw,
        preference_rows=preferred,
        licences=mixed.licences,
    )


def refuse_if_empty(
    train: sampling.SplitSide, holdout: sampling.SplitSide, history: History, split: TimeSplit
) -> None:
    """Refuses a history that is too short.

    Raises:
        InputError: one of the sides has no decision.
    """
    for side, where in ((train, "before"), (holdout, "in")):
        if not len(side.decisions):
            raise InputError(
                f"no decision can be made {where} the holdout that begins on {split.start}: the "
                f"candles run from "
                f"{history.first_day} to {history.last_day}, {WARM_UP} sessions are needed to warm "
                f"up and "
                f"{HORIZON} after a decision to know its outcome",
                remedy="Give a longer candle history or set holdout_from",
            )


def _redactor(settings: Settings, history: History) -> Redactor:
    """A redactor that knows the user's own accounts by their hashes."""
    accounts = pc.unique(pq.read_table(history.trades, columns=["account"])["account"]).to_pylist()
    return Redactor(set(accounts) - {""}, partial(account_hash, folder=settings.secrets))


def _made(draw: Sampler, plan: list[PlannedRow] | list[PlannedRow | Row]) -> Iterator[Row]:
    """Builds the rows of a plan one by one."""
    for entry in plan:
        yield entry if isinstance(entry, Row) else draw.row(entry)


def _unjudged(rows: list[Row], judging: OverlapIndex) -> list[Row]:
    """Those rows that are about nothing that judges, neither judge by another name, nor stand there
    twice."""

    def judges(row: Row) -> bool:
        return judging.shares_event(row) or judging.says(row) or judging.asks(row)

    remaining = {row_identity(row): row for row in reversed(rows) if not judges(row)}
    return list(reversed(remaining.values()))


def _texts(rows: list[Row]) -> DuplicateIndex:
    """Index of what people wrote in rows that judge."""
    seen = DuplicateIndex(ACROSS)
    for row in rows:
        for number, text in enumerate(own_words(row)):
            seen.remember(f"{row.id} {number}", text)
    return seen


def _notes(
    feedback: FeedbackRows, lighter: int, mixed: MixedRows, redactor: Redactor, preferred: int
) -> list[str]:
    """The card's notes on feedback, other people's data and privacy.

    Args:
        lighter: feedback rows whose weight was reduced.
    """
    notes = [
        f"{count} feedback items {reason}."
        for reason, count in sorted(feedback.left_out.items())
        if count
    ]
    if lighter:
        notes.append(f"{lighter} feedback rows weigh less: a user or ticker has at most its share.")
    notes.append(f"{preferred} preference rows (DPO and KTO) stand in preference.jsonl.")
    notes += [
        f"Mixed in: `{name}`, licence {licence}."
        for name, licence in sorted(mixed.licences.items())
    ]
    notes += [
        f"{count} rows of other people's data {reason}."
        for reason, count in sorted(mixed.left_out.items())
    ]
    if mixed.rejected:
        notes.append(
            f"{len(mixed.rejected)} of them could not be used: quarantine.parquet says why."
        )
    if mixed.flagged:
        notes.append(
            f"{mixed.flagged} of them are flagged: their input looks like an injection, and is "
            f"quoted."
        )
    marks = ", ".join(f"{count} [{mark}]" for mark, count in sorted(redactor.counts.items()))
    return [*notes, f"Redacted: {marks}." if marks else "Nothing had to be redacted."]
