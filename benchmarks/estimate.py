"""How often the gateway's rules guess type, complexity, urgency and language right, on the labelled questions beside this file.

Prints both halves: the rules were written with the first in sight; the second is held out. Run: python benchmarks/estimate.py
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from stock_llm.gateway.estimate import guess
from stock_llm.gateway.policy import load_policy
from stock_llm.gateway.query import Query
from stock_llm.gateway.route import Left, Offer, decide

QUESTIONS = Path(__file__).parent / "questions.csv"

OFFERS = (Offer("ollama", "free", True), Offer("claude-cli", "fixed", False), Offer("claude-api", "usage", False))
PLENTY = Left(Decimal(15), Decimal(30))


@dataclass(frozen=True)
class Question:
    """A labelled question."""

    half: str
    type: str
    language: str
    complexity: int
    urgency: int
    text: str


@dataclass(frozen=True)
class Accuracy:
    """Shares of right guesses, and how many questions go to the provider that their labels would send them to."""

    questions: int
    type: float
    language: float
    complexity: float
    """Within two of the label."""
    urgency: float
    """Within two of the label."""
    service: float
    orchestrator: float


def questions() -> list[Question]:
    """Every labelled question."""
    with QUESTIONS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [Question(**{**row, "complexity": int(row["complexity"]), "urgency": int(row["urgency"])}) for row in rows]


def measure(asked: Sequence[Question]) -> Accuracy:
    """How often the rules are right about these."""
    policies = {name: load_policy(name, {"keep_back": Decimal(10)}) for name in ("service", "orchestrator")}
    right = dict.fromkeys(("type", "language", "complexity", "urgency", *policies), 0)
    for question in asked:
        found = guess(question.text)
        right["type"] += found.type == question.type
        right["language"] += found.language == question.language
        right["complexity"] += abs(found.complexity - question.complexity) <= 2
        right["urgency"] += abs(found.urgency - question.urgency) <= 2
        guessed = Query(type=found.type, complexity=found.complexity, urgency=found.urgency, data_length=len(question.text))
        labelled = Query(
            type=question.type,  # type: ignore[arg-type]
            complexity=question.complexity,
            urgency=question.urgency,
            data_length=len(question.text),
        )
        for name, policy in policies.items():
            right[name] += decide(guessed, policy, OFFERS, PLENTY).choice == decide(labelled, policy, OFFERS, PLENTY).choice
    return Accuracy(len(asked), **{name: count / len(asked) for name, count in right.items()})


def main() -> None:
    asked = questions()
    print(f"{'':28}{'n':>4}  type  language  complexity±2  urgency±2  routed as labelled: service, orchestrator")
    for half in ("tuning", "held-out"):
        for language in ("en", "th", ""):
            chosen = [each for each in asked if each.half == half and (not language or each.language == language)]
            found = measure(chosen)
            print(
                f"{half:10} {language or 'both':17}{found.questions:>4}  {found.type:4.0%}  {found.language:8.0%}"
                f"  {found.complexity:12.0%}  {found.urgency:9.0%}  {found.service:27.0%}, {found.orchestrator:12.0%}"
            )


if __name__ == "__main__":
    main()
