"""How often a model abstains where numbers are missing, and where they are not.

`python benchmarks/abstention.py [MODEL.gguf HOLDOUT.jsonl [PROMPT_FORMAT]]` asks the model the 200 frozen questions without numbers, and
every question of the holdout that has its numbers (`data/artifacts/dataset/*/holdout.jsonl`), greedily, as Ollama renders them. Without a
model it is the champion of this project folder, else its newest version, and the holdout of the newest dataset. Prints shares, by language and kind; the frozen questions themselves are not printed, so that nobody writes wordings after them.
"""

import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from stock_llm.dataset.provenance import datasets
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.prompt_formats import FORMATS, MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.pipeline import registry
from stock_llm.settings import load_settings
from stock_llm.skills import abstain
from stock_llm.skills.row import Row, read_rows


def main(gguf: Path, holdout: Path, format_name: str = MISTRAL_V3.name) -> None:
    prompt_format = FORMATS[format_name]
    bare = abstain.frozen_rows()
    unseen = [row for row in read_rows(holdout) if row.skill == abstain.NAME]
    numbered = [row for row in read_rows(holdout) if row.skill != abstain.NAME]
    with LlamaModel(gguf, threads=2, context=1024) as model:

        def show(title: str, rows: list[Row]) -> None:
            answers = [
                model.generate(
                    prompt_format.render(messages(row.instruction, row.input)),
                    max_tokens=320,
                    stop=prompt_format.stop,
                ).text
                for row in rows
            ]
            groups = defaultdict(list)
            for row, answer in zip(rows, answers, strict=True):
                for group in ("all", row.language, f"{row.language} {row.skill} {row.label}"):
                    groups[group].append(abstain.abstains(answer))
            for group in ("all", *sorted(groups.keys() - {"all"})):
                print(f"{title:24}{group:32}{len(groups[group]):5}{fmean(groups[group]):8.1%}")

        show("frozen, without numbers", bare)
        show("holdout, without numbers", unseen)
        show("holdout, with numbers", numbered)


def newest() -> tuple[Path, Path]:
    """The model of this project folder, and the holdout of its newest dataset."""
    settings = load_settings(home=Path())
    known, built = registry.versions(settings), datasets(settings.artifacts)
    if not known or not built:
        raise SystemExit("no version here yet. Run: stock-llm run")
    return (registry.champion(settings) or known[0]).gguf, built[0].holdout


if __name__ == "__main__":
    given = sys.argv[1:]
    gguf, holdout = (Path(given[0]), Path(given[1])) if given else newest()
    main(gguf, holdout, *given[2:])
