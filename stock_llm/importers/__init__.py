"""Imports broker exports into ledger entries: an engine, and one TOML file per format.

engine.py calls the steps of a row one after the other, each a module:

    tabular/table.py    lines → columns of text
    table_reader.py     the header that a format knows, titles, footers, several tables
    column_mapping.py   what its format calls date, action, quantity, as text, numbers, instants
    classification.py   the kind of event, or the reason to skip it
    booking.py          what it moves, why it cannot be booked, its ledger entries

In place of table_reader.py: json_xml_reader.py, excel_reader.py, ofx_reader.py, database_reader.py.

format_spec.py      what the TOML files in formats/ say, checked
reconciliation.py   the cash that an export states, compared with what was booked
adapters/           exports that tell one event in several rows: one row an event
scaffold/           writes a commented TOML for a file that no format knows
"""
