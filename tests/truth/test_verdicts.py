from factories.rows import rows_of_all_skills

from stock_llm.truth.verdicts import false_sentences


def test_what_is_taught_has_no_false_sentence():
    for row in rows_of_all_skills(40):
        assert false_sentences(row, row.output) == (None if row.skill == "code" else [])


def test_a_false_sentence_is_found_in_any_form_of_answer():
    row = next(row for row in rows_of_all_skills(5) if row.skill == "signal")
    atr = next(line for line in row.output.splitlines() if "ATR14" in line).removeprefix("- ")
    wrong = atr.replace("ATR14 ", "ATR14 9")
    assert false_sentences(row, row.output.replace(atr, wrong)) == [wrong]
    assert false_sentences(row, f"Well, I would hold it.\n\n{wrong} {atr}") == [wrong]


def test_nothing_checkable_is_not_false():
    row = next(row for row in rows_of_all_skills(5) if row.skill == "signal")
    assert false_sentences(row, "Buyers may be exhausted.\nConfidence: 55%") == []
    assert false_sentences(row, row.input) == [], "a line copied from the question states nothing"
