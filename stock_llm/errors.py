"""One error tree. Foreign exceptions are translated into it once, at the edge where they arise.

StockLLMError        anything that a person can act on; printed without a traceback, exit 1
├── InputError       the user's files or settings: names the file, the row and the remedy
├── FetchError       a provider of market data did not answer, or refused
├── LeakageError     training would see what judges it, or what comes later: nothing may be trained
├── MissingExtra     a part that was not installed: names the extra to install
├── ParityError      training and serving disagree (text, tokens, loss): nothing may be published
├── PublishError     the store or the Ollama server refused: `:latest` did not move
└── StoreError       a database is locked, damaged, full or gone: names it and the remedy
"""

from pathlib import Path

from stock_llm.environment import install_command


class StockLLMError(Exception):
    """What happened and what to do about it, in one line meant for the user."""


class InputError(StockLLMError):
    """Something in the user's files or settings.

    Args:
        problem: what is wrong, quoting the offending value.
        file: the file that it is in.
        row: 1-based line of that file as an editor shows it (a header is row 1).
        remedy: what to write or run instead.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: Path | str | None = None,
        row: int | None = None,
        remedy: str = "",
    ):
        where = f"{file}" if file else ""
        where += f", row {row}" if row else ""
        super().__init__(
            (f"{where}: " if where else "") + problem + (f". {remedy}" if remedy else "")
        )
        self.problem, self.file, self.row, self.remedy = problem, file, row, remedy


class FetchError(StockLLMError):
    """A provider of market data did not answer, or refused; what was fetched before stays."""


class LeakageError(StockLLMError):
    """Rows that may not stand where they stand; names them.

    Args:
        found: what is wrong → the ids of the rows.
    """

    def __init__(self, found: dict[str, list[str]]):
        lines = (
            f"{len(ids)} {what}: {', '.join(ids[:5])}{' …' if len(ids) > 5 else ''}"
            for what, ids in found.items()
        )
        super().__init__(
            f"leakage: {'; '.join(lines)}. Please report this: "
            "rows are made so that it cannot happen"
        )
        self.found = found


class MissingExtra(StockLLMError):
    """A library of an optional extra is not installed."""

    def __init__(self, library: str, extra: str):
        super().__init__(f"{library} is not installed. Run: {install_command(extra)}")


class ParityError(StockLLMError):
    """What was trained is not what would be served."""


class PublishError(StockLLMError):
    """The Ollama store or server refused a model; `:latest` is where it was."""


class StoreError(StockLLMError):
    """A database of this program cannot be read or written; names its file or server."""
