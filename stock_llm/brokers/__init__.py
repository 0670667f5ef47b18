"""Broker exports become ledger entries: one engine, one TOML file per format, code only where a format needs it.

formats.py   the TOML files, checked: how a header is recognised, which column is what, what an action means
reader.py    bytes → sheets: encoding, separator, title rows, footers, several tables, stray quotes; rows stay countable
documents.py JSON and XML exports → sheets
orders.py    exports that tell one event in several rows → one row an event
values.py    numbers and dates as people write them, whole columns at once
engine.py    recognise(path), read(path, account_hash) → Import
draft.py     a commented TOML for a CSV that no format knows
"""
