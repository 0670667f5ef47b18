"""Planted faults between training and serving are caught, and named for what they are."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from factories import small_bases
from factories.rows import rows_of_all_skills
from gguf import GGUFWriter

from stock_llm.errors import InputError, ParityError
from stock_llm.llm.gguf import families, vocabulary, writer
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.merging.layerwise import TokenizedAnswer
from stock_llm.llm.merging.lora import LoraAdapter
from stock_llm.llm.merging.weights import StoredWeights
from stock_llm.llm.profiles import load_profile
from stock_llm.ollama.profile_modelfile import modelfile_of
from stock_llm.parity import limits, prompts
from stock_llm.parity.divergence import Divergence, LogitFile
from stock_llm.parity.measurement import find_wrong_tensor
from stock_llm.parity.report import ParityReport, Step, read_report, tables, write_report
from stock_llm.parity.serving import Serving

ROWS = list(rows_of_all_skills(6))


@pytest.fixture(scope="module")
def base(tiny_base):
    return tiny_base / "models" / "tiny"


@pytest.fixture(scope="module")
def profile(tiny_base):
    return load_profile(tiny_base, "tiny")


@pytest.fixture
def serving(tiny_base, base, profile):
    tokenizer = load_tokenizer(base)
    asked = [*prompts.questions(ROWS), *prompts.fuzz(0, 64), *prompts.conversations(0, 60)]
    return Serving(tiny_base, base, profile, lambda text: tokenizer(text).input_ids, asked)


def write(base, folder, jinja):
    write_gguf(base, folder / "m.gguf", "m", jinja)
    return folder / "m.gguf"


def check(serving, file):
    with LlamaModel(file, threads=1, context=1024) as model:
        return serving.check(file, model)


def test_a_sound_file_passes_with_its_limits(serving, base, profile, tmp_path):
    found = check(serving, write(base, tmp_path, profile.format.jinja))
    assert found["num_ctx"] == 1024 and found["tokens"] == 600
    assert found["token eos"] == 2 and "</s>" in found["stop"]


def test_a_wrong_template_in_the_gguf_is_named(serving, base, profile, tmp_path):
    wrong = profile.format.jinja.replace("[/INST]", " [/INST]")
    with pytest.raises(ParityError, match="the chat template of the GGUF renders another prompt"):
        check(serving, write(base, tmp_path, wrong))


def test_templates_that_differ_in_odd_conversations_alone_are_named(serving, profile, tmp_path):
    modelfile = modelfile_of(profile, tmp_path / "m.gguf", tmp_path)
    jinja = profile.format.jinja.replace("if begins else '\\n\\n'", "if begins else ' '")
    with pytest.raises(ParityError, match=r"conversation-0-0 \(user, user\): the chat template"):
        prompts.check_rendering(serving.asked, profile.format, jinja, modelfile)
    closed = modelfile.template.replace(
        "{{ else }}{{ .Content }}{{ end }}", "{{ else }}{{ .Content }}</s>{{ end }}"
    )
    assert closed != modelfile.template
    with pytest.raises(ParityError, match=r"\(user, assistant\): the Modelfile renders another"):
        prompts.check_rendering(
            serving.asked,
            profile.format,
            profile.format.jinja,
            dataclasses.replace(modelfile, template=closed),
        )


def test_a_wrong_template_in_the_modelfile_is_named(serving, profile, tmp_path):
    modelfile = modelfile_of(profile, tmp_path / "m.gguf", tmp_path)
    for field, value in (
        ("template", modelfile.template.replace("[INST]", "[INST] ")),
        ("system", "Be brief."),
    ):
        other = dataclasses.replace(modelfile, **{field: value})
        with pytest.raises(ParityError, match="the Modelfile renders another prompt"):
            prompts.check_rendering(serving.asked, profile.format, profile.format.jinja, other)


def test_a_missing_bos_is_named(serving, base, profile, tmp_path, monkeypatch):
    add = GGUFWriter.add_add_bos_token
    monkeypatch.setattr(GGUFWriter, "add_add_bos_token", lambda self, _: add(self, False))
    with pytest.raises(ParityError, match=r"token 0 .* puts no BOS before a prompt"):
        check(serving, write(base, tmp_path, profile.format.jinja))


def test_a_mark_of_the_format_that_is_ordinary_text_is_named(
    serving, base, profile, tmp_path, monkeypatch
):
    monkeypatch.setattr(vocabulary, "_CONTROL", vocabulary._NORMAL)
    with pytest.raises(ParityError, match=r"'\[/?INST\]' is one token in training, in the GGUF"):
        check(serving, write(base, tmp_path, profile.format.jinja))


def test_rows_that_are_not_in_pairs_are_named(base, tmp_path, monkeypatch):
    sound = write(base, tmp_path, "")
    assert find_wrong_tensor(sound, StoredWeights(base), base) == ""
    family = dataclasses.replace(families.FAMILIES["mistral"], paired_rows=False)
    monkeypatch.setattr(writer, "FAMILIES", {"mistral": family})
    faulty = write(base, tmp_path, "")
    said = find_wrong_tensor(faulty, StoredWeights(base), base)
    assert said.startswith("blk.0.attn_k.weight has its rows in transformers' order")


def test_a_swapped_tokenizer_is_named(serving, base, profile, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(base, other)
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    vocabulary_of = json.loads(text)["model"]["vocab"]
    first, second = list(vocabulary_of)[300:302]
    swapped = json.loads(text)
    swapped["model"]["vocab"] |= {first: vocabulary_of[second], second: vocabulary_of[first]}
    (other / "tokenizer.json").write_text(json.dumps(swapped), encoding="utf-8")
    trained = dataclasses.replace(serving, base=other)
    with pytest.raises(ParityError, match=r"another vocabulary: token 30\d is"):
        check(trained, write(base, tmp_path, profile.format.jinja))


def test_a_wrong_alpha_is_named(profile, tmp_path):
    trained = LoraAdapter(tmp_path / "a", 2.0, 4)
    limits.check_scale(trained, profile)
    with pytest.raises(ParityError, match=r"alpha / rank 4, it was trained with rank 4 and 2"):
        limits.check_scale(dataclasses.replace(trained, scale=4.0), profile)


def test_a_context_or_a_stop_that_is_not_the_profile_s_is_named(base, profile, tmp_path):
    file = write(base, tmp_path, profile.format.jinja)
    keys = limits.read_keys(file)
    modelfile = modelfile_of(profile, file, tmp_path)
    changed = {
        name: dataclasses.replace(modelfile, parameters=modelfile.parameters | {name: value})
        for name, value in (("num_ctx", 512), ("stop", ("###",)))
    }
    for name, other in changed.items():
        with pytest.raises(ParityError, match=f"{name} is .* in what is served"):
            limits.check_limits(keys, base, profile, other)
    serving = profile.serving.model_copy(update={"num_ctx": 4096})
    larger = profile.model_copy(update={"serving": serving})
    with pytest.raises(ParityError, match="num_ctx is 4096, the model was made for 1024 tokens"):
        limits.check_limits(keys, base, larger, modelfile_of(larger, file, tmp_path))


@pytest.mark.parametrize("name", small_bases.BASES)
def test_limits_and_the_tokens_of_the_fuzz_are_the_same_for_each_family(name, profile, tmp_path):
    small_bases.write_base(name, tmp_path)
    prompt_format = small_bases.BASES[name]
    file = write(tmp_path, tmp_path, prompt_format.jinja)
    own = profile.model_copy(update={"prompt_format": prompt_format.name})
    modelfile = modelfile_of(own, file, tmp_path)
    found = limits.check_limits(limits.read_keys(file), tmp_path, own, modelfile)
    assert found["context of the model"] == 4096
    fuzzed = [*prompts.fuzz(2, 20), *prompts.conversations(2, 30)]
    prompts.check_rendering(fuzzed, prompt_format, prompt_format.jinja, modelfile)
    tokenizer = load_tokenizer(tmp_path)
    asked = prompts.fuzz(1, 300)
    with LlamaModel(tmp_path / "m.gguf", threads=1, context=2048) as model:
        prompts.check_tokens(
            asked, prompt_format, lambda text: tokenizer(text).input_ids, model, 2048
        )


def logits_of(folder, name, logits, answers):
    made = LogitFile(folder / name, answers, logits.shape[1])
    start = 0
    for number, row in enumerate(answers):
        made.take(number, logits[start : start + len(row.answer)])
        start += len(row.answer)
    return made


def test_divergence_is_that_of_the_definition(tmp_path):
    chance = np.random.default_rng(1)
    answers = [TokenizedAnswer([1], [3, 4, 5]), TokenizedAnswer([1, 2], [0, 6])]
    p, q = (chance.normal(size=(5, 7)).astype(np.float32) for _ in range(2))
    ours, theirs = (logits_of(tmp_path, name, each, answers) for name, each in (("p", p), ("q", q)))
    shares = [np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in (p, q)]
    kl = (shares[0] * np.log(shares[0] / shares[1])).sum(axis=1)
    found = ours.divergence(theirs)
    assert found.mean_kl == pytest.approx(kl.mean(), rel=1e-5)
    assert found.p99_kl == pytest.approx(np.percentile(kl, 99), rel=1e-5)
    assert found.same_top == (p.argmax(axis=1) == q.argmax(axis=1)).mean()
    assert ours.divergence(ours) == Divergence(0, 0, 1, 5)
    targets = [3, 4, 5, 0, 6]
    assert ours.loss == pytest.approx(-np.log(shares[0][range(5), targets]).mean(), rel=1e-5)
    assert ours.row_losses == pytest.approx(
        [-np.log(shares[0][range(3), targets[:3]]).mean(), -np.log(shares[0][3:][range(2), targets[3:]]).mean()]
    )  # fmt: skip


def test_of_many_logits_a_part_is_kept_and_every_loss(tmp_path, monkeypatch):
    monkeypatch.setattr("stock_llm.parity.divergence.LARGEST_LOGITS", 4 * 7 * 10)
    answers = [TokenizedAnswer([1], list(range(5)) * 3) for _ in range(4)]
    logits = np.random.default_rng(2).normal(size=(60, 7)).astype(np.float32)
    made = logits_of(tmp_path, "p", logits, answers)
    assert made.divergence(made).tokens == 10 and (tmp_path / "p").stat().st_size == 280
    assert len(made.row_losses) == 4 and math.isfinite(made.loss)
    made.delete()
    assert not (tmp_path / "p").exists() and math.isfinite(made.loss)


def test_a_report_is_read_as_it_was_written(tmp_path):
    step = Step("f16", 1.25, Divergence(1e-5, 1e-4, 1.0, 9), None, 0.5, 12)
    report = ParityReport(
        model="m", base="tiny", quantization="Q8_0", merge_base="original", prompts=3, fuzzed=64,
        limits={"num_ctx": 1024, "stop": ["</s>"]}, rows=2, score_rows=1, steps=[Step("adapter", 1.2), step],
        merge={"original": 1.2, "dequantized": 1.3}, choice=["Q8_0: chosen"],
    )  # fmt: skip
    write_report(report, tmp_path)
    assert read_report(tmp_path) == report
    assert json.loads((tmp_path / "parity.json").read_text())["steps"][1]["perplexity"] == math.exp(1.25)  # fmt: skip
    assert tables(report)[-1] == "Q8_0: chosen"
    (tmp_path / "parity.json").write_text("{}")
    with pytest.raises(InputError, match=r"parity\.json: not a parity report"):
        read_report(tmp_path)
    (tmp_path / "parity.json").unlink()
    with pytest.raises(InputError, match=r"there is no parity report.*stock-llm run"):
        read_report(tmp_path)
