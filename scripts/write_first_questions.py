"""Writes a page of docs: what the published model answers to a newcomer, as it comes.

`python scripts/write_first_questions.py [MODEL [PAGE]]` in a project folder whose `stock-llm run`
has published a model (default stock-llm:latest), with data/sample; PAGE is a file of docs (default
first-questions.md). Nothing is picked or repaired; whoever changes a question writes all answers
again.
"""

import sys
from pathlib import Path

from stock_llm.pipeline import registry
from stock_llm.pipeline.ask import ask, own_data
from stock_llm.settings import load_settings

DOCS = Path(__file__).parents[1] / "docs"

EXAMPLES = (
    "Analyze KESTRO.",
    "Review my portfolio.",
    "What does RSI14 mean?",
    "ควรซื้อ ถือ หรือขาย KESTRO",
    "What is RSI14?",
)
"""Those of README.md, docs and `--help`."""

NEWCOMERS = (
    "hi",
    "What can you do?",
    "Is HUSKEN a buy?",
    "Should I sell ELMORA?",
    "What is the trend of GALDOR?",
    "Explain RSI14 of KESTRO.",
    "What does MACD say about LUMBRA?",
    "How was my last trade?",
    "Review my trade in DORNIA.",
    "Is my portfolio too concentrated?",
    "What is a stop loss?",
    "Explain Bollinger bands",
    "What does overbought mean?",
    "What about AAPL?",
    "What will Tesla be worth next year?",
    "Which stock should I buy?",
    "Will the market crash?",
    "Tell me a joke.",
    "Thanks!",
    "หุ้น KESTRO เป็นอย่างไร",
    "พอร์ตของฉันเป็นอย่างไร",
    "MACD คืออะไร",
    "สวัสดีครับ",
    "ปตท น่าซื้อไหม",
    "Write a Python function signal(close, sma50, rsi14, macd, macd_signal): buy when RSI14 is "
    "below 30, sell when RSI14 is above 70, otherwise hold.",
)


def main(model: str = "stock-llm:latest", page: str = "first-questions.md") -> None:
    settings = load_settings()
    champion = registry.champion(settings)
    version = f", v{champion.number} of {champion.profile}" if champion else ""
    lines = [
        "# First questions",
        "",
        f"What `stock-llm ask` answered with the sample's model ({model}{version}), each question "
        "asked once, as it came.",
        "`python scripts/write_first_questions.py` writes this page. Numbers are those that `ask` "
        "put below the question.",
    ]
    for title, questions in (
        ("Examples of the README and the help", EXAMPLES),
        ("Others", NEWCOMERS),
    ):
        lines += ["", f"## {title}"]
        for question in questions:
            block = own_data(settings).block_for(question)
            first = block.text.splitlines()[:2] if block else ()
            given = f"numbers: {', '.join(first)} …" if first else "no numbers"
            answer = ask(settings, question, model).text
            lines += ["", f"**{question}** ({given})", "", "````", answer, "````"]
    (DOCS / page).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
