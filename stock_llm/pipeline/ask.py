"""Asks the published model a question, with computed numbers in the prompt.

A question that names a symbol of the candles gets the numbers of that symbol, one about a trade of
the user's own the last closed one, one about their portfolio what it is made of; any other goes
verbatim (`grounding/`, the same code as in the gateway). The answer comes with the prompt that the
model saw and with what code found out about it. Where the model runs here, it can only write
sentences that are true of its numbers (`truth/answer_grammar.py`). The prompt is rendered from what
was published, as for every other client.
"""

from dataclasses import dataclass

from stock_llm.errors import InputError
from stock_llm.evaluation.answers import DISCLAIMER
from stock_llm.grounding.own_data import OwnData
from stock_llm.ledger import instruments
from stock_llm.llm.prompts import user_text
from stock_llm.market.calendars import Exchanges
from stock_llm.ollama.publish_target import publish_target
from stock_llm.pipeline import history
from stock_llm.settings import Settings
from stock_llm.truth.answer_check import AnswerCheck, AnswerChecker
from stock_llm.truth.answer_grammar import language_of, true_answers


@dataclass(frozen=True)
class AskResult:
    """An answer with its circumstances.

    Attributes:
        prompt: the text that the model was given, without BOS.
        text: the answer, which ends with the disclaimer.
        check: what code found out about its sentences and numbers; None where the question has no
            numbers.
        note: what a reader should know about the numbers; else empty.
    """

    prompt: str
    text: str
    seconds: float
    check: AnswerCheck | None = None
    note: str = ""

    @property
    def invented(self) -> list[str]:
        """Numbers of the answer that are not in the numbers that the model was given."""
        return list(self.check.invented) if self.check else []


def ask(settings: Settings, text: str, model: str) -> AskResult:
    """The answer of a published model.

    Raises:
        InputError: the question is empty, or about a symbol whose history is too short.
        PublishError: there is no such model where models are published.
    """
    if not text.strip():
        raise InputError(
            "the question is empty",
            remedy='Try: stock-llm ask "Analyze …" with one of your symbols',
        )
    block = own_data(settings).block_for(text)
    question = user_text(text.strip(), block.text if block else "")
    reply = publish_target(
        settings.ollama_host, settings.path(settings.ollama_store), settings.threads
    ).ask(
        model,
        [{"role": "user", "content": question}],
        grammar=true_answers(question) if settings.true_sentences else "",
    )
    checker = AnswerChecker.of(question)
    return AskResult(
        reply.prompt,
        _with_disclaimer(reply.text, text),
        reply.seconds,
        checker.check(reply.text) if checker else None,
        block.note if block else "",
    )


def own_data(settings: Settings) -> OwnData:
    """The user's own numbers: those of the history that is there now, as collect makes it.

    Raises:
        InputError: a file of candles cannot be read.
    """
    known = instruments.load_instruments(settings.path(settings.instruments))
    exchanges = Exchanges(known.exchanges, settings.exchange)
    parses = history.load_candles(settings, exchanges)
    symbols = {symbol for parse in parses for symbol in parse.facts["symbols"]}
    return OwnData(
        symbols, lambda: history.current(settings), exchanges, settings.path(settings.candles)
    )


def _with_disclaimer(answer: str, question: str) -> str:
    if any(answer.rstrip().endswith(text) for text in DISCLAIMER.values()):
        return answer
    return f"{answer.rstrip()}\n{DISCLAIMER[language_of(question)]}"
