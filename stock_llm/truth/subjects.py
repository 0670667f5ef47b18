"""Reads from a question what it is about: the numbers that it shows."""

from stock_llm.market.situation import Situation, read_lines, read_situation
from stock_llm.skills import analyse, explain, portfolio, review, signal
from stock_llm.skills.decision_rows import Subject, situation_subject


def read_subject(question: str) -> Subject | None:
    """What is known of a question that ends with a block of numbers, as skills write it.

    None where there is no such block, or where a single letter of it is changed: numbers of another
    make are not guessed at.
    """
    block = question.strip().rpartition("\n\n")[2]
    if view := portfolio.read_portfolio(block):
        return portfolio.subject_of(view, block)
    if trade := review.read_trade(block):
        return review.subject_of(trade, block)
    situation = read_situation(block)
    return _of_situation(situation, block) if situation else None


def _of_situation(situation: Situation, block: str) -> Subject | None:
    """One of the textbook's indicators, or everything about a stock; None for other parts."""
    shown = list(read_lines(block))
    for indicator, book in explain.TEXTBOOK.items():
        if shown == ["Symbol", "Date", "Close", book.line]:
            return explain.subject_of(situation, indicator, block)
    if block != situation.block():
        return None
    return situation_subject(situation, block, analyse.answer, signal.answer)
