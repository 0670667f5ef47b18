"""Daily candles and exchange rates: read, repaired, compared with the exchange's calendar, merged into one table.

Read `candles.py` first. Knows no trade.
"""
