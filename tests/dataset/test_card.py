from datetime import date

from factories.judged_candidate import line
from factories.rows import rows_of_all_skills

from stock_llm.dataset.card import NAMES, Tally, write_card
from stock_llm.dataset.splits import TimeSplit


def test_the_card_counts_what_passed(tmp_path):
    rows = list(rows_of_all_skills(40))
    tallies = {name: Tally() for name in NAMES}
    assert list(tallies["train"].counting(rows[:30])) == rows[:30]
    list(tallies["holdout"].counting(rows[30:]))
    list(tallies["corrections"].counting([]))
    assert tallies["train"].skills == {
        "analyse": 6,
        "code": 6,
        "explain": 6,
        "review": 6,
        "signal": 6,
    }
    assert tallies["train"].last_label == max(row.label_until for row in rows[:30])
    split = TimeSplit(date(2025, 7, 1), date(2026, 1, 1))
    cards = []
    for name in ("one", "two"):
        card = tmp_path / name / "card.md"
        card.parent.mkdir()
        write_card(card, line(tmp_path).history, split, "abc", 0, tallies, 12, ["A note."])
        cards.append((card.read_bytes(), card.with_suffix(".png").read_bytes()))
    assert cards[0] == cards[1], "the same counts are the same bytes"
    text = cards[0][0].decode()
    assert "**2025-07-01 to 2025-12-31**, 10 rows, digest `abc`, draw 1" in text
    assert (
        "| code | CODE | 6 | 2 |" in text and "| all | | 30 | 10 |" in text and "- A note." in text
    )
    assert cards[0][1].startswith(b"\x89PNG")
