"""Turns templates into pages: escaping, language, formats of numbers, headers.

Jinja2 escapes whatever a template shows. The Content-Security-Policy lets a page run and load
nothing but this gateway's own files, no script within the page, and lets nobody show it in a frame.
Sentences are English; translations/th.po has them in Thai. Jinja2 and Babel are imported with the
first page, so that the gateway starts without them.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, get_args

from starlette.requests import Request
from starlette.responses import HTMLResponse

from stock_llm.gateway.api.session import Session, wants_html
from stock_llm.gateway.pages import static_files

if TYPE_CHECKING:
    from jinja2 import Environment

Language = Literal["en", "th"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
LANGUAGE_COOKIE, THEME_COOKIE = "stock_llm_language", "stock_llm_theme"
THEMES = ("light", "dark")

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # no-referrer lets a form come from the origin "null"
    "cache-control": "no-store",
    "vary": "Accept, Accept-Language, Cookie",
}
"""Of every page."""


_prepared: set[Language] = set()
"""Languages whose templates are loaded."""


@dataclass(frozen=True)
class PageContext:
    """What every template knows of its request.

    Attributes:
        page: name of the page, for the navigation.
        theme: "light" or "dark" where somebody chose it; empty: as the system has it.
        is_owner: whether the pages of ledger and model are the caller's.
    """

    page: str
    session: Session
    language: Language
    theme: str
    has_login: bool
    is_owner: bool


def language_of(request: Request) -> Language:
    """The language of a page: as it was chosen, else as the browser prefers it, else English."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    if chosen in LANGUAGES:
        return chosen  # type: ignore[return-value]
    preferred: list[tuple[float, Language]] = []
    for part in request.headers.get("accept-language", "").split(","):
        name, _, quality = part.strip().partition(";q=")
        for language in LANGUAGES:
            if name.lower().partition("-")[0] == language:
                preferred.append((_quality(quality), language))
    return max(preferred, key=lambda pair: pair[0])[1] if preferred else "en"


def theme_of(request: Request) -> str:
    """The colours that were chosen; empty where none were."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""


def page(context: PageContext, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """A page."""
    environment = _environment(context.language)
    html = environment.get_template(template).render(context=context, **values)
    return HTMLResponse(html, status, headers=HEADERS)


async def prepare(request: Request) -> None:
    """Loads the templates of a request's language off the event loop, which takes a tenth of a
    second, once."""
    language = language_of(request)
    if language not in _prepared and wants_html(request.headers.get("accept", "")):
        await asyncio.to_thread(_load, language)


def _load(language: Language) -> None:
    environment = _environment(language)
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)
    _prepared.add(language)


def translate(language: Language) -> Callable[[str], str]:
    """English sentence → the same in a language; the English one where nobody translated it."""
    catalog = _catalog(language)
    return lambda text: catalog.get(text, text)


@cache
def _catalog(language: Language) -> Mapping[str, str]:
    if language == "en":
        return {}
    from babel.messages.pofile import read_po

    path = files("stock_llm.gateway.pages") / "translations" / f"{language}.po"
    with path.open("rb") as stream:
        catalog = read_po(stream, locale=language)
    return {
        str(message.id): str(message.string) for message in catalog if message.id and message.string
    }


@cache
def _environment(language: Language) -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("stock_llm.gateway.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {
        "_": translate(language),
        "static": static_files.url,
        "language": language,
    }
    environment.filters |= {
        "money": money,
        "number": partial(_number, language),
        "percent": percent,
        "day": lambda text: text[:10],
        "moment": _moment,
    }
    return environment


def money(value: Decimal | float | None, sign: str = "") -> str:
    """Two decimals with separators; a dash for None.

    Args:
        sign: "+" shows that of a gain too.
    """
    return "–" if value is None else f"{value:{sign},.2f}".replace("-", "−")


def percent(part: Decimal | float | None, whole: Decimal | float | None = 1) -> str:
    """A share with its sign, one decimal; a dash where there is none."""
    if part is None or not whole:
        return "–"
    return f"{float(part) / float(whole) * 100:+.1f} %".replace("-", "−")


def _number(language: Language, value: Decimal | float | None, digits: int = 0) -> str:
    from babel.numbers import format_decimal

    if value is None:
        return "–"
    pattern = "#,##0" + ("." + "0" * digits if digits else "")
    return str(format_decimal(value, pattern, locale=language)).replace("-", "−")


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _quality(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
