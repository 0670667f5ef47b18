"""On candles as a vendor gives them: a dataset of five stocks is built whole, and every number of every answer stands in its input."""

import shutil

from factories.profiles import write_profile

from stock_llm.dataset.decisions import Market
from stock_llm.dataset.sampling import split_sides
from stock_llm.dataset.sources.mixing import GENERAL
from stock_llm.evaluation.answers import parse_answer
from stock_llm.settings import load_settings
from stock_llm.skills import SKILLS, abstain, code, statements
from stock_llm.skills.decision_rows import situation_of
from stock_llm.skills.row import read_rows
from tasks.build_dataset import build_dataset, split_of
from tasks.collect import collect


def test_every_number_of_every_answer_is_known_or_computed(public_data, tmp_path):
    files = sorted((public_data / "ohlcv" / "stocknet").glob("*.csv"))
    headlines = public_data / "sentiment" / "fingpt" / "sent_valid.csv"
    symbols = [file.stem for file in files]
    home = tmp_path / "home"
    (home / "candles").mkdir(parents=True)
    for file in files:
        shutil.copy(file, home / "candles")
    days = [line.split(",")[0] for line in files[0].read_text().splitlines()[1:]]
    lines = [
        f"{number},{days[150 + 9 * number]},{symbols[number % 3 * 2]},{('BUY', 'BUY', 'BUY', 'SELL')[number // 3 % 4]},"
        f"{5 + number % 4},{60 + number % 50}.25,1,USD,A1\n"
        for number in range(110)
    ]
    (home / "trades.csv").write_text(
        "trade_id,date,symbol,side,quantity,price,fee,currency,account\n" + "".join(lines)
    )
    source = {
        "path": str(headlines), "format": "sentiment", "licence": "MIT", "weight": 0.2,
        "labels": {"0": "NEGATIVE", "1": "POSITIVE", "2": "NEUTRAL"},
    }  # fmt: skip
    write_profile(home, holdout_rows=200)
    settings = load_settings(
        home=home,
        trades="trades.csv",
        candles="candles",
        train_rows=900,
        dataset={"source": [source]},
    )
    history = collect.fn(settings)
    dataset = build_dataset.fn(settings, history)
    rows = [*read_rows(dataset.train), *read_rows(dataset.holdout)]
    seen, checked = set(), 0
    market = Market.of(history)
    base_rates = market.base_rates(split_sides(market, split_of(settings, history))[0].decisions)
    for row in rows:
        if row.skill == GENERAL:
            continue
        seen.add((row.skill, row.language))
        assert SKILLS[row.skill].score(row, row.output).value == 1.0, row
        if row.skill in (code.NAME, abstain.NAME):
            continue  # code's numbers are those of the rule, and it is run; abstaining has none
        answer = parse_answer(row.output)
        known = row.input
        if (
            answer.confidence is not None
        ):  # the one number that is not in the input is counted again
            assert answer.confidence == base_rates.confidence(situation_of(row), row.label)
            known += f" {answer.confidence}%"
        assert statements.grounded(row.output, known) == 1.0, row
        checked += len(statements.numbers(row.output))
    assert checked > 5000
    assert {skill for skill, _ in seen} == set(SKILLS) - {"follow"}
    assert {language for _, language in seen} == {"en", "th"}
    assert dataset.counts["holdout"]["sentiment"] == 20
