import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from stock_llm.pipeline import report
from stock_llm.pipeline.registry import VersionInfo
from stock_llm.pipeline.run_record import RunRecord


@pytest.mark.parametrize("width", [60, 80])
def test_versions_fit_a_narrow_terminal_and_nothing_is_cut(width):
    version = VersionInfo(
        number=10, created_at=datetime(2026, 3, 2, tzinfo=UTC), verdict="promote", reasons=[],
        aliases=("challenger", "champion"), scores={"champion": 0.5, "challenger": 0.625},
        champion_then=9, profile="stock-tiny", feedback=2400, candidate="c", dataset="d",
        run_id="r", gguf=Path("m.gguf"), gguf_sha256="0", speed={"tokens/s": 1244.4},
    )  # fmt: skip
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(report.versions_table([version]))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= width
    for text in (
        "v10",
        "2026-03-02",
        "stock-tiny",
        "1244 tok/s",
        "2400",
        "0.625",
        "v9 0.500",
        "promote",
        "challenger",
        "champion",
    ):
        assert text in shown


METRICS = ("score", "parsed", "false answers", "signal accuracy", "follows corrections", "Brier", "abstains",
    "abstains wrongly", "tokens/s", "portfolio", "sentiment", "general loss")  # fmt: skip
TABLE = {
    model: {metric: 1000.0 * (metric == "tokens/s") + number / 8 for metric in METRICS}
    for number, model in enumerate(("base", "champion", "challenger"), start=1)
} | {name: {"signal accuracy": 0.391} for name in ("majority (SELL)", "textbook (RSI 30/70)")}


@pytest.mark.parametrize("width", [60, 80])
def test_the_holdout_table_of_a_run_fits_the_terminal_and_nothing_is_cut(width):
    text = report.outcome(run_record(table=TABLE), width)
    table = text.split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= width
    words = " ".join(table).split()
    for name in (*METRICS, *TABLE):
        for word in name.split():
            assert word in words
    (score,) = (line.split() for line in table if line.startswith("score"))
    assert score == ["score", "0.125", "0.250", "0.375", "–", "–"]
    (speed,) = (line.split() for line in table if line.startswith("tokens/s"))
    assert speed == ["tokens/s", "1000", "1000", "1000", "–", "–"]


def run_record(table):
    return RunRecord(
        why="test", plan="p", finished_at="2026-03-02T10:00:00+00:00", profile="stock-tiny", version=10,
        run_id="r", registry="mlflow.db", train_rows=900, holdout_rows=160, feedback=3, tokens=10, seconds=60.0,
        loss=0.5, table=table, differences={}, verdict="promote", reasons=["it is better"], names=["stock-llm:v10"],
        where="models/ollama", promoted=True, notes=[], gguf="m.gguf", modelfile="/Modelfile", symbol="ORCA",
    )  # fmt: skip
