"""The page of the model: versions with their verdicts, the score over time, what changed, and the
way back to an earlier version."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from stock_llm.errors import StockLLMError
from stock_llm.gateway.pages.project import ModelVersions
from stock_llm.gateway.pages.site import Site, form_of, problem_of, redirect, require_csrf

_MODEL = "/pages/model"
_LONGEST_REASON = 1000


def model_routes(site: Site) -> APIRouter:
    """The page, its content and the rollback."""
    routes = APIRouter(dependencies=[Depends(site.require_owner)])
    changing = asyncio.Lock()

    @routes.get(_MODEL)
    async def page(request: Request, to: str = "") -> Response:
        done = f"v{to}" if to.isdecimal() and len(to) < 7 else ""
        return site.render(request, "model", "model.html", done=done, problem="")

    @routes.get(_MODEL + "/versions")
    async def versions(request: Request) -> Response:
        """The versions; reading the registry takes seconds."""
        try:
            read = await site.worker.run(site.project.read_versions)
        except StockLLMError as error:
            return site.render(request, "model", "problem.html", problem=problem_of(error))
        return site.render(request, "model", "model_versions.html", read=read, chart=_chart(read))

    @routes.post(_MODEL + "/rollback")
    async def rollback(request: Request) -> Response:
        """Makes an earlier version the champion again, for a reason."""
        form = await form_of(request)
        require_csrf(request, form)
        number, reason = form.get("number", ""), " ".join(form.get("reason", "").split())
        problem = ""
        if not number.isdecimal() or len(number) > 6:
            problem = "Choose a version."
        elif not reason:
            problem = "Say why: the reason is kept with the version."
        else:
            try:
                async with changing:
                    await site.worker.run(
                        site.project.roll_back, int(number), reason[:_LONGEST_REASON]
                    )
                site.handler.clear_cache()
            except StockLLMError as error:
                problem = problem_of(error)
        if problem:
            return site.render(request, "model", "model.html", 400, done="", problem=problem)
        return redirect(f"{_MODEL}?to={int(number)}")

    return routes


def _chart(read: ModelVersions) -> list[dict[str, Any]]:
    """The scores, the oldest first."""
    return [
        {
            "name": f"v{each.number}",
            "score": each.scores.get("challenger"),
            "low": each.low,
            "high": each.high,
        }
        for each in reversed(read.versions)
    ]
