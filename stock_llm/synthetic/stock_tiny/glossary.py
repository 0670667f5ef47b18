"""Documents that say what the words of charts and markets mean, in English and Thai.

In: a `random.Random`. Out: one text about one to three terms. General knowledge, without a stock
and without advice.
"""

from dataclasses import dataclass
from random import Random

from stock_llm.evaluation.answers import Language
from stock_llm.synthetic.stock_tiny.grammar import expand


@dataclass(frozen=True)
class Term:
    """A term with its Thai name and sentences that are true of it, which do not lean on each
    other."""

    name: str
    thai_name: str
    english: tuple[str, ...]
    thai: tuple[str, ...]


TERMS = (
    Term(
        "RSI",
        "ดัชนี RSI",
        (
            "The relative strength index, RSI, compares average gains with average losses on a "
            "scale from 0 to 100.",
            "RSI14 looks at the last 14 sessions.",
            "Textbooks call RSI above 70 overbought and below 30 oversold.",
            "Between 30 and 70 RSI is called neutral.",
            "A high RSI says that gains have been larger than losses, not that the price must "
            "fall.",
            "J. Welles Wilder described RSI in 1978.",
            "RSI measures momentum.",
        ),
        (
            "ดัชนี RSI เปรียบเทียบกำไรเฉลี่ยกับขาดทุนเฉลี่ย มีค่าตั้งแต่ 0 ถึง 100",
            "RSI14 ใช้ข้อมูล 14 วันล่าสุด",
            "ตามตำรา RSI สูงกว่า 70 คือซื้อมากเกินไป ต่ำกว่า 30 คือขายมากเกินไป",
            "ค่า RSI ระหว่าง 30 ถึง 70 ถือว่าเป็นกลาง",
            "RSI ที่สูงไม่ได้แปลว่าราคาต้องลง",
            "RSI ใช้วัดแรงของราคา",
        ),
    ),
    Term(
        "SMA",
        "ค่าเฉลี่ยเคลื่อนที่ SMA",
        (
            "A simple moving average, SMA, is the mean of the last closes.",
            "SMA20 is the mean of the last 20 closes, SMA50 of the last 50.",
            "When the close is above SMA50, the price is higher than its average of fifty "
            "sessions.",
            "A longer average reacts more slowly.",
            "An average smooths the price and lags behind it.",
            "SMA20 above SMA50 says that recent prices are higher than earlier ones.",
        ),
        (
            "SMA คือค่าเฉลี่ยของราคาปิดย้อนหลัง",
            "SMA20 คือค่าเฉลี่ย 20 วัน ส่วน SMA50 คือค่าเฉลี่ย 50 วัน",
            "ถ้าราคาปิดสูงกว่า SMA50 แปลว่าราคาอยู่เหนือค่าเฉลี่ย 50 วัน",
            "ค่าเฉลี่ยที่ยาวกว่าจะเปลี่ยนช้ากว่า",
            "ค่าเฉลี่ยทำให้เห็นแนวโน้มชัดขึ้นแต่ช้ากว่าราคา",
        ),
    ),
    Term(
        "EMA",
        "ค่าเฉลี่ยเคลื่อนที่ EMA",
        (
            "An exponential moving average, EMA, gives more weight to recent closes.",
            "EMA reacts faster than a simple average of the same length.",
            "Each EMA value mixes the new close with the EMA of the day before.",
            "EMA12 and EMA26 are the parts of MACD.",
        ),
        (
            "EMA ให้น้ำหนักกับราคาล่าสุดมากกว่า",
            "EMA ตอบสนองเร็วกว่าค่าเฉลี่ยธรรมดา",
            "EMA12 และ EMA26 เป็นส่วนประกอบของ MACD",
        ),
    ),
    Term(
        "MACD",
        "MACD",
        (
            "MACD is the difference between a fast and a slow exponential average.",
            "The signal line of MACD is an average of MACD itself.",
            "MACD above its signal is read as upward momentum, below it as downward momentum.",
            "The number in brackets is MACD minus its signal.",
            "When MACD crosses its signal, momentum changes direction.",
            "MACD can be negative when the fast average is below the slow one.",
        ),
        (
            "MACD คือผลต่างของค่าเฉลี่ยเร็วกับค่าเฉลี่ยช้า",
            "เส้นสัญญาณคือค่าเฉลี่ยของ MACD",
            "MACD สูงกว่าเส้นสัญญาณตามตำราถือว่าเป็นแรงขึ้น ต่ำกว่าถือว่าเป็นแรงลง",
            "ตัวเลขในวงเล็บคือ MACD ลบด้วยเส้นสัญญาณ",
            "เมื่อ MACD ตัดเส้นสัญญาณ แรงของราคาเปลี่ยนทิศทาง",
        ),
    ),
    Term(
        "ATR",
        "ATR",
        (
            "The average true range, ATR, says how far the price moves in a normal session.",
            "ATR is measured in the unit of the price.",
            "ATR as a percentage of the close makes stocks comparable.",
            "A large ATR means that the price swings widely.",
            "ATR says nothing about direction.",
            "Some traders place a stop two ATR away from the price.",
        ),
        (
            "ATR บอกว่าราคาแกว่งวันละเท่าไรโดยเฉลี่ย",
            "ATR มีหน่วยเดียวกับราคา",
            "ATR สูงแปลว่าราคาผันผวนมาก",
            "ATR ไม่ได้บอกทิศทางของราคา",
            "ATR คิดเป็นร้อยละของราคาปิดทำให้เปรียบเทียบหุ้นได้",
        ),
    ),
    Term(
        "Bollinger bands",
        "แถบโบลลิงเจอร์",
        (
            "Bollinger bands lie two standard deviations above and below SMA20.",
            "Most closes are inside the bands.",
            "A close above the upper band is unusually high, a close below the lower band "
            "unusually low.",
            "Narrow bands say that the price has been calm.",
            "The bands widen when the price swings more.",
        ),
        (
            "แถบโบลลิงเจอร์อยู่ห่างจาก SMA20 สองเท่าของค่าเบี่ยงเบนมาตรฐาน",
            "ราคาปิดส่วนใหญ่อยู่ในแถบ",
            "ราคาปิดสูงกว่าแถบบนถือว่าสูงผิดปกติ ต่ำกว่าแถบล่างถือว่าต่ำผิดปกติ",
            "แถบแคบแปลว่าราคานิ่ง",
            "แถบกว้างขึ้นเมื่อราคาผันผวน",
        ),
    ),
    Term(
        "volume",
        "ปริมาณซื้อขาย",
        (
            "Volume is the number of shares that changed hands.",
            "A volume of 1.0x is the average of the last sessions; 2.0x is twice as much.",
            "High volume says that many traders took part in a move.",
            "Low volume says that a move has few followers.",
            "Volume often rises on news.",
        ),
        (
            "ปริมาณซื้อขายคือจำนวนหุ้นที่เปลี่ยนมือ",
            "ปริมาณ 1.0 เท่าคือเท่ากับค่าเฉลี่ย 2.0 เท่าคือสองเท่าของค่าเฉลี่ย",
            "ปริมาณสูงแปลว่ามีการซื้อขายมากกว่าปกติ",
            "ปริมาณต่ำแปลว่ามีคนซื้อขายน้อย",
        ),
    ),
    Term(
        "support",
        "แนวรับ",
        (
            "Support is a price at which a fall has stopped before.",
            "At support buyers were stronger than sellers.",
            "Support lies below the close.",
            "When the price falls below support, the level is broken.",
            "Some investors place a stop below support.",
        ),
        (
            "แนวรับคือระดับราคาที่เคยหยุดลง",
            "ที่แนวรับแรงซื้อมากกว่าแรงขาย",
            "แนวรับอยู่ต่ำกว่าราคาปิด",
            "นักลงทุนบางคนตัดขาดทุนเมื่อต่ำกว่าแนวรับ",
        ),
    ),
    Term(
        "resistance",
        "แนวต้าน",
        (
            "Resistance is a price at which a rise has stopped before.",
            "At resistance sellers were stronger than buyers.",
            "Resistance lies above the close.",
            "When the price closes above resistance, the level is broken.",
            "A broken resistance may become support.",
        ),
        (
            "แนวต้านคือระดับราคาที่เคยหยุดขึ้น",
            "ที่แนวต้านแรงขายมากกว่าแรงซื้อ",
            "แนวต้านอยู่สูงกว่าราคาปิด",
            "แนวต้านที่ผ่านไปได้อาจกลายเป็นแนวรับ",
        ),
    ),
    Term(
        "drawdown",
        "การลดลงจากจุดสูงสุด",
        (
            "A drawdown is the fall from a peak to a later low.",
            "The maximum drawdown is the deepest of these falls.",
            "A drawdown of 50% needs a gain of 100% to recover.",
            "Drawdown is a measure of risk that investors feel.",
        ),
        (
            "การลดลงจากจุดสูงสุดวัดจากยอดถึงจุดต่ำสุดหลังจากนั้น",
            "ขาดทุน 50% ต้องได้กำไร 100% จึงจะเท่าทุน",
            "ค่านี้เป็นการวัดความเสี่ยงอย่างหนึ่ง",
        ),
    ),
    Term(
        "trend",
        "แนวโน้ม",
        (
            "A trend is the general direction of the price.",
            "In an uptrend highs and lows rise; in a downtrend they fall.",
            "Without a direction the price moves sideways.",
            "Trends end, and nobody knows the day beforehand.",
        ),
        (
            "แนวโน้มคือทิศทางโดยรวมของราคา",
            "แนวโน้มขาขึ้นคือจุดสูงและจุดต่ำยกตัวขึ้น ขาลงคือลดลง",
            "ถ้าไม่มีทิศทาง ราคาจะเคลื่อนที่ออกข้าง",
        ),
    ),
    Term(
        "stop loss",
        "จุดตัดขาดทุน",
        (
            "A stop loss is a price at which a position is given up to limit the loss.",
            "A stop below support is not touched by ordinary swings.",
            "A stop that is too close is hit by chance.",
            "The distance to the stop decides how many shares one can afford.",
        ),
        (
            "จุดตัดขาดทุนคือราคาที่ยอมขายเพื่อจำกัดการขาดทุน",
            "จุดตัดขาดทุนที่ใกล้เกินไปอาจโดนโดยบังเอิญ",
            "ควรกำหนดจุดตัดขาดทุนก่อนซื้อ",
        ),
    ),
    Term(
        "dividend",
        "เงินปันผล",
        (
            "A dividend is the part of a profit that a company pays to its shareholders.",
            "On the ex-dividend day the price usually falls by about the dividend.",
            "The dividend yield is the yearly dividend divided by the price.",
        ),
        (
            "เงินปันผลคือกำไรที่บริษัทจ่ายให้ผู้ถือหุ้น",
            "วันขึ้นเครื่องหมาย XD ราคามักลดลงประมาณเท่าเงินปันผล",
            "อัตราผลตอบแทนเงินปันผลคือเงินปันผลต่อปีหารด้วยราคา",
        ),
    ),
    Term(
        "position",
        "สถานะที่ถือ",
        (
            "A position is what an investor holds of a stock.",
            "The average cost is what was paid for a share on average.",
            "A position is ahead when the close is above its cost and behind when it is below.",
            "Half a position can be sold to take some profit.",
        ),
        (
            "สถานะที่ถือคือจำนวนหุ้นที่นักลงทุนมีอยู่",
            "ต้นทุนเฉลี่ยคือราคาที่จ่ายต่อหุ้นโดยเฉลี่ย",
            "ถ้าราคาปิดสูงกว่าต้นทุนคือมีกำไร ถ้าต่ำกว่าคือขาดทุน",
        ),
    ),
    Term(
        "volatility",
        "ความผันผวน",
        (
            "Volatility says how much a price swings.",
            "It is usually the standard deviation of daily returns.",
            "Volatile stocks need smaller positions for the same risk.",
            "Calm times and wild times tend to come in clusters.",
        ),
        (
            "ความผันผวนบอกว่าราคาแกว่งมากแค่ไหน",
            "มักวัดด้วยค่าเบี่ยงเบนมาตรฐานของผลตอบแทนรายวัน",
            "หุ้นที่ผันผวนมากควรถือน้อยลง",
        ),
    ),
    Term(
        "diversification",
        "การกระจายความเสี่ยง",
        (
            "Diversification means holding several things that do not fall together.",
            "It lowers risk without lowering the expected return as much.",
            "Ten stocks of one industry are not well diversified.",
        ),
        (
            "การกระจายความเสี่ยงคือการถือหลายอย่างที่ไม่ลงพร้อมกัน",
            "หุ้นสิบตัวในอุตสาหกรรมเดียวกันยังกระจายความเสี่ยงไม่ดีพอ",
        ),
    ),
)
"""The glossary. Every number in it is a definition's."""

_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": (
        "{name}",
        "What is {name}?",
        "Glossary: {name}",
        "{name}, explained",
        "About {name}.",
        "Question: what does {name} mean?",
    ),
    "th": ("{name}", "{name} คืออะไร", "คำศัพท์: {name}", "{name} หมายถึงอะไร", "เรื่อง {name}"),
}


def entry(chance: Random, language: Language) -> str:
    """One to three terms, each with some of its sentences in any order."""
    return "\n\n".join(
        _about(term, chance, language) for term in chance.sample(TERMS, chance.randint(1, 3))
    )


def _about(term: Term, chance: Random, language: Language) -> str:
    sentences = term.english if language == "en" else term.thai
    chosen = chance.sample(sentences, chance.randint(2, len(sentences)))
    opening = expand(
        chance,
        {},
        chance.choice(_OPENINGS[language]),
        name=term.name if language == "en" else term.thai_name,
    )
    return f"{opening}\n{' '.join(chosen)}"


def meaning(chance: Random, language: Language) -> tuple[str, str]:
    """The name of a term and one or two sentences about it."""
    term = chance.choice(TERMS)
    name, sentences = (term.name, term.english) if language == "en" else (term.thai_name, term.thai)
    return name, " ".join(sentences[: chance.randint(1, 2)])


_ALIASES: dict[str, tuple[str, ...]] = {
    "RSI": ("RSI", "RSI14", "the RSI", "RSI 14", "the relative strength index"),
    "SMA": ("SMA", "SMA20", "SMA50", "a moving average", "the simple moving average"),
    "EMA": ("EMA", "an EMA", "the exponential moving average"),
    "MACD": ("MACD", "the MACD", "the signal line"),
    "ATR": ("ATR", "ATR14", "the average true range"),
    "Bollinger bands": ("Bollinger bands", "the Bollinger bands", "Bands", "a Bollinger band"),
    "volume": ("volume", "trading volume"),
    "support": ("support", "a support level"),
    "resistance": ("resistance", "a resistance level"),
    "drawdown": ("drawdown", "a drawdown", "maximum drawdown"),
    "trend": ("trend", "a trend", "an uptrend"),
    "stop loss": ("stop loss", "a stop loss", "a stop"),
    "dividend": ("dividend", "a dividend"),
    "position": ("position", "a position", "average cost"),
    "volatility": ("volatility",),
    "diversification": ("diversification",),
    "overbought": ("overbought", "oversold"),
}
"""Term → what people call it; "overbought" is answered by what RSI's limits are."""

_THAI_ALIASES: dict[str, tuple[str, ...]] = {
    "RSI": ("RSI", "RSI14", "ดัชนี RSI"),
    "SMA": ("SMA", "SMA20", "SMA50", "ค่าเฉลี่ยเคลื่อนที่"),
    "EMA": ("EMA",),
    "MACD": ("MACD", "เส้นสัญญาณ"),
    "ATR": ("ATR", "ATR14"),
    "Bollinger bands": ("แถบโบลลิงเจอร์", "Bollinger bands"),
    "overbought": ("ซื้อมากเกินไป", "ขายมากเกินไป"),
}

_QUESTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "What is {0}?", "What does {0} mean?", "Explain {0}.", "Define {0}.", "{0}, explained",
        "What is {0} in simple words?", "Can you explain {0}?", "What is meant by {0}?",
        "Please explain what {0} is.", "What is {0} in trading?", "What does {0} tell me?",
    ),
    "th": (
        "{0} คืออะไร", "{0} หมายถึงอะไร", "อธิบาย {0}", "{0} แปลว่าอะไร", "ช่วยอธิบาย {0} หน่อย",
        "{0} ใช้ทำอะไร",
    ),
}  # fmt: skip


def question(chance: Random, language: Language) -> tuple[str, str]:
    """A question about a term, as people ask it, and the same two sentences for every wording."""
    name = chance.choice(tuple(_ALIASES))
    term = next((term for term in TERMS if term.name == name), TERMS[0])
    if language == "th":
        aliases, sentences = _THAI_ALIASES.get(name, (term.thai_name,)), term.thai
    else:
        aliases, sentences = _ALIASES[name], term.english
    asked = chance.choice(_QUESTIONS[language]).format(chance.choice(aliases))
    kind = chance.random()
    asked = asked.lower() if kind < 0.2 else asked.rstrip("?.") if kind < 0.35 else asked
    return asked, " ".join(sentences[2:3] if name == "overbought" else sentences[:2])


def translation(chance: Random) -> tuple[str, str]:
    """The English and the Thai name of a term."""
    term = chance.choice([term for term in TERMS if term.name != term.thai_name])
    return term.name, term.thai_name
