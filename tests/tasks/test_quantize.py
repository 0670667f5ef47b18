"""From a trained adapter to the quantized file, with every real part: both merges, the parity proof, the bounded losses."""

import dataclasses
import shutil

import pytest
from factories.rows import rows_of_all_skills

from stock_llm.artifacts import Adapter, Dataset
from stock_llm.errors import ParityError, StockLLMError
from stock_llm.llm.bases import needs
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.settings import Settings, load_settings
from stock_llm.skills.row import write_rows
from stock_llm.storage.checksums import file_sha256
from tasks import finetune, quantize

ROWS = [
    dataclasses.replace(row, input=row.input[:160], output=row.output[:120])
    for row in rows_of_all_skills(48)
    if row.skill != "code"
]


@dataclasses.dataclass(frozen=True)
class Trained:
    settings: Settings
    dataset: Dataset
    adapter: Adapter


@pytest.fixture(scope="module")
def trained(tiny_base, tmp_path_factory) -> Trained:
    home = tmp_path_factory.mktemp("trained")
    shutil.copytree(tiny_base / "models", home / "models")
    settings = load_settings(home=home, profile="tiny", threads=1)
    for name, rows in (("train", ROWS[:32]), ("holdout", ROWS[32:]), ("corrections", ROWS[32:33])):
        write_rows(rows, home / f"{name}.jsonl")
    dataset = Dataset(
        digest="rows", folder=home, train=home / "train.jsonl", holdout=home / "holdout.jsonl",
        corrections=home / "corrections.jsonl", card=home, holdout_from="2024-06-01", train_until="2024-05-20", horizon_days=5,
        prompt_version=1, train_rows=32, holdout_rows=6, correction_rows=1, counts={}, purged=0, holdout_digest="h",
        feedback_ids=[],
    )  # fmt: skip
    return Trained(settings, dataset, finetune.finetune.fn(settings, dataset))


def test_the_candidate_is_proven_whole_and_made_once(trained):
    made = quantize.quantize.fn(trained.settings, trained.dataset, trained.adapter)
    assert made.prompts_checked == len(ROWS) - 32 + 1
    assert (
        made.gguf_sha256 == file_sha256(made.gguf) and made.gguf_bytes == made.gguf.stat().st_size
    )
    assert {file.name for file in made.folder.iterdir()} == {
        made.gguf.name,
        "artifact.json",
        "checksums.json",
    }, "intermediate files stay"
    losses = made.losses
    assert losses["adapter"] < losses["base"], "the adapter has learnt nothing"
    for merge in ("original", "dequantized"):  # 4-bit rounding lies between them, and nothing else
        assert losses[f"merged into {merge}"] == pytest.approx(losses["adapter"], rel=0.05)
    assert losses["merged"] == min(
        losses["merged into original"], losses["merged into dequantized"]
    )
    assert quantize.quantize.fn(trained.settings, trained.dataset, trained.adapter) == made


def test_the_merge_is_what_the_adapter_computes_on_the_base_that_it_was_trained_on(trained):
    """Merged into the base as training saw it, nothing but the order of the sums is another."""
    profile = load_profile(trained.settings.home, trained.settings.profile)
    tokens = quantize._tokenizer(trained.settings.path("models/tiny"))
    answers = [quantize._tokenized(row, MISTRAL_V3, tokens) for row in ROWS[:4]]
    losses = quantize._merge(trained.settings, profile, trained.adapter, answers).losses
    assert losses["merged into dequantized"] == pytest.approx(losses["adapter"], rel=1e-3)


def test_a_prompt_that_differs_or_does_not_fit_stops_quantize(trained):
    made = quantize.quantize.fn(trained.settings, trained.dataset, trained.adapter)
    tokens = quantize._tokenizer(trained.settings.path("models/tiny"))
    with LlamaModel(made.gguf, threads=1, context=1024) as model:
        quantize.check_prompts(ROWS[:3], MISTRAL_V3, tokens, model, 1024)
        with pytest.raises(ParityError, match="token 4 of the prompt differs"):
            quantize.check_prompts(
                ROWS[:3],
                MISTRAL_V3,
                lambda text: [*tokens(text)[:4], 7, *tokens(text)[5:]],
                model,
                1024,
            )
        with pytest.raises(ParityError, match="it would be cut silently"):
            quantize.check_prompts(ROWS[:3], MISTRAL_V3, tokens, model, 20)


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ({"merged": 1.0, "f16": 1.1, "quantized": 1.1}, "f16"),
        ({"merged": 1.0, "f16": 1.0, "quantized": 1.3}, "quantized"),
        ({"merged": 1.0, "f16": float("nan"), "quantized": 1.0}, "f16"),
    ],
)
def test_a_step_that_loses_too_much_stops_quantize(losses, step):
    with pytest.raises(ParityError, match=f"the {step} file loses"):
        quantize.check_losses(losses)
    quantize.check_losses({"merged": 1.0, "f16": 1.0, "quantized": 1.1})


def test_a_full_disk_is_reported_beforehand(trained, monkeypatch):
    profile = load_profile(trained.settings.home, trained.settings.profile)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    folder = trained.settings.home / "new"
    with pytest.raises(StockLLMError, match="Free some space and run again"):
        quantize.make(trained.settings, profile, trained.dataset, trained.adapter, "x", folder)
    assert not folder.exists()


def test_no_more_disk_is_used_than_was_reserved(trained, monkeypatch):
    """The files are measured where all of them are there: when the quantized one has just been checked."""
    profile = load_profile(trained.settings.home, trained.settings.profile)
    seen = []

    def measure(_):
        (folder,) = (trained.settings.artifacts / "candidate").glob("*.partial")
        seen.append(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))

    monkeypatch.setattr(quantize, "check_losses", measure)
    other = dataclasses.replace(trained.dataset, holdout_digest="other")
    quantize.quantize.fn(trained.settings, other, trained.adapter)
    shape = needs.find_shape(profile, trained.settings.home)
    needed = needs.quantizing(profile, shape).disk
    assert 0 < seen[0] <= needed
    weights = needed - (64 << 20)
    assert weights <= seen[0] <= weights * 1.5, "a tiny model's tokenizer is large beside it"
