"""From a trained adapter to the quantized file, with every real part: both merges, the parity proof, the bounded losses."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from factories.rows import rows_of_all_skills

from stock_llm.artifacts import MERGED, Adapter, Dataset
from stock_llm.errors import ParityError, StockLLMError
from stock_llm.llm.bases import needs
from stock_llm.llm.gguf import writer
from stock_llm.llm.gguf.adapter import write_adapter_gguf
from stock_llm.llm.gguf.families import FAMILIES
from stock_llm.llm.gguf.importance import read_importance
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.merging.lora import LoraAdapter, read_adapter
from stock_llm.llm.merging.weights import MergedWeights, StoredWeights
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.quantization import LADDER, check_gguf, quantize_gguf
from stock_llm.parity.limits import read_keys
from stock_llm.parity.prompts import CONVERSATIONS
from stock_llm.parity.report import read_report
from stock_llm.parity.steps import check_losses
from stock_llm.pipeline.judging.base_gguf import base_gguf
from stock_llm.settings import Settings, load_settings
from stock_llm.skills.row import write_rows
from stock_llm.storage.checksums import file_sha256, model_sha256
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
        "stock-llm-lora.gguf",
        "parity.json",
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


def test_what_the_file_says_of_its_base_decides_which_candidate_it_is(trained, monkeypatch):
    """A licence that was put right in the profile does not leave the old one in the file."""
    digests = []
    monkeypatch.setattr(quantize, "load_or_make", lambda *given, **_: digests.append(given[2]))
    profile = load_profile(trained.settings.home, trained.settings.profile)
    for licence in ("Apache-2.0", "MIT", "Apache-2.0"):
        stated = profile.model_copy(update={"licence": licence})
        monkeypatch.setattr(quantize, "load_profile", lambda *_, stated=stated: stated)
        quantize.quantize.fn(trained.settings, trained.dataset, trained.adapter)
    assert digests[0] == digests[2] != digests[1]


def test_the_report_tells_each_step_and_is_small_where_only_rounding_is(trained):
    made = quantize.quantize.fn(trained.settings, trained.dataset, trained.adapter)
    report = read_report(made.folder)
    assert [step.name for step in report.steps] == ["adapter", "merged", "f16", "quantized"]
    assert report.prompts == made.prompts_checked
    assert report.fuzzed == quantize.FUZZED + CONVERSATIONS
    assert report.limits["num_ctx"] == 1024
    for step in report.steps:
        assert step.loss == made.losses[step.name]
    merged, f16, quantized = report.steps[1:]
    assert f16.from_before.mean_kl < 1e-4 < merged.from_before.mean_kl + quantized.from_before.mean_kl  # fmt: skip
    assert f16.from_before.tokens > 100
    assert 0 <= quantized.score <= 1 and report.score_rows > 0
    assert quantized.bytes == made.gguf_bytes < f16.bytes


def test_the_adapter_alone_answers_on_the_base_as_the_merge_does(trained, tmp_path):
    """llama.cpp adds the GGUF LoRA to the base while it runs."""
    home = trained.settings.path("models/tiny")
    made = quantize.quantize.fn(trained.settings, trained.dataset, trained.adapter)
    lora = read_adapter(trained.adapter.weights)
    merged = MergedWeights(StoredWeights(home), lora)
    write_gguf(home, tmp_path / "base.gguf", "base", "")
    write_gguf(home, tmp_path / "merged.gguf", "merged", "", merged)
    for kind in ("F16", "Q8_0"):
        write_adapter_gguf(home, lora, tmp_path / f"{kind}.gguf", "lora", kind)
    tokens = quantize._tokenizer(home)
    profile = load_profile(trained.settings.home, trained.settings.profile)
    (row,) = quantize._tokenized(ROWS[:1], profile, tokens)

    def logits(file, beside=None):
        with LlamaModel(tmp_path / file, threads=1, context=1024, lora=beside) as model:
            return model.answer_logits(row.prompt, row.answer)

    wanted, plain = logits("merged.gguf"), logits("base.gguf")
    for beside, bound in (
        (made.folder / "stock-llm-lora.gguf", 0.02),
        (tmp_path / "F16.gguf", 0.02),
        (tmp_path / "Q8_0.gguf", 0.1),
    ):
        answered = logits("base.gguf", beside)
        assert np.abs(answered - wanted).max() < bound < np.abs(plain - wanted).max(), beside.name
    with pytest.raises(StockLLMError, match=r"cannot add the adapter .*parity\.json"):
        logits("base.gguf", made.folder / "parity.json")


def in_adapter_mode(trained) -> Trained:
    """The same training, published as an adapter."""
    publish = trained.settings.publish.model_copy(update={"mode": "adapter"})
    return dataclasses.replace(
        trained, settings=trained.settings.model_copy(update={"publish": publish})
    )


def test_in_adapter_mode_base_and_adapter_are_proven_as_they_are_served(trained):
    merged = quantize.quantize.fn(trained.settings, trained.dataset, trained.adapter)
    mode = in_adapter_mode(trained)
    made = quantize.quantize.fn(mode.settings, mode.dataset, mode.adapter)
    assert made.digest != merged.digest and merged.lora is None
    assert made == quantize.quantize.fn(mode.settings, mode.dataset, mode.adapter)
    profile = load_profile(mode.settings.home, "tiny")
    base = base_gguf(mode.settings, profile, "Q8_0")
    assert file_sha256(made.gguf) == file_sha256(base), "another base than that of other versions"
    assert made.gguf_sha256 == model_sha256(made.gguf, made.lora)
    assert made.gguf_bytes == made.gguf.stat().st_size + made.lora.stat().st_size
    assert check_gguf(made.folder / MERGED) is None
    assert {file.name for file in made.folder.iterdir()} == {
        "base-Q8_0.gguf", "stock-llm-lora.gguf", MERGED, "parity.json", "artifact.json", "checksums.json",
    }  # fmt: skip
    report = read_report(made.folder)
    assert [step.name for step in report.steps] == [
        "adapter", "merged", "f16", "quantized", "served",
    ]  # fmt: skip
    served, quantized = report.step("served"), report.step("quantized")
    assert served.bytes == made.gguf_bytes and served.score is not None
    assert served.loss == made.losses["served"] == pytest.approx(quantized.loss, rel=0.05)
    assert 0 < served.from_before.mean_kl < 0.01, "merged and served answer alike"
    keys = read_keys(made.gguf)
    assert keys["general.license"] == "apache-2.0" and "general.version" not in keys
    assert str(mode.settings.home) not in made.gguf.read_bytes().decode("latin-1")
    assert str(mode.settings.home) not in made.lora.read_bytes().decode("latin-1")


def test_the_base_of_ollamas_library_is_taken_where_it_is_here(trained, monkeypatch, tmp_path):
    home = trained.settings.home
    theirs = tmp_path / "theirs"
    (theirs / "blobs").mkdir(parents=True)
    write_gguf(home / "models/tiny", tmp_path / "f16.gguf", "of the library", "{{ 'another' }}")
    quantize_gguf(tmp_path / "f16.gguf", tmp_path / "library.gguf", "Q8_0", 1)
    sha256 = file_sha256(tmp_path / "library.gguf")
    shutil.copy(tmp_path / "library.gguf", theirs / "blobs" / f"sha256-{sha256}")
    monkeypatch.setenv("OLLAMA_MODELS", str(theirs))
    file = home / "models/profiles/tiny.toml"
    known = file.read_text()
    file.write_text(f'{known}\n[about]\nollama_sha256 = "{sha256}"\n')
    try:
        mode = in_adapter_mode(trained)
        made = quantize.quantize.fn(mode.settings, mode.dataset, mode.adapter)
        assert file_sha256(made.gguf) == sha256
        monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
        profile = load_profile(home, "tiny")
        assert file_sha256(base_gguf(mode.settings, profile, "Q8_0")) != sha256, "not here: ours"
        assert base_gguf(mode.settings, profile, "Q4_0").name == "tiny-Q4_0.gguf"
    finally:
        file.write_text(known)


def test_a_merge_with_another_alpha_stops_quantize(trained, monkeypatch):
    """Before it is merged, since the profile says another; and after it, should the sum be wrong."""
    other = dataclasses.replace(trained.dataset, holdout_digest="alpha")
    sound = LoraAdapter.delta

    def doubled(*given):
        delta = sound(*given)
        return None if delta is None else 2 * delta

    monkeypatch.setattr(LoraAdapter, "delta", doubled)
    with pytest.raises(ParityError, match=r"from the adapter to the merge .* alpha / rank 2"):
        quantize.quantize.fn(trained.settings, other, trained.adapter)
    weights = trained.settings.home / "other alpha"
    shutil.copytree(trained.adapter.weights, weights)
    file = weights / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 16}))
    with pytest.raises(ParityError, match=r"alpha / rank 4, it was trained with rank 4 and 2"):
        quantize.quantize.fn(
            trained.settings, other, dataclasses.replace(trained.adapter, weights=weights)
        )


def test_a_file_whose_rows_are_not_in_pairs_stops_quantize_with_the_tensor(trained, monkeypatch):
    family = dataclasses.replace(FAMILIES["mistral"], paired_rows=False)
    monkeypatch.setattr(writer, "FAMILIES", {"mistral": family})
    # a random model hardly looks at positions
    monkeypatch.setattr("stock_llm.parity.steps.F16_KL_BOUND", 1e-6)
    other = dataclasses.replace(trained.dataset, holdout_digest="pairs")
    with pytest.raises(ParityError, match=r"from the merge to the f16 file .* rows in transformers' order"):  # fmt: skip
        quantize.quantize.fn(trained.settings, other, trained.adapter)


def test_auto_takes_the_smallest_that_is_good_enough(trained):
    home = trained.settings.home
    profile = (home / "models/profiles/tiny.toml").read_text()
    chosen = {}
    for margin in (0.9, 0.0001):
        text = profile.replace(
            '"Q8_0"', f'"auto"\nauto_margin = {margin}\nimportance_matrix = true'
        )
        (home / "models/profiles/auto.toml").write_text(text)
        settings = trained.settings.model_copy(update={"profile": "auto"})
        made = quantize.quantize.fn(settings, trained.dataset, trained.adapter)
        report = read_report(made.folder)
        chosen[margin] = made.quantization
        assert made.gguf.name == f"stock-llm-{made.quantization}.gguf"
        assert "chosen" in report.choice[-1] and report.importance_matrix
        assert len(report.choice) == LADDER.index(made.quantization) + 1
        assert read_importance(made.folder / "imatrix.gguf").model == report.model
    assert LADDER.index(chosen[0.9]) < LADDER.index(chosen[0.0001])


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
        check_losses(losses)
    check_losses({"merged": 1.0, "f16": 1.0, "quantized": 1.1})


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
    candidates = trained.settings.artifacts / "candidate"
    left_by_others = set(candidates.glob("*.partial"))

    def measure(_):
        (folder,) = set(candidates.glob("*.partial")) - left_by_others
        sizes = {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
        logits = sum(size for file, size in sizes.items() if file.suffix == ".logits")
        seen.append((sum(sizes.values()) - logits, logits))

    monkeypatch.setattr(quantize, "check_losses", measure)
    other = dataclasses.replace(trained.dataset, holdout_digest="other")
    quantize.quantize.fn(trained.settings, other, trained.adapter)
    shape = needs.find_shape(profile, trained.settings.home)
    ((files, logits),) = seen
    assert 0 < logits <= needs.logits_disk(profile, shape)
    needed = needs.quantizing(profile, shape).disk - needs.logits_disk(profile, shape)
    assert 0 < files <= needed
    weights = needed - (64 << 20)
    assert weights <= files <= weights * 1.5, "a tiny model's tokenizer is large beside it"
