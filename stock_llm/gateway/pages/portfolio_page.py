"""The page of the portfolio: holdings, gains, income and findings, and the import of an export.

The page comes at once; the ledger is read in the worker and fetched by it. An export is sent twice,
to be looked at and to be kept: in between it lies in the browser alone.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from unicodedata import category

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from stock_llm.errors import InputError, StockLLMError
from stock_llm.gateway.pages.project import Holding, Portfolio
from stock_llm.gateway.pages.site import Site, problem_of, require_csrf

T = TypeVar("T")

_PORTFOLIO = "/pages/portfolio"
_LONGEST_NAME = 150
"""Bytes of a file's name in UTF-8; a file system takes 255."""


@dataclass(frozen=True)
class CurrencyTotal:
    """Sums of one currency; `value` and `unrealised` of what has a price."""

    currency: str
    value: Decimal
    unrealised: Decimal
    valued_cost: Decimal
    realised: Decimal
    income: Decimal
    charges: Decimal


def totals(portfolio: Portfolio) -> list[CurrencyTotal]:
    """The sums of each currency; no rate is applied."""
    by_currency: dict[str, list[Holding]] = {}
    for holding in portfolio.holdings:
        by_currency.setdefault(holding.currency, []).append(holding)
    return [
        CurrencyTotal(
            currency,
            sum((each.value or Decimal(0) for each in group), Decimal(0)),
            sum((each.unrealised or Decimal(0) for each in group), Decimal(0)),
            sum((each.cost for each in group if each.unrealised is not None), Decimal(0)),
            sum((each.realised for each in group), Decimal(0)),
            sum((each.income for each in group), Decimal(0)),
            sum((each.charges for each in group), Decimal(0)),
        )
        for currency, group in sorted(by_currency.items())
    ]


def portfolio_routes(site: Site) -> APIRouter:
    """The page, its content and the import."""
    routes = APIRouter(dependencies=[Depends(site.require_owner)])

    @routes.get(_PORTFOLIO)
    async def page(request: Request) -> Response:
        return site.render(request, "portfolio", "portfolio.html")

    @routes.get(_PORTFOLIO + "/holdings")
    async def holdings(request: Request) -> Response:
        """What is held and was held, and the findings."""
        template = "portfolio_holdings.html"
        try:
            read = await site.worker.run(site.project.read_portfolio)
        except StockLLMError as error:
            return site.render(request, "portfolio", "problem.html", problem=problem_of(error))
        return site.render(request, "portfolio", template, portfolio=read, totals=totals(read))

    @routes.post(_PORTFOLIO + "/preview")
    async def preview(request: Request, name: str) -> Response:
        """What an export holds, as `stock-llm import --look` shows it."""
        look = site.project.preview_import
        return await imported(request, name, look, "import_preview.html", "preview")

    @routes.post(_PORTFOLIO + "/keep")
    async def keep(request: Request, name: str) -> Response:
        """Copies an export into the folder of trades."""
        return await imported(request, name, site.project.keep_import, "import_kept.html", "kept")

    async def imported(
        request: Request,
        name: str,
        work: Callable[[Path, str], Any],
        template: str,
        shown_as: str,
    ) -> Response:
        """What `work` makes of the export in the body, which has this name, as a page."""
        require_csrf(request)
        body = await request.body()
        try:
            made = await _with_file(body, name, lambda file: site.worker.run(work, file, name))
        except StockLLMError as error:
            return site.render(request, "portfolio", "problem.html", problem=problem_of(error))
        return site.render(request, "portfolio", template, **{shown_as: made})

    return routes


async def _with_file(body: bytes, name: str, work: Callable[[Path], Awaitable[T]]) -> T:
    """Runs something with a file of this content and name, which is deleted afterwards.

    Raises:
        InputError: there is nothing in it.
    """
    if not body:
        raise InputError("the file is empty", file=name[:_LONGEST_NAME])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / safe_name(name)
        await asyncio.to_thread(file.write_bytes, body)
        return await work(file)


def safe_name(given: str) -> str:
    """A file's name without folders, and without characters that mean something to a system."""
    last = given.replace("\\", "/").rsplit("/", 1)[-1]
    # marks: Thai and others write vowels and tones with them
    allowed = (c.isalnum() or c in " ._-()+" or category(c) in ("Mn", "Mc") for c in last)
    kept = "".join(c if is_allowed else "_" for c, is_allowed in zip(last, allowed, strict=True))
    stem, dot, suffix = kept.strip(" .").rpartition(".")
    if dot and len(suffix.encode()) <= 8:
        return f"{_shortened(stem, _LONGEST_NAME - 10)}.{suffix}"
    return _shortened(kept.strip(" ."), _LONGEST_NAME)


def _shortened(name: str, size: int) -> str:
    """The beginning of a name, of so many bytes at most."""
    return name.encode()[:size].decode(errors="ignore").strip(" .") or "export"
