"""Which sentences of an answer are true of the numbers that were asked about."""
