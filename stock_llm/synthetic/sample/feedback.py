"""The feedback part of data/sample, from one fictional investor to an earlier, fictional model.

The taste is steady and stated, so that a test can ask whether a retrain learnt it: above RSI14 70
this investor never wants a BUY or SELL but HOLD, with a stop below the support in place of the ATR
line. Everything else that has the right numbers is liked. The earlier model follows the trend (UP
buys, DOWN sells) and now and then gets a number wrong.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from stock_llm.evaluation.answers import Language, SkillAnswer
from stock_llm.market.situation import Candles, Situation, compute_indicators, format_price
from stock_llm.skills import analyse, signal, statements
from stock_llm.skills.decision_rows import pick_wording

ITEMS = 240
TASTE_LIMIT = 70.0
"""RSI14 above which the investor wants to wait."""

FIRST, LAST = "2024-01-02", "2025-05-30"
"""First and last close that somebody asked about: before the sample's holdout."""

_HOT_SHARE = 0.5
_THAI_SHARE = 0.25
_BY_TREND = {"UP": "BUY", "DOWN": "SELL", "SIDEWAYS": "HOLD"}
_COMMENTS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Too hot for me, I wait.",
        "Do not chase it, give me a stop.",
        "I never trade into an overbought stock.",
    ),
    "th": ("ร้อนแรงเกินไป ขอรอก่อน", "อย่าไล่ราคา ขอจุดตัดขาดทุน"),
}


def wished_answer(given: SkillAnswer, situation: Situation) -> SkillAnswer:
    """The answer as the investor would have written it."""
    if situation.rsi14 <= TASTE_LIMIT:
        return given
    other_risks = tuple(
        risk for risk in given.risks if risk != statements.atr(situation, given.language)
    )
    return replace(
        given,
        recommendation="HOLD",
        risks=(*other_risks, statements.stop(situation, given.language)),
    )


def write_feedback(candles: list[Candles], path: Path, seed: int) -> None:
    """Writes `ITEMS` lines of JSON, with the fields of stock_llm.feedback.item.FeedbackItem."""
    lines = (
        json.dumps(item, ensure_ascii=False, sort_keys=True) + "\n"
        for item in _items(candles, random.Random(f"feedback {seed}"))
    )
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _items(candles: list[Candles], chance: random.Random) -> Iterator[dict[str, object]]:
    seen = [
        situation
        for series in map(compute_indicators, candles)
        for index, day in enumerate(series.candles.day)
        if FIRST <= str(day) <= LAST and (situation := series.at(index))
    ]
    hot = [situation for situation in seen if situation.rsi14 > TASTE_LIMIT]
    calm = [situation for situation in seen if situation.rsi14 <= TASTE_LIMIT]
    wanted_hot = min(len(hot), round(ITEMS * _HOT_SHARE))
    drawn = chance.sample(hot, wanted_hot) + chance.sample(calm, ITEMS - wanted_hot)
    drawn.sort(key=lambda situation: (situation.as_of, situation.symbol))
    for number, situation in enumerate(drawn, start=1):
        yield _item(number, situation, chance)


def _item(number: int, situation: Situation, chance: random.Random) -> dict[str, object]:
    language: Language = "th" if chance.random() < _THAI_SHARE else "en"
    skill = analyse if chance.random() < 0.3 else signal
    recommendation = _BY_TREND[situation.trend]
    right = skill.answer(situation, recommendation, 5 * chance.randint(9, 15), language)
    slip = chance.random() < 0.15
    given = replace(right, risks=_slipped(right.risks, situation)) if slip else right
    wish = wished_answer(right, situation)
    instruction = pick_wording(
        skill.INSTRUCTIONS[language], chance.randrange(6), symbol=situation.symbol
    )
    evening = datetime.combine(date.fromisoformat(situation.as_of), time(18, 30), UTC)
    item: dict[str, object] = {
        "id": f"sample-{number:04d}",
        "created_at": (evening + timedelta(minutes=chance.randrange(240))).isoformat(),
        "source": "sample",
        "skill": skill.NAME,
        "language": language,
        "symbol": situation.symbol,
        "as_of": situation.as_of,
        "instruction": instruction,
        "input": situation.block(),
        "response": given.text(),
        "rating": None,
        "thumb": None,
        "correction": None,
        "comment": "",
        "response_id": "",
        "model_version": "fictional-0",
    }
    if given == wish:
        if chance.random() < 0.5:
            item["thumb"] = "up"
        else:
            item["rating"] = chance.choice((4, 5))
    elif chance.random() < 0.85:
        item["correction"] = wish.text()
        item["rating"] = chance.choice((1, 2))
        item["comment"] = (
            chance.choice(_COMMENTS[language]) if situation.rsi14 > TASTE_LIMIT else ""
        )
    else:
        item["thumb"] = "down"
    return item


def _slipped(risks: tuple[str, ...], situation: Situation) -> tuple[str, ...]:
    """The risks with one copied number wrong, as a careless model would write it."""
    wrong = format_price(situation.atr14 * 1.37)
    return tuple(risk.replace(format_price(situation.atr14), wrong) for risk in risks)
