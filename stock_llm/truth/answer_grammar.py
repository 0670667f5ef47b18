"""The grammar of the true answers to a question: what our own decoder lets a model write.

A question that ends with a block of numbers gets the forms that its skills teach. Recommendation
and confidence are free; the words that a rule decides, the levels and the sentences are those that
are true of the block, each sentence at most once, in any order. How many and which is the model's
choice.

Source of the format: the documentation of llguidance's Lark dialect and its parametric rules
(github.com/guidance-ai/llguidance).
"""

import json
import re

from stock_llm.evaluation.answers import DISCLAIMER, LABELS, VERDICTS, Language, SkillAnswer
from stock_llm.truth.subjects import read_subject

_THAI = re.compile(r"[\u0e00-\u0e7f]")


def language_of(question: str) -> Language:
    """The language that a question is answered in."""
    return "th" if _THAI.search(question) else "en"


def true_answers(question: str) -> str:
    """The Lark grammar of the true answers to a question, in its language; empty where it shows no
    numbers of a kind that is known."""
    subject = read_subject(question)
    if subject is None:
        return ""
    language = language_of(question)
    sentences = [f"- {true.text}\n" for true in subject.statements(language)]
    answers = subject.answers(language)
    forms = [_form(number, answer, len(sentences)) for number, answer in enumerate(answers)]
    start = " | ".join(f"form_{number}" for number in range(len(answers)))
    lines = [
        f'start: " "? ({start})',
        "PERCENT: /0|[1-9][0-9]?|100/",
        *(f"S_{number}: {_text(sentence)}" for number, sentence in enumerate(sentences)),
        *forms,
    ]
    return "\n".join(lines)


def _form(number: int, answer: SkillAnswer, sentences: int) -> str:
    """The rules of one form: the lines of an answer, its sentences in the place of lists."""
    labels = LABELS[answer.language]
    head: list[str] = []
    for name in VERDICTS:
        if word := getattr(answer, name):
            words = VERDICTS[name] if name == "recommendation" else (word,)
            head += [_text(f"{labels[name]}: "), f"({' | '.join(map(_text, words))})", r'"\n"']
    if answer.confidence is not None:
        head += [_text(f"{labels['confidence']}: "), "PERCENT", r'"%\n"']
    end = DISCLAIMER[answer.language]
    if answer.support and answer.resistance:
        levels = f"{labels['support']} {answer.support}, {labels['resistance']} {answer.resistance}"
        end = f"{labels['levels']}: {levels}\n{end}"
    insights, risks = f"insights_{number}", f"risks_{number}"
    head += [_text(f"{labels['insights']}:\n"), f"{insights}::0x0"]
    rules = [f"form_{number}: {' '.join(head)}"]
    if answer.risks:
        title = _text(f"{labels['risks']}:\n")
        rules += _list(insights, sentences, sentences - 1, f"{title} {risks}::_")
        rules += _list(risks, sentences, sentences, _text(end))
    else:
        rules += _list(insights, sentences, sentences, _text(end))
    return "\n".join(rules)


def _list(name: str, sentences: int, most: int, then: str) -> list[str]:
    """The rules of a list: one sentence or more that no bit of the parameter marks as used, until
    `most` are used, and then what follows."""
    items = [
        f"S_{bit} more_{name}::set_bit({bit}) %if and(bit_clear({bit}), bit_count_lt(_, {most}))"
        for bit in range(sentences)
    ]
    return [
        f"{name}::_: " + "\n | ".join(items),
        f"more_{name}::_: " + "\n | ".join([*items, then]),
    ]


def _text(text: str) -> str:
    """A literal text as Lark writes it."""
    return json.dumps(text, ensure_ascii=False)
