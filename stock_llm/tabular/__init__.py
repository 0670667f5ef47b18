"""Reads tables of text, exports and candles alike: encoding, dialect, numbers, dates.

text.py     bytes → text with `\\n` line ends, in blocks
table.py    lines → columns of text, each row with its line number
numbers.py  text → decimals or floats; the decimal sign is decided for a whole file
dates.py    text → days and instants; the order of day and month is decided for a whole file
"""
