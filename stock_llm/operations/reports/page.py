"""A page as one HTML file that needs nothing else, neither network nor other files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

COLOURS = {"promote": "#2a9d4a", "keep": "#888", "reject": "#c0392b", "blocked": "#c0392b"}


@dataclass(frozen=True)
class PageTable:
    """A table of texts; the first column stands left."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class PageChart:
    """A chart; `svg` is put into the page as it is."""

    title: str
    svg: str
    note: str = ""


@dataclass(frozen=True)
class PageEntry:
    """Something to open: a line, and named texts behind it."""

    head: str
    texts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class PageList:
    """A list of things to open."""

    title: str
    entries: Sequence[PageEntry]


@dataclass(frozen=True)
class Page:
    """What a page says, from the top down.

    Attributes:
        sentence: the verdict.
        verdict: its word, for the colour.
    """

    title: str
    sentence: str
    verdict: str
    reasons: Sequence[str] = ()
    tables: Sequence[PageTable] = ()
    charts: Sequence[PageChart] = ()
    lists: Sequence[PageList] = ()
    facts: Sequence[tuple[str, str]] = field(default=())


def render(page: Page) -> str:
    """The HTML; every text is escaped."""
    from jinja2 import Environment

    source = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True).from_string(source)
    return template.render(colour=COLOURS.get(page.verdict, "#888"), **vars(page))
