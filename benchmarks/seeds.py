"""How much a model's quality depends on the seed of fine-tuning.

`python benchmarks/seeds.py 10 [--folder FOLDER] [--set learning_rate=1e-3 …]` trains the sample's dataset with the seeds 1 to 10,
judges each quantized model on the same holdout, and prints a table with mean, spread and the worst seed; a plot of it lies beside
the results. One JSON file per seed is kept in FOLDER (default: build/seeds), so that a run which was interrupted goes on where it
stopped; another commit's or setting's results have another folder. `--set` changes a value of the profile or of the settings
(`train_rows=2000`), for comparisons.
"""

import argparse
import json
import re
import statistics
import time
from pathlib import Path
from typing import Any

from stock_llm import environment

environment.prepare()

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from stock_llm.artifacts import Dataset  # noqa: E402
from stock_llm.llm.base import base_digest  # noqa: E402
from stock_llm.llm.profiles import load_profile  # noqa: E402
from stock_llm.project_files import write_project  # noqa: E402
from stock_llm.settings import Settings, load_settings  # noqa: E402
from stock_llm.storage.atomic import atomic_write  # noqa: E402
from stock_llm.storage.checksums import digest_of  # noqa: E402
from tasks import align as alignment  # noqa: E402
from tasks import finetune as finetuning  # noqa: E402
from tasks.build_dataset import build_dataset  # noqa: E402
from tasks.collect import collect  # noqa: E402
from tasks.evaluate import evaluate  # noqa: E402
from tasks.quantize import quantize  # noqa: E402

NOT_SCORES = ("tokens/s", "first word s", "memory MiB", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seeds", type=int, nargs="?", default=2, help="how many, from 1 on")
    parser.add_argument("--folder", type=Path, default=Path("build/seeds"))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    results = measure(given.folder, range(1, given.seeds + 1), given.changes, given.threads)
    show(results)


def measure(
    folder: Path, seeds: range, changes: list[str], threads: int | None = None
) -> list[dict[str, Any]]:
    """The metrics of each seed, measured or read from an earlier run."""
    settings = project(folder, changes, threads)
    dataset = build_dataset.fn(settings, collect.fn(settings))
    profile = load_profile(settings.home, settings.profile)
    kept = folder / "results" / settings.profile / digest_of(
        dataset=dataset.digest,
        base=base_digest(profile, settings.home),
        profile=profile.model_dump(mode="json", exclude={"evaluation": {"seed_spread", "seeds"}}),
        recipe=(finetuning.RECIPE, alignment.RECIPE),
    )  # fmt: skip
    results = []
    for seed in seeds:
        file = kept / f"{seed}.json"
        if not file.exists():
            result = {"seed": seed, "cpu": processor(), **train(settings, dataset, seed)}
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(file, json.dumps(result, indent=1))
        results.append(json.loads(file.read_text()))
        print(f"seed {seed}: score {results[-1]['score']:.3f} ({file})", flush=True)
    plot(results, kept / "seeds.png")
    return results


def project(folder: Path, changes: list[str], threads: int | None) -> Settings:
    """A project folder with the sample, and the profile with the changes under a name of its own."""
    write_project(folder)
    name = "stock-tiny"
    text = (Path(__file__).parents[1] / f"models/profiles/{name}.toml").read_text(encoding="utf-8")
    overrides: dict[str, Any] = {"threads": threads} if threads else {}
    for change in changes:
        key, value = change.split("=")
        if key in Settings.model_fields:
            overrides[key] = value
            continue
        text, count = re.subn(rf"(?m)^{key} = \S+", f"{key} = {value}", text)
        if count != 1:
            raise SystemExit(f"the profile has no value named {key}")
    name = "-".join([name, *(re.sub(r"[^\w.-]", "_", change) for change in changes)])
    (folder / f"models/profiles/{name}.toml").write_text(text, encoding="utf-8")
    return load_settings(home=folder, profile=name, **overrides)


def train(settings: Settings, dataset: Dataset, seed: int) -> dict[str, float]:
    """The challenger's line of the holdout table after a training with this seed."""
    started, cpu = time.monotonic(), time.process_time()
    settings_of_seed = settings.model_copy(update={"seed": seed})
    adapter = finetuning.finetune.fn(settings_of_seed, dataset)
    adapter = alignment.align.fn(settings_of_seed, dataset, adapter)
    seconds = {"seconds": time.monotonic() - started, "cpu seconds": time.process_time() - cpu}
    scorecard = evaluate.fn(settings, dataset, quantize.fn(settings, dataset, adapter))
    return scorecard.table["challenger"] | {"loss": adapter.train_loss} | seconds


def processor() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else "unknown"


def show(results: list[dict[str, Any]]) -> None:
    """Prints a line per metric: each seed's value, mean, standard deviation and the worst."""
    table = Table(title=f"{len(results)} seeds")
    table.add_column("")
    for name in ("mean", "spread", "worst", "best"):
        table.add_column(name, justify="right")
    for metric, value in results[0].items():
        values = [result[metric] for result in results]
        if metric == "seed" or not isinstance(value, float | int):
            continue
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        digits = 0 if metric in ("tokens/s", "memory MiB") or "seconds" in metric else 3
        figures = (statistics.fmean(values), spread, min(values), max(values))
        table.add_row(metric, *(f"{figure:.{digits}f}" for figure in figures))
    Console().print(table)
    if len(results) > 1:
        spread = statistics.stdev(result["score"] for result in results)
        print(
            f"for [evaluation] of the profile: seed_spread = {spread:.4f}, seeds = {len(results)}"
        )


def plot(results: list[dict[str, Any]], file: Path) -> None:
    """A dot per seed and metric, with the mean."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = [
        name
        for name, value in results[0].items()
        if isinstance(value, float) and 0 <= value <= 1 and not name.endswith("loss")
    ]
    figure, axes = pyplot.subplots(figsize=(9, 0.4 * len(shown) + 1), layout="constrained")
    for place, name in enumerate(reversed(shown)):
        values = [result[name] for result in results]
        axes.plot(values, [place] * len(values), "o", alpha=0.5, color="tab:blue")
        axes.plot(statistics.fmean(values), place, "|", markersize=16, color="black")
    axes.set_yticks(range(len(shown)), list(reversed(shown)))
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(f"{len(results)} seeds of fine-tuning; a bar marks the mean")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
