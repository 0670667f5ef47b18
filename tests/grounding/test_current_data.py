"""Numbers that a server keeps current: read once, again when a file changes, and never in the way of a chat."""

import asyncio
from dataclasses import dataclass
from datetime import date

import pytest

from stock_llm.errors import InputError
from stock_llm.grounding import current_data
from stock_llm.grounding.current_data import CurrentData
from stock_llm.grounding.own_data import is_old
from stock_llm.truth.blocks import ComputedBlock


@dataclass
class Numbers:
    """What was read, which tells which reading it is."""

    reading: int
    symbols: frozenset = frozenset({"KESTRO"})
    traded: frozenset = frozenset({"KESTRO"})

    def prepare(self):
        pass

    def block_for(self, _question):
        return ComputedBlock(f"reading {self.reading}", "situation", "KESTRO", "2026-01-02")


class Files:
    """Files that change, and how often they were read."""

    def __init__(self, state="a", fails=False):
        self.state, self.fails, self.reads, self.looks = state, fails, 0, 0

    def load(self):
        self.reads += 1
        if self.fails:
            raise InputError("there are no trades")
        return Numbers(self.reads)

    def look(self):
        self.looks += 1
        return self.state


def asked(files, *questions, between=lambda: None):
    async def ask():
        data, answers = CurrentData(files.load, files.look), []
        for question in questions:
            block = await data.block_for(question)
            answers.append(block and block.text)
            between()
        return answers

    return asyncio.run(ask())


def test_files_are_read_once_and_again_when_one_has_changed(monkeypatch):
    files = Files()
    assert asked(files, "KESTRO?", "KESTRO?") == ["reading 1", "reading 1"]
    assert (files.reads, files.looks) == (1, 1)  # not looked at again within two seconds
    monkeypatch.setattr(current_data, "CHECK_SECONDS", 0.0)
    files = Files()
    assert asked(files, "KESTRO?", "KESTRO?") == ["reading 1", "reading 1"] and files.reads == 1
    changes = iter("bcd")
    files = Files()
    told = asked(files, "KESTRO?", "KESTRO?", between=lambda: setattr(files, "state", next(changes)))  # fmt: skip
    assert told == ["reading 1", "reading 2"]


def test_a_chat_that_names_nothing_waits_for_nothing():
    files = Files()
    assert asked(files, "hello there") == [None]
    assert files.reads == 0


def test_a_project_without_trades_is_not_read():
    files = Files(state=None)
    assert asked(files, "KESTRO?", "Review my portfolio.") == [None, None] and files.reads == 0


def test_what_cannot_be_read_is_told_to_a_question_about_it_alone():
    files = Files(fails=True)
    assert asked(files, "What about KESTRO?") == [None]
    with pytest.raises(InputError, match="there are no trades"):
        asked(files, "Review my portfolio.")


def test_until_the_files_are_read_every_question_counts_as_the_ledgers():
    async def told(files):
        data = CurrentData(files.load, files.look)
        before = [data.holds_ledger(text) for text in ("Review my portfolio.", "kestro?", "hello")]
        await data.wait()
        return before, data.holds_ledger("KESTRO?"), data.holds_ledger("hello")

    assert asyncio.run(told(Files())) == ([True] * 3, True, False)
    assert asyncio.run(told(Files(fails=True))) == ([True] * 3, True, True)
    assert asyncio.run(told(Files(state=None))) == ([True] * 3, False, False)


@pytest.mark.parametrize(
    ("exchange", "as_of", "today", "old"),
    [
        ("XNYS", "2026-11-20", "2026-11-20", False),
        ("XNYS", "2026-11-20", "2026-11-26", False),  # 23, 24, 25
        ("XNYS", "2026-11-20", "2026-11-27", False),  # the 26th is Thanksgiving
        ("XNYS", "2026-11-20", "2026-11-28", True),
        ("24/7", "2026-11-20", "2026-11-24", False),
        ("24/7", "2026-11-20", "2026-11-25", True),
        ("XNYS", "2025-12-31", "2026-11-20", True),
        ("XNYS", "2026-11-20", "2026-11-01", False),
    ],
)
def test_candles_are_old_after_three_sessions_of_their_exchange(exchange, as_of, today, old):
    assert is_old(exchange, date.fromisoformat(as_of), date.fromisoformat(today)) is old
