"""The option `--json`: one object on standard output and nothing else, for programs."""

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields, is_dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object and nothing else; messages go to stderr."),
]


@contextmanager
def only_json(wanted: bool) -> Iterator[dict[str, Any]]:
    """Yields the object to fill. If it is wanted, all that is printed inside, by other programs
    too, goes to standard error, and the object is printed at the end; after an error, nothing is.
    """
    result: dict[str, Any] = {}
    if not wanted:
        yield result
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield result
    finally:
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.close(kept)
    print(json.dumps(plain(result), indent=1, ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:
    """The value as JSON has it: records as objects, exact numbers and paths as text, times in ISO
    8601, a number that is none as null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value
