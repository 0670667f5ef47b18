"""Market data: daily candles, exchange rates, trading calendars, indicators.

Read candles/table.py first. Nothing here knows trades.
"""
