import resource
import subprocess
import sys
from dataclasses import replace

import pytest
from factories.parrot_gguf import write_parrot

from stock_llm.errors import InputError
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline.inputs import input_digest
from stock_llm.pipeline.run_record import RunRecord, finished, record, run_digest
from stock_llm.settings import load_settings

PROFILE = """
name = "tiny"
path = "models/tiny"
revision = ""
licence = "Apache-2.0"
knowledge_cutoff = 2020-12-31
lora = {rank = 4, alpha = 8, dropout = 0.0}
gguf = {quantization = "Q8_0"}
serving = {temperature = 0.0, num_ctx = 1024, num_predict = 160}

[training]
epochs = 1
batch = 4
accumulate = 1
learning_rate = 5e-3
warmup_ratio = 0.0
max_tokens = 640
precision = "float32"
"""


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    (home / "models" / "profiles").mkdir(parents=True)
    (home / "models" / "profiles" / "tiny.toml").write_text(PROFILE)
    (home / "models" / "tiny").mkdir()
    (home / "models" / "tiny" / "model.safetensors").write_text("weights")
    (home / "candles").mkdir()
    (home / "candles" / "ABC.csv").write_text(
        "Date,Open,High,Low,Close,Volume\n2024-03-01,10,12,9,11,500\n"
    )
    (home / "trades.csv").write_text("date,symbol,side,quantity,price\n2024-03-01,ABC,BUY,3,10.5\n")
    return home


def settings_of(home, **dials):
    return load_settings(home=home, profile="tiny", trades="trades.csv", candles="candles", **dials)


def digest(settings):
    return run_digest(settings, input_digest(settings))


@pytest.fixture
def judged(home):
    """The settings of a run that ended, and how it ended: recorded, its model published into the folder."""
    settings = settings_of(home)
    gguf = home / "model.gguf"
    write_parrot(gguf, "hello")
    store = OllamaStore(home / "models" / "ollama")
    store.write_model(
        "stock-llm:v1",
        gguf,
        Modelfile(from_="./model.gguf", template="{{ .Prompt }}"),
        replace=False,
    )
    outcome = RunRecord(
        why="a test", plan=digest(settings), finished_at="2026-03-02T12:00:00+00:00", profile="tiny", version=1, run_id="r",
        registry="sqlite:///mlflow/mlflow.db", train_rows=10, holdout_rows=2, feedback=0, tokens=9, seconds=1.0, loss=0.5,
        table={"base": {"score": 0.1}}, differences={"challenger - base": {"mean": 0.5, "low": 0.4, "high": 0.6, "rows": 2}},
        verdict="keep", reasons=["ดี"], names=["stock-llm:v1"], where=str(store.root), promoted=False, notes=[], gguf=str(gguf),
        modelfile=str(home / "Modelfile"), symbol="ABC",
    )  # fmt: skip
    record(settings, outcome)
    return settings, outcome


def test_a_run_that_ended_is_known_again(judged):
    settings, outcome = judged
    assert finished(settings) == outcome
    assert (
        finished(
            load_settings(
                home=settings.home,
                profile="tiny",
                trades="trades.csv",
                candles="candles",
                threads=1,
            )
        )
        == outcome
    )


NEWS = (
    "trades",
    "candles",
    "feedback",
    "profile",
    "base",
    "seed",
    "train_rows",
    "holdout_from",
    "target",
    "scale",
    "source",
)


@pytest.mark.parametrize("what", [*NEWS, "gone"])
def test_whatever_is_new_makes_another_plan(judged, what):
    settings, _ = judged
    home, dials = settings.home, {}
    if what == "trades":
        (home / "trades.csv").write_text(
            "date,symbol,side,quantity,price\n2024-03-01,ABC,BUY,4,10.5\n"
        )
    elif what == "candles":
        (home / "candles" / "DEF.csv").write_text("Date,Open,High,Low,Close,Volume\n")
    elif what == "feedback":
        store = FeedbackStore(settings.url(settings.feedback_url))
        store.add([FeedbackItem(instruction="q", response="a", thumb="up")])
    elif what == "gone":
        FeedbackStore(settings.url(settings.feedback_url)).forget("account", "0123")
    elif what == "source":
        (home / "texts.jsonl").write_text('{"instruction": "q", "output": "a"}')
        dials = {
            "dataset": {"source": [{"path": "texts.jsonl", "format": "alpaca", "licence": "MIT"}]}
        }
        before = digest(settings_of(home, **dials))
        (home / "texts.jsonl").write_text('{"instruction": "q", "output": "b"}')
        assert digest(settings_of(home, **dials)) != before
    elif what == "profile":
        (home / "models" / "profiles" / "tiny.toml").write_text(
            PROFILE.replace("rank = 4", "rank = 8")
        )
    elif what == "base":
        (home / "models" / "tiny" / "model.safetensors").write_text("other weights")
    else:
        dials = {
            "seed": {"seed": 8},
            "train_rows": {"train_rows": 60},
            "holdout_from": {"holdout_from": "2025-01-01"},
            "target": {"ollama_store": "elsewhere"},
            "scale": {"dataset": {"amount_scale": 0.1}},
        }[what]
    assert finished(settings_of(home, **dials)) is None


@pytest.mark.parametrize("what", ["gguf", "store", "record"])
def test_a_missing_result_is_made_again(judged, what):
    settings, outcome = judged
    if what == "gguf":
        (settings.home / "model.gguf").unlink()
    elif what == "store":
        manifest = settings.home / "models/ollama/manifests/registry.ollama.ai/library/stock-llm/v1"
        manifest.unlink()
    else:
        (settings.home / "data" / "runs" / f"{outcome.plan}.json").unlink()
    assert finished(settings) is None


def test_the_same_plan_elsewhere_is_the_same(judged, tmp_path):
    """Nothing of the machine is in it: a copied folder with the same files has the same plan."""
    settings, outcome = judged
    settings.home.rename(tmp_path / "moved")
    assert digest(settings_of(tmp_path / "moved")) == outcome.plan


def test_a_later_outcome_takes_the_place_of_the_earlier(judged):
    settings, outcome = judged
    record(settings, replace(outcome, verdict="promote"))
    assert finished(settings).verdict == "promote"


def test_without_inputs_the_error_names_what_is_missing(home):
    (home / "trades.csv").unlink()
    with pytest.raises(InputError, match="no trades"):
        finished(settings_of(home))


def test_nothing_new_is_known_within_seconds_and_without_the_heavy_libraries(judged):
    settings, _ = judged
    asked = (
        "import sys; from stock_llm.pipeline.run_record import finished; from stock_llm.settings import load_settings\n"
        f"settings = load_settings(home={str(settings.home)!r}, profile='tiny', trades='trades.csv', candles='candles')\n"
        "assert finished(settings).version == 1\n"
        "heavy = {'prefect', 'mlflow', 'torch', 'pandas', 'transformers', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    before = _children_seconds()
    subprocess.run([sys.executable, "-c", asked], check=True)
    assert _children_seconds() - before < 5


def _children_seconds():
    """CPU time of ended children, which a busy machine does not lengthen."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
