"""How often two independent checkers find the same answers of a model to have a false sentence.

`python benchmarks/checker_agreement.py HOME` reads the candidate's answers to `analyse` and `signal` in the newest scorecard
below HOME (this folder by default) and the situations in the holdout's rows. The first checker is the one that scores answers;
the second, `tests/fakes/second_checker.py`, was written without sight of it. Both see the sentences of the lists alone; lines of
fields (trend, levels) that the second finds false are counted beside that. Disagreements are printed.

`--garbled 15000` compares them on that many sentences of the builders, nine in ten with words, figures or characters changed
(`tests/factories/garbled.py`), and prints forty of the disagreements.
"""

import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from stock_llm.market.situation import Situation
from stock_llm.skills.claims import find_claims
from stock_llm.skills.decision_rows import situation_of
from stock_llm.skills.row import Row, read_rows
from stock_llm.skills.statements import pieces

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from factories.garbled import garbled_sentences
from fakes.second_checker import false_sentences

SKILLS = ("analyse", "signal")


@dataclass(frozen=True)
class CheckedAnswer:
    """What either checker finds false in one answer."""

    id: str
    first: list[str]
    second: list[str]
    fields: list[str]


def check_answers(home: Path) -> list[CheckedAnswer]:
    """The candidate's answers of the newest scorecard; none where there is no scorecard."""
    artifacts = home / "data" / "artifacts"
    cards = sorted(artifacts.glob("scorecard/*/items.jsonl"), key=lambda path: path.stat().st_mtime)
    if not cards:
        return []
    rows: dict[str, Row] = {}
    for holdout in artifacts.glob("dataset/*/holdout.jsonl"):
        rows |= {row.id: row for row in read_rows(holdout) if row.skill in SKILLS}
    items = [json.loads(line) for line in cards[-1].read_text(encoding="utf-8").splitlines()]
    return [
        _check(item["id"], item["answer"], situation_of(rows[item["id"]]))
        for item in items
        if item["model"] == "challenger" and item["id"] in rows
    ]


def _check(row_id: str, answer: str, situation: Situation) -> CheckedAnswer:
    lines = [line.strip() for line in answer.splitlines()]
    bullets = [line for line in lines if line.startswith("- ")]
    sentences = [piece for line in bullets for piece in pieces(line.removeprefix("- "))]
    return CheckedAnswer(
        id=row_id,
        first=[
            sentence
            for sentence in sentences
            if not all(claim.holds for claim in find_claims(sentence, situation))
        ],
        second=false_sentences("\n".join(bullets), situation),
        fields=false_sentences("\n".join(line for line in lines if line not in bullets), situation),
    )


def compare_garbled(count: int) -> None:
    """Prints how often both find the same of garbled sentences, and some of the others."""
    disagreed: list[str] = []
    total = 0
    for total, (text, situation) in enumerate(garbled_sentences(count), start=1):  # noqa: B007
        first = not all(claim.holds for claim in find_claims(text, situation))
        if first != bool(false_sentences(text, situation)):
            disagreed.append(f"  false by the {'first' if first else 'second'}: {text}")
    print(f"agreement {total - len(disagreed)}/{total} = {1 - len(disagreed) / total:.1%}")
    print("\n".join(random.Random(1).sample(disagreed, min(40, len(disagreed)))))


def main() -> None:
    if sys.argv[1:2] == ["--garbled"]:
        compare_garbled(int(sys.argv[2]))
        return
    answers = check_answers(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    if not answers:
        print("no answers: name a folder in which `stock-llm train` has judged a candidate")
        return
    same = [answer for answer in answers if bool(answer.first) == bool(answer.second)]
    both = sum(bool(answer.first and answer.second) for answer in answers)
    first, second = (
        sum(bool(getattr(answer, name)) for answer in answers) for name in ("first", "second")
    )
    print(f"{len(answers)} answers; with a false sentence: first {first}, second {second}, both {both}")  # fmt: skip
    print(f"agreement {len(same)}/{len(answers)} = {len(same) / len(answers):.1%}")
    print(f"with a false field by the second: {sum(bool(answer.fields) for answer in answers)}")
    for answer in answers:
        if answer not in same:
            print(f"\n{answer.id}\n  first:  {answer.first}\n  second: {answer.second}")


if __name__ == "__main__":
    main()
