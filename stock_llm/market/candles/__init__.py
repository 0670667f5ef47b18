"""Daily candles: files are parsed, checked, repaired and merged into one table."""
