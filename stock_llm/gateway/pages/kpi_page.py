"""The page of costs and KPIs: the figures of a period against their targets, with the tables behind
them as CSV."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

from fastapi import APIRouter, Request
from fastapi.responses import Response

from stock_llm.errors import InputError, StockLLMError
from stock_llm.gateway.accounting import kpi_tables, kpis
from stock_llm.gateway.accounting.kpi_sources import KpiSources
from stock_llm.gateway.accounting.kpis import KpiReport
from stock_llm.gateway.pages.site import Site, problem_of

_KPIS = "/pages/kpis"


@dataclass(frozen=True)
class _Choice:
    """What was chosen, as it was written."""

    since: str
    until: str
    per_million: str
    fixed: str


def kpi_routes(site: Site) -> APIRouter:
    """The page and its CSV files."""
    routes = APIRouter()
    gateway, context = site.settings, site.context
    sources = KpiSources(
        context.costs_url, context.feedback_url, gateway.daily_dollars, gateway.monthly_dollars
    )

    async def read(choice: _Choice) -> KpiReport:
        arguments = _read_choice(choice)
        await site.handler.router.costs.flush()
        return await site.worker.run(kpis.read_report, sources, *arguments)

    @routes.get(_KPIS)
    async def page(
        request: Request, since: str = "", until: str = "", per_million: str = "", fixed: str = ""
    ) -> Response:
        choice, problem = _choice(since, until, per_million, fixed), ""
        try:
            _read_choice(choice)
        except InputError as error:
            problem = str(error)
        status = 400 if problem else 200
        return site.render(request, "kpis", "kpis.html", status, problem=problem, choice=choice)

    @routes.get(_KPIS + "/report")
    async def report(
        request: Request, since: str = "", until: str = "", per_million: str = "", fixed: str = ""
    ) -> Response:
        """The figures and tables; counting them may take seconds."""
        choice = _choice(since, until, per_million, fixed)
        try:
            counted = await read(choice)
        except StockLLMError as error:
            return site.render(request, "kpis", "problem.html", problem=problem_of(error))
        days = [
            {"day": d.day, "calls": d.calls, "failed": d.failed, "charged": float(d.charged)}
            for d in counted.days
        ]
        return site.render(
            request, "kpis", "kpis_report.html", report=counted, choice=choice, days=days
        )

    @routes.get(_KPIS + "/{table}.csv")
    async def table(
        table: str, since: str = "", until: str = "", per_million: str = "", fixed: str = ""
    ) -> Response:
        if table not in kpi_tables.TABLES:
            return Response("404 page not found", 404, media_type="text/plain")
        try:
            report = await read(_choice(since, until, per_million, fixed))
        except InputError as error:
            return Response(str(error), 400, media_type="text/plain")
        name = f"{table}-{report.since}-{report.until}.csv"
        headers = {
            "content-disposition": f'attachment; filename="{name}"',
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }
        text = kpi_tables.csv_of(report, table)
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    return routes


def _choice(since: str, until: str, per_million: str, fixed: str) -> _Choice:
    """What was chosen, or is where nothing was."""
    try:
        first, last = (day.isoformat() for day in kpis.parse_period(since, until))
    except InputError:
        first, last = since, until  # `read` says what is wrong with them
    api, month = per_million or f"{kpis.API_PER_MILLION}", fixed or f"{kpis.FIXED_MONTH}"
    return _Choice(first, last, api, month)


def _read_choice(choice: _Choice) -> tuple[date, date, Decimal, Decimal]:
    """First and last day, price of an API, fixed costs.

    Raises:
        InputError: one of them is none.
    """
    days = kpis.parse_period(choice.since, choice.until)
    return *days, _amount(choice.per_million), _amount(choice.fixed)


def _amount(given: str) -> Decimal:
    """Dollars as they were written.

    Raises:
        InputError: they are no amount.
    """
    try:
        amount = Decimal(given)
    except InvalidOperation:
        amount = Decimal(-1)
    if amount.is_nan() or not 0 <= amount <= 10**9:
        raise InputError(f"'{given[:40]}' is no amount of dollars", remedy="Write it as 19.99")
    return amount
