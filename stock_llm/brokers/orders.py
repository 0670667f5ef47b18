"""Exports that tell one event in several rows: the rows of an order become one row, every other row is accounted for.

In: a `Sheet`. Out: the sheet of events, its columns named as the format's TOML names them. Each function is the `steps` of one
format. Does not know ledger kinds.
"""

from collections.abc import Callable

from stock_llm.brokers.reader import Reading, Sheet

STEPS: dict[str, Callable[[Sheet, Reading, str], Sheet]] = {}
"""What a TOML's `steps` may be: (sheet, reading to which joined rows are added, name of the file) → sheet."""
