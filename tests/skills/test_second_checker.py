"""The second checker of sentences, on examples made from what the sentences mean."""

import importlib.util
import json
from pathlib import Path

import pytest
from factories.rows import rows_of_all_skills
from fakes.second_checker import false_sentences

from stock_llm.market.situation import Situation
from stock_llm.skills.row import write_rows

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "checker_agreement.py"

DOWN = Situation(
    symbol="ORCA", as_of="2025-03-03", close=93.67, sma20=95.10, sma50=97.80, rsi14=55.1, macd=-9.28, macd_signal=-10.10,
    atr14=2.31, band_low=90.10, band_high=99.20, volume=1.2, support=90.00, resistance=99.00,
)  # fmt: skip
UP = Situation(
    symbol="ORCA", as_of="2025-03-03", close=0.9120, sma20=0.8500, sma50=0.8000, rsi14=75.3, macd=0.03, macd_signal=0.02,
    atr14=0.0210, band_low=0.8000, band_high=0.9000, volume=0.7, support=0.8400, resistance=0.9500,
)  # fmt: skip

TRUE_DOWN = [
    "MACD -9.28 is above its signal -10.10.",
    "MACD -9.28 is 0.82 above its signal -10.10.",
    "MACD (-9.28) is above the signal line (-10.10) but below zero.",
    "Close 93.67 is 4.2% below SMA50 97.80.",
    "Close 93.67 is below SMA50 97.80 by 4.2%.",
    "Close 93.67 is 1.5% below SMA20 95.10 and 4.2% below SMA50 97.80.",
    "Close and SMA20 are both below SMA50 97.80.",
    "SMA20 95.10 is 2.8% below SMA50 97.80.",
    "SMA50 97.80 (-4.2%)",
    "SMA50 97.80 is 4.4% above the close.",
    "RSI14 55.1 is neutral, between 30 and 70.",
    "RSI14 55.1 is below 70, not overbought.",
    "RSI14 is above 50.",
    "Close 93.67 is inside the bands 90.10 to 99.20.",
    "Close 93.67 is above the lower band 90.10 and below the upper band 99.20.",
    "Close 93.67 is between support 90.00 and resistance 99.00.",
    "Volume is 1.2x its average.",
    "Volume is 1.2 times its 20-day average.",
    "Volume is above average.",
    "ATR14 2.31 is 2.5% of the close.",
    "Resistance 99.00 is 5.7% above the close.",
    "Support 90.00 is 3.9% below the close 93.67.",
    "Support 90.00 is 3.9% away.",
    "Resistance 99.00 is 5.7% from the close.",
    "Stop below support 90.00.",
    "Stop if the close is below support 90.00.",
    "A close above resistance 99.00 ends the decline.",
    "Close 93.7 is about 4% below SMA50.",
    "RSI-14 55.1 is neutral.",
    "RSI 55.1 is neutral, and ATR (14) 2.31 is small.",
    "Support 90.00 is -3.9% from the close.",
    "Close is close to its average.",
    "Other people may know more than this.",
    "On 2025-03-03 the news said nothing in 10 sessions.",
    "Trend: DOWN",
    "Levels: support 90.00, resistance 99.00",
    "Confidence: 55%",
    "Not investment advice.",
    "MACD -9.28 สูงกว่าเส้นสัญญาณ -10.10",
    "ราคาปิด 93.67 ต่ำกว่า SMA50 97.80 อยู่ 4.2%",
    "ราคาปิด 93.67 ต่ำกว่า SMA20 95.10 และต่ำกว่า SMA50 97.80",
    "RSI14 55.1 เป็นกลาง ระหว่าง 30 ถึง 70",
    "ราคาปิดอยู่ในแถบ 90.10 ถึง 99.20",
    "ราคาปิดต่ำกว่าแถบบน 99.20",
    "ปริมาณซื้อขายเป็น 1.2 เท่าของค่าเฉลี่ย",
    "ATR14 2.31 คิดเป็น 2.5% ของราคาปิด",
    "แนวต้าน 99.00 ห่างจากราคาปิด 5.7%",
    "แนวรับ 90.00 อยู่ต่ำกว่าราคาปิด 3.9%",
    "ตัดขาดทุนเมื่อต่ำกว่าแนวรับ 90.00",
    "ตัดขาดทุนเมื่อราคาปิดต่ำกว่าแนวรับ 90.00",
    "แนวโน้ม: DOWN",
    "ระดับราคา: แนวรับ 90.00, แนวต้าน 99.00",
    "คำแนะนำ: BUY",
]
FALSE_DOWN = [
    "MACD -9.28 is below its signal -10.10.",
    "MACD 9.28 is above its signal -10.10.",
    "MACD -9.28 is above its signal -10.01.",
    "MACD -9.28 is 0.28 above its signal -10.10.",
    "Close 93.67 is 4.2% above SMA50 97.80.",
    "Close 93.67 is 2.4% below SMA50 97.80.",
    "Close 93.67 is 4.2% below SMA50 98.70.",
    "Close 93.76 is 4.2% below SMA50 97.80.",
    "Close 93.67 is 1.5% below SMA20 95.10 and 1.5% below SMA50 97.80.",
    "Close 93.67 is below SMA20 95.10 and above SMA50 97.80.",
    "Close and SMA20 are above SMA50.",
    "SMA50 97.80 (+4.2%)",
    "RSI14 55.1 is overbought.",
    "RSI14 55.1 is oversold, below 30.",
    "RSI14 55.1 is not neutral.",
    "RSI14 51.5 is neutral, between 30 and 70.",
    "RSI14 55.1 is between 30 and 50.",
    "RSI14 55.1 is above 70.",
    "Close 93.67 is above the bands 90.10 to 99.20.",
    "Close 93.67 is inside the bands 91.10 to 99.20.",
    "Close is above the upper band 99.20.",
    "Volume is 2.1x its average.",
    "Volume is below its average.",
    "ATR14 2.31 is 5.2% of the close.",
    "ATR14 3.21 is 2.5% of the close.",
    "Resistance 99.00 is 5.7% below the close.",
    "Resistance 99.00 is 7.5% away from the close.",
    "Support 99.00 is 3.9% below the close.",
    "Support 90.00 is 5.7% away.",
    "Stop below support 99.00.",
    "Stop 92.00 is below support 90.00.",
    "Close 93.67.1 is below SMA50.",
    "Close 93.6 is below SMA50.",
    "RSI16 55.1 is neutral.",
    "Close 93.67 is below SMA200 97.80.",
    "ATR14 2.31 is 2.5% of SMA50.",
    "ATR14 2.31 is .5% of the close.",
    "RSI14 55.1 is neutral, between 30 and 30.",
    "Resistance 99.00 is -5.7% from the close.",
    "Close 93.67 is 4.2 below SMA50 97.80.",
    "Trend: UP",
    "Levels: support 90.00, resistance 90.00",
    "MACD -9.28 ต่ำกว่าเส้นสัญญาณ -10.10",
    "ราคาปิด 93.67 สูงกว่า SMA50 97.80 อยู่ 4.2%",
    "ราคาปิด 93.67 ต่ำกว่า SMA50 97.80 อยู่ 2.4%",
    "RSI14 55.1 ซื้อมากเกินไป สูงกว่า 70",
    "RSI14 55.1 ขายมากเกินไป",
    "ราคาปิดอยู่ในแถบ 90.10 ถึง 92.20",
    "ราคาปิดสูงกว่าแถบบน 99.20",
    "ปริมาณซื้อขายเป็น 2.1 เท่าของค่าเฉลี่ย",
    "ATR14 2.31 คิดเป็น 5.2% ของราคาปิด",
    "แนวต้าน 99.00 ห่างจากราคาปิด 7.5%",
    "ตัดขาดทุนเมื่อต่ำกว่าแนวรับ 99.00",
    "แนวโน้ม: SIDEWAYS",
    "ระดับราคา: แนวรับ 99.00, แนวต้าน 90.00",
]
TRUE_UP = [
    "RSI14 75.3 is overbought, above 70.",
    "Close 0.9120 is above the upper band 0.9000.",
    "Close 0.9120 is 14.0% above SMA50 0.8000.",
    "Volume is 0.7x its average.",
    "MACD 0.03 is above its signal 0.02.",
    "The trend is up: the close and SMA20 are above SMA50.",
    "RSI14 75.3 ซื้อมากเกินไป สูงกว่า 70",
    "ราคาปิดสูงกว่าแถบบน 0.9000",
    "แนวโน้มเป็นขาขึ้น",
]
FALSE_UP = [
    "RSI14 75.3 is neutral.",
    "RSI14 75.3 is neutral, between 30 and 70.",
    "Close 0.9120 is inside the bands 0.8000 to 0.9000.",
    "The close is in a downtrend.",
    "Volume is above its average.",
    "RSI14 75.3 เป็นกลาง",
    "ราคาปิดอยู่ในแถบ",
    "แนวโน้มขาลง",
]
"""Each is false of its situation."""


@pytest.mark.parametrize(
    ("situation", "sentence"),
    [(DOWN, sentence) for sentence in TRUE_DOWN] + [(UP, sentence) for sentence in TRUE_UP],
)
def test_a_true_sentence_passes(situation, sentence):
    assert false_sentences(sentence, situation) == []


@pytest.mark.parametrize(
    ("situation", "sentence"),
    [(DOWN, sentence) for sentence in FALSE_DOWN] + [(UP, sentence) for sentence in FALSE_UP],
)
def test_a_false_sentence_is_found(situation, sentence):
    assert false_sentences(sentence, situation) == [sentence]


def test_the_false_sentences_of_an_answer_are_told_apart():
    answer = (
        "Trend: DOWN\nRecommendation: SELL\nConfidence: 55%\nInsights:\n- MACD -9.28 is below its signal -10.10.\n"
        "- RSI14 55.1 is neutral. Volume is 1.3x its average.\nLevels: support 90.00, resistance 99.00\nNot investment advice."
    )
    assert false_sentences(answer, DOWN) == [
        "MACD -9.28 is below its signal -10.10.",
        "Volume is 1.3x its average.",
    ]


def test_the_benchmark_compares_the_newest_answers_of_the_candidate(tmp_path, monkeypatch, capsys):
    rows = list(rows_of_all_skills(12))
    holdout = tmp_path / "data" / "artifacts" / "dataset" / "one" / "holdout.jsonl"
    items = tmp_path / "data" / "artifacts" / "scorecard" / "one" / "items.jsonl"
    holdout.parent.mkdir(parents=True)
    items.parent.mkdir(parents=True)
    write_rows(rows, holdout)
    answers = [
        {"model": model, "id": row.id, "answer": row.output.replace("below", "above") if model == "challenger" else "- Close 1"}
        for model in ("base", "challenger")
        for row in rows
    ]  # fmt: skip
    items.write_text("\n".join(map(json.dumps, answers)), encoding="utf-8")
    asked = [row for row in rows if row.skill in ("analyse", "signal")]
    wrong = sum("below" in row.output for row in asked)
    assert 0 < wrong < len(asked)

    spec = importlib.util.spec_from_file_location("checker_agreement", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("sys.argv", ["checker_agreement.py", str(tmp_path)])
    module.main()
    shown = capsys.readouterr().out
    assert (
        f"{len(asked)} answers; with a false sentence: first {wrong}, second {wrong}, both {wrong}"
        in shown
    )
    assert f"agreement {len(asked)}/{len(asked)} = 100.0%" in shown
