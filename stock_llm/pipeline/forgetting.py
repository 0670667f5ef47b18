"""Forgets an item of feedback, a trade or an account, and marks what was made from it; deletes a
conversation with the gateway.

The answer that an item is about is deleted first. Then the store notes what is forgotten, in one
transaction with the removal; from then on collect leaves it out and the next run has something new
to do. Then datasets get a mark and model versions a tag. Each step finds what is done already, so
that the same command goes on after a kill. Files that were
written stay on the disk, and a trained model stays as it is until the next run makes another.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stock_llm.artifacts import RECORD, Dataset, History, load
from stock_llm.dataset import forgotten
from stock_llm.dataset.privacy import pseudonyms
from stock_llm.dataset.privacy.pseudonyms import HashFunction
from stock_llm.errors import InputError
from stock_llm.feedback.store import FeedbackStore, ForgettableKind, ForgottenMarks
from stock_llm.gateway.accounting.conversations import ConversationStore
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.pipeline.private_folder import private_folder
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings
from stock_llm.skills.row import read_rows

A = TypeVar("A", History, Dataset)

_PART = r":(?:in|coin|(?:fee|tax|interest)\d+)$"
"""What the id of a further entry of a trade ends with: another asset, a charge."""


@dataclass(frozen=True)
class ForgetResult:
    """What was forgotten, and what was marked.

    Attributes:
        kind, mark: what is left out from now on, as the store notes it.
        fresh: False where it was noted before, and this only finished or repeated the marking.
        datasets: digests of the datasets that had it; `versions`: numbers of the model versions
            that learnt from those.
        folders: where it can still be read until they are removed.
    """

    kind: ForgettableKind
    mark: str
    fresh: bool
    datasets: list[str]
    versions: list[int]
    folders: list[Path]


def forget(settings: Settings, kind: ForgettableKind, given: str) -> ForgetResult:
    """Forgets one item, trade or account.

    Args:
        given: an item's id; a trade's id as the file or the ledger has it, either of them also as a
            row has it; an account as the file has it.

    Raises:
        InputError: nothing that was ever collected has this id, or several trades have it.
    """
    store = open_feedback(settings)
    histories = list(_artifacts(settings, History))
    mark = {"feedback": _item, "trade": _trade, "account": _account}[kind](
        settings, store, histories, given
    )
    # the answer first: only the item knows it, and a kill in between leaves the item for next time
    if kind == "feedback" and (about := store.response_id(mark)):
        with closing(_conversations(settings)) as conversations:
            conversations.delete_answer(about)
    fresh = store.forget(kind, mark)

    having = [history for history in histories if _has(history, kind, mark)]
    with_it, hashed = {history.digest for history in having}, _hash_function(settings)
    shown = pseudonyms.pseudonym(mark, hashed) if kind == "trade" else mark
    datasets = [
        dataset
        for dataset in _artifacts(settings, Dataset)
        if _used(dataset, with_it, kind, mark, hashed)
    ]
    for dataset in datasets:
        forgotten.add(dataset.folder, f"{kind} {shown}")
    versions = _tag_versions(settings, {dataset.digest: dataset for dataset in datasets})
    folders = [*(history.folder for history in having), *(dataset.folder for dataset in datasets)]
    return ForgetResult(
        kind, mark, fresh, sorted(dataset.digest for dataset in datasets), versions, folders
    )


def forget_conversation(settings: Settings, id: str) -> int:
    """Deletes a conversation with the gateway, and its answers; returns how many it had.

    Raises:
        InputError: none is kept under this id.
    """
    with closing(_conversations(settings)) as conversations:
        turns = conversations.delete(id)
    if not turns:
        raise InputError(
            f"no conversation '{id}' is kept",
            remedy="Its id is the end of the chat page's address; the page deletes it too",
        )
    return turns


def _conversations(settings: Settings) -> ConversationStore:
    gateway = settings.gateway
    return ConversationStore(settings.url(gateway.costs_url), gateway.keep_answers_days)


def drop_forgotten(ledger: Path, forgotten: ForgottenMarks) -> int:
    """Takes the trades and accounts that are to be forgotten out of a ledger's file, each trade
    with all of its entries; returns how many rows of exports that were."""
    if not forgotten:
        return 0
    table = pq.read_table(ledger)
    trades = pa.array(sorted(forgotten.trade), pa.string())
    of_trade = pc.replace_substring_regex(table["entry_id"], _PART, "")
    gone = pc.or_(
        pc.or_(pc.is_in(table["entry_id"], trades), pc.is_in(of_trade, trades)),
        pc.is_in(table["account"], pa.array(sorted(forgotten.account), pa.string())),
    )
    pq.write_table(table.filter(pc.invert(gone)), ledger, compression="zstd")
    rows = table.filter(gone).group_by(["source_file", "source_row"]).aggregate([])
    return len(rows)


def summary(done: ForgetResult, settings: Settings) -> str:
    """Describes the result for people."""
    what = {
        "feedback": f"feedback {done.mark}",
        "trade": f"trade {done.mark}",
        "account": "the account",
    }[done.kind]
    note = (
        "it is no longer in the store, and its answer in no conversation"
        if done.kind == "feedback"
        else "your file keeps it, collect leaves it out"
    )
    lines = [
        f"{what} is forgotten: {note}"
        if done.fresh
        else f"{what} was forgotten before; its marks are complete"
    ]
    if done.datasets:
        lines.append(f"marked datasets: {', '.join(done.datasets)}")
    if done.versions:
        numbers = ", ".join(f"v{number}" for number in done.versions)
        lines.append(
            f"tagged model versions, which learnt from it and still answer with it: {numbers}"
        )
        lines.append("the next run leaves it out: stock-llm run")
    if done.folders:
        home = settings.home
        lines.append("it can still be read in these folders until you remove them:")
        lines += [
            f"  {folder.relative_to(home) if folder.is_relative_to(home) else folder}"
            for folder in done.folders
        ]
    return "\n".join(lines)


def _hash_function(settings: Settings) -> HashFunction:
    return partial(account_hash, folder=settings.secrets)


def _artifacts(settings: Settings, kind: type[A]) -> Iterator[A]:
    """All finished artifacts of a kind, in the order of their digests."""
    root = private_folder(settings) if kind is History else settings.artifacts
    for record in sorted(root.glob(f"{kind.__name__.lower()}/*/{RECORD}")):
        if (
            not record.parent.name.endswith(".partial")
            and (artifact := load(kind, record.parent)) is not None
        ):
            yield artifact


def _item(settings: Settings, store: FeedbackStore, histories: list[History], given: str) -> str:
    ids = (name for history in histories for name in history.feedback_ids)
    given = pseudonyms.resolve(given, ids, _hash_function(settings))
    if (
        store.has(given)
        or given in store.forgotten().feedback
        or any(given in history.feedback_ids for history in histories)
    ):
        return given
    raise InputError(
        f"there is no feedback '{given}'",
        remedy="A row made from it names it: stock-llm dataset show ROW",
    )


def _trade(settings: Settings, store: FeedbackStore, histories: list[History], given: str) -> str:
    """The ledger's id, which has the name of the file's format before the broker's own id."""
    known = set(store.forgotten().trade)
    for history in histories:
        known.update(
            pc.unique(pq.read_table(history.trades, columns=["entry_id"])["entry_id"]).to_pylist()
        )
    given = pseudonyms.resolve(given, known, _hash_function(settings))
    meant = (
        [given]
        if given in known
        else sorted(entry_id for entry_id in known if entry_id.partition(":")[2] == given)
    )
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise InputError(
            f"{len(meant)} trades have the id '{given}'", remedy=f"Name one: {', '.join(meant)}"
        )
    raise InputError(
        f"no trade '{given}' was ever collected",
        remedy="A row made from it names it: stock-llm dataset show ROW",
    )


def _account(settings: Settings, store: FeedbackStore, histories: list[History], given: str) -> str:
    known = set(store.forgotten().account)
    for history in histories:
        known.update(
            pc.unique(pq.read_table(history.trades, columns=["account"])["account"]).to_pylist()
        )
    mark = account_hash(given.strip(), settings.secrets)
    if not mark or mark not in known:
        raise InputError(
            "no trade of this account was ever collected",
            remedy="Write it as it stands in your trades file",
        )
    return mark


def _has(history: History, kind: ForgettableKind, mark: str) -> bool:
    if kind == "feedback":
        return mark in history.feedback_ids
    column = "entry_id" if kind == "trade" else "account"
    equal = pc.equal(pq.read_table(history.trades, columns=[column])[column], mark)
    return bool(pc.any(equal, min_count=0).as_py())


def _used(
    dataset: Dataset,
    having: set[str],
    kind: ForgettableKind,
    mark: str,
    hashed: HashFunction | None = None,
) -> bool:
    """Whether rows were made from it: of an item, one of its own; of trades any, because positions
    are the sum of all of them."""
    meant = pseudonyms.known_forms(mark, hashed)
    if kind == "feedback":
        return not meant.isdisjoint(dataset.feedback_ids) or not meant.isdisjoint(
            _preferred(dataset)
        )
    if dataset.history:
        return dataset.history in having
    return kind == "trade" and any(
        row.source["ref"] in meant
        for file in (dataset.train, dataset.holdout)
        for row in read_rows(file)
    )


def _preferred(dataset: Dataset) -> Iterator[str]:
    """The items of its preferences."""
    file = dataset.folder / "preference.jsonl"
    if file.exists():
        with file.open(encoding="utf-8") as stream:
            yield from (json.loads(line)["feedback"] for line in stream)


def _tag_versions(settings: Settings, datasets: dict[str, Dataset]) -> list[int]:
    """Numbers of the versions that learnt from these datasets, which now say so."""
    from stock_llm.pipeline import registry

    if not datasets:
        return []
    numbers = []
    for version in registry.versions(settings):
        if version.dataset in datasets:
            registry.mark(
                settings,
                version.number,
                registry.FORGOTTEN,
                forgotten.read(datasets[version.dataset].folder),
            )
            numbers.append(version.number)
    return sorted(numbers)
