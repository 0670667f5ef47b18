"""Exports of other programs' feedback: how each is recognised, and its records as items."""
