"""An answer, and its text while the tokens come."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """One answer.

    Attributes:
        text: without the stop sequence and without surrounding white space.
        finish: `stop` (end token or stop sequence) or `length` (max_tokens, or the context was
            full).
        seconds: wall time, prompt included.
    """

    text: str
    tokens_in: int
    tokens_out: int
    seconds: float
    finish: str


class AnswerText:
    """The text of the tokens so far, up to a stop sequence.

    A token may end inside a character, and a text in what may yet become a stop sequence.
    """

    def __init__(self, stop: Sequence[str]):
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""

    def add(self, piece: bytes) -> bool:
        """Takes the bytes of a token; True where the text has come to a stop sequence, which is cut
        off.
        """
        known = len(self._text)
        self._text += self._decoder.decode(piece)
        places = [self._text.find(mark, max(0, known - len(mark))) for mark in self._stop]
        if cut := [place for place in places if place >= 0]:
            self._text = self._text[: min(cut)]
            self._decoder.reset()
        return bool(cut)

    @property
    def certain(self) -> str:
        """The text without white space around it and without an end that may yet become a stop
        sequence.
        """
        ends = (
            size
            for mark in self._stop
            for size in range(len(mark) - 1, 0, -1)
            if self._text.endswith(mark[:size])
        )
        return self._text[: len(self._text) - max(ends, default=0)].strip()

    def close(self) -> str:
        """The whole text, without white space around it; nothing can be added any more."""
        return (self._text + self._decoder.decode(b"", final=True)).strip()
