"""How often a model abstains where numbers are missing, and where they are not.

`python benchmarks/abstention.py MODEL.gguf HOLDOUT.jsonl [PROMPT_FORMAT]` asks the model the 200 frozen questions without numbers, and every
question of the holdout that has its numbers (`data/artifacts/dataset/*/holdout.jsonl`), greedily, as Ollama renders them. Prints
shares, by language and kind; the frozen questions themselves are not printed, so that nobody writes wordings after them.
"""

import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.prompt_formats import FORMATS, MISTRAL_V3
from stock_llm.llm.prompts import messages
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
