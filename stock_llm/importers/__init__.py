"""Imports broker exports into ledger entries: one engine, one TOML file per format, code only where
a format needs it.

The way of a row, each step a module, called one after the other by engine.py:

    tabular/table.py   lines → columns of text table_reader.py    finds the header that a format
    knows; title rows, footers, several tables (json_xml_reader.py: JSON and XML;
                       database_reader.py: the rows of a query)
    column_mapping.py  what its format calls date, action, quantity and so on, as text, numbers and
    instants classification.py  the kind of event, or the reason to skip it booking.py         what
    it moves, why it cannot be booked, its ledger entries

format_spec.py  what the TOML files in formats/ say, checked
adapters/       exports that tell one event in several rows: one row an event
scaffold/       writes a commented TOML for a file that no format knows
"""
