"""Whether the gateway marks exactly the false sentences of the published model's answers.

`python benchmarks/shown_truth.py [HOME] [--answers 500] [--temperature T] [--grammar]` starts the gateway of a project folder before
its published model, without an Ollama and without the grammar of true sentences (`--grammar` leaves it on), and asks questions about
the stocks, indicators, trades and portfolios of the newest dataset, holdout first: each skill and each language as often as the other.
What the gateway shows as false is held against `tests/fakes/second_block_checker.py`, which was written from the sentences' meaning
alone. Prints a table, and the sentences in which the two differ. Ends with 1 where a false sentence is shown unmarked, or a true one
marked; what the second cannot decide is counted apart.
"""

import argparse
import random
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from stock_llm import environment

environment.prepare()

import httpx  # noqa: E402
from factories.running_gateway import RunningGateway  # noqa: E402
from fakes.second_block_checker import judge_answer  # noqa: E402

from stock_llm.dataset.provenance import datasets  # noqa: E402
from stock_llm.llm.prompts import user_text  # noqa: E402
from stock_llm.settings import load_settings  # noqa: E402
from stock_llm.skills import analyse, explain, portfolio, review, signal  # noqa: E402
from stock_llm.skills.row import Row, read_rows  # noqa: E402

SKILLS = {skill.NAME: skill for skill in (analyse, signal, explain, review, portfolio)}
LANGUAGES = ("en", "th")
COLUMNS = ("answers", "sentences", "true", "false", "undecided", "with a false one", "unmarked", "wrongly marked", "marked, undecided")  # fmt: skip


@dataclass
class Tally:
    """What was counted of one kind of answers, and the sentences in which the checkers differ."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def add(self, question: str, answer: str, marked: list[str]) -> None:
        """Counts an answer whose sentences `marked` the gateway shows as false."""
        judged = judge_answer(answer, question)
        self.counts.update(answers=1, sentences=len(judged))
        self.counts["with a false one"] += any(each.true is False for each in judged)
        for each in judged:
            verdict = {True: "true", False: "false", None: "undecided"}[each.true]
            is_marked = any(_overlap(each.sentence, other) for other in marked)
            kind = {
                "false": "unmarked" * (not is_marked),
                "true": "wrongly marked" * is_marked,
            }.get(verdict, "marked, undecided" * is_marked)
            self.counts.update([verdict, kind] if kind else [verdict])
            if kind:
                self.differences.append(
                    f"{kind}: {each.sentence}\n{question.partition(chr(10) * 2)[2]}\n"
                )


def _overlap(one: str, other: str) -> bool:
    one, other = one.strip().rstrip(".;"), other.strip().rstrip(".;")
    return one in other or other in one


def questions(rows: list[Row], count: int) -> list[tuple[str, str, str]]:
    """Skill, language and text of as many questions of each kind."""
    each = count // (len(SKILLS) * len(LANGUAGES))
    chosen = []
    for name, skill in SKILLS.items():
        of_skill = [row for row in rows if row.skill == name]
        for language in LANGUAGES:
            for number in range(each):
                row = of_skill[number % len(of_skill)]
                names = {"symbol": row.symbol, "indicator": row.facts.get("indicator", "")}
                wordings = skill.INSTRUCTIONS[language]
                wording = wordings[number % len(wordings)].format(**names)
                chosen.append((name, language, user_text(wording, row.input)))
    return chosen


def ask(http: httpx.Client, question: str, options: dict[str, float]) -> tuple[str, list[str]]:
    """The answer, and the sentences of it that are shown as false."""
    body = {"model": "stock-llm", "stream": False, "options": options, "messages": [{"role": "user", "content": question}]}  # fmt: skip
    answered = http.post("/api/chat", json=body, timeout=300)
    assert answered.status_code == 200, answered.text
    told = answered.json()
    check = told["stock_llm"]["check"]
    assert check, f"no check of: {question}"
    return told["message"]["content"], [each["sentence"] for each in check["false_sentences"]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("home", type=Path, nargs="?", default=Path(), help="default: this folder")
    parser.add_argument("--answers", type=int, default=500)
    parser.add_argument(
        "--temperature", type=float, help="default: what the published model serves"
    )
    parser.add_argument(
        "--grammar", action="store_true", help="let the grammar of true sentences on"
    )
    given = parser.parse_args()
    gateway = {"embedded": True, "true_sentences": given.grammar, "keep_answers_days": 0}
    settings = load_settings(home=given.home, ollama_host="", gateway=gateway)
    newest = datasets(settings.artifacts)[0]
    rows: list[Row] = []
    for file in (newest.holdout, newest.train):
        of_file = [row for row in read_rows(file) if row.skill in SKILLS]
        random.Random(7).shuffle(of_file)
        rows += of_file
    tallies: dict[str, Tally] = defaultdict(Tally)
    with RunningGateway(settings) as running:
        for number, (skill, language, question) in enumerate(questions(rows, given.answers)):
            options: dict[str, float] = {"seed": number}
            if given.temperature is not None:
                options["temperature"] = given.temperature
            answer, marked = ask(running.http, question, options)
            for name in (f"{skill} {language}", "all"):
                tallies[name].add(question, answer, marked)
    print(f"| answers | {' | '.join(COLUMNS[1:])} |\n|---{'|---' * (len(COLUMNS) - 1)}|")
    for name in sorted(tallies, key=lambda name: (name == "all", name)):
        counts = tallies[name].counts
        print(f"| {name}, {counts['answers']} | {' | '.join(str(counts[column]) for column in COLUMNS[1:])} |")  # fmt: skip
    print("\n" + "\n".join(tallies["all"].differences))
    wrong = tallies["all"].counts
    return int(bool(wrong["unmarked"] or wrong["wrongly marked"]))


if __name__ == "__main__":
    sys.exit(main())
