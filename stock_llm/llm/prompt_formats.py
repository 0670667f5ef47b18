"""Prompt formats: how a conversation becomes the text that a model sees.

A format is a few pieces of text; `render` (Python), `jinja` (the chat template in the GGUF and the
tokenizer) and `go` (the TEMPLATE of Ollama's Modelfile) are three writings of it, and tests hold
them equal. Training, judging and serving write their prompts with nothing else. The profile of a
base model names its format. BOS stands in none of the three writings: the tokenizer adds it.

Turns of one role that follow each other are one turn, as Ollama has it before its Go template is
executed; llama.cpp's server does not do that, so the chat template does. What a model is given to
go on with is `prompt`: a conversation that ends with an answer leaves that open. Ollama executes
its template there; llama.cpp's server writes the answer itself, after the prompt of the turns
before it.

Where a model brings a chat template of its own, its format renders the same text, as far as such a
template could be had (tests/llm/test_own_templates.py). Jinja's `trim` has no counterpart in
Ollama's templates, so white space around a text stays in ours.

Both templates mention tools, which gives the model Ollama's capability `tools` and leaves the
prompt as it was trained; if only one did, Ollama would prefer it to the other or refuse requests
with tools.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from stock_llm.llm.prompts import JOINT, Message, join_adjacent


@dataclass(frozen=True)
class PromptFormat:
    """The pieces of a prompt, in the order in which they are written.

    Attributes:
        name: as a profile names it.
        stop: texts that end an answer, the end token among them (Modelfile `PARAMETER stop`).
        bos: the token that the tokenizer puts before the text; empty: none.
        begin: before the first turn.
        system: before and after a system text.
        user: before and after a question.
        answer: opens an answer; the end of a prompt.
        assistant: before and after the text of an answer; these three are what is learnt.
        between: after an answer that another turn follows.
        default_system: the system text of a conversation that does not begin with one.
    """

    name: str
    stop: tuple[str, ...]
    bos: str = ""
    begin: str = ""
    system: tuple[str, str] = ("", "")
    user: tuple[str, str] = ("", "")
    answer: str = ""
    assistant: tuple[str, str] = ("", "")
    between: str = ""
    default_system: str = ""

    def render(self, turns: Sequence[Message]) -> str:
        """The text of a conversation, without BOS. One that does not end with an answer is a
        prompt.
        """
        turns = join_adjacent(turns)
        text = self.begin
        if self.default_system and turns and turns[0]["role"] != "system":
            text += self.default_system.join(self.system)
        for index, turn in enumerate(turns):
            last = index == len(turns) - 1
            if turn["role"] == "system":
                text += turn["content"].join(self.system)
            elif turn["role"] == "user":
                text += turn["content"].join(self.user)
            elif turn["role"] == "assistant":
                text += self.answer + self.answer_text(turn["content"])
                text += "" if last else self.between
            if last and turn["role"] != "assistant":
                text += self.answer
        return text

    def prompt(self, turns: Sequence[Message]) -> str:
        """The text that a model goes on with, without BOS: `render`, where the conversation does
        not end with an answer; else the prompt of that answer and what it says, as far as it goes.
        """
        turns = join_adjacent(turns)
        if not turns or turns[-1]["role"] != "assistant":
            return self.render(turns)
        if turns[:-1]:
            return self.render(turns[:-1]) + turns[-1]["content"]
        default = self.default_system.join(self.system) if self.default_system else ""
        return self.begin + default + self.answer + turns[-1]["content"]

    def answer_text(self, text: str) -> str:
        """What a model writes after the prompt, to the end token."""
        return text.join(self.assistant)

    @cached_property
    def jinja(self) -> str:
        """The format as a chat template of transformers and llama.cpp, which drop a line break
        after a block and blanks before one.
        """
        system, user, assistant = map(_joined, (self.system, self.user, self.assistant))
        default, answer, between = "", "", _after_block(self.between)
        if self.default_system:
            default = "{% if loop.first and message['role'] != 'system' %}"
            default += _after_block(self.default_system.join(self.system)) + "{% endif %}"
        if self.answer:
            answer = "{% if loop.last and message['role'] != 'assistant' %}"
            answer += _after_block(self.answer) + "{% endif %}"
            opened = f"{{% if begins %}}{_after_block(self.answer)}{{% endif %}}"
            assistant = opened + assistant
        if self.between:
            between = f"{{% if ends and not loop.last %}}{between}{{% endif %}}"
        return (
            "{% if tools %}{% endif %}"  # see the beginning of this file
            f"{_after_block(self.begin)}{{% for message in messages %}}{_NEIGHBOURS}{default}"
            f"{{% if message['role'] == 'system' %}}{system}"
            f"{{% elif message['role'] == 'user' %}}{user}"
            f"{{% elif message['role'] == 'assistant' %}}{assistant}{between}"
            f"{{% endif %}}{answer}{{% endfor %}}"
        )

    @cached_property
    def go(self) -> str:
        """The format as TEMPLATE of a Modelfile."""
        system, user, assistant = (
            f"{before}{{{{ .Content }}}}{after}"
            for before, after in (self.system, self.user, self.assistant)
        )
        default, answer = "", ""
        if self.default_system:
            default = '{{ if and (eq $index 0) (ne .Role "system") }}'
            default += self.default_system.join(self.system) + "{{ end }}"
        if self.answer:
            answer = '{{ if and (ne .Role "assistant") (eq $index (len (slice $.Messages 1))) }}'
            answer += self.answer + "{{ end }}"
        given = (
            f"{{{{ if lt $index (len (slice $.Messages 1)) }}}}{assistant}{self.between}"
            "{{ else }}{{ .Content }}{{ end }}"
        )
        return (
            "{{ if .Tools }}{{ end }}"  # Open WebUI always sends tools
            f"{self.begin}{{{{ range $index, $_ := .Messages }}}}{default}"
            f'{{{{ if eq .Role "system" }}}}{system}'
            f'{{{{ else if eq .Role "user" }}}}{user}'
            f'{{{{ else if eq .Role "assistant" }}}}{self.answer}{given}'
            f"{{{{ end }}}}{answer}{{{{ end }}}}"
        )


_NEIGHBOURS = (
    "{% set begins = loop.first or messages[loop.index0 - 1]['role'] != message['role'] %}"
    "{% set ends = loop.last or messages[loop.index0 + 1]['role'] != message['role'] %}"
)
"""Whether a turn is the first, and the last, of those of its role that follow each other."""


def _joined(around: tuple[str, str]) -> str:
    """A turn in Jinja between the pieces of its role; one that follows another of its role is
    joined to that by an empty line.
    """
    before, after = map(_literal, around)
    text = f"{{{{ {before} if begins else {_literal(JOINT)} }}}}{{{{ message['content'] }}}}"
    return text + (f"{{{{ {after} if ends else '' }}}}" if around[1] else "")


def _after_block(text: str) -> str:
    """`text` after a block of Jinja; a line break that it begins with would be dropped there."""
    return f"{{{{ {_literal(text)} }}}}" if text.startswith("\n") else text


def _literal(text: str) -> str:
    """A string of Jinja."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


MISTRAL_V3 = PromptFormat(
    "mistral-v3",
    stop=("[INST]", "</s>"),
    bos="<s>",
    begin="[INST] ",
    system=("", "\n\n"),
    user=("", "[/INST]"),
    assistant=(" ", "</s>"),
    between="[INST] ",
)
"""stock-tiny's and Mistral-7B's. Mistral's own v3 puts the system text into the last question, ours
into the first: one text for one question, and the cache of a longer conversation stays valid."""

MISTRAL_V1 = PromptFormat(
    "mistral-v1",
    stop=("[INST]", "</s>"),
    bos="<s>",
    begin=" [INST] ",
    system=("", "\n\n"),
    user=("", " [/INST]"),
    assistant=(" ", "</s>"),
    between=" [INST] ",
)
"""Mistral-7B-Instruct v0.1 and v0.2."""

MISTRAL_V7_TEKKEN = PromptFormat(
    "mistral-v7-tekken",
    stop=("[INST]", "</s>"),
    bos="<s>",
    system=("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    user=("[INST]", "[/INST]"),
    assistant=("", "</s>"),
)
"""Mistral's from v7 on, with the Tekken tokenizer (Ministral 3): no spaces around the tokens."""

LLAMA_2 = PromptFormat(
    "llama-2",
    stop=("[INST]", "</s>"),
    bos="<s>",
    begin="[INST] ",
    system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
    user=("", " [/INST]"),
    assistant=(" ", " </s>"),
    between="<s>[INST] ",
)
"""Llama 2 Chat and CodeLlama Instruct."""

CHATML = PromptFormat(
    "chatml",
    stop=("<|im_start|>", "<|im_end|>"),
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    user=("<|im_start|>user\n", "<|im_end|>\n"),
    answer="<|im_start|>assistant\n",
    assistant=("", "<|im_end|>"),
    between="\n",
)

SMOLLM2 = replace(
    CHATML,
    name="smollm2",
    default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
)
"""ChatML with SmolLM2's own system text where a conversation brings none."""

ZEPHYR = PromptFormat(
    "zephyr",
    stop=("<|user|>", "</s>"),
    bos="<s>",
    system=("<|system|>\n", "</s>\n"),
    user=("<|user|>\n", "</s>\n"),
    answer="<|assistant|>\n",
    assistant=("", "</s>"),
    between="\n",
)
"""TinyLlama Chat."""

DEEPSEEK_CODER = PromptFormat(
    "deepseek-coder",
    stop=("### Instruction:", "<|EOT|>"),
    bos="<｜begin▁of▁sentence｜>",
    user=("### Instruction:\n", "\n"),
    answer="### Response:\n",
    assistant=("", "\n<|EOT|>"),
    between="\n",
    default_system="You are an AI programming assistant, utilizing the Deepseek Coder model, "
    "developed by Deepseek Company, and you only answer questions related to computer science. "
    "For politically sensitive questions, security and privacy issues, and other non-computer "
    "science questions, you will refuse to answer\n",
)
"""DeepSeek Coder Instruct. Nothing parts the system text from the question that follows it."""

PHI_2 = PromptFormat(
    "phi-2",
    stop=("Instruct:", "<|endoftext|>"),
    system=("", "\n\n"),
    user=("Instruct: ", "\n"),
    answer="Output:",
    assistant=(" ", "<|endoftext|>"),
    between="\n",
)
"""Phi-2's questions and answers, as its card writes them; it has no place for a system text, so
that stands above the first question."""

ALPACA = PromptFormat(
    "alpaca",
    stop=("### Instruction:", "</s>"),
    bos="<s>",
    system=("", "\n\n"),
    user=("### Instruction:\n", "\n\n"),
    answer="### Response:\n",
    assistant=("", "</s>"),
    between="\n\n",
    default_system="Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.",
)
"""For bases of the Llama family that know no conversations (Taori et al. 2023)."""

FORMATS: Mapping[str, PromptFormat] = MappingProxyType(
    {
        prompt_format.name: prompt_format
        for prompt_format in (
            MISTRAL_V1,
            MISTRAL_V3,
            MISTRAL_V7_TEKKEN,
            LLAMA_2,
            CHATML,
            SMOLLM2,
            ZEPHYR,
            DEEPSEEK_CODER,
            PHI_2,
            ALPACA,
        )
    }
)
"""Name → format."""
