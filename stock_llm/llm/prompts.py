"""Messages → the exact text that a model sees. One code for training, evaluation, serving and the
Modelfile.

The format is Mistral's instruct format: `[INST] system\\n\\nuser[/INST] answer</s>`, the system
text inside the first turn. The tokenizer adds BOS. The same format is written three times, for
three readers, and a test holds them equal: `render` (Python), `CHAT_TEMPLATE` (Jinja, in the GGUF
and the tokenizer) and `GO_TEMPLATE` (Ollama's Modelfile). Both templates mention tools, which gives
the model Ollama's capability `tools` and leaves the prompt as it was trained; if only one did,
Ollama would prefer it to the other or refuse requests with tools.

A change to anything here, or to how skills lay out their input, is a new PROMPT_VERSION: a model is
judged and served with the version that it was trained with.
"""

from typing import Literal, TypedDict

PROMPT_VERSION = 2

SYSTEM = "You are stock-llm, a stock analyst. Use only the numbers given."
"""Modelfile SYSTEM, and the first message of every training row."""

STOP = ("[INST]", "</s>")
"""Modelfile `PARAMETER stop`: a model that begins a new turn has finished."""

CHAT_TEMPLATE = (
    "{% if tools %}{% endif %}"  # see GO_TEMPLATE
    "[INST] {% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'user' %}{{ message['content'] }}[/INST]"
    "{% elif message['role'] == 'assistant' %} {{ message['content'] }}</s>"
    "{% if not loop.last %}[INST] {% endif %}{% endif %}"
    "{% endfor %}"
)

GO_TEMPLATE = (
    "{{ if .Tools }}{{ end }}"  # Open WebUI always sends tools
    "[INST] {{ range $index, $_ := .Messages }}"
    '{{ if eq .Role "system" }}{{ .Content }}\n\n'
    '{{ else if eq .Role "user" }}{{ .Content }}[/INST]'
    '{{ else if eq .Role "assistant" }} {{ .Content }}</s>'
    "{{ if lt $index (len (slice $.Messages 1)) }}[INST] {{ end }}{{ end }}"
    "{{ end }}"
)


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


def user_text(instruction: str, context: str = "") -> str:
    """What the user's turn says: the instruction and, below an empty line, the numbers that it is
    about.
    """
    return f"{instruction}\n\n{context}" if context else instruction


def messages(instruction: str, context: str = "", answer: str | None = None) -> list[Message]:
    """The conversation of one row; without `answer`, the prompt to be answered."""
    turns: list[Message] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": user_text(instruction, context)},
    ]
    if answer is not None:
        turns.append({"role": "assistant", "content": answer})
    return turns


def render(turns: list[Message]) -> str:
    """The text of a conversation, without BOS. A conversation that ends with a user's turn is a
    prompt.
    """
    text = "[INST] "
    for index, turn in enumerate(turns):
        if turn["role"] == "system":
            text += turn["content"] + "\n\n"
        elif turn["role"] == "user":
            text += turn["content"] + "[/INST]"
        else:
            text += " " + turn["content"] + "</s>" + ("[INST] " if index < len(turns) - 1 else "")
    return text
