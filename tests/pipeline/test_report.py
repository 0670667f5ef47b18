import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from stock_llm.pipeline import report
from stock_llm.pipeline.registry import VersionInfo


@pytest.mark.parametrize("width", [60, 80])
def test_versions_fit_a_narrow_terminal_and_nothing_is_cut(width):
    version = VersionInfo(
        number=10, created_at=datetime(2026, 3, 2, tzinfo=UTC), verdict="promote", reasons=[],
        aliases=("challenger", "champion"), scores={"champion": 0.5, "challenger": 0.625},
        champion_then=9, profile="stock-tiny", feedback=2400, candidate="c", dataset="d",
        run_id="r", gguf=Path("m.gguf"), gguf_sha256="0",
    )  # fmt: skip
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(report.versions_table([version]))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= width
    for text in (
        "v10",
        "2026-03-02",
        "stock-tiny",
        "2400",
        "0.625",
        "v9 0.500",
        "promote",
        "challenger",
        "champion",
    ):
        assert text in shown
