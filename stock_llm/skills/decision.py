"""What the skills about a decision share: the row of a moment, its situation kept for the scorer, the grounded numbers."""

from typing import Any

from stock_llm import statements
from stock_llm.answers import Answer
from stock_llm.dataset.moments import Moment
from stock_llm.dataset.rows import Row
from stock_llm.situation import Position, Situation


def decision_row(skill: str, instruction: str, answer: Answer, moment: Moment) -> Row:
    """A row whose label is the moment's outcome."""
    situation = moment.situation
    return Row(
        skill=skill,
        language=answer.language,
        symbol=situation.symbol,
        as_of=situation.as_of,
        instruction=instruction,
        input=situation.block(),
        output=answer.text(),
        source=moment.source,
        label=moment.outcome,
        label_from=moment.outcome_from,
        label_until=moment.outcome_until,
        facts=facts(situation),
    )


def facts(situation: Situation) -> dict[str, Any]:
    """The situation as JSON values."""
    held = situation.position
    return {"situation": vars(situation) | {"position": vars(held) if held else None}}


def situation_of(row: Row) -> Situation:
    """The situation that `facts` kept."""
    values = dict(row.facts["situation"])
    if values["position"]:
        values["position"] = Position(**values["position"])
    return Situation(**values)


def grounded(answer: Answer, source: str) -> float:
    """Share of the numbers in sentences and levels that stand in `source`, to the digit."""
    said = [*answer.bullets, *(level for level in (answer.support, answer.resistance) if level)]
    return statements.grounded("\n".join(said), source)


def worded(choices: tuple[str, ...], phrasing: int, **names: str) -> str:
    """One of the wordings, its names filled in."""
    return choices[phrasing % len(choices)].format(**names)
