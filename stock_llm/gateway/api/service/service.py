"""The stock service: prompts for an analysis, for code and for a translation, and what callers get
of the answers.

Indicators and prompt are the same code as in training. The published model is asked in the words of
its training; any other model gets the format as an instruction and, where it can, as a JSON schema.
The numbers of an answer are searched for in the numbers that were given.
"""

import ast
import json
import re
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from stock_llm.errors import InputError
from stock_llm.evaluation.answers import VERDICTS, AnswerError, Language, SkillAnswer, parse_answer
from stock_llm.evaluation.numbers_in_text import ungrounded_numbers
from stock_llm.gateway.api.handler import FeedbackSubject
from stock_llm.gateway.api.service.schemas import (
    AnalyzeRequest,
    AnalyzeResponse,
    AnswerChecks,
    CodeRequest,
    CodeResponse,
    Levels,
    TranslateRequest,
    TranslateResponse,
)
from stock_llm.gateway.chat import ChatMessage, ChatRequest, Grounding
from stock_llm.llm import prompts
from stock_llm.market.situation import (
    Candles,
    Position,
    Situation,
    compute_indicators,
    read_situation,
    round_as_printed,
)
from stock_llm.ollama.model_name import MODEL
from stock_llm.skills import analyse, code, statements
from stock_llm.truth.blocks import ComputedBlock

_LANGUAGES: dict[Language, str] = {"en": "English", "th": "Thai"}

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "trend": {"enum": list(VERDICTS["trend"])},
        "recommendation": {"enum": list(VERDICTS["recommendation"])},
        "confidence": {"type": "integer"},
        "insights": {"type": "array", "items": {"type": "string"}},
        "risks": {"type": "array", "items": {"type": "string"}},
        "support": {"type": "string"},
        "resistance": {"type": "string"},
    },
    "required": [
        "trend",
        "recommendation",
        "confidence",
        "insights",
        "risks",
        "support",
        "resistance",
    ],
    "additionalProperties": False,
}
_FORMAT = (
    "Answer with a JSON object: trend (UP, DOWN or SIDEWAYS), recommendation (BUY, HOLD or SELL), "
    "confidence (0 to 100, in percent that the recommendation turns out right), insights and "
    "risks (two or three short sentences each, in {language}, with numbers exactly as given), "
    "support and "
    "resistance (prices exactly as given). Nothing else."
)


@dataclass(frozen=True)
class AnalysisPrompt:
    """A question about a stock.

    Attributes:
        data_length: characters of the data that the caller sent.
        added: the numbers, where they are the gateway's own and not the caller's.
    """

    situation: Situation
    language: Language
    data_length: int
    added: ComputedBlock | None = None

    @property
    def instruction(self) -> str:
        """The question in the words of training."""
        return analyse.INSTRUCTIONS[self.language][0].format(symbol=self.situation.symbol)

    @property
    def subject(self) -> FeedbackSubject:
        """What feedback would be about."""
        situation = self.situation
        return FeedbackSubject(
            self.instruction,
            situation.block(),
            analyse.NAME,
            situation.symbol,
            situation.as_of,
            self.as_taught,
        )

    def request(self, model: str) -> ChatRequest:
        """The question, to be put to whoever answers in the words that suit that model.

        Args:
            model: the one that the caller wants; "auto" lets the router choose.
        """
        notes = (self.added.note,) if self.added and self.added.note else ()
        grounding = Grounding(self.added, notes)
        return ChatRequest((self._question,), model, adapt=self._for, grounding=grounding)

    def _for(self, model: str) -> ChatRequest:
        if _is_taught(model):
            return ChatRequest((self._question,), model)
        system = f"{prompts.SYSTEM} {_FORMAT.format(language=_LANGUAGES[self.language])}"
        return ChatRequest((ChatMessage("system", system), self._question), model, format=_SCHEMA)

    @property
    def _question(self) -> ChatMessage:
        return ChatMessage("user", prompts.user_text(self.instruction, self.situation.block()))

    def as_taught(self, text: str) -> str:
        """An answer in the format that models are taught; as it is where it cannot be read."""
        try:
            return self.read(text).text()
        except AnswerError:
            return text

    def read(self, text: str) -> SkillAnswer:
        """The fields of an answer, in whichever of the two formats.

        Raises:
            AnswerError: it is in neither.
        """
        if not (stripped := _unfenced(text)).startswith("{"):
            return parse_answer(text)
        try:
            values = json.loads(stripped)
        except ValueError as error:
            raise AnswerError(f"not JSON: {error}") from None
        return _answer_of(values, self.language)

    def response(self, text: str, metadata: dict[str, Any]) -> AnalyzeResponse:
        """What the caller gets."""
        situation, problem = self.situation, ""
        try:
            answer = self.read(text)
        except AnswerError as error:
            answer, problem = SkillAnswer(language=self.language), str(error)
        if not problem and not answer.recommendation:
            problem = "the answer has no recommendation"
        source = situation.block()
        levels = [level for level in (answer.support, answer.resistance) if level]
        checked = "\n".join([*answer.bullets, *levels]) if answer.bullets else text
        return AnalyzeResponse(
            symbol=situation.symbol,
            as_of=situation.as_of,
            recommendation=answer.recommendation,  # type: ignore[arg-type]  # parse has checked it
            confidence=answer.confidence,
            trend=answer.trend,
            insights=list(answer.insights),
            risks=list(answer.risks),
            levels=Levels(support=answer.support, resistance=answer.resistance),
            indicators=situation.lines(),
            text=text,
            checks=AnswerChecks(
                grounded=statements.grounded(checked, source),
                invented=list(dict.fromkeys(ungrounded_numbers(checked, source))),
                truth=statements.truth(answer.bullets, situation),
                problem=problem,
            ),
            stock_llm=metadata,
        )


def _is_taught(model: str) -> bool:
    """Whether a model's name is that of a published one."""
    return model.rpartition("/")[2].partition(":")[0] == MODEL


def build_analysis(body: AnalyzeRequest, own: ComputedBlock | None = None) -> AnalysisPrompt:
    """The question of a request, its indicators computed.

    Args:
        own: the gateway's own numbers of the symbol, for a request without any.

    Raises:
        InputError: the candles are too few or too odd to compute them.
    """
    symbol = body.symbol.upper()
    position = Position(body.position.quantity, body.position.cost) if body.position else None
    if body.indicators:
        given = body.indicators
        prices = {name: round_as_printed(getattr(given, name)) for name in _PRICES}
        situation = Situation(
            symbol=symbol,
            as_of=given.date.isoformat(),
            rsi14=round(given.rsi14, 1),
            macd=round(given.macd, 2) + 0.0,
            macd_signal=round(given.macd_signal, 2) + 0.0,
            volume=round(given.volume, 1),
            position=position,
            **prices,
        )
        return AnalysisPrompt(_sound(situation), body.language, len(given.model_dump_json()))
    if own and not body.candles:
        read = read_situation(own.text)
        assert read, f"not a block of a situation: {own.text!r}"
        situation = read
        if position:
            situation = replace(situation, position=position)
            own = replace(own, text=situation.block())
        return AnalysisPrompt(_sound(situation), body.language, len(symbol), own)
    rows = body.candles or []
    series = {
        name: np.array([getattr(row, name) for row in rows], float)
        for name in ("open", "high", "low", "close", "volume")
    }
    candles = Candles(
        symbol=symbol, day=np.array([row.date for row in rows], "datetime64[D]"), **series
    )
    computed = compute_indicators(candles).at(len(rows) - 1, position)
    if computed is None:
        raise InputError(f"{len(rows)} candles are too few to compute the indicators")
    return AnalysisPrompt(
        _sound(computed), body.language, sum(len(row.model_dump_json()) for row in rows)
    )


_PRICES = ("close", "sma20", "sma50", "atr14", "band_low", "band_high", "support", "resistance")


def _sound(situation: Situation) -> Situation:
    """
    Raises:
        InputError: a value is no number, or a price vanishes in rounding: percentages of it do not
            exist.
    """
    for name in _PRICES:
        value = getattr(situation, name)
        if not np.isfinite(value) or (value <= 0 and name in ("close", "sma20", "sma50")):
            raise InputError(
                f"{name} is {value}",
                remedy="Give prices above 0.0001, and candles that are a real history",
            )
    return situation


def _answer_of(values: Any, language: Language) -> SkillAnswer:
    """
    Raises:
        AnswerError: a field is missing or does not fit.
    """
    if not isinstance(values, dict):
        raise AnswerError("the JSON is no object")
    fields: dict[str, Any] = {"language": language}
    for name in ("trend", "recommendation"):
        if values.get(name) not in VERDICTS[name]:
            raise AnswerError(
                f"{name} is {values.get(name)!r}, not one of {', '.join(VERDICTS[name])}"
            )
        fields[name] = values[name]
    confidence = values.get("confidence")
    if (
        not isinstance(confidence, int | float)
        or isinstance(confidence, bool)
        or not 0 <= confidence <= 100
    ):
        raise AnswerError(f"confidence is {confidence!r}, not a percentage")
    fields["confidence"] = round(confidence)
    for name in ("insights", "risks"):
        if not isinstance(values.get(name), list):
            raise AnswerError(f"{name} is {values.get(name)!r}, not a list")
        fields[name] = tuple(
            " ".join(str(text).split()) for text in values[name] if str(text).strip()
        )
    for name in ("support", "resistance"):
        fields[name] = _price(values.get(name))
    return SkillAnswer(**fields)


def _price(value: Any) -> str | None:
    text = str(value).lstrip("$ ").replace(",", "") if isinstance(value, str | int | float) else ""
    match = re.fullmatch(r"\d+(?:\.\d+)?", text)
    return match[0] if match else None


_FENCE = re.compile(r"```[\w+#]*[ \t]*\n(.*?)\n?```", re.DOTALL)


def _unfenced(text: str) -> str:
    match = _FENCE.fullmatch(text.strip())
    return (match[1] if match else text).strip()


def code_request(asked: CodeRequest) -> ChatRequest:
    """What a model is asked for code; a description that is a whole instruction already is left as
    it is."""
    if asked.language.lower() == "python" and re.match(
        r"(write|python|def|create|เขียน)\b", asked.description, re.IGNORECASE
    ):
        text = asked.description
    else:
        text = f"Write {asked.language.capitalize()} code: {asked.description}"
    return ChatRequest((ChatMessage("user", text),), asked.model)


def code_feedback_subject(request: ChatRequest) -> FeedbackSubject:
    """What feedback on code would be about."""
    return FeedbackSubject(request.messages[-1].content, skill=code.NAME)


def code_response(asked: CodeRequest, text: str, metadata: dict[str, Any]) -> CodeResponse:
    """The code of an answer: its fenced blocks, or all of it."""
    blocks = [block.strip("\n") for block in _FENCE.findall(text)]
    code = "\n\n".join(blocks) if blocks else text.strip()
    return CodeResponse(
        language=asked.language,
        code=code,
        valid=_parses(code, asked.language),
        text=text,
        stock_llm=metadata,
    )


def _parses(source: str, language: str) -> bool | None:
    if language.lower() != "python":
        return None
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return bool(source.strip())


def translate_request(asked: TranslateRequest) -> ChatRequest:
    """What a model is asked for a translation."""
    to = _LANGUAGES[asked.to] if asked.to in get_args(Language) else asked.to  # type: ignore[index]
    return ChatRequest(
        (
            ChatMessage(
                "user", f"Translate into {to}. Answer with the translation alone.\n\n{asked.text}"
            ),
        ),
        asked.model,
    )


def translate_response(text: str, metadata: dict[str, Any]) -> TranslateResponse:
    """The translation."""
    return TranslateResponse(text=text.strip(), stock_llm=metadata)
