"""Limits on the training weight that feedback of one person, or on one stock, has.

In: rows, and the items that they were made of. Out: the rows, with smaller weights where a limit is
passed. Weights shrink until no user but the owner has more than `user_share` of the sum, and no
ticker more than `ticker_share`. If there are too few others for that, the limit is taken of what
the feedback weighed at first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stock_llm.feedback.item import OWNER, FeedbackItem
from stock_llm.skills.row import Row

_ROUNDS = 100
"""Shrinking one user changes the shares of tickers, and the other way round."""

_ROUNDING = 1e-9

_LEAST = 0.1
"""The owner's feedback keeps so much of its weight, even if it is nearly all on a few tickers."""


def limit_shares(
    rows: Sequence[Row], items: Iterable[FeedbackItem], user_share: float, ticker_share: float
) -> list[Row]:
    """Reduces the weights of feedback rows until no user and no ticker is above the limit.

    Where there are too few others, a share may stay above it: `largest_shares` tells.

    Args:
        items: the items that the rows may have been made of.
    """
    by_id = {item.id: item for item in items}
    places = [at for at, row in enumerate(rows) if row.source["kind"] == "feedback"]
    given = [by_id[rows[at].source["ref"]] for at in places]
    users = ["" if item.user == OWNER else item.user for item in given]
    tickers = [item.ticker for item in given]
    weights = [rows[at].weight for at in places]
    total = sum(weights)
    own = sum(weight for weight, user in zip(weights, users, strict=True) if not user)
    for _ in range(_ROUNDS):
        before = weights
        weights = _limited(weights, users, user_share, total, 0.0)
        weights = _limited(weights, tickers, ticker_share, total, own)
        if all(abs(old - new) <= _ROUNDING for old, new in zip(before, weights, strict=True)):
            break
    limited = list(rows)
    for at, weight in zip(places, weights, strict=True):
        limited[at] = replace(rows[at], weight=weight)
    return limited


def largest_shares(rows: Iterable[Row], items: Iterable[FeedbackItem]) -> tuple[float, float]:
    """The largest share of feedback's weight that a user other than the owner has, and a ticker.

    Args:
        items: the items that the rows may have been made of.
    """
    by_id = {item.id: item for item in items}
    total = 0.0
    users: dict[str, float] = {}
    tickers: dict[str, float] = {}
    for row in rows:
        if row.source["kind"] == "feedback":
            item = by_id[row.source["ref"]]
            total += row.weight
            if item.user != OWNER:
                users[item.user] = users.get(item.user, 0.0) + row.weight
            if item.ticker:
                tickers[item.ticker] = tickers.get(item.ticker, 0.0) + row.weight
    largest = (max(sums.values(), default=0.0) / (total or 1.0) for sums in (users, tickers))
    return next(largest), next(largest)


def _limited(
    weights: list[float], groups: list[str], share: float, total: float, own: float
) -> list[float]:
    """Reduces weights until no named group has more than `share` of the sum.

    Args:
        total, own: what all feedback, and the owner's, weighed at first. If there are too few
            groups, the limit is taken of the owner's, or of all if he gave none.
    """
    sums: dict[str, float] = {}
    for weight, group in zip(weights, groups, strict=True):
        sums[group] = sums.get(group, 0.0) + weight
    share *= 1 - _ROUNDING
    large: set[str] = set()
    while True:
        rest = sum(size for group, size in sums.items() if group not in large)
        left = 1 - share * len(large)
        if rest <= 0 or left <= _ROUNDING:
            most = share * (own or total)
            break
        most = share * rest / left
        more = {
            group for group, size in sums.items() if group and size > most * (1 + 2 * _ROUNDING)
        }
        if more <= large:
            if large and rest / left < _LEAST * own:
                most = share * own
            break
        large |= more
    factors = {
        group: min(1.0, most / size) if group and size else 1.0 for group, size in sums.items()
    }
    return [weight * factors[group] for weight, group in zip(weights, groups, strict=True)]
