"""Documents with questions and answers: small talk, terms, arithmetic, and a few in the product's
instruct format.

In: a `random.Random`. Out: one text. The instruct documents use the product's prompt and its
labelled lines for requests that no skill makes. The request says which labels the answer has, in
words of its own; trend, recommendation, reading, outcome and confidence are drawn: the base is
shown the look of an answer, that a request decides it, and that these words say nothing.
"""

from collections.abc import Callable, Sequence
from random import Random

from stock_llm.evaluation.answers import VERDICTS, Language, SkillAnswer
from stock_llm.llm import prompts
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.market.situation import Situation, format_price
from stock_llm.skills import explain
from stock_llm.synthetic.stock_tiny import (
    glossary,
    indicator_notes,
    python_snippets,
    random_situations,
)

_SMALL_TALK: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (
        ("Hello.", "Hello. How can I help?"),
        ("Good morning.", "Good morning. What would you like to know?"),
        ("Who are you?", "I am a small language model. I know a little about charts and numbers."),
        (
            "What can you do?",
            "I can read a table of indicators, copy its numbers and explain what they mean.",
        ),
        ("Thank you.", "You are welcome."),
        ("Goodbye.", "Goodbye."),
        ("Can you see the future?", "No. Nobody can."),
        (
            "Will the price rise tomorrow?",
            "I do not know. The past says little about the next day.",
        ),
        ("What day comes after Friday?", "Saturday. Most markets are closed then."),
        ("How many months has a year?", "A year has twelve months."),
        ("How many days has a week?", "A week has seven days."),
        ("What is a stock?", "A stock is a share of a company."),
        ("What is a broker?", "A broker carries out orders for investors."),
        ("What is an exchange?", "An exchange is a place where shares are traded."),
        ("What is a bond?", "A bond is a loan that pays interest."),
        ("What is inflation?", "Inflation is a general rise of prices."),
        ("What is interest?", "Interest is the price of borrowed money."),
        ("Is it safe to invest?", "No investment is without risk."),
        ("Where is Bangkok?", "Bangkok is the capital of Thailand."),
        ("What is a portfolio?", "A portfolio is everything that an investor holds."),
        (
            "May I ask a question?",
            "Ask, and put the numbers below your question. A question without them has no answer.",
        ),
        ("What are trades?", "Trades are purchases and sales. Each adds a line to your account."),
        (
            "Are buyers stronger than sellers?",
            "Neither, when many buyers meet as many sellers. Buyers who are exhausted buy no more.",
        ),
        ("Is the exchange busy?", "Far fewer shares than usual changed hands. Many days are calm."),
        ("What do charts say?", "The textbook reads them one way, trading may go the other way."),
        ("Why do two portfolios differ?", "They use other symbols, or fewer of them."),
        ("Which way do prices go?", "Neither way for long. A chart points up, then down."),
        ("What is text?", "Text is words and sentences. Put it below a question to ask about it."),
    ),
    "th": (
        ("สวัสดี", "สวัสดี มีอะไรให้ช่วยไหม"),
        ("คุณคือใคร", "ฉันเป็นแบบจำลองภาษาขนาดเล็ก รู้เรื่องกราฟและตัวเลขเล็กน้อย"),
        ("ทำอะไรได้บ้าง", "อ่านตารางตัวเลข คัดลอกตัวเลข และอธิบายความหมายได้"),
        ("ขอบคุณ", "ยินดี"),
        ("ลาก่อน", "ลาก่อน"),
        ("พรุ่งนี้ราคาจะขึ้นไหม", "ไม่ทราบ อดีตไม่ได้บอกอนาคต"),
        ("หุ้นคืออะไร", "หุ้นคือส่วนแบ่งความเป็นเจ้าของบริษัท"),
        ("โบรกเกอร์คืออะไร", "โบรกเกอร์ส่งคำสั่งซื้อขายแทนนักลงทุน"),
        ("พันธบัตรคืออะไร", "พันธบัตรคือเงินกู้ที่จ่ายดอกเบี้ย"),
        ("เงินเฟ้อคืออะไร", "เงินเฟ้อคือการที่ราคาสินค้าโดยรวมสูงขึ้น"),
        ("หนึ่งปีมีกี่เดือน", "หนึ่งปีมีสิบสองเดือน"),
        ("หนึ่งสัปดาห์มีกี่วัน", "หนึ่งสัปดาห์มีเจ็ดวัน"),
        ("ลงทุนปลอดภัยไหม", "ไม่มีการลงทุนใดที่ไม่มีความเสี่ยง"),
        ("เมืองหลวงของไทยคืออะไร", "กรุงเทพเป็นเมืองหลวงของไทย"),
        ("พอร์ตคืออะไร", "พอร์ตคือทุกอย่างที่นักลงทุนถืออยู่"),
        ("ถามได้ไหม", "ถามได้ ใส่ตัวเลขต่อท้ายคำถาม ถ้าไม่มีตัวเลขก็ต้องมีคำอธิบาย"),
        ("คำสั่งคืออะไร", "คำสั่งคือข้อความที่สั่งให้เครื่องทำงาน เช่น คำสั่งซื้อสำหรับหุ้นของคุณ"),
        ("ตัวชี้วัดคืออะไร", "ตัวชี้วัดของหุ้นคือตัวเลขที่สรุปราคา จะใส่ให้หรือไม่ก็ได้"),
        ("การซื้อขายคืออะไร", "การซื้อขายคือรายการที่ผู้ซื้อและผู้ขายตกลงกัน"),
        ("แรงซื้อหมดแล้วหรือยัง", "แรงซื้ออาจเริ่มหมดเมื่อราคาขึ้นมาก แรงขายอาจเริ่มหมดเมื่อราคาลงมาก"),
        ("ตามตำราถือว่าอย่างไร", "ตามตำราถือว่าราคามีแรงขึ้นและแรงลง ยังไม่บอกทิศทาง"),
        ("มีการซื้อขายมากไหม", "มีการซื้อขายน้อยกว่าปกติ บางวันมากกว่าปกติมาก"),
        ("พอร์ตของคุณมีอะไร", "พอร์ตของฉันไม่มีอะไร พอร์ตของคุณต้องมีรายการที่ถืออยู่"),
    ),
}

_DEFINED = (
    "a portfolio", "a stock", "a broker", "an exchange", "a bond", "inflation", "interest",
    "หุ้นคือ", "โบรกเกอร์", "พันธบัตร", "เงินเฟ้อ", "พอร์ตคือ", "ตัวชี้วัดคือ",
)  # fmt: skip


def chat(chance: Random, language: Language) -> str:
    """Three to eight questions with their answers."""
    asks, replies = chance.choice((("Q: ", "A: "), ("User: ", "Assistant: "), ("", ""), ("- ", "")))
    if language == "th" and asks:
        asks, replies = chance.choice((("ถาม: ", "ตอบ: "), ("Q: ", "A: ")))
    turns = (_turn(chance, language) for _ in range(chance.randint(3, 8)))
    return "\n".join(f"{asks}{question}\n{replies}{answer}" for question, answer in turns)


def _turn(chance: Random, language: Language) -> tuple[str, str]:
    """A question and its answer."""
    kind = chance.random()
    if kind < 0.4:
        return chance.choice(_SMALL_TALK[language])
    if kind < 0.6:
        name, meaning = glossary.meaning(chance, language)
        return (f"What is {name}?" if language == "en" else f"{name} คืออะไร"), meaning
    if kind < 0.75:
        english, thai = glossary.translation(chance)
        if chance.random() < 0.5:
            return (
                f"What is '{english}' in Thai?"
                if language == "en"
                else f"{english} ภาษาไทยเรียกว่าอะไร"
            ), thai
        return (
            f"What does {thai} mean?" if language == "en" else f"{thai} ภาษาอังกฤษเรียกว่าอะไร"
        ), english
    return _comparison(chance, language)


def _comparison(chance: Random, language: Language) -> tuple[str, str]:
    a, b = random_situations.amount(chance), random_situations.amount(chance)
    if chance.random() < 0.5:
        first = a
        b = float(format_price(max(0.01, first * (1 + chance.gauss(0, 0.05)))))
    if language == "th":
        return f"{format_price(a)} กับ {format_price(b)} ค่าไหนมากกว่า", format_price(max(a, b))
    return f"Which is larger, {format_price(a)} or {format_price(b)}?", format_price(max(a, b))


def instruct(chance: Random, language: Language) -> str:
    """A request in the product's prompt, and an answer as long as a turn: rendered but for the
    BOS."""
    request, context, reply = chance.choice(_REQUESTS)(chance, language)
    turns = prompts.messages(request, context, reply)
    return MISTRAL_V3.render(turns if chance.random() < 0.9 else turns[1:])


def general(chance: Random, language: Language) -> tuple[str, str, str]:
    """A request that no skill makes, what it is about, and an answer without labels: what a term
    means, plain words, a function. Small talk is none: abstaining answers it."""
    return chance.choice((_free, _knowledge, _knowledge, _knowledge, _code))(chance, language)


def _knowledge(chance: Random, language: Language) -> tuple[str, str, str]:
    """A question that is answered by what a word means, or by two numbers in it."""
    kind = chance.random()
    if kind < 0.7:
        question, answer = glossary.question(chance, language)
    elif kind < 0.85:
        question, answer = chance.choice(_DEFINITIONS[language])
    elif kind < 0.92:
        english, answer = glossary.translation(chance)
        question = (
            f"What is '{english}' in Thai?" if language == "en" else f"{english} ภาษาไทยเรียกว่าอะไร"
        )
    else:
        question, answer = _comparison(chance, language)
    return question, "", answer


_DEFINITIONS: dict[Language, list[tuple[str, str]]] = {
    language: [turn for turn in turns if any(word in turn[0] for word in _DEFINED)]
    for language, turns in _SMALL_TALK.items()
}
"""What small talk says of the world of shares."""


def _labelled(chance: Random, language: Language) -> tuple[str, str, str]:
    """A block, and below it the labels that were asked for; a reading is often of a single line."""
    seen = random_situations.situation(chance)
    kind = chance.random()
    if kind < 0.45:
        words = _WORDS[language]
        drawn = chance.sample(tuple(words), chance.randint(1, 4))
        labels = tuple(label for label in words if label in drawn)
        listed = ", ".join(chance.choice(words[label]) for label in labels)
        asked = chance.choice(_LISTED[language]).format(seen.symbol, listed)
    elif kind < 0.9:
        labels, asks = chance.choice(_SHAPES)
        asked = chance.choice(asks[language]).format(seen.symbol)
    else:
        labels, _ = chance.choice(_SHAPES)
        asked = chance.choice(_OPEN[language]).format(seen.symbol)
    if labels == ("reading",) and chance.random() < 0.7:
        fact = chance.choice(tuple(indicator_notes.LINES))
        block = seen.block("Symbol", "Date", "Close", indicator_notes.LINES[fact])
        reply = SkillAnswer(
            language=language,
            reading=chance.choice(VERDICTS["reading"]),
            insights=(fact(seen, language), chance.choice(_MEANINGS)[language]),
        )
    else:
        block, reply = seen.block(), random_answer(seen, labels, chance, language)
    return asked, block, reply.text()


_WORDS: dict[Language, dict[str, tuple[str, ...]]] = {
    "en": {
        "trend": ("direction", "drift"),
        "recommendation": ("advice", "stance"),
        "reading": ("gauge", "state"),
        "outcome": ("result", "ending"),
        "concentration": ("spread", "weight"),
        "sentiment": ("mood", "tone"),
        "confidence": ("certainty", "sureness"),
        "risks": ("dangers", "worries"),
        "levels": ("floor and ceiling", "price marks"),
    },
    "th": {
        "trend": ("ทิศทาง", "ทาง"),
        "recommendation": ("ความเห็น", "ท่าที"),
        "reading": ("มาตรวัด", "สภาพ"),
        "outcome": ("ผล", "ตอนจบ"),
        "concentration": ("การกระจาย", "น้ำหนัก"),
        "sentiment": ("อารมณ์", "น้ำเสียง"),
        "confidence": ("ความแน่ใจ", "ความแน่นอน"),
        "risks": ("อันตราย", "ข้อกังวล"),
        "levels": ("พื้นและเพดาน", "ระดับ"),
    },
}
"""Label → what a request may call it, in the order of an answer's lines. No skill's question uses
these words."""

_MEANINGS = [
    meaning for textbook in explain.TEXTBOOK.values() for meaning in textbook.meaning.values()
]
"""Sentences without a number; which of them an answer holds is drawn."""

_LISTED: dict[Language, tuple[str, ...]] = {
    "en": ("{0}: {1}.", "Give the {1} of {0}.", "{1} of {0}, please.", "For {0} I want {1}."),
    "th": ("{0}: {1}", "ขอ {1} ของ {0}", "บอก {1} ของ {0}"),
}

_SHAPES: tuple[tuple[tuple[str, ...], dict[Language, tuple[str, ...]]], ...] = (
    (
        ("trend", "recommendation", "confidence", "risks", "levels"),
        {
            "en": ("Survey {0}.", "{0} from every side.", "All about {0}."),
            "th": ("สำรวจ {0}", "{0} รอบด้าน", "ทุกเรื่องของ {0}"),
        },
    ),
    (
        ("recommendation", "confidence", "risks"),
        {
            "en": ("Shall I act on {0}?", "Decide on {0}.", "{0}: in or out?"),
            "th": ("ทำอะไรกับ {0} ดี", "ตัดสินใจเรื่อง {0}"),
        },
    ),
    (
        ("reading",),
        {
            "en": ("Interpret {0}.", "What is the needle of {0} at?"),
            "th": ("ตีความ {0}", "เข็มของ {0} ชี้อะไร"),
        },
    ),
    (
        ("outcome", "risks"),
        {"en": ("How did {0} end?", "Look back at {0}."), "th": ("{0} จบอย่างไร", "มองย้อน {0}")},
    ),
    (
        ("outcome", "concentration", "risks"),
        {"en": ("Take stock of {0}.", "Count up {0}."), "th": ("ตรวจนับ {0}", "รวมยอด {0}")},
    ),
    (
        ("sentiment",),
        {
            "en": ("Is the talk about {0} kind?", "What do people feel about {0}?"),
            "th": ("คนพูดถึง {0} อย่างไร",),
        },
    ),
    (
        ("trend", "levels"),
        {"en": ("Map {0}.", "Draw the lines of {0}."), "th": ("วาดแผนที่ {0}", "ขีดเส้น {0}")},
    ),
    (
        ("risks",),
        {
            "en": ("Warn me about {0}.", "What can go wrong with {0}?"),
            "th": ("เตือนเรื่อง {0}", "{0} มีอะไรต้องระวัง"),
        },
    ),
)
"""Labels beside the insights, which every answer has, and the requests that mean them, none of them
a skill's."""

_OPEN: dict[Language, tuple[str, ...]] = {
    "en": ("Facts about {0}.", "{0}: what do these numbers say?", "{0}, please."),
    "th": ("ข้อเท็จจริงของ {0}", "ตัวเลขของ {0} บอกว่าอย่างไร", "ช่วยดู {0}"),
}
"""Requests that leave it open."""


def random_answer(
    seen: Situation, labels: Sequence[str], chance: Random, language: Language
) -> SkillAnswer:
    """True sentences under the given labels, with words that are drawn."""
    facts = chance.sample(tuple(indicator_notes.LINES), chance.randint(2, 5))
    cut = chance.randint(1, len(facts) - 1)
    return SkillAnswer(
        language=language,
        **{label: chance.choice(words) for label, words in VERDICTS.items() if label in labels},
        confidence=5 * chance.randint(4, 17) if "confidence" in labels else None,
        insights=tuple(fact(seen, language) for fact in facts[:cut]),
        risks=tuple(fact(seen, language) for fact in facts[cut:]) if "risks" in labels else (),
        support=format_price(seen.support) if "levels" in labels else None,
        resistance=format_price(seen.resistance) if "levels" in labels else None,
    )


def _free(chance: Random, language: Language) -> tuple[str, str, str]:
    """A block, and a few sentences below it without labels."""
    seen = random_situations.situation(chance)
    reply = " ".join(
        fact(seen, language)
        for fact in chance.sample(tuple(indicator_notes.LINES), chance.randint(1, 3))
    )
    ask = (
        ("Put this into words.", "Say it briefly.", "{0} in a sentence?")
        if language == "en"
        else ("สรุปสั้น ๆ", "บอกเป็นคำพูด")
    )
    return chance.choice(ask).format(seen.symbol), seen.block(), reply


def _nothing_to_read(chance: Random, language: Language) -> tuple[str, str, str]:
    """A request about numbers, and none below it: the answer says so and invents none."""
    asked, _, _ = chance.choice((_labelled, _labelled, _free))(chance, language)
    return asked, "", chance.choice(_NO_NUMBERS[language])


_NO_NUMBERS: dict[Language, tuple[str, ...]] = {
    "en": ("There are no numbers to read here.", "Nothing is given to read."),
    "th": ("ไม่มีตัวเลขให้อ่าน", "ยังไม่ได้ให้ตัวเลขมา"),
}


def _talk(chance: Random, language: Language) -> tuple[str, str, str]:
    question, answer = _turn(chance, language)
    return question, "", answer


def _code(chance: Random, language: Language) -> tuple[str, str, str]:
    request, source = python_snippets.asked(chance, language)
    return request, "", f"```python\n{source}\n```"


_REQUESTS: tuple[Callable[[Random, Language], tuple[str, str, str]], ...] = (
    _labelled,
    _labelled,
    _labelled,
    _free,
    _nothing_to_read,
    _talk,
    _code,
)
