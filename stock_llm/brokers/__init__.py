"""Broker exports become ledger entries: one engine, one TOML file per format, code only where a format needs it.

engine.py    recognise(path), read(path, account_hash) → Import: the way of a file, in the order below
formats.py   the TOML files, checked: how a header is recognised, which column is what, what an action means
decoding.py  bytes → text
reader.py    text → sheets (sheets.py): title rows, footers, several tables (headers.py), stray quotes (records.py); rows stay
             countable
documents.py JSON and XML exports → sheets
orders.py    exports that tell one event in several rows → one row an event (degiro.py and pairs.py, two that take more)
fields.py    a sheet → what its format calls date, action, quantity and so on
values.py    numbers and dates as people write them, whole columns at once
meaning.py   what a row is: a kind of event, or a reason to leave it out
amounts.py   what it moves: units, price, amount, fee, tax
refusals.py  why it cannot be booked
entries.py   the entries
sql.py       the same from the tables of a database
draft.py     a commented TOML for a CSV that no format knows (guesses.py, words.py)
"""
