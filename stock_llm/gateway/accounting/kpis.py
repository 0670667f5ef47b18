"""Figures of a period against their targets: for the page of costs, and for `stock-llm kpis`.

In: the records of calls, and the feedback on them. Out: one `Kpi` each
with its target, and in words how it is counted. A figure without anything to count is None, neither
reached nor missed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from statistics import median, quantiles
from typing import TYPE_CHECKING, Literal

from stock_llm.errors import InputError
from stock_llm.gateway.accounting import kpi_sources
from stock_llm.gateway.accounting.cost_report import (
    MONTH,
    CostComparison,
    CostPeriod,
    measured,
    read_between,
    read_left,
)
from stock_llm.gateway.accounting.kpi_sources import CallRow, KpiSources
from stock_llm.gateway.accounting.tables import dollars
from stock_llm.gateway.query import RemainingBudget

if TYPE_CHECKING:
    from stock_llm.feedback.item import FeedbackItem

API_PER_MILLION = Decimal(15)
"""Dollars for a million tokens at the API that is compared with, where nobody says another."""

FIXED_MONTH = Decimal(20)
"""Dollars a month that machine and subscriptions cost, where nobody says another."""

_EMBED = "embed"
"""The feature of calls that give vectors and no answer."""

LIKED_STARS, DISLIKED_STARS = 5, 1
"""What a thumb counts as in stars."""

DAYS = 30
"""Days of a period, where nobody says another."""

Unit = Literal["ms", "/min", "%", "of 5", "$"]


@dataclass(frozen=True)
class Kpi:
    """One figure.

    Attributes:
        value: in `unit`; None where nothing was counted.
        target: what it is compared with; None: it is only shown.
        direction: whether it has to be "below" or "above" the target.
        counted: how many things it was counted over.
        beside: other figures that belong to it.
        how: how it is counted.
    """

    name: str
    value: float | None
    unit: Unit
    target: float | None
    direction: Literal["below", "above"]
    counted: int
    beside: str
    how: str

    @property
    def reached(self) -> bool | None:
        """Whether it is as it should be; None where nobody can say."""
        if self.value is None or self.target is None:
            return None
        is_below = self.value < self.target
        return is_below if self.direction == "below" else self.value > self.target

    @property
    def shown(self) -> str:
        """The value with its unit."""
        return "–" if self.value is None else shown(self.value, self.unit)

    @property
    def shown_target(self) -> str:
        """The target with its direction."""
        if self.target is None:
            return "–"
        return f"{'<' if self.direction == 'below' else '>'} {shown(self.target, self.unit)}"


@dataclass(frozen=True)
class DayCosts:
    """One UTC day; `charged` in dollars."""

    day: str
    calls: int
    failed: int
    charged: Decimal
    median_seconds: float


@dataclass(frozen=True)
class KpiReport:
    """All figures of a period, and the tables behind them."""

    since: date
    until: date
    kpis: tuple[Kpi, ...]
    costs: CostPeriod
    left: RemainingBudget
    comparison: CostComparison
    days: tuple[DayCosts, ...]


def read_report(
    sources: KpiSources,
    since: date,
    until: date,
    per_million: Decimal = API_PER_MILLION,
    fixed_month: Decimal = FIXED_MONTH,
    now: datetime | None = None,
) -> KpiReport:
    """The figures of some UTC days.

    Args:
        since, until: first and last day.
        per_million: dollars for a million tokens at the API that is compared with.
        fixed_month: dollars a month that machine and subscriptions cost.

    Raises:
        InputError, StoreError: a store cannot be opened or read.
    """
    begin = datetime.combine(since, time.min, UTC)
    end = min(datetime.combine(until + timedelta(days=1), time.min, UTC), now or datetime.now(UTC))
    end = max(begin, end)
    costs = read_between(sources.costs_url, begin, end)
    left = read_left(sources.costs_url, sources.daily, sources.monthly, now)
    calls = kpi_sources.read_calls(sources.costs_url, begin, end)
    feedback = kpi_sources.read_feedback(sources.feedback_url, begin, end)
    comparison = measured(costs, per_million=per_million, fixed_month=fixed_month)
    month = kpi_sources.charged_in_month(sources.costs_url, end)
    kpis = (
        *_speed(calls),
        *_quality(calls, feedback),
        *_money(costs, comparison, left, month, fixed_month),
    )
    return KpiReport(since, until, kpis, costs, left, comparison, _by_day(calls))


def parse_period(since: str, until: str, today: date | None = None) -> tuple[date, date]:
    """First and last day of a period as they are written; `DAYS` up to today where nothing is.

    Raises:
        InputError: a day is none, or the last lies before the first.
    """
    try:
        last = date.fromisoformat(until) if until else today or datetime.now(UTC).date()
        first = date.fromisoformat(since) if since else last - timedelta(days=DAYS - 1)
        end = last + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise InputError(f"not a day: {error}", remedy="Write it as 2026-01-31") from None
    if first >= end:
        raise InputError(f"{last} lies before {first}", remedy="Give the earlier day first")
    return first, last


def _speed(calls: Sequence[CallRow]) -> tuple[Kpi, ...]:
    answered = [call for call in calls if call.status == "ok"]
    first = [call.first_seconds * 1000 for call in answered if call.first_seconds is not None]
    total = [call.seconds * 1000 for call in answered]
    beside = f"95 % below {_p95(first):,.0f} ms" if first else ""
    if total:
        beside += f"{'; ' if beside else ''}whole answer {median(total):,.0f} ms"
    busy = _busy_minutes(answered)
    busiest = _busiest_minute(answered)
    capacity = max(len(answered) / busy if busy else 0.0, float(busiest)) if answered else None
    return (
        Kpi(
            "time to first token",
            median(first) if first else None,
            "ms",
            500,
            "below",
            len(first),
            beside,
            "Median over streamed answers, from the request to the first piece.",
        ),
        Kpi(
            "requests per minute",
            capacity,
            "/min",
            100,
            "above",
            len(answered),
            f"busiest minute {busiest:,}" if answered else "",
            "Answers per minute in which at least one was under way, or those of the busiest"
            " minute, whichever is more: what was shown to be possible, not the most that is.",
        ),
    )


def _quality(calls: Sequence[CallRow], feedback: "Sequence[FeedbackItem]") -> tuple[Kpi, ...]:
    ended = [call for call in calls if call.status != "cancelled"]
    answered = [call for call in ended if call.status == "ok"]
    stars = [_stars(item) for item in feedback]
    rated = [value for value in stars if value is not None]
    disliked = {item.response_id for item in feedback if item.liked is False or item.edit}
    asked = [call for call in answered if call.feature != _EMBED]
    done = sum(_succeeded(call, disliked) for call in asked)
    checked = [call for call in asked if call.true_sentences or call.false_sentences]
    wrong = sum(bool(call.false_sentences) for call in checked)
    lost = len(ended) - len(answered)
    return (
        Kpi(
            "availability",
            _share(len(answered), len(ended)),
            "%",
            99.5,
            "above",
            len(ended),
            f"{lost:,} without an answer" if ended else "",
            "Requests that were answered whole; those that their caller broke off are left out.",
        ),
        Kpi(
            "satisfaction",
            sum(rated) / len(rated) if rated else None,
            "of 5",
            4,
            "above",
            len(rated),
            "",
            f"Mean of the stars; a thumb without stars counts {LIKED_STARS} or {DISLIKED_STARS}.",
        ),
        Kpi(
            "task success",
            _share(done, len(asked)),
            "%",
            85,
            "above",
            len(asked),
            "",
            "Answers that are in their question's format, state no number that the question does"
            " not show, and were neither disliked nor corrected, as far as that was checked.",
        ),
        Kpi(
            "answers with a false sentence",
            _share(wrong, len(checked)),
            "%",
            None,
            "below",
            len(checked),
            "",
            "Of the answers with sentences that could be checked against the numbers of the"
            " question; the page marks each.",
        ),
        Kpi(
            "fallback",
            _share(sum(call.fell_back for call in answered), len(answered)),
            "%",
            10,
            "below",
            len(answered),
            "",
            "Answers from another provider than the first choice.",
        ),
    )


def _money(
    costs: CostPeriod,
    comparison: CostComparison,
    left: RemainingBudget,
    month: Decimal,
    fixed_month: Decimal,
) -> tuple[Kpi, ...]:
    answered = costs.statuses.get("ok", 0)
    charged_month = costs.charged / costs.days * MONTH
    saved = comparison.api_month - charged_month
    gain = float((saved - fixed_month) / fixed_month * 100) if fixed_month and answered else None
    return (
        Kpi(
            "cost of the month",
            float(month),
            "$",
            30,
            "below",
            costs.calls,
            "",
            "What providers with a price per token charged in the calendar month of the last day.",
        ),
        Kpi(
            "cost of a request",
            float(costs.charged) / answered if answered else None,
            "$",
            0.001,
            "below",
            answered,
            "",
            "What was charged in the period, over its answers.",
        ),
        Kpi(
            "savings against all-API",
            float(saved) if answered else None,
            "$",
            None,
            "above",
            answered,
            f"all-API ${comparison.api_month:,.2f} a month" if answered else "",
            "A month of the period's calls at the price of an API, less what was charged.",
        ),
        Kpi(
            "return on investment",
            gain,
            "%",
            1000,
            "above",
            answered,
            f"fixed costs ${fixed_month:,.2f} a month",
            "Savings less the fixed costs of a month, over the fixed costs.",
        ),
        Kpi(
            "budget left this month",
            float(left.month),
            "$",
            0,
            "above",
            costs.calls,
            f"today ${left.today:,.2f}",
            "Of the budgets for providers with a price per token, now.",
        ),
    )


def _stars(item: "FeedbackItem") -> float | None:
    if item.rating is not None:
        return float(item.rating)
    if item.thumb:
        return float(LIKED_STARS if item.thumb == "up" else DISLIKED_STARS)
    return None


def _succeeded(call: CallRow, disliked: set[str]) -> bool:
    """Whether an answer did what was asked, as far as it was checked."""
    return call.id not in disliked and call.parses is not False and not call.invented_numbers


def _busy_minutes(calls: Iterable[CallRow]) -> float:
    """Minutes in which at least one call was under way; the calls in the order of their start."""
    busy, reached = timedelta(), datetime.min.replace(tzinfo=UTC)
    for call in calls:
        ends = call.at + timedelta(seconds=call.seconds)
        if ends > reached:
            busy += ends - max(call.at, reached)
            reached = ends
    return busy.total_seconds() / 60


def _busiest_minute(calls: Iterable[CallRow]) -> int:
    counts: dict[str, int] = {}
    for call in calls:
        minute = call.at.isoformat()[:16]
        counts[minute] = counts.get(minute, 0) + 1
    return max(counts.values(), default=0)


def _by_day(calls: Iterable[CallRow]) -> tuple[DayCosts, ...]:
    by_day: dict[str, list[CallRow]] = {}
    for call in calls:
        by_day.setdefault(call.at.date().isoformat(), []).append(call)
    return tuple(
        DayCosts(
            day,
            len(group),
            sum(call.status not in ("ok", "cancelled") for call in group),
            dollars(sum(call.charged for call in group)),
            median(call.seconds for call in group),
        )
        for day, group in sorted(by_day.items())
    )


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def _share(part: int, whole: int) -> float | None:
    return part / whole * 100 if whole else None


def shown(value: float, unit: Unit) -> str:
    """A value with its unit, as rounded as it is worth."""
    if unit == "$":
        digits = 4 if 0 < abs(value) < 1 else 2
        return f"{'−' if value < 0 else ''}${abs(value):,.{digits}f}"
    digits = {"ms": 0, "/min": 0, "%": 1, "of 5": 2}[unit]
    number = f"{value:,.{digits}f}".replace("-", "−")
    return number if unit == "of 5" else f"{number} {unit}".replace(" /min", "/min")
