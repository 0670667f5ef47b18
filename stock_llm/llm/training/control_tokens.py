"""Finds texts that hold what a prompt format is made of, such as `[INST]` or an end token.

A model that is trained on such a text learns to end, or to begin, a turn in the middle of one.
Imports none of the large libraries.
"""

from collections.abc import Sequence
from typing import Any

from stock_llm.llm.prompt_formats import PromptFormat
from stock_llm.llm.prompts import Message


class ControlTokens:
    """The control tokens of a tokenizer, and where a prompt format puts them.

    Args:
        tokenizer: of transformers.
    """

    def __init__(self, prompt_format: PromptFormat, tokenizer: Any):
        self._format, self._tokenizer = prompt_format, tokenizer
        self._control = set(tokenizer.all_special_ids) | {
            index
            for index, token in tokenizer.added_tokens_decoder.items()
            # some vocabularies add runs of blanks, or letters
            if len(token.content) > 1 and not token.content.isspace()
        }
        self._known: dict[tuple[tuple[str, str], ...], list[int]] = {}

    def stand_in(self, turns: Sequence[Message], ids: list[int]) -> bool:
        """Whether a text of a conversation holds a control token or a stop sequence.

        Args:
            ids: the tokens of the rendered conversation.
        """
        if [token for token in ids if token in self._control] != self._of_format(turns):
            return True
        return any(
            stop in turn["content"]
            for turn in turns
            if turn["role"] != "system"  # which is ours
            for stop in self._format.stop
        )

    def _of_format(self, turns: Sequence[Message]) -> list[int]:
        """The control tokens of a conversation whose texts are empty."""
        key = tuple(
            (turn["role"], turn["content"] if turn["role"] == "system" else "") for turn in turns
        )
        if key not in self._known:
            empty: list[Message] = [{"role": role, "content": text} for role, text in key]
            ids = self._tokenizer(self._format.render(empty)).input_ids
            self._known[key] = [token for token in ids if token in self._control]
        return self._known[key]
