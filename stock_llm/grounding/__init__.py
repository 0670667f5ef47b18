"""Computed numbers of the user's own data for questions, and read-only tools over the same data."""
