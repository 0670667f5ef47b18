"""How often the gateway's rules guess type, complexity, urgency and language right, on the labelled questions beside this file.

The rules were written with the part "tuning" in sight and frozen; the part "held-out" was written after that, and no rule was
changed for it. "without rules" guesses chat, complexity 3, urgency 3. Most questions belong on this machine under any policy, so
the last lines say how many of those that do not were found. Run: python benchmarks/estimate.py
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from stock_llm.gateway.query import Query, RemainingBudget
from stock_llm.gateway.routing.classifier import QueryClassification, classify
from stock_llm.gateway.routing.policy import load_policy
from stock_llm.gateway.routing.router import ProviderProfile, decide

QUESTIONS = Path(__file__).parent / "questions.csv"

OFFERS = (
    ProviderProfile("ollama", "free", True),
    ProviderProfile("claude-cli", "fixed", False),
    ProviderProfile("claude-api", "usage", False),
)
PLENTY = RemainingBudget(Decimal(15), Decimal(30))


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
    away: dict[str, tuple[int, int, int]]
    """By policy: sent to a cloud provider by their labels, by the guesses, by both."""


def questions() -> list[Question]:
    """Every labelled question."""
    with QUESTIONS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Question(**{**row, "complexity": int(row["complexity"]), "urgency": int(row["urgency"])})
        for row in rows
    ]


def measure(
    asked: Sequence[Question], guess: Callable[[str], QueryClassification] = classify
) -> Accuracy:
    """How often the rules are right about these."""
    policies = {
        name: load_policy(name, {"keep_back": Decimal(10)}) for name in ("service", "orchestrator")
    }
    right = dict.fromkeys(("type", "language", "complexity", "urgency", *policies), 0)
    away = {name: [0, 0, 0] for name in policies}
    for question in asked:
        guessed_labels = guess(question.text)
        right["type"] += guessed_labels.type == question.type
        right["language"] += guessed_labels.language == question.language
        right["complexity"] += abs(guessed_labels.complexity - question.complexity) <= 2
        right["urgency"] += abs(guessed_labels.urgency - question.urgency) <= 2
        guessed = Query(
            type=guessed_labels.type,
            complexity=guessed_labels.complexity,
            urgency=guessed_labels.urgency,
            data_length=len(question.text),
        )
        labelled = Query(
            type=question.type,  # type: ignore[arg-type]
            complexity=question.complexity,
            urgency=question.urgency,
            data_length=len(question.text),
        )
        for name, policy in policies.items():
            by_guess, by_label = (
                decide(query, policy, OFFERS, PLENTY).choice for query in (guessed, labelled)
            )
            right[name] += by_guess == by_label
            remotes = by_label.provider != "ollama", by_guess.provider != "ollama"
            away[name] = [
                count + remote
                for count, remote in zip(away[name], (*remotes, all(remotes)), strict=True)
            ]
    shares = {name: count / len(asked) for name, count in right.items()}
    return Accuracy(
        len(asked), **shares, away={name: (a, b, c) for name, (a, b, c) in away.items()}
    )


def main() -> None:
    asked = questions()
    print(
        f"{'':28}{'n':>4}  type  language  complexity±2  urgency±2  routed as labelled: service, orchestrator"
    )
    for half in ("tuning", "held-out"):
        for language in ("en", "th", ""):
            chosen = [
                each
                for each in asked
                if each.half == half and (not language or each.language == language)
            ]
            print(_line(f"{half:10} {language or 'both'}", measure(chosen)))
    print(
        _line(
            "held-out   without rules",
            measure(chosen, lambda _: QueryClassification("chat", 3, 3, "en")),
        )
    )
    for name, (labelled, guessed, both) in measure(chosen).away.items():
        print(
            f"held-out, {name}: {labelled} belong to a cloud provider; the rules send {guessed} there, {both} of them rightly"
        )


def _line(name: str, accuracy: Accuracy) -> str:
    return (
        f"{name:28}{accuracy.questions:>4}  {accuracy.type:4.0%}  {accuracy.language:8.0%}"
        f"  {accuracy.complexity:12.0%}  {accuracy.urgency:9.0%}  {accuracy.service:27.0%}, {accuracy.orchestrator:12.0%}"
    )


if __name__ == "__main__":
    main()
