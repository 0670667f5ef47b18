"""One file per skill: its builder and its deterministic scorer side by side."""
