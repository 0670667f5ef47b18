"""A candidate that was judged, as the stages before `register` hand it on: small real files, made-up numbers."""

from dataclasses import dataclass
from pathlib import Path

from factories.rows import rows_of_all_skills

from stock_llm.artifacts import Adapter, Candidate, Dataset, History, Scorecard
from stock_llm.skills.row import write_rows
from stock_llm.storage.checksums import file_sha256


@dataclass(frozen=True)
class Line:
    """What `register` is given, in its order."""

    history: History
    dataset: Dataset
    adapter: Adapter
    candidate: Candidate
    scorecard: Scorecard


def line(
    home: Path,
    name: str = "one",
    verdict: str = "promote",
    champion: int | None = None,
    feedback=("f1", "f2"),
) -> Line:
    """All artifacts of a candidate called `name`, under the home folder where the stages would put them."""
    folder = home / "data" / "artifacts" / "candidate" / name
    folder.mkdir(parents=True, exist_ok=True)
    gguf = folder / "model 100%.gguf"
    gguf.write_bytes(b"GGUF" + name.encode())
    rows = list(rows_of_all_skills(12))
    write_rows(rows[:10], folder / "rows.jsonl")
    write_rows(rows[10:], folder / "holdout.jsonl")
    write_rows([], folder / "corrections.jsonl")
    (folder / "items.jsonl").touch()
    card = folder / "card.md"
    card.write_text("# Dataset card\n", encoding="utf-8")
    history = History(
        digest=f"history-{name}", folder=folder, trades=folder, steps=folder, positions=folder, candles=folder, feedback=folder,
        quarantine=folder, findings=folder, rows_read={},
        rows_kept={"trades": 3}, rows_quarantined={}, symbols=["ORCA"], first_day="2022-01-03", last_day="2025-12-31",
        feedback_ids=list(feedback),
    )  # fmt: skip
    dataset = Dataset(
        digest=f"dataset-{name}", folder=folder, train=folder / "rows.jsonl", holdout=folder / "holdout.jsonl",
        corrections=folder / "corrections.jsonl", card=card, holdout_from="2025-07-01", train_until="2025-06-20", horizon_days=10,
        prompt_version=1, train_rows=10, holdout_rows=2, correction_rows=0, counts={"train": {"signal": 10}}, purged=0,
        holdout_digest="h", feedback_ids=list(feedback),
    )  # fmt: skip
    adapter = Adapter(
        digest=f"adapter-{name}", folder=folder, weights=folder, profile="tiny", base_digest="b" * 64, rows=10, tokens=900,
        steps=3, train_loss=0.5, seconds=1.5, resumed_from_step=0,
        loss_curve=[{"step": step, "loss": 1 / step, "learning_rate": 1e-3, "seconds": float(step)} for step in (1, 2, 3)],
    )  # fmt: skip
    candidate = Candidate(
        digest=name, folder=folder, gguf=gguf, gguf_sha256=file_sha256(gguf), gguf_bytes=gguf.stat().st_size,
        quantization="Q4_K_M", merge_base="float32", prompts_checked=12, losses={"adapter": 0.5, "quantized": 0.51},
    )  # fmt: skip
    scorecard = Scorecard(
        digest=f"scorecard-{name}-{verdict}", folder=folder, items=folder / "items.jsonl",
        table={
            "base": {"score": 0.2, "parsed": 0.5, "follows corrections": None, "tokens/s": 100.0, "signal": 0.1},
            "challenger": {"score": 0.7, "parsed": 1.0, "follows corrections": None, "tokens/s": 99.0, "signal": 0.6},
            "majority (HOLD)": {"signal accuracy": 0.4},
        },
        differences={"challenger - base": {"mean": 0.5, "low": 0.4, "high": 0.6, "rows": 2}},
        verdict=verdict, reasons=["better, difference from the untuned base: +0.500 [+0.400, +0.600]"], champion=champion,
    )  # fmt: skip
    return Line(history, dataset, adapter, candidate, scorecard)
