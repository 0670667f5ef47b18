"""The fictional sample in data/sample: market, trades, feedback."""
