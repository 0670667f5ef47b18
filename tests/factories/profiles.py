"""Profiles for tests: a committed one with another number of rows that judge."""

import re
from pathlib import Path

PROFILES = Path(__file__).parents[2] / "models" / "profiles"


def write_profile(home: Path, holdout_rows: int, name: str = "stock-tiny") -> None:
    """Writes the committed profile `name` below `home`; its holdout has `holdout_rows` rows."""
    text = (PROFILES / f"{name}.toml").read_text(encoding="utf-8")
    text, replaced = re.subn(r"(?m)^holdout_rows = \d+", f"holdout_rows = {holdout_rows}", text)
    assert replaced == 1
    file = home / "models" / "profiles" / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
