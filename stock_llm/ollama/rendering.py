"""A chat → the prompt that Ollama's server makes of it with the TEMPLATE and SYSTEM of a published model.

Written after ollama/ollama template/template.go (Execute, collate) and server/routes.go (ChatHandler): SYSTEM comes first unless
the conversation begins with a system text of its own; adjacent turns of one role are merged; a template that mentions
`.Messages` is executed once, any other turn by turn. Does not know tools, images and thinking, nor which model this is.
"""

from collections.abc import Mapping, Sequence

from stock_llm.ollama.template import (
    ActionNode,
    BranchNode,
    FieldNode,
    TemplateError,
    TemplateNode,
    execute,
    fields,
    parse,
)


def render(template: str, messages: Sequence[Mapping[str, str]], system: str = "") -> str:
    """The prompt, without BOS.

    Args:
        template: the TEMPLATE of the model.
        messages: `role` (system, user, assistant) and `content` of each turn, oldest first.
        system: the SYSTEM of the model.

    Raises:
        TemplateError: the template is wrong, or uses what `go_template` does not know.
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
    spoken = [{"Role": turn["role"], "Content": turn["content"]} for turn in _merged(turns)]
    joined = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
    return execute(nodes, {"System": joined, "Messages": spoken, "Response": ""})


def _merged(turns: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    merged: list[dict[str, str]] = []
    for turn in turns:
        if merged and merged[-1]["role"] == turn["role"]:
            merged[-1]["content"] += "\n\n" + turn["content"]
        else:
            merged.append(dict(turn))
    return merged


_ANSWER = ActionNode(FieldNode("", ("Response",)), 0)
_FIELDS = {"system": "System", "user": "Prompt", "assistant": "Response"}
"""Role → where a template of one exchange wants it, in the order of the exchange."""


def _turn_by_turn(nodes: Sequence[TemplateNode], turns: Sequence[Mapping[str, str]]) -> str:
    """One execution per exchange; the last one is cut where the answer would stand."""
    text, exchange = "", dict.fromkeys(_FIELDS.values(), "")
    for turn in turns:
        later = list(_FIELDS)[list(_FIELDS).index(turn["role"]) + 1 :]
        if any(exchange[_FIELDS[role]] for role in later):
            text += execute(nodes, exchange)
            exchange = dict.fromkeys(_FIELDS.values(), "")
        exchange[_FIELDS[turn["role"]]] = turn["content"]
    cut, answer = next((at, node) for at, node in enumerate(nodes) if "Response" in fields([node]))
    if isinstance(answer, BranchNode):
        raise TemplateError(answer.line, ".Response inside a branch is not known here")
    return text + execute(nodes[:cut], exchange)
