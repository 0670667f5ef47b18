"""What is forgotten is out of the store, out of the next history and dataset, and all that learnt from it says so; kills change
nothing of that."""

import csv
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from factories.judged_candidate import line
from factories.profiles import write_profile

from stock_llm.artifacts import Dataset, load
from stock_llm.dataset import forgotten
from stock_llm.dataset.privacy.pseudonyms import pseudonym
from stock_llm.errors import InputError
from stock_llm.feedback.item import FeedbackItem
from stock_llm.pipeline import forgetting, registry
from stock_llm.pipeline.inputs import input_digest, open_feedback
from stock_llm.pipeline.run_record import run_digest
from stock_llm.secrets import account_hash
from stock_llm.settings import load_settings
from stock_llm.skills.row import read_rows
from tasks.build_dataset import build_dataset
from tasks.collect import collect
from tasks.register import register

SAMPLE = Path(__file__).parents[2] / "data" / "sample"

OWN = FeedbackItem(
    id="mine-1",
    instruction="Signal for KESTRO?",
    response="No idea.",
    correction="Hold it, as I told you.",
    as_of="2024-03-01",
)


@pytest.fixture(scope="module")
def _prepared(tmp_path_factory):
    """A home with the sample, a second account, one item of the user's own, and all of it collected and built."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("forgetting") / "home"
        patch.setenv("STOCK_LLM_SECRETS", str(home.parent / "secrets"))
        shutil.copytree(SAMPLE, home / "data" / "sample")
        trades = home / "data" / "sample" / "trades.csv"
        rows = list(csv.reader(trades.read_text().splitlines()))
        place = rows[0].index("account")
        for row in rows[1:40]:
            row[place] = "SECOND-7"
        trades.write_text("\n".join(",".join(row) for row in rows) + "\n")
        write_profile(home, holdout_rows=20)
        settings = load_settings(home=home, train_rows=60)
        open_feedback(settings).add([OWN])
        history = collect.fn(settings)
        build_dataset.fn(settings, history)
    return home


@pytest.fixture
def home(_prepared, registry_home, tmp_path, monkeypatch):
    """A copy of it, with an empty registry and the tiny profile."""
    shutil.copytree(_prepared / "data", registry_home / "data")
    shutil.copytree(_prepared.parent / "secrets", tmp_path / "own secrets")
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(tmp_path / "own secrets"))
    return load_settings(home=registry_home, profile="tiny", train_rows=60)


def built(settings):
    history = collect.fn(settings)
    return history, build_dataset.fn(settings, history)


def registered(settings, name="one"):
    """A version of a candidate that was trained on what there is."""
    history, dataset = built(settings)
    made = line(settings.home, name)
    return register.fn(
        settings, history, dataset, made.adapter, made.candidate, made.scorecard
    ), dataset


def entries(settings):
    return pq.read_table(collect.fn(settings).trades).to_pylist()


def test_forgotten_feedback_stays_deleted(home, tmp_path):
    version, dataset = registered(home)
    assert OWN.id in dataset.feedback_ids
    before = input_digest(home)
    done = forgetting.forget(home, "feedback", OWN.id)
    assert (done.fresh, done.datasets, done.versions) == (True, [dataset.digest], [version.number])
    store = open_feedback(home)
    assert not store.has(OWN.id)
    assert store.add([OWN]).forgotten == 1
    path = tmp_path / "again.jsonl"
    path.write_text(json.dumps(OWN.to_json()))
    assert store.import_file(path).forgotten == 1
    assert input_digest(home) != before
    _, after = built(home)
    assert OWN.id not in after.feedback_ids
    for name in ("train", "holdout", "corrections"):
        assert "as I told you" not in getattr(after, name).read_text()


def test_the_samples_own_items_do_not_come_back(home):
    forgetting.forget(home, "feedback", "sample-0001")
    assert not open_feedback(home).has("sample-0001")
    assert "sample-0001" not in collect.fn(home).feedback_ids


def test_a_trade_is_left_out_under_either_name(home):
    version, dataset = registered(home)
    before = collect.fn(home)
    done = forgetting.forget(home, "trade", "T00005")
    assert (done.mark, done.datasets, done.versions) == (
        "generic:T00005",
        [dataset.digest],
        [version.number],
    )
    assert not forgetting.forget(home, "trade", "generic:T00005").fresh
    after = collect.fn(home)
    assert after.digest != before.digest
    assert "generic:T00005" not in {entry["entry_id"] for entry in entries(home)}
    assert after.rows_forgotten == {"trades": 1, "candles": 0, "feedback": 0}
    for kind in ("trades", "candles", "feedback"):
        parts = (
            after.rows_kept,
            after.rows_quarantined,
            after.rows_duplicate,
            after.rows_forgotten,
        )
        assert after.rows_read[kind] == sum(part[kind] for part in parts)
    _, rebuilt = built(home)
    gone = pseudonym("generic:T00005", partial(account_hash, folder=home.secrets))
    assert all(row.source["ref"] != gone for row in read_rows(rebuilt.train))


def test_a_trade_is_forgotten_with_all_of_its_entries(home):
    folder = home.path("mine")
    folder.mkdir()
    shutil.copy(home.path("data/sample/trades.csv"), folder)
    (folder / "coins.csv").write_text(
        "order_id,trade_id,create_time_utc,symbol,side,traded_price,traded_quantity,fee,fee_currency\n"
        "1,C7,2024-03-01 10:00:00,ETH_BTC,BUY,0.05,2,0.001,CRO\n"
    )
    load = load_settings(home=home.home, trades=folder, candles=home.candles)
    of_coins = [entry for entry in entries(load) if entry["source_format"] == "cryptocom-exchange"]
    assert sorted(entry["entry_id"].partition(":")[2] for entry in of_coins) == [
        "C7",
        "C7:coin",
        "C7:fee0",
    ]
    forgetting.forget(load, "trade", "C7")
    after = collect.fn(load)
    assert after.rows_forgotten["trades"] == 1
    assert "cryptocom-exchange" not in {entry["source_format"] for entry in entries(load)}


def test_an_account_is_left_out_and_never_written(home):
    registered(home)
    done = forgetting.forget(home, "account", "SECOND-7")
    assert done.mark == account_hash("SECOND-7", home.secrets)
    assert {entry["account"] for entry in entries(home)} == {
        account_hash("DEMO-0001", home.secrets)
    }
    assert collect.fn(home).rows_forgotten["trades"] == 39
    assert "SECOND-7" not in forgetting.summary(done, home)
    assert b"SECOND-7" not in home.path("data/feedback.db").read_bytes()


def test_the_next_run_is_not_nothing_new(home):
    before = run_digest(home, input_digest(home))
    digests = {before}
    for kind, name in (("feedback", OWN.id), ("trade", "T00007"), ("account", "SECOND-7")):
        forgetting.forget(home, kind, name)
        digests.add(run_digest(home, input_digest(home)))
    assert len(digests) == 4


def test_marks_are_read_by_datasets_and_versions(home):
    version, dataset = registered(home)
    forgetting.forget(home, "feedback", OWN.id)
    forgetting.forget(home, "trade", "T00005")
    hashed = partial(account_hash, folder=home.secrets)
    marks = ["feedback mine-1", f"trade {pseudonym('generic:T00005', hashed)}"]
    assert json.loads(forgotten.read(dataset.folder)) == marks
    tags = registry.connect(home).get_model_version(registry.MODEL, str(version.number)).tags
    assert json.loads(tags[registry.FORGOTTEN]) == marks
    assert load(Dataset, dataset.folder) == dataset, "the artifact itself is as it was"


def test_a_version_that_is_registered_after_the_forgetting_is_tagged(home):
    history, dataset = built(home)
    forgetting.forget(home, "feedback", OWN.id)
    made = line(home.home)
    version = register.fn(home, history, dataset, made.adapter, made.candidate, made.scorecard)
    tags = registry.connect(home).get_model_version(registry.MODEL, str(version.number)).tags
    assert json.loads(tags[registry.FORGOTTEN]) == ["feedback mine-1"]


def test_versions_not_trained_with_it_are_not_marked(home):
    _, old = registered(home)
    forgetting.forget(home, "feedback", OWN.id)
    _, clean = registered(home, "two")
    assert clean.digest != old.digest
    done = forgetting.forget(home, "feedback", OWN.id)
    assert done.datasets == [old.digest] and done.versions == [1]
    assert forgotten.read(clean.folder) == ""


@pytest.mark.parametrize(
    "at",
    [
        "stock_llm.dataset.forgotten.add",
        "stock_llm.pipeline.registry.versions",
        "stock_llm.pipeline.registry.mark",
    ],
)
def test_a_kill_anywhere_is_made_good_by_the_same_command(home, monkeypatch, at):
    version, dataset = registered(home)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(at, killed)
        with pytest.raises(KeyboardInterrupt):
            forgetting.forget(home, "feedback", OWN.id)
    assert not open_feedback(home).has(OWN.id)
    done = forgetting.forget(home, "feedback", OWN.id)
    assert (done.fresh, done.datasets, done.versions) == (False, [dataset.digest], [version.number])
    assert "was forgotten before; its marks are complete" in forgetting.summary(done, home)


def test_an_unknown_id_is_refused(home):
    for kind, name, message in (
        ("feedback", "nobody", "there is no feedback 'nobody'"),
        ("trade", "T99999", "no trade 'T99999' was ever collected"),
        ("account", "DEMO-9999", "no trade of this account"),
        ("account", "", "no trade of this account"),
    ):
        with pytest.raises(InputError, match=message):
            forgetting.forget(home, kind, name)
    assert not open_feedback(home).forgotten()


def test_the_summary_states_what_was_done_and_what_is_left(home):
    version, dataset = registered(home)
    text = forgetting.summary(forgetting.forget(home, "trade", "T00005"), home)
    assert text.splitlines()[:4] == [
        "trade generic:T00005 is forgotten: your file keeps it, collect leaves it out",
        f"marked datasets: {dataset.digest}",
        f"tagged model versions, which learnt from it and still answer with it: v{version.number}",
        "the next run leaves it out: stock-llm run",
    ]
    assert f"  data/artifacts/dataset/{dataset.digest}" in text.splitlines()


def test_datasets_of_before_are_searched_row_by_row(home):
    _, dataset = built(home)
    ref = next(
        row.source["ref"] for row in read_rows(dataset.train) if row.source["kind"] == "trade"
    )
    old = replace(dataset, history="")
    assert forgetting._used(old, set(), "trade", ref)
    assert not forgetting._used(old, set(), "trade", "generic:T99999")
