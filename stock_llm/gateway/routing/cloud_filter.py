"""What of a request may leave this machine: identities are redacted, and the ledger stays here as
far as the settings say.

It stands between the router and every provider that is not on this machine, whatever API a request
came by. What the user writes in words of their own is theirs to send, identities apart.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stock_llm.gateway.accounting.ledger_answers import LedgerAnswers
from stock_llm.gateway.chat import ChatMessage, ChatRequest
from stock_llm.truth.blocks import LedgerSharing, has_ledger, share

WITHHELD = "(This answer used numbers of the ledger, which stay on the user's machine.)"
"""What a cloud model sees in place of an earlier answer."""


@dataclass(frozen=True, slots=True)
class CloudRequest:
    """A request as it may leave this machine.

    Attributes:
        withheld: whether something of the ledger was taken out.
    """

    request: ChatRequest
    withheld: bool


class CloudFilter:
    """Makes requests ready to leave this machine.

    Args:
        sharing: what of the ledger may leave it.
        holds_ledger: whether the numbers that a question gets are in part from the ledger: the
            answer to it then is as well, and so may be every later answer, which repeats it.
        redact: takes identities out of a text.
        answers: what was answered from the ledger, whose questions a client may leave out; None: no
            answer is recognised by itself.
    """

    def __init__(
        self,
        sharing: LedgerSharing,
        holds_ledger: Callable[[str], bool] = lambda _: False,
        redact: Callable[[str], str] = str,
        answers: LedgerAnswers | None = None,
    ):
        self._sharing, self._holds_ledger, self._redact = sharing, holds_ledger, redact
        self._answers = answers

    def apply(self, request: ChatRequest) -> CloudRequest:
        """The request as it may leave this machine. May take seconds at first use; knows no event
        loop.

        Raises:
            StoreError: what was answered from the ledger cannot be read.
        """
        messages: list[ChatMessage] = []
        withheld, after_ledger = False, False
        answers, known = self._answers, self._known_answers(request)
        for message in request.messages:
            if message.role == "user":
                after_ledger = after_ledger or self._tells_ledger(message.content)
            elif message.role in ("assistant", "tool"):
                recalled = answers is not None and answers.is_among(message.content, known)
                after_ledger = after_ledger or recalled
                if after_ledger:
                    messages.append(_withhold(message))
                    withheld = True
                    continue
            content = share(message.content, self._sharing)
            if answers is not None:
                content = answers.without(content, known)
            withheld = withheld or content != message.content
            messages.append(
                replace(message, content=self._redact(content), extra=self._texts(message.extra))
            )
        return CloudRequest(
            replace(request, messages=tuple(messages), extra=self._texts(request.extra)), withheld
        )

    def text(self, text: str) -> str:
        """A single text as it may leave this machine."""
        return self._redact(share(text, self._sharing))

    def _known_answers(self, request: ChatRequest) -> Collection[int]:
        """Of the texts of a request those that were answered from the ledger."""
        if self._answers is None or self._sharing == "everything":
            return ()
        return self._answers.known(message.content for message in request.messages)

    def _tells_ledger(self, question: str) -> bool:
        """Whether the answers from this question on may tell what has to stay here."""
        if self._sharing == "everything":
            return False
        return has_ledger(question) or self._holds_ledger(question)

    def _texts(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values with their texts made ready, images apart."""
        return {
            name: value if name == "images" else self._text(value) for name, value in values.items()
        }

    def _text(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {name: self._text(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._text(inner) for inner in value)
        return value


def _withhold(message: ChatMessage) -> ChatMessage:
    """The turn without its text; calls of tools stay, since their results refer to them, without
    their arguments."""
    extra = {name: value for name, value in message.extra.items() if name not in _TOLD}
    if calls := message.extra.get("tool_calls"):
        extra["tool_calls"] = [_bare_call(call) for call in calls]
    return replace(message, content=WITHHELD, extra=extra)


_TOLD = ("thinking", "images", "logprobs", "tool_calls")


def _bare_call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {**call, "function": {"name": call["function"]["name"], "arguments": {}}}
