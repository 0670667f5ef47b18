"""The servers of `stock-llm up`: which there are, how they are kept running, how all end."""
