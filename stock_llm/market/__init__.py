"""Market data: daily candles, exchange rates, trading calendars, indicators.

Read candles/candle_table.py first. Nothing here knows trades.
"""
