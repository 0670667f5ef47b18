"""Asks the published model a question, with computed numbers in the prompt.

A question that names a symbol of the candles gets the numbers of that symbol, one about a trade of
the user's own the last closed one, one about their portfolio what it is made of; any other goes
verbatim. The answer comes with the prompt that the model saw and with the numbers that it was not
given. Where the model runs here, it can only write sentences that are true of its numbers
(`truth/answer_grammar.py`). The prompt is rendered from what was published, as for every other
client.
"""

import re
from dataclasses import dataclass, replace

import pyarrow.parquet as pq

from stock_llm.dataset.decisions import STALE_DAYS, Market
from stock_llm.errors import InputError
from stock_llm.evaluation.answers import DISCLAIMER
from stock_llm.evaluation.numbers_in_text import ungrounded_numbers
from stock_llm.llm.prompts import user_text
from stock_llm.market.candles import candle_table
from stock_llm.market.situation import WARM_UP, compute_indicators
from stock_llm.ollama.publish_target import publish_target
from stock_llm.pipeline import history
from stock_llm.portfolio import holdings
from stock_llm.settings import Settings
from stock_llm.skills.explain import TEXTBOOK
from stock_llm.truth.answer_grammar import language_of, true_answers

PORTFOLIO_QUESTION = re.compile(
    r"\bmy (?:whole |entire |current )?(?:portfolio|holdings|positions|stocks|investments)\b|พอร์ต",
    re.IGNORECASE,
)
"""A question about all that the user holds."""

TRADE_QUESTION = re.compile(
    r"\bmy (?:\S+ ){0,2}(?:trades?|sale)\b|(?:ซื้อขาย|เทรด).*(?:ของฉัน|ของผม)|ไม้ล่าสุด",
    re.IGNORECASE,
)
"""A question about what the user bought and sold again."""


@dataclass(frozen=True)
class AskResult:
    """An answer with its circumstances.

    Attributes:
        prompt: the text that the model was given, without BOS.
        text: the answer, which ends with the disclaimer.
        invented: numbers of the answer that are not in the numbers that the model was given.
    """

    prompt: str
    text: str
    seconds: float
    invented: list[str]


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
    context = known_numbers(settings, text)
    question = user_text(text.strip(), context)
    reply = publish_target(
        settings.ollama_host, settings.path(settings.ollama_store), settings.threads
    ).ask(
        model,
        [{"role": "user", "content": question}],
        grammar=true_answers(question) if settings.true_sentences else "",
    )
    invented = ungrounded_numbers(reply.text, context) if context else []
    return AskResult(
        reply.prompt,
        _with_disclaimer(reply.text, text),
        reply.seconds,
        _unexplained(invented, reply.text),
    )


def known_numbers(settings: Settings, text: str) -> str:
    """The block of the first symbol of our candles that the question names, at its last close; of
    the user's last closed trade, in that symbol if one is named, where it asks about their trade;
    of the portfolio where it names that in place of a symbol; else nothing.

    Candles and positions are those of the history that is there now, as collect makes it. A
    question that names one indicator gets the lines that explaining it was trained with.

    Raises:
        InputError: the symbol's history is too short, or the portfolio or the trade is none that
            can be reviewed.
    """
    parses = history.load_candles(settings)
    symbols = {symbol for parse in parses for symbol in parse.facts["symbols"]}
    words = [word.strip(".-").upper() for word in re.findall(r"[A-Za-z0-9.\-=^]+", text)]
    symbol = next((word for word in words if word in symbols), None)
    if TRADE_QUESTION.search(text):
        return _last_trade(settings, symbol)
    if symbol is None:
        return _portfolio(settings) if PORTFOLIO_QUESTION.search(text) else ""
    known = history.current(settings)
    table = pq.read_table(known.candles, filters=[("symbol", "=", symbol)])
    (series,) = candle_table.candles_by_symbol(table)
    situation = compute_indicators(series).at(len(series) - 1)
    if situation is None:
        file = settings.path(settings.candles) / table["source_file"][-1].as_py()
        raise InputError(
            f"{symbol} has {len(series)} candles, its indicators need {WARM_UP + 1}",
            file=file,
        )
    held = holdings.holdings_by_symbol(
        holdings.read_fills(pq.read_table(known.steps, filters=[("symbol", "=", symbol)]))
    ).get(symbol)
    situation = replace(situation, position=held.positions[-1] if held else None)
    named = [name for name in TEXTBOOK if re.search(rf"\b{name}\b", text, re.IGNORECASE)]
    lines = ("Symbol", "Date", "Close", TEXTBOOK[named[0]].line) if len(named) == 1 else ()
    return situation.block(*lines)


def _portfolio(settings: Settings) -> str:
    market = Market.of(history.current(settings))
    portfolio = market.portfolio(market.days[-1])
    if portfolio is None:
        raise InputError(
            f"there is no portfolio to review on {market.days[-1]}: that takes a stock or fund, "
            f"all in one currency, with candles of the last {STALE_DAYS} days",
            remedy="stock-llm positions shows what is held",
        )
    return portfolio.view.block()


def _last_trade(settings: Settings, symbol: str | None) -> str:
    trades = [
        trade
        for trade in Market.of(history.current(settings)).closed_trades
        if symbol in (None, trade.entry.symbol)
    ]
    if not trades:
        raise InputError(
            f"there is no closed trade{f' in {symbol}' if symbol else ''} to review: that takes a "
            f"sale at a gain or loss, and {WARM_UP} candles before the purchase",
            remedy="stock-llm positions shows what was bought and sold",
        )
    return max(trades, key=lambda trade: (trade.closed, trade.opened)).block()


def _with_disclaimer(answer: str, question: str) -> str:
    if any(answer.rstrip().endswith(text) for text in DISCLAIMER.values()):
        return answer
    return f"{answer.rstrip()}\n{DISCLAIMER[language_of(question)]}"


def _unexplained(numbers: list[str], answer: str) -> list[str]:
    """Numbers beside the confidence, which is the model's own."""
    own = set(re.findall(r"\d+%$", answer, re.MULTILINE))
    return [number for number in numbers if number not in own]
