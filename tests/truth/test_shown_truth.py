"""What is marked as false, held against the second checker, which was written from the meaning alone."""

import pytest
from fakes.second_block_checker import judge_answer

from stock_llm.truth.answer_check import AnswerChecker

TRADE = """Symbol: DORNIA
Bought: 2025-12-24 at 54.73
Sold: 2025-12-25 at 53.64
Held: 1 days
Return: -2.0%
Entry Close: 55.11
Entry SMA50: 60.26 (-8.5%)
Entry RSI14: 32.4, neutral"""

PORTFOLIO = """Portfolio: 2025-07-24
Holdings: 3
- JUNIPA: 48.9%, 1391.68 to 1360.96 (-2.2%)
- FENWIK: 30.3%, 120.85 to 119.99 (-0.7%)
- GALDOR: 20.8%, 51.58 to 57.61 (+11.7%)
Best: GALDOR +11.7%
Worst: JUNIPA -2.2%
Return: +0.2%
Largest two: 79.2%
Equal holdings: 2.7, moderate"""

VOLUME = "Symbol: BRISKO\nDate: 2025-08-19\nClose: 71.71\nVolume: 1.5x, high"
BANDS = "Symbol: CALVEX\nDate: 2025-09-05\nClose: 116.02\nBands: 101.93 to 115.36, above"
MACD = "Symbol: IVORAN\nDate: 2025-11-04\nClose: 109.58\nMACD: -4.73, signal -5.05 (+0.32)"

TRUE = {
    TRADE: ["The return is -2.0% in 1 days, a loss.", "It was bought against the trend.", "Outcome: LOSS", "ผลตอบแทน -2.0% ใน 1 วัน ขาดทุน", "ซื้อสวนแนวโน้ม", "RSI14 32.4 is neutral, between 30 and 70."],
    PORTFOLIO: ["JUNIPA is the largest holding, 48.9% of the value.", "Best is GALDOR +11.7%, worst is JUNIPA -2.2%.", "The largest two make up 79.2%; it is spread like 2.7 equal holdings.", "The return is +0.2%, a gain.", "ผลตอบแทน +0.2% พอร์ตกำไร", "ดีที่สุด GALDOR +11.7% แย่ที่สุด JUNIPA -2.2%", "FENWIK 30.3% ของมูลค่า -0.7%", "Concentration: MODERATE", "Outcome: GAIN"],
    VOLUME: ["HIGH: Many more shares than usual changed hands.", "Reading: HIGH", "HIGH: มีการซื้อขายมากกว่าปกติมาก"],
    BANDS: ["Bands 101.93 to 115.36, above: the close 116.02 is above the bands.", "OVERBOUGHT: Buyers may be exhausted."],
    MACD: ["MACD -4.73, signal -5.05 (+0.32): MACD is above its signal.", "สัญญาณ: BULLISH", "BULLISH: ตามตำราถือว่าเป็นแรงขึ้น"],
}  # fmt: skip
FALSE = {
    TRADE: ["The return is +2.0% in 1 days, a gain.", "The return is -2.0% in 3 days, a loss.", "It was bought with the trend.", "Outcome: GAIN", "ผลตอบแทน -2.0% ใน 1 วัน กำไร", "ซื้อตามแนวโน้ม", "RSI14 32.4 is oversold, below 30."],
    PORTFOLIO: ["FENWIK is the largest holding, 48.9% of the value.", "Best is JUNIPA -2.2%, worst is GALDOR +11.7%.", "The largest two make up 48.9%; it is spread like 2.7 equal holdings.", "The return is -0.2%, a loss.", "พอร์ตขาดทุน", "Concentration: HIGH", "Best is GALDOR +11.7%, worst is GALDORI -2.2%.", "ดีที่สุด GALDOR +11.7% ของมูลค่า", "KESTRO is the largest holding, 48.9% of the value.", "The largest is KESTRO, not JUNIPA.", "JUNIPA and KESTRO are the largest.", "48.9% of the value is KESTRO in USD.", "JUNIPA is the largest holding, 8.9% of the value."],
    VOLUME: ["OVERBOUGHT: Buyers may be exhausted.", "LOW: แรงขายอาจเริ่มหมด", "HIGH: Buyers may be exhausted.", "Reading: LOW", "OVERBOUGHT: แรงซื้ออาจเริ่มหมด"],
    BANDS: ["Bands 101.93 to 115.36, inside: the close 116.02 is inside the bands.", "BEARISH: มีการซื้อขายน้อยกว่าปกติมาก", "NEUTRAL: The textbook reads this as upward momentum.", "It does not rise, it points neither way.", "ยังไม่บอกทิศทาง"],
    MACD: ["MACD -4.73, signal -5.05 (+0.32): MACD is below its signal.", "BULLISH: The textbook reads this as downward momentum.", "OVERSOLD: MACD -4.73, signal -5.05 (+0.32): MACD is above its signal."],
}  # fmt: skip
UNDECIDED = {
    TRADE: ["MACD is below its signal.", "Sell when you are told to."],
    PORTFOLIO: ["ATR14 2.58 is 2.3% of the close.", "Diversify."],
    VOLUME: ["The market was open."],
}


UNMARKED = {
    PORTFOLIO: ["JUNIPA is the largest holding, 48.9% of the value in USD; concentration MODERATE.", "JUNIPA is the largest ETF of three in THB.", "Best is GALDOR +11.7% in EUR, worst is JUNIPA -2.2%.", "The CEO of FENWIK said that JUNIPA is the largest.", "JUNIPA ใหญ่ที่สุด 48.9% ของมูลค่า USD"],
    VOLUME: ["The RSI says that buyers may be exhausted.", "There were not fewer shares than usual.", "It isn't upward momentum.", "นี่ไม่ใช่แรงลง"],
    BANDS: ["This is not downward momentum.", "It never was as busy as usual.", "MACD shows upward momentum."],
}  # fmt: skip


def cases(sentences: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(block, sentence) for block, listed in sentences.items() for sentence in listed]


def marked(block: str, sentence: str) -> bool:
    checker = AnswerChecker.of(f"How is it?\n\n{block}")
    return any(each.verdict == "false" for each in checker.judge(sentence))


def verdicts(block: str, sentence: str) -> list[bool | None]:
    return [each.true for each in judge_answer(f"- {sentence}", f"How is it?\n\n{block}")]


@pytest.mark.parametrize(("block", "sentence"), cases(TRUE))
def test_what_is_true_is_not_marked(block, sentence):
    assert all(verdicts(block, sentence))
    assert not marked(block, sentence)


@pytest.mark.parametrize(("block", "sentence"), cases(FALSE))
def test_what_is_false_is_marked(block, sentence):
    checker = AnswerChecker.of(f"How is it?\n\n{block}")
    assert False in verdicts(block, sentence)
    assert any(each.verdict == "false" and each.correction for each in checker.judge(sentence))


@pytest.mark.parametrize(("block", "sentence"), cases(UNDECIDED))
def test_what_the_numbers_do_not_decide_is_neither(block, sentence):
    assert not any(each is not None for each in verdicts(block, sentence))
    assert not marked(block, sentence)


@pytest.mark.parametrize(("block", "sentence"), cases(UNMARKED))
def test_what_is_said_of_something_else_or_denied_is_not_marked(block, sentence):
    assert not marked(block, sentence)
