"""Reports what the gateway cost and what it saved, from the records: for `stock-llm costs`.

It sums by provider, and compares what the same tokens would have cost at an API's price with a
fixed cost a month.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import sqlalchemy as sa

from stock_llm.gateway.accounting.cost_store import read_balance
from stock_llm.gateway.accounting.tables import CALL, SCHEMA, dollars, text
from stock_llm.gateway.query import RemainingBudget
from stock_llm.storage.database import open_database, read_transaction

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAN_QUERIES, PLAN_TOKENS = 1000, 1000
"""Queries a day and tokens a query in the plan."""

MONTH = Decimal(30)
"""Days."""


@dataclass(frozen=True)
class ProviderCosts:
    """The costs of one provider in a period; "" stands for requests without an answer."""

    provider: str
    calls: int
    tokens_in: int
    tokens_out: int
    cached: int
    charged: Decimal
    notional: Decimal
    mean_seconds: float


@dataclass(frozen=True)
class CostPeriod:
    """All records of some days."""

    since: datetime
    until: datetime
    days: Decimal
    """Days with the gateway in use: from the first record of the period to its end, at least
    one."""
    providers: tuple[ProviderCosts, ...]
    statuses: dict[str, int]
    fell_back: int

    @property
    def calls(self) -> int:
        return sum(each.calls for each in self.providers)

    @property
    def tokens(self) -> int:
        """Read and written, cached ones included."""
        return sum(each.tokens_in + each.tokens_out + each.cached for each in self.providers)

    @property
    def charged(self) -> Decimal:
        return sum((each.charged for each in self.providers), Decimal(0))


@dataclass(frozen=True)
class CostComparison:
    """One month of queries at an API's price, and on this gateway."""

    queries_a_day: Decimal
    tokens_a_query: Decimal
    api_month: Decimal
    """All tokens at the API's price."""
    here_month: Decimal
    """The fixed cost, and what usage-priced providers charged."""
    break_even: Decimal | None
    """Queries a day from which on this gateway is cheaper; None where it never is."""

    @property
    def saved_month(self) -> Decimal:
        return self.api_month - self.here_month


def read_period(url: str, days: int, now: datetime | None = None) -> CostPeriod:
    """What was recorded in the last days.

    Raises:
        InputError, StoreError: the store cannot be opened or read.
    """
    until = now or datetime.now(UTC)
    return read_between(url, until - timedelta(days=days), until)


def read_between(url: str, since: datetime, until: datetime) -> CostPeriod:
    """What was recorded between two times.

    Raises:
        InputError, StoreError: the store cannot be opened or read.
    """
    inside = sa.and_(CALL.c.at >= text(since), CALL.c.at <= text(until))
    sums = [
        sa.func.sum(CALL.c[name]) for name in ("tokens_in", "tokens_out", "charged", "notional")
    ]
    cached = sa.func.sum(CALL.c.cached_read + CALL.c.cached_write)
    by_provider = sa.select(
        CALL.c.provider, sa.func.count(), *sums, cached, sa.func.avg(CALL.c.seconds)
    ).where(inside)
    by_status = sa.select(CALL.c.status, sa.func.count()).where(inside).group_by(CALL.c.status)
    engine = open_database(url, SCHEMA)
    with read_transaction(engine, SCHEMA) as connection:
        rows = connection.execute(
            by_provider.group_by(CALL.c.provider).order_by(sa.func.count().desc())
        ).all()
        statuses = {row[0]: row[1] for row in connection.execute(by_status)}
        first = connection.execute(sa.select(sa.func.min(CALL.c.at)).where(inside)).scalar_one()
        fell_back = connection.execute(
            sa.select(sa.func.count()).where(inside, CALL.c.fell_back)
        ).scalar_one()
    engine.dispose()
    used = (until - datetime.fromisoformat(first)) if first else timedelta(days=1)
    providers = tuple(
        ProviderCosts(
            name,
            calls,
            int(tin),
            int(tout),
            int(cache),
            dollars(int(charged)),
            dollars(int(notional)),
            float(seconds),
        )
        for name, calls, tin, tout, charged, notional, cache, seconds in rows
    )
    return CostPeriod(
        since,
        until,
        max(Decimal(1), Decimal(used.total_seconds()) / 86400),
        providers,
        statuses,
        fell_back,
    )


def read_left(
    url: str, daily: Decimal, monthly: Decimal, now: datetime | None = None
) -> RemainingBudget:
    """What is left of the budgets, calls under way taken off.

    Raises:
        InputError, StoreError: the store cannot be opened or read.
    """
    today = (now or datetime.now(UTC)).date().isoformat()
    engine = open_database(url, SCHEMA)
    with read_transaction(engine, SCHEMA) as connection:
        balance = read_balance(connection, today)
    engine.dispose()
    return balance.left(today, daily, monthly)


def compare(
    queries_a_day: Decimal,
    tokens_a_query: Decimal,
    charged_a_day: Decimal,
    *,
    per_million: Decimal,
    fixed_month: Decimal,
) -> CostComparison:
    """A month at an API's price against a fixed cost and what the gateway's own usage-priced
    providers charge.

    Args:
        per_million: dollars that the API charges for a million tokens.
        fixed_month: dollars a month that this machine and its subscriptions cost.
    """
    api_query = tokens_a_query * per_million / 1_000_000
    charged_query = charged_a_day / queries_a_day if queries_a_day else Decimal(0)
    gained = api_query - charged_query
    return CostComparison(
        queries_a_day,
        tokens_a_query,
        api_month=queries_a_day * api_query * MONTH,
        here_month=fixed_month + charged_a_day * MONTH,
        break_even=fixed_month / (gained * MONTH) if gained > 0 else None,
    )


def plan(*, per_million: Decimal, fixed_month: Decimal) -> CostComparison:
    """The comparison for the plan: 1,000 queries a day of 1,000 tokens, all answered on this
    machine."""
    return compare(
        Decimal(PLAN_QUERIES),
        Decimal(PLAN_TOKENS),
        Decimal(0),
        per_million=per_million,
        fixed_month=fixed_month,
    )


def measured(period: CostPeriod, *, per_million: Decimal, fixed_month: Decimal) -> CostComparison:
    """The comparison for the records of a period."""
    tokens = Decimal(period.tokens) / period.calls if period.calls else Decimal(0)
    return compare(
        period.calls / period.days,
        tokens,
        period.charged / period.days,
        per_million=per_million,
        fixed_month=fixed_month,
    )


def render(
    period: CostPeriod,
    left: RemainingBudget,
    returns: dict[str, CostComparison],
    *,
    per_million: Decimal,
    fixed_month: Decimal,
) -> "RenderableType":
    """The report as tables for a terminal."""
    from rich.console import Group
    from rich.table import Table

    by_provider = Table(
        title=f"{period.calls} calls, {period.since:%Y-%m-%d} to {period.until:%Y-%m-%d} (UTC)",
        title_justify="left",
    )
    by_provider.add_column("provider")
    for title in ("calls", "tokens in", "tokens out", "cached", "charged", "notional", "mean s"):
        by_provider.add_column(title, justify="right")
    for each in period.providers:
        by_provider.add_row(
            each.provider or "nobody",
            f"{each.calls:,}",
            f"{each.tokens_in:,}",
            f"{each.tokens_out:,}",
            f"{each.cached:,}",
            f"${each.charged:.4f}",
            f"${each.notional:.4f}",
            f"{each.mean_seconds:.2f}",
        )
    statuses = (
        ", ".join(f"{count} {status}" for status, count in sorted(period.statuses.items()))
        or "nothing recorded"
    )
    against = Table(
        title=f"a month at ${per_million:.2f} per million tokens, here ${fixed_month:.2f} fixed",
        title_justify="left",
    )
    against.add_column("")
    for title in (
        "queries a day",
        "tokens a query",
        "at the API",
        "here",
        "saved",
        "cheaper here from",
    ):
        against.add_column(title, justify="right")
    for name, comparison in returns.items():
        sign = "-" if comparison.saved_month < 0 else ""
        even = (
            "never"
            if comparison.break_even is None
            else f"{comparison.break_even:,.0f} queries a day"
        )
        against.add_row(
            name,
            f"{comparison.queries_a_day:,.1f}",
            f"{comparison.tokens_a_query:,.0f}",
            f"${comparison.api_month:,.2f}",
            f"${comparison.here_month:,.2f}",
            f"{sign}${abs(comparison.saved_month):,.2f}",
            even,
        )
    statuses_line = f"{statuses}; {period.fell_back} answered by another than the first choice"
    budgets = f"left of the budgets: ${left.today:.2f} today, ${left.month:.2f} this month (UTC)"
    return Group(by_provider, statuses_line, budgets, "", against)
