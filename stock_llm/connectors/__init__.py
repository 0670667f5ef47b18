"""Daily candles from providers: one file for each, with one function `fetch(symbols, start, end)`.

Each is an optional extra, imported when it is asked. `candle_folder.py` keeps what they bring. Nothing is sent but symbols and
days.
"""
