"""Commands for the feedback store: feedback import, count, review, accept, drop."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stock_llm.cli.options import load_settings

if TYPE_CHECKING:
    from stock_llm.feedback.store import FeedbackStore, WaitingGroup
    from stock_llm.settings import Settings

app = typer.Typer(
    help="What you said about answers: the store that retraining learns from.", no_args_is_help=True
)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Items, by id.")]
User = Annotated[str | None, typer.Option(help="Items of this user.")]
Ticker = Annotated[str | None, typer.Option(help="Items on this stock.")]
Day = Annotated[str | None, typer.Option(help="Items of this day, such as 2026-01-31.")]


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines, one item a line, as in data/sample/feedback.jsonl, "
            "or an export of Open WebUI, Label Studio or Argilla."
        ),
    ],
    user: Annotated[
        str, typer.Option(help="Who gave the items; by default whom each item names, else you.")
    ] = "",
) -> None:
    """Take feedback items from a file. Items that are already stored change nothing.

    Examples:

        stock-llm feedback import my-feedback.jsonl

        stock-llm feedback import feedback-history-export.json --user owner
    """
    settings = load_settings()
    store, names = _open(settings), settings.feedback.owner_names
    with _telling(settings, store):
        print(store.import_file(file, user=user, owner_names=names).summary())


@app.command("count")
def count() -> None:
    """Print how many items count, wait and are ready, and how many a retrain waits for.

    Example:

        stock-llm feedback count
    """
    settings = load_settings()
    store = _open(settings)
    counts = store.counts(settings.uses_sample)
    missing = max(0, settings.retrain_after + 1 - counts.ready)
    waiting = sum(len(group.items) for group in store.waiting())
    review = f"\n{waiting} more wait: stock-llm feedback review" if waiting else ""
    print(
        f"{len(store.all(settings.uses_sample))} items, {counts.ready} ready for a retrain, which "
        f"waits for {missing} more (stock-llm retrain --why){review}"
    )


@app.command("review")
def review(
    items: Annotated[bool, typer.Option("--items", help="Show each item with its id.")] = False,
) -> None:
    """Show the items that wait for you: those beyond the daily limit of a user on a stock.

    Example:

        stock-llm feedback review --items
    """
    groups = _open(load_settings()).waiting()
    if not groups:
        print("no items wait")
        return
    print(f"{'user':20}  {'ticker':10}  {'day':10}  items")
    for group in groups:
        ticker = group.ticker or "none"
        print(f"{group.user:20}  {ticker:10}  {group.day}  {len(group.items):5}")
        for item in group.items if items else ():
            opinion = item.correction or item.comment or item.thumb or f"rated {item.rating} of 5"
            print(f"    {item.id}  {' '.join(opinion.split())[:60]}")
    print("stock-llm feedback accept --user NAME lets them count, drop keeps them out")


@app.command("accept")
def accept(ids: Ids = None, user: User = None, ticker: Ticker = None, day: Day = None) -> None:
    """Let items that wait count, by id or by what they have in common.

    Examples:

        stock-llm feedback accept 3f2a 77b1

        stock-llm feedback accept --user ann --ticker KESTRO
    """
    settings = load_settings()
    store = _open(settings)
    with _telling(settings, store):
        changed = store.accept(_chosen(store.waiting(), ids, user, ticker, day))
    print(f"{changed} items count from now on")


@app.command("drop")
def drop(ids: Ids = None, user: User = None, ticker: Ticker = None, day: Day = None) -> None:
    """Keep items that wait out for good, by id or by what they have in common.

    Example:

        stock-llm feedback drop --user mallory
    """
    store = _open(load_settings())
    changed = store.drop(_chosen(store.waiting(), ids, user, ticker, day))
    print(f"{changed} items are dropped; to delete one: stock-llm forget --feedback ID")


@contextmanager
def _telling(settings: "Settings", store: "FeedbackStore") -> Iterator[None]:
    """Tells the Prefect server, where one is set or `stock-llm up` runs, if the writes inside make
    a retrain due.
    """
    from stock_llm.feedback.event import is_due, post_event, prefect_api_url
    from stock_llm.services.supervisor import read_state

    state = read_state(settings.home)
    url = prefect_api_url() or (state.api_url if state else "")
    if not url:
        yield
        return
    due_for = (settings.uses_sample, settings.retrain_after)
    before = is_due(store, *due_for)
    yield
    if not before and is_due(store, *due_for):
        post_event(url, store.unused(settings.uses_sample))


def _open(settings: "Settings") -> "FeedbackStore":
    from stock_llm.feedback.store import FeedbackStore

    url = settings.url(settings.feedback_url)
    return FeedbackStore(url, daily_limit=settings.feedback.daily_limit)


def _chosen(
    groups: "list[WaitingGroup]",
    ids: list[str] | None,
    user: str | None,
    ticker: str | None,
    day: str | None,
) -> list[str]:
    """The ids of waiting items that fit all that is given; names are compared as items have them.

    Raises:
        InputError: nothing is given, an id does not wait, or no item fits.
    """
    from stock_llm.errors import InputError
    from stock_llm.feedback.item import ticker_name, user_name

    remedy = "See which items wait: stock-llm feedback review --items"
    if not ids and user is ticker is day is None:
        raise InputError("no items are named", remedy="Give ids, --user, --ticker or --day")
    try:
        user = user_name(user) if user and user.strip() else user
    except ValueError as error:
        raise InputError(str(error), remedy=remedy) from None
    ticker = ticker_name(ticker) if ticker else ticker
    waiting = [
        item.id
        for group in groups
        if user in (None, group.user)
        and ticker in (None, group.ticker)
        and day in (None, group.day)
        for item in group.items
    ]
    if ids and (unknown := [id for id in ids if id not in waiting]):
        raise InputError(f"no waiting item '{unknown[0]}'", remedy=remedy)
    if not waiting:
        raise InputError("no waiting item fits", remedy=remedy)
    return ids or waiting
