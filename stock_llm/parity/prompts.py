"""Whether a prompt is the same text and the same tokens in training, in a GGUF and in Ollama.

Three writings are compared: Python's, which training uses, the Jinja template that the GGUF holds,
and the Go template of the Modelfile. Then training's tokens with those that llama.cpp makes of the
text. Beside every question of the holdout, a fuzz is asked: other scripts, marks, digits and white
space, which questions of one market seldom hold, and conversations of every order of turns.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jinja2.sandbox import ImmutableSandboxedEnvironment

from stock_llm.errors import ParityError
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.prompt_formats import PromptFormat
from stock_llm.llm.prompts import SYSTEM, Message, Role, messages
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.rendering import render
from stock_llm.skills.row import Row

Tokens = Callable[[str], list[int]]
"""How training tokenizes a rendered text, BOS included."""


@dataclass(frozen=True)
class Question:
    """What is asked, and what names it in an error."""

    id: str
    turns: list[Message]

    @property
    def served(self) -> list[Message]:
        """The turns that a program sends: the server has the system text from the Modelfile."""
        first = self.turns[0]
        own = first["role"] == "system" and first["content"] == SYSTEM
        return self.turns[1:] if own else self.turns


def questions(rows: Iterable[Row]) -> list[Question]:
    """The prompts of rows."""
    return [Question(row.id, messages(row.instruction, row.input)) for row in rows]


_ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_PIECES = (
    *(
        "BUY",
        "RSI(14): 61.35",
        "1234567890",
        "0.00",
        "1,000,000.50",
        "-3.5 %",
        "½ ² ١٢٣",
        "3.14e-5",
    ),
    *("ราคาปิด", "น้ำ", "กำลัง", "ที่ดีขึ้น", "๑๒๓", "ไม่", "Straße", "naïve", "e\u0301", "é", "Ωμέγα"),
    *("нещо", "日本語", "한국어", "عربى", "עברית", "हिन्दी", "📈", "👩‍💻", "🇹🇭"),
    *("\u200b", "\u00a0", "\ufeff", "\u2028", "\x07"),
    *(" ", "  ", "     ", "\n", "\n\n", "\t", "\r\n", "\n ", " \n"),
    *("don't", "I'LL", "HTTPServer", "''", "```", "{{ x }}", "{% raw %}"),
    *("[INST", "INST]", "\\n", "a", "A", ":", "…", "€", "—"),
)


def fuzz(seed: int, count: int) -> list[Question]:
    """Questions of pieces that tokenizers are known to cut apart in different ways."""
    chance = random.Random(seed)
    asked = []
    for number in range(count):
        first, second = (
            "".join(chance.choices(_PIECES, k=chance.randint(1, 12))) for _ in range(2)
        )
        asked.append(Question(f"fuzz-{seed}-{number}", messages(first, second)))
    return asked


CONVERSATIONS = 60
"""How many are compared."""

_ORDERS: tuple[tuple[Role, ...], ...] = (
    ("user", "user"),
    ("user", "assistant", "user", "user"),
    ("user", "system", "user"),
    ("user", "assistant", "system", "user"),
    ("user", "assistant"),
    ("user", "assistant", "user", "assistant"),
    ("assistant", "user"),
    ("system", "user"),
    ("system", "system", "user", "assistant", "assistant", "user"),
)


def conversations(seed: int, count: int = CONVERSATIONS) -> list[Question]:
    """Conversations as programs send them: several questions in a row, a system text of their own
    or in the middle, an answer to go on with, empty turns.

    Two answers at the end are left out: llama.cpp's server refuses them.
    """
    chance = random.Random(seed)
    orders = list(_ORDERS)
    while len(orders) < count:
        order = tuple(chance.choices(_ROLES, (1, 4, 3), k=chance.randint(1, 6)))
        if order[-1] != "system" and order[-2:] != ("assistant", "assistant"):
            orders.append(order)
    asked = []
    for number, order in enumerate(orders[:count]):
        turns: list[Message] = []
        if order[0] != "system":
            turns.append({"role": "system", "content": SYSTEM})
        for role in order:
            text = "".join(chance.choices(_PIECES, k=chance.randint(0, 4)))
            turns.append({"role": role, "content": text})
        asked.append(Question(f"conversation-{seed}-{number} ({', '.join(order)})", turns))
    return asked


def check_rendering(
    asked: Sequence[Question], prompt_format: PromptFormat, jinja: str, modelfile: Modelfile
) -> None:
    """Every question is one text in all three writings. The chat template is used as llama.cpp's
    server does: an answer at the end is no turn of it, and is written after it.

    Args:
        jinja: the chat template that the GGUF holds.
        modelfile: of the candidate.

    Raises:
        ParityError: names the question and the writing, and shows where they part.
    """
    template = ImmutableSandboxedEnvironment().from_string(jinja)
    for question in asked:
        text, turns, rest = prompt_format.prompt(question.turns), question.turns, ""
        if turns[-1]["role"] == "assistant":
            turns, rest = turns[:-1], turns[-1]["content"]
        served = [{"role": turn["role"], "content": turn["content"]} for turn in question.served]
        for writing, other in (
            ("the chat template of the GGUF", template.render(messages=turns) + rest),
            ("the Modelfile", render(modelfile.template, served, system=modelfile.system)),
        ):
            if other != text:
                at = _first_difference(text, other)
                raise ParityError(
                    f"{question.id}: {writing} renders another prompt than training saw, from "
                    f"character {at} on: {other[max(0, at - 20) : at + 40]!r}, training saw "
                    f"{text[max(0, at - 20) : at + 40]!r}"
                )


def check_tokens(
    asked: Sequence[Question],
    prompt_format: PromptFormat,
    tokens: Tokens,
    model: LlamaModel,
    context: int,
) -> None:
    """Every question has one list of tokens in training and in the GGUF, and fits the context.

    Raises:
        ParityError: names the question, shows where they part and says what it looks like.
    """
    for question in asked:
        text = prompt_format.prompt(question.turns)
        ours, theirs = tokens(text), model.tokenize(text)
        if ours != theirs:
            at = _first_difference(ours, theirs)
            raise ParityError(
                f"{question.id}: token {at} of the prompt differs: "
                f"training saw {ours[max(0, at - 3) : at + 4]}, "
                f"the GGUF gives {theirs[max(0, at - 3) : at + 4]}"
                f"{_diagnosis(text, ours, theirs, prompt_format, tokens, model)}"
            )
        if len(ours) >= context:
            raise ParityError(
                f"{question.id}: the prompt has {len(ours)} tokens, num_ctx is {context}: "
                "it would be cut silently"
            )


def _diagnosis(
    text: str,
    ours: list[int],
    theirs: list[int],
    prompt_format: PromptFormat,
    tokens: Tokens,
    model: LlamaModel,
) -> str:
    """What the difference looks like; empty: nothing that is known."""
    if ours[1:] == theirs:
        return ". The GGUF puts no BOS before a prompt"
    if ours == theirs[1:]:
        return ". The GGUF puts a BOS before a prompt, training did not"
    bos = tokens("")
    for mark in marks(prompt_format):
        if mark not in text:
            continue
        alone = tokens(mark)[len(bos) :]
        served = model.tokenize(mark, bos=False)
        if len(alone) == 1 and len(served) > 1:
            return f". {mark!r} is one token in training, in the GGUF it is ordinary text"
    shared = sum(one == other for one, other in zip(ours, theirs, strict=False))
    if shared < len(ours) / 2:
        return ". The GGUF has another tokenizer"
    return ""


def marks(prompt_format: PromptFormat) -> list[str]:
    """The texts between which a prompt's parts stand, such as `[INST]`."""
    parts = [
        prompt_format.begin,
        *prompt_format.system,
        *prompt_format.user,
        prompt_format.answer,
        *prompt_format.stop,
    ]
    return sorted({part.strip() for part in parts if part.strip()})


def _first_difference(one: Sequence[object], other: Sequence[object]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, pair in pairs if pair[0] != pair[1]), min(len(one), len(other)))
