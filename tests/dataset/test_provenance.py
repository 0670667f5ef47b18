"""Every row of the sample leads to the lines that it was made of, and those lines say what the row says."""

import shutil
import subprocess
import sys
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from factories.profiles import write_profile

from stock_llm.dataset.privacy.pseudonyms import pseudonym
from stock_llm.dataset.provenance import datasets, find, markdown, origins
from stock_llm.errors import InputError
from stock_llm.secrets import account_hash
from stock_llm.settings import load_settings
from stock_llm.skills.row import read_rows
from tasks.build_dataset import build_dataset
from tasks.collect import collect

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("STOCK_LLM_SECRETS", str(folder / "secrets"))
        shutil.copytree(SAMPLE, folder / "data" / "sample")
        write_profile(folder, holdout_rows=50)
        settings = load_settings(home=folder, train_rows=150)
        history = collect.fn(settings)
        return settings, history, build_dataset.fn(settings, history)


def hashed(settings):
    return partial(account_hash, folder=settings.secrets)


def line_of(settings, origin, row):
    folder = "" if origin.file == "trades.csv" else "candles"
    return (settings.path("data/sample") / folder / origin.file).read_text().splitlines()[row - 1]


def test_every_row_leads_to_its_lines(built):
    settings, history, dataset = built
    seen = set()
    for file in (dataset.train, dataset.holdout):
        for row in read_rows(file):
            row_origins = {
                origin.what: origin for origin in origins(row, history, (), hashed(settings))
            }
            seen.add(row.source["kind"])
            if row.source["kind"] == "feedback":
                assert row.source["ref"] in row_origins["feedback"].text
            elif row.skill in ("abstain", "code", "general"):
                assert not row_origins
            elif row.source["kind"] == "positions":
                assert (
                    line_of(settings, row_origins["close"], row_origins["close"].rows[1])
                    and row_origins["position"].file == "trades.csv"
                )
            else:
                known = row_origins["known candles"]
                assert known.file == f"{row.symbol}.csv"
                assert (
                    line_of(settings, known, known.rows[1])[:10] == row.facts["situation"]["as_of"]
                )
                assert f",{row.facts['situation']['close']:.2f}," in line_of(
                    settings, known, known.rows[1]
                )
                if "label" in row_origins:
                    assert (
                        line_of(settings, row_origins["label"], row_origins["label"].rows[0])[:10]
                        >= row.label_from
                    )
                    assert (
                        line_of(settings, row_origins["label"], row_origins["label"].rows[1])[:10]
                        <= row.label_until
                    )
                if row.source["kind"] == "trade":
                    line = line_of(settings, row_origins["trade"], row_origins["trade"].rows[0])
                    trade_id = line.partition(",")[0]
                    assert row.source["ref"] == pseudonym(f"generic:{trade_id}", hashed(settings))
                assert ("position" in row_origins) == (
                    row.skill == "review" or bool(row.facts["situation"]["position"])
                )
    assert seen == {"trade", "day", "rule", "positions", "feedback", "replay"}


def test_a_review_leads_to_the_purchases_that_it_is_about(built):
    settings, history, dataset = built
    row = next(row for row in read_rows(dataset.train) if row.skill == "review")
    bought = [
        origin
        for origin in origins(row, history, (), hashed(settings))
        if origin.what == "position"
    ]
    first = line_of(settings, bought[0], bought[0].rows[0])
    assert f",{row.symbol},BUY," in first
    assert date.fromisoformat(first.split(",")[1][:10]).isoformat() == row.label_from


def test_a_row_is_found_by_its_id_or_the_end_of_it(built):
    settings, history, dataset = built
    row = next(read_rows(dataset.holdout))
    for name in (row.id, row.id[-8:]):
        provenance = find(settings.artifacts, history.folder.parent, name, (), hashed(settings))
        assert (provenance.row, provenance.file, provenance.dataset.digest) == (
            row,
            dataset.holdout,
            dataset.digest,
        )
        assert row.output in markdown(provenance)
    with pytest.raises(InputError, match="no row 'nothing' in 1 dataset"):
        find(settings.artifacts, history.folder.parent, "nothing", (), hashed(settings))


def test_the_command_prints_a_row_and_the_card(built):
    settings, _, dataset = built
    row = next(read_rows(dataset.train))
    printed = {}
    for argument in ([row.id], []):
        done = subprocess.run(
            [sys.executable, "-c", "from stock_llm.cli.main import main; main()", "dataset", "show", *argument],
            capture_output=True, text=True, check=True, env={"STOCK_LLM_HOME": str(settings.home), "PATH": ""},
        )  # fmt: skip
        printed[bool(argument)] = done.stdout
    assert row.output in printed[True] and "made of" in printed[True]
    assert (
        "# Dataset card" in printed[False]
        and f"holdout {dataset.holdout_digest}" in printed[False]
        and "used 0 times" in printed[False]
    )


def test_without_a_dataset_there_is_nothing_to_show(tmp_path):
    assert datasets(tmp_path) == []
