"""Files of instructions, chats and headlines as people publish them, made up for the tests, in the shapes of the public ones.

The folders and file names are those of an optional folder of real files (further_samples.py), so that a test takes either.
"""

import csv
import json
import random
from pathlib import Path

HEADLINES = 600
INSTRUCTIONS = 400
PROGRAMS = 300
CHATS = 100

_COMPANIES = (
    "Alborg",
    "Brightwell",
    "Corvane",
    "Dunmore",
    "Estrella",
    "Fjordbank",
    "Granary",
    "Hollins",
    "Isolde",
    "Juneberry",
)
_TRADES = (
    "a baker",
    "a surveyor",
    "a violinist",
    "a beekeeper",
    "a tram driver",
    "a glazier",
    "a potter",
    "a locksmith",
)
_SUBJECTS = (
    "tides",
    "yeast",
    "bridges",
    "violins",
    "glaciers",
    "moths",
    "tunnels",
    "lighthouses",
    "harbours",
    "clocks",
)
_QUALITIES = (
    "strong",
    "quiet",
    "cheap",
    "old",
    "bright",
    "slow",
    "careful",
    "small",
    "round",
    "warm",
    "honest",
    "deep",
)
_NEWS = {  # class → what happened
    "0": (
        "cuts its outlook",
        "loses a supplier",
        "warns of weak orders",
        "recalls a product",
        "misses estimates",
    ),
    "1": (
        "raises its outlook",
        "wins a contract",
        "reports record orders",
        "opens a plant",
        "beats estimates",
    ),
    "2": (
        "holds its annual meeting",
        "names a new auditor",
        "moves its head office",
        "publishes its calendar",
    ),
}
_VERBS = ("Reverse", "Sort", "Count", "Join", "Double", "Filter", "Merge", "Rotate")


def write_all(folder: Path) -> Path:
    """The folder with `sentiment/fingpt`, `instruct/codealpaca` and `instruct/llamafactory` in it."""
    for name in ("sentiment/fingpt", "instruct/codealpaca", "instruct/llamafactory"):
        (folder / name).mkdir(parents=True)
    with (folder / "sentiment/fingpt/sent_valid.csv").open(
        "w", newline="", encoding="utf-8"
    ) as stream:
        csv.writer(stream).writerows([("text", "label"), *_headlines(random.Random(1))])
    instruct = folder / "instruct"
    _write(instruct / "codealpaca/code_alpaca_2k.json", _programs(random.Random(2)))
    _write(instruct / "llamafactory/alpaca_en_demo.json", _instructions(random.Random(3)))
    _write(instruct / "llamafactory/kto_en_demo.json", _chats(random.Random(4)))
    return folder


def _headlines(chance: random.Random) -> list[tuple[str, str]]:
    rows = []
    for number in range(HEADLINES):
        label = "012"[number % 3]
        company, news = chance.choice(_COMPANIES), chance.choice(_NEWS[label])
        quarter, share = chance.randrange(1, 5), chance.randrange(10, 990) / 10
        places = " and ".join(chance.sample(_SUBJECTS, 3))
        rows.append(
            (
                f"${company[:4].upper()} - {company} {news} in Q{quarter}, {share}% of sales from {places}",
                label,
            )
        )
    return rows


def _programs(chance: random.Random) -> list[dict[str, str]]:
    rows = []
    for _ in range(PROGRAMS):
        verb, values = chance.choice(_VERBS), [chance.randrange(1000) for _ in range(6)]
        name = f"{verb.lower()}_{chance.choice(_SUBJECTS)}"
        rows.append(
            {
                "instruction": f"{verb} the list of {chance.choice(_SUBJECTS)} with a function named {name}.",
                "input": f"values = {values}",
                "output": f"def {name}(values):\n    return [value for value in values if value > {values[0]}]",
            }
        )
    return rows


def _instructions(chance: random.Random) -> list[dict[str, str]]:
    rows = []
    for _ in range(INSTRUCTIONS):
        subject, trade = chance.choice(_SUBJECTS), chance.choice(_TRADES)
        words = ", ".join(chance.sample(_QUALITIES, 4))
        others = " and ".join(chance.sample(_SUBJECTS, 3))
        rows.append(
            {
                "instruction": f"Explain {subject} to {trade} with the words {words}.",
                "input": "",
                "output": f"Think of {others}: they are {words}. So are {subject}, as {trade} knows.",
            }
        )
    return rows


def _chats(chance: random.Random) -> list[dict[str, object]]:
    rows = []
    for number in range(CHATS):
        trade, subject = chance.choice(_TRADES), chance.choice(_SUBJECTS)
        words, others = (
            " and ".join(chance.sample(_QUALITIES, 3)),
            ", ".join(chance.sample(_SUBJECTS, 4)),
        )
        turns = [
            {"content": f"What would {trade} ask about {subject}, {others}?", "role": "user"},
            {"content": f"Whether {subject} are {words}.", "role": "assistant"},
        ]
        rows.append({"messages": turns, "label": number % 2 == 0})
    return rows


def _write(path: Path, rows: list) -> None:
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
