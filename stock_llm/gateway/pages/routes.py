"""The pages at "/" and below /pages/, for people with a browser.

Whoever asks for "/" without naming text/html in Accept gets Ollama's greeting, as from an Ollama.
Other origins' pages get that too: a browser names no origin when a person opens a page.
"""

import asyncio

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response

from stock_llm.gateway.api.session import LOGIN, PAGES_PREFIX, STATIC, wants_html
from stock_llm.gateway.pages import (
    chat_page,
    kpi_page,
    model_page,
    portfolio_page,
    rendering,
    static_files,
)
from stock_llm.gateway.pages.site import Site, form_of, redirect, require_csrf

GREETING = "Ollama is running"

_WRONG_TOKEN_SECONDS = 0.5
"""How long a wrong token waits for its answer: guessing takes longer."""

_YEAR = 365 * 86_400


def pages_routes(site: Site) -> APIRouter:
    """All pages."""
    routes = APIRouter(include_in_schema=False, dependencies=[Depends(rendering.prepare)])

    @routes.get("/")
    @routes.head("/")
    async def root(request: Request) -> Response:
        is_page = wants_html(request.headers.get("accept", "")) and "origin" not in request.headers
        if not is_page:
            return PlainTextResponse(GREETING, headers={"vary": "Accept"})
        return chat_page.show(site, request)

    @routes.get(STATIC + "{name:path}")
    async def static(request: Request, name: str) -> Response:
        return static_files.respond(request, name)

    @routes.get(LOGIN)
    async def login_page(request: Request) -> Response:
        if not site.sessions.asks or site.session(request):
            return redirect("/")
        return site.render(request, "login", "login.html", problem="")

    @routes.post(LOGIN)
    async def login(request: Request) -> Response:
        user = site.sessions.user_of((await form_of(request)).get("token", ""))
        if user is None:
            await asyncio.sleep(_WRONG_TOKEN_SECONDS)
            problem = "That token is not known here."
            return site.render(request, "login", "login.html", 401, problem=problem)
        response = redirect("/")
        site.sessions.send(site.sessions.new(user), request, response)
        return response

    @routes.post(PAGES_PREFIX + "logout")
    async def logout(request: Request) -> Response:
        require_csrf(request, await form_of(request))
        response = redirect(LOGIN)
        site.sessions.end(response)
        return response

    @routes.post(PAGES_PREFIX + "appearance")
    async def appearance(request: Request) -> Response:
        """Language and colours, kept in cookies that say nothing else."""
        form = await form_of(request)
        require_csrf(request, form)
        back = form.get("back", "/")
        is_own = back.startswith("/") and not back.startswith(("//", "/\\"))
        response = redirect(back if is_own else "/")
        chosen = {
            rendering.LANGUAGE_COOKIE: (form.get("language", ""), rendering.LANGUAGES),
            rendering.THEME_COOKIE: (form.get("theme", ""), rendering.THEMES),
        }
        for cookie, (value, allowed) in chosen.items():
            if value in allowed:
                response.set_cookie(cookie, value, max_age=_YEAR, samesite="strict")
        return response

    routes.include_router(chat_page.chat_routes(site))
    routes.include_router(portfolio_page.portfolio_routes(site))
    routes.include_router(model_page.model_routes(site))
    routes.include_router(kpi_page.kpi_routes(site))
    return routes
