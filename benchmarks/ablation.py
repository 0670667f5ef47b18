"""What each setting of fine-tuning brings: the same trainings with one of them changed.

`python benchmarks/ablation.py [SEEDS] [--folder FOLDER]` trains every variant below with the seeds 1 to SEEDS (default 3) and prints
mean and spread of the holdout's metrics. Results are kept per variant and seed, as benchmarks/seeds.py keeps them; a run that was
interrupted goes on.
"""

import argparse
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))
from seeds import measure

VARIANTS = {
    "as it is": [],
    "twice the rows": ["train_rows=2000"],
    "half the passes": ["epochs=1"],
    "three passes": ["epochs=3"],
    "learning rate ÷ 2": ["learning_rate=1.5e-3"],
    "verdicts weigh as other words": ["verdict_weight=1"],
    "twice the rows in a step": ["accumulate=4"],
    "rank 8": ["rank=8", "alpha=16"],
}
METRICS = ("score", "false answers", "signal accuracy", "portfolio", "cpu seconds")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seeds", type=int, nargs="?", default=3)
    parser.add_argument("--folder", type=Path, default=Path("build/seeds"))
    given = parser.parse_args()
    table = Table(title=f"mean ± spread over {given.seeds} seeds")
    for name in ("", *METRICS):
        table.add_column(name)
    for variant, changes in VARIANTS.items():
        results = measure(given.folder, range(1, given.seeds + 1), changes)
        cells = []
        for metric in METRICS:
            values = [result[metric] for result in results]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            digits = 0 if metric == "cpu seconds" else 3
            cells.append(f"{statistics.fmean(values):.{digits}f} ±{spread:.{digits}f}")
        table.add_row(variant, *cells)
        Console().print(table)


if __name__ == "__main__":
    main()
