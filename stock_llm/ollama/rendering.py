"""Renders a chat to the prompt that Ollama's server makes of it with a model's TEMPLATE and SYSTEM.

SYSTEM comes first unless the conversation begins with a system text of its own; adjacent turns of
one role are merged, results of tools apart; a template that mentions `.Messages` is executed once,
any other turn by turn.
Tools are there for `{{ if .Tools }}`; they cannot be written.

Source: ollama/ollama template/template.go (Execute, collate), server/routes.go (ChatHandler).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stock_llm.ollama.go_template import (
    ActionNode,
    BranchNode,
    Execution,
    FieldNode,
    TemplateError,
    TemplateNode,
    fields,
    parse,
)

_THINKING = {"Think": False, "ThinkLevel": "", "IsThinkSet": False}


def render(
    template: str,
    messages: Sequence[Mapping[str, str]],
    system: str = "",
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The prompt, without BOS.

    Args:
        template: the TEMPLATE of the model.
        messages: `role` (system, user, assistant, tool) and `content` of each turn, oldest first.
        system: the SYSTEM of the model.
        tools: what the caller offers; empty where the template is to read as without tools.

    Raises:
        TemplateError: the template is wrong, too large, or uses what is not known here.
    """
    turns = list(messages)
    if system and (not turns or turns[0]["role"] != "system"):
        turns.insert(0, {"role": "system", "content": system})
    nodes = parse(template)
    mentioned = set(fields(nodes))
    if "Messages" not in mentioned:
        return _turn_by_turn(
            nodes if "Response" in mentioned else (*nodes, _ANSWER), _merged(turns)
        )
    spoken = [
        {
            "Role": turn["role"],
            "Content": turn["content"],
            "Thinking": "",
            "ToolName": "",
            "ToolCalls": [],
        }
        for turn in _merged(turns)
    ]
    joined = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
    execution = Execution()
    execution.run(
        nodes,
        {"System": joined, "Messages": spoken, "Tools": list(tools), "Response": "", **_THINKING},
    )
    return execution.text()


def takes_tools(template: str) -> bool:
    """Whether a model of this template takes tools: Ollama says so of one that mentions `.Tools`.

    Raises:
        TemplateError: as `render`.
    """
    return "Tools" in fields(parse(template))


def _merged(turns: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    parts: list[tuple[str, list[str]]] = []
    for turn in turns:
        if parts and parts[-1][0] == turn["role"] != "tool":
            parts[-1][1].append(turn["content"])
        else:
            parts.append((turn["role"], [turn["content"]]))
    return [{"role": role, "content": "\n\n".join(texts)} for role, texts in parts]


_ANSWER = ActionNode(FieldNode("", ("Response",)), 0)
_FIELDS = {"system": "System", "user": "Prompt", "assistant": "Response"}
"""Role → where a template of one exchange wants it, in the order of the exchange."""


def _turn_by_turn(nodes: Sequence[TemplateNode], turns: Sequence[Mapping[str, str]]) -> str:
    """One execution per exchange; the last one is cut where the answer would stand."""
    execution, exchange = Execution(), dict.fromkeys(_FIELDS.values(), "")
    roles = list(_FIELDS)
    for turn in turns:
        if turn["role"] not in roles:  # the result of a tool has no place here
            continue
        later = roles[roles.index(turn["role"]) + 1 :]
        if any(exchange[_FIELDS[role]] for role in later):
            execution.run(nodes, exchange)
            exchange = dict.fromkeys(_FIELDS.values(), "")
        exchange[_FIELDS[turn["role"]]] = turn["content"]
    cut, answer = next((at, node) for at, node in enumerate(nodes) if "Response" in fields([node]))
    if isinstance(answer, BranchNode):
        raise TemplateError(answer.line, ".Response inside a branch is not known here")
    execution.run(nodes[:cut], exchange)
    return execution.text()
