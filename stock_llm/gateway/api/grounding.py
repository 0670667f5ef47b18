"""Puts the user's own numbers below a question, and has the answer judged against them.

A question that ends with numbers already keeps them. NumPy comes with the first question that has
numbers, so that a gateway that only passes chats on stays small.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stock_llm.errors import StockLLMError
from stock_llm.gateway.chat import ChatRequest, Grounding, StreamRepair
from stock_llm.gateway.config import GroundingMode, NumbersSource
from stock_llm.gateway.providers.ollama_codec import GENERATE
from stock_llm.truth.blocks import BlockKind, ComputedBlock, has_ledger

if TYPE_CHECKING:
    from stock_llm.truth.answer_check import AnswerCheck, AnswerChecker

_FIRST_LINES = ("Symbol: ", "Portfolio: ")
"""How a block begins."""

SKILL_OF: dict[BlockKind, str] = {
    "situation": "analyse",
    "indicator": "explain",
    "trade": "review",
    "portfolio": "portfolio",
}
"""Kind of a block → the skill that teaches answers to it, for feedback."""

_NOT_OWNER = "the numbers of the portfolio and its trades are its owner's"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Review:
    """Judges the answers to one question, and replaces what is false where it is asked to.

    Args:
        taught: turns an answer into the format that models are taught.
    """

    checker: "AnswerChecker"
    repairs: bool
    taught: Callable[[str], str] = str

    def review(self, text: str) -> "tuple[str, AnswerCheck]":
        """The answer as it is to be shown, and what is known of the answer as it was generated."""
        taught = self.taught(text)
        if self.repairs:
            shown, check = self.checker.repair(taught)
            return (shown if check.repaired else text), check
        return text, self.checker.check(taught)

    def repair(self) -> StreamRepair | None:
        """What replaces false sentences in a stream."""
        from stock_llm.truth.answer_check import AnswerRepair

        return AnswerRepair(self.checker) if self.repairs else None


class Grounder:
    """Adds numbers to questions.

    Args:
        mode: what counts where a request says nothing.
        repairs: whether false sentences are replaced.
    """

    def __init__(self, numbers: NumbersSource | None, mode: GroundingMode, repairs: bool):
        self._numbers, self._mode, self._repairs = numbers, mode, repairs

    async def ground(
        self, request: ChatRequest, wanted: GroundingMode | None, owner: bool
    ) -> ChatRequest:
        """The request with the numbers that its question needs, in the form in which models are
        trained.

        Args:
            wanted: what the request says of it.
            owner: whether the ledger is the caller's.
        """
        request = replace(request, owner=owner)
        if not request.messages or request.messages[-1].role != "user":
            return request
        generate = request.extra.get(GENERATE) or {}
        if any(generate.get(name) for name in ("raw", "suffix", "template")):
            return request
        judged = self.judged(request)
        if judged.reviewer or (wanted or self._mode) == "off" or self._numbers is None:
            return judged
        return self.judged(await self._add(request, request.messages[-1].content, owner))

    async def stock(self, symbol: str, owner: bool) -> ComputedBlock | None:
        """The numbers of a symbol of the candles; None where there are none.

        Raises:
            InputError: its history is too short.
        """
        block = await self._numbers.block_for(f"${symbol}") if self._numbers else None
        return block if block is None or owner else _without_ledger(block)

    def judged(self, request: ChatRequest, taught: Callable[[str], str] = str) -> ChatRequest:
        """The request with the judge of its answers, if its question shows numbers."""
        question = request.messages[-1].content
        if not question.strip().rpartition("\n\n")[2].startswith(_FIRST_LINES):
            return request
        from stock_llm.truth.answer_check import AnswerChecker

        checker = AnswerChecker.of(question)
        if checker is None:
            return request
        return replace(request, reviewer=Review(checker, self._repairs, taught))

    async def _add(self, request: ChatRequest, question: str, owner: bool) -> ChatRequest:
        assert self._numbers
        try:
            block = await self._numbers.block_for(question)
        except StockLLMError as error:
            return replace(request, grounding=Grounding(notes=(f"no numbers were added: {error}",)))
        except Exception:
            _log.exception("the numbers of a question cannot be computed")
            note = "no numbers were added: they cannot be computed (the log says why)"
            return replace(request, grounding=Grounding(notes=(note,)))
        if block is None:
            return request
        if not owner and has_ledger(block.text):
            block = _without_ledger(block)
            if block is None:
                note = f"no numbers were added: {_NOT_OWNER}"
                return replace(request, grounding=Grounding(notes=(note,)))
        from stock_llm.llm.prompts import user_text

        last = replace(request.messages[-1], content=user_text(question.strip(), block.text))
        return replace(
            request,
            messages=(*request.messages[:-1], last),
            grounding=Grounding(block, (block.note,) if block.note else ()),
        )


def _without_ledger(block: ComputedBlock) -> ComputedBlock | None:
    """A stock's block without the position; None for other kinds."""
    from stock_llm.truth.blocks import share

    if block.kind not in ("situation", "indicator"):
        return None
    return replace(block, text=share(block.text, "nothing"))
