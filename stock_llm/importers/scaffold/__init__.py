"""Drafts a format for a table that no format knows."""
