"""A bundle is trained in another home and its adapter taken back: what leaves, what comes, and what is refused."""

import copy
import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from factories.profiles import write_profile
from factories.rows import rows_of_all_skills

from flows import finetune_elsewhere
from flows.finetune_elsewhere import take_back, train_bundle, write_bundle
from stock_llm.cli.main import main
from stock_llm.dataset.tuning_data import tuning_data
from stock_llm.errors import InputError
from stock_llm.feedback.item import FeedbackItem
from stock_llm.llm.profiles import load_profile
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.settings import load_settings
from stock_llm.skills.row import read_rows
from stock_llm.storage.checksums import digest_of
from stock_llm.transfer import adapter_archive, bundle
from stock_llm.transfer.archive import MANIFEST, open_archive, write_archive
from tasks.build_dataset import build_dataset
from tasks.collect import collect
from tasks.finetune import finetune, training_inputs

PROJECT = Path(__file__).parents[2]

ROWS = [
    replace(row, input=row.input[:160], output=row.output[:120])
    for row in rows_of_all_skills(48)
    if row.skill != "code"
]

IN_TRADES = {"account": "CANARY-ACCOUNT-1", "note": "CANARY-NOTE-2"}
TRADE_ID = "CANARYTRADE3"
IN_FEEDBACK = ("CANARY-USER-4", "CANARY-COMMENT-5", "CANARY-REJECTED-6", "CANARY-RESPONSEID-7")
IN_ENVIRONMENT = {
    "ANTHROPIC_API_KEY": "CANARY-KEY-8",
    "APCA_API_SECRET_KEY": "CANARY-KEY-9",
    "HF_TOKEN": "CANARY-KEY-10",
    "STOCK_LLM_GATEWAY__TOKEN": "CANARY-TOKEN-11",
}
IN_FILES = {
    ".env": "CANARY-ENV-12",
    "stock-llm.toml": "CANARY-SETTING-13",
    "data/notes.txt": "CANARY-FILE-14",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A home with canaries wherever a person keeps what is nobody's business, and its bundle."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("here") / "canaryhome15"
        patch.setenv("STOCK_LLM_SECRETS", str(home.parent / "secrets"))
        for name, value in IN_ENVIRONMENT.items():
            patch.setenv(name, value)
        shutil.copytree(PROJECT / "data/sample", home / "data/sample")
        (home / "models").mkdir()
        (home / "models/stock-tiny").symlink_to(PROJECT / "models/stock-tiny")
        write_profile(home, holdout_rows=20)
        profile = home / "models/profiles/stock-tiny.toml"
        text = profile.read_text().replace("epochs = 2", "epochs = 0.03")
        profile.write_text(text + "\n# CANARY-PROFILE-16\n")
        for name, canary in IN_FILES.items():
            (home / name).write_text(f"ollama_host = ''\nmlflow_uri = 'sqlite:///{canary}.db'\n")
        patch.setenv("STOCK_LLM_HOME", str(home))
        _plant_in_trades(home / "data/sample/trades.csv")
        settings = load_settings(train_rows=50, threads=1)
        _plant_in_feedback(settings)
        path = home.parent / "finetune.zip"
        content = write_bundle(settings, path)
        yield settings, path, content


def _plant_in_trades(file: Path) -> None:
    lines = list(csv.DictReader(file.read_text().splitlines()))
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*lines[0], *(IN_TRADES.keys() - lines[0].keys())])
        writer.writeheader()
        writer.writerows(
            line | IN_TRADES | {"trade_id": f"{TRADE_ID}{number}"}
            for number, line in enumerate(lines)
        )


def _plant_in_feedback(settings) -> None:
    user, comment, rejected, response_id = IN_FEEDBACK
    open_feedback(settings).add(
        FeedbackItem(
            id=f"c{number}",
            created_at=datetime(2024, 5, number, tzinfo=UTC),
            user=user,
            comment=comment,
            response_id=response_id,
            instruction=f"Question number {number} about {'very ' * number}old bonds?",
            response=f"{rejected} {number}",
            correction=f"The answer of {'rather ' * number}few words is {number}.",
        )
        for number in range(1, 9)
    )


def everything_in(path: Path) -> bytes:
    """The bytes of an archive, as they lie there and unpacked."""
    with zipfile.ZipFile(path) as archive:
        return path.read_bytes() + b"".join(map(archive.read, archive.namelist()))


def test_no_canary_leaves(written):
    settings, path, _ = written
    inside = everything_in(path)
    secrets = settings.home.parent / "secrets"
    kept = [file.read_bytes().strip() for file in secrets.rglob("*") if file.is_file()]
    assert kept, "the salt is a secret, too"
    for canary in [
        b"CANARY",
        b"canaryhome15",
        b"ollama_host",
        str(settings.home.parent).encode(),
        *kept,
    ]:
        assert canary not in inside, canary
    # the same canaries are where they were planted: the test would see them
    assert b"CANARY-NOTE-2" in (settings.home / "data/sample/trades.csv").read_bytes()
    assert b"CANARY-REJECTED-6" in b"".join(
        file.read_bytes() for file in settings.artifacts.rglob("*.jsonl")
    )


def test_nothing_is_in_it_but_rows_profile_and_base(written):
    settings, path, content = written
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        rows = [json.loads(line) for line in archive.read("train.jsonl").splitlines()]
        assert (
            archive.read("base/config.json")
            == (PROJECT / "models/stock-tiny/config.json").read_bytes()
        )
    assert {name for name in names if not name.startswith("base/")} == {MANIFEST, "train.jsonl"}
    assert len(rows) == content.rows
    for row in rows:
        assert row["facts"] == {} and row["source"] == {"kind": "", "ref": ""}
        assert (row["symbol"], row["as_of"], row["label"]) == ("", "", "")
    dataset = build_dataset.fn(settings, collect.fn(settings))
    tuning = tuning_data(dataset, content.profile.training.preferences)
    assert tuning.validation, "rows that preference tuning is validated on stay here"
    asked = {(row["instruction"], row["input"]) for row in rows}
    assert asked == {(row.instruction, row.input) for row in tuning.rows}
    others = [*read_rows(dataset.holdout), *tuning.validation]
    assert not asked & {(row.instruction, row.input) for row in others}
    lines = (settings.home / "data/sample/trades.csv").read_text().splitlines()[1:]
    text = everything_in(path).decode(errors="replace")
    assert not [line for line in lines if ",".join(line.split(",")[:4]) in text]


def test_the_same_dataset_gives_the_same_bundle(written):
    settings, path, _ = written
    again = path.with_name("again.zip")
    write_bundle(settings, again)
    assert again.read_bytes() == path.read_bytes()


@pytest.fixture(scope="module")
def trained(written, tmp_path_factory):
    """The bundle, trained in a folder that knows nothing of the home; the archive of its adapter."""
    there = tmp_path_factory.mktemp("there")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("STOCK_LLM_HOME", raising=False)
        patch.setenv("STOCK_LLM_SECRETS", str(there / "none"))
        patch.setenv("STOCK_LLM_THREADS", "1")
        patch.chdir(there)
        shutil.copy(written[1], there / "finetune.zip")
        archive = train_bundle(Path("finetune.zip"))
        assert archive == Path("finetune-adapter.zip")
        assert sorted(path.name for path in there.iterdir()) == [
            "finetune-adapter.zip",
            "finetune.zip",
        ]
        assert train_bundle(Path("finetune.zip")) == archive, "trained again"
        return there / archive


def fresh(settings, folder: Path):
    """The same home without an adapter."""
    home = folder / "home"
    shutil.copytree(
        settings.home, home, symlinks=True, ignore=shutil.ignore_patterns("adapter", "*.partial")
    )
    return load_settings(home=home, train_rows=50, threads=1)


def test_the_adapter_is_taken_back_and_the_next_run_goes_on_from_it(
    written, trained, tmp_path, monkeypatch
):
    import torch
    from safetensors.torch import load_file

    monkeypatch.setenv("STOCK_LLM_SECRETS", str(written[0].home.parent / "secrets"))
    settings, other = fresh(written[0], tmp_path / "a"), fresh(written[0], tmp_path / "b")
    taken = take_back(settings, trained)
    assert taken.digest == written[2].digest and taken.trained_on.startswith("1 x CPU, torch ")

    dataset = build_dataset.fn(settings, collect.fn(settings))
    monkeypatch.setattr("tasks.finetune.train", lambda *_: pytest.fail("it was trained again"))
    assert finetune.fn(settings, dataset) == taken
    monkeypatch.undo()

    trained_here = finetune.fn(other, dataset)
    assert trained_here.digest == taken.digest and trained_here.trained_on == ""
    assert taken.loss_curve[-1]["loss"] == pytest.approx(trained_here.loss_curve[-1]["loss"])
    one, same = (
        load_file(adapter.weights / "adapter_model.safetensors")
        for adapter in (taken, trained_here)
    )
    assert one.keys() == same.keys()
    assert all(torch.allclose(one[name], same[name], atol=1e-6) for name in one)
    configs = [
        json.loads((adapter.weights / "adapter_config.json").read_text())
        for adapter in (taken, trained_here)
    ]
    for config in configs:
        config["target_modules"].sort()
    assert configs[0] == configs[1]
    assert take_back(settings, trained) == taken, "taking it back twice is the same"


def changed(archive: Path, target: Path, change) -> Path:
    """The archive with another content, written as this program writes them."""
    with open_archive(archive, adapter_archive.KIND, lambda _: True) as opened:
        opened.extract(adapter_archive.WEIGHTS, target.with_suffix(".weights"))
        content = copy.deepcopy(opened.content)
    change(content)
    files = {adapter_archive.WEIGHTS: target.with_suffix(".weights")}
    write_archive(target, adapter_archive.KIND, content, files)
    return target


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda said: said.update(profile="../../etc/passwd"), "profile .* which is not here"),
        (lambda said: said.update(profile="mistral-7b"), "which is not here"),
        (lambda said: said["inputs"].update(base="0" * 64), "base is '0000"),
        (lambda said: said["inputs"]["lora"].update(rank=8), "lora.rank is 8 there and 16 here"),
        (lambda said: said["inputs"].update(seed=8), "seed is 8 there and 7 here"),
        (lambda said: said["inputs"].update(recipe=99), "recipe is 99 there"),
        (
            lambda said: said["inputs"]["libraries"].update(peft="0.1"),
            "libraries.peft is '0.1' there",
        ),
        (lambda said: said.update(digest="0" * 16), "its digest 0000"),
        (lambda said: said.update(dataset="f" * 16), "dataset is"),
        (lambda said: said.update(dataset="../../x"), "does not fit: dataset"),
        (lambda said: said.update(train_loss=float("nan")), "train_loss"),
        (lambda said: said.update(loss_curve=[]), "loss_curve"),
        (lambda said: said.update(trained_on="\x1b[2J"), "trained_on"),
        (lambda said: said.update(profile="\x1b[2J"), r"'\\x1b\[2J'"),
    ],
)
def test_an_adapter_of_something_else_is_refused(written, trained, tmp_path, change, problem):
    path = changed(trained, tmp_path / "changed.zip", change)
    with pytest.raises(InputError, match=problem):
        take_back(written[0], path)
    assert not (written[0].artifacts / "adapter").exists()


def test_an_adapter_of_a_dataset_that_is_gone_is_refused(written, trained, tmp_path):
    settings = fresh(written[0], tmp_path)
    shutil.rmtree(settings.artifacts / "dataset")
    with pytest.raises(InputError, match="which is not here"):
        take_back(settings, trained)


@pytest.mark.parametrize("fault", ["shape", "missing", "unknown", "type", "nan", "pickle", "large"])
def test_weights_that_do_not_fit_the_base_are_refused(written, trained, tmp_path, fault):
    import torch
    from safetensors.torch import load_file, save_file

    with open_archive(trained, adapter_archive.KIND, lambda _: True) as opened:
        content = opened.content
        opened.extract(adapter_archive.WEIGHTS, tmp_path / "w")
    weights = load_file(tmp_path / "w")
    first = next(iter(weights))
    if fault == "shape":
        weights[first] = weights[first][:1].contiguous()
    elif fault == "missing":
        del weights[first]
    elif fault == "unknown":
        weights["base_model.model.lm_head.weight"] = torch.zeros(2, 2)
    elif fault == "type":
        weights[first] = weights[first].double()
    elif fault == "nan":
        weights[first][0, 0] = float("inf")
    save_file(weights, tmp_path / "w")
    if fault == "pickle":
        torch.save(weights, tmp_path / "w")
    elif fault == "large":
        with (tmp_path / "w").open("ab") as stream:
            stream.truncate((tmp_path / "w").stat().st_size + adapter_archive.LARGEST_HEADER + 1)
    path = tmp_path / "adapter.zip"
    write_archive(path, adapter_archive.KIND, content, {adapter_archive.WEIGHTS: tmp_path / "w"})
    settings = fresh(written[0], tmp_path)
    with pytest.raises(InputError):
        take_back(settings, path)
    assert not list(settings.artifacts.glob("adapter/*/artifact.json"))


def test_a_kill_while_it_is_taken_back_leaves_no_adapter(written, trained, tmp_path, monkeypatch):
    settings = fresh(written[0], tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(adapter_archive, "_check_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            take_back(settings, trained)
    assert not list(settings.artifacts.glob("adapter/*/artifact.json"))
    assert take_back(settings, trained).digest == written[2].digest


def test_a_machine_with_other_libraries_or_another_base_does_not_begin(
    written, tmp_path, monkeypatch
):
    shutil.copy(written[1], tmp_path / "finetune.zip")
    monkeypatch.setattr("tasks.finetune.RECIPE", 99)
    with pytest.raises(InputError, match="recipe is 4 there and 99 here"):
        train_bundle(tmp_path / "finetune.zip")
    assert not (tmp_path / "finetune-adapter.zip").exists()


def test_builds_of_one_version_of_a_library_are_the_same():
    there = {"libraries": {"torch": "2.15.0+cu128", "trl": "1.16.0"}, "validation": (1, 2)}
    here = {"libraries": {"torch": "2.15.0", "trl": "1.17.0"}, "validation": [1, 2]}
    assert bundle.differences(there, here) == ["libraries.trl is '1.16.0' there and '1.17.0' here"]


def test_a_base_from_the_hub_is_named_not_carried(tmp_path):
    write_profile(tmp_path, holdout_rows=20, name="mistral-7b")
    profile = load_profile(tmp_path, "mistral-7b").model_copy(update={"revision": "a" * 40})
    settings = load_settings(home=tmp_path, profile="mistral-7b")
    inputs = training_inputs(settings, profile, "d" * 16)
    path = tmp_path / "hub.zip"
    rows = list(rows_of_all_skills(5))
    content = bundle.write_bundle(path, profile, tmp_path, rows, digest_of(**inputs), inputs)
    assert content.profile.path == "mistralai/Mistral-7B-Instruct-v0.3"
    assert inputs["base"] == f"{content.profile.path}@{'a' * 40}"
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == [MANIFEST, "train.jsonl"]


@pytest.fixture
def small_bundle(tiny_base, tmp_path):
    """A bundle of 39 short rows on the tiny base: the last step is not full."""
    shutil.copytree(tiny_base / "models", tmp_path / "home/models")
    settings = load_settings(home=tmp_path / "home", profile="tiny")
    profile = load_profile(settings.home, "tiny")
    inputs = json.loads(json.dumps(training_inputs(settings, profile, "d" * 16)))
    digest = digest_of(**inputs)
    paths = []
    for name in ("one", "two"):
        path = tmp_path / name / "finetune.zip"
        path.parent.mkdir()
        bundle.write_bundle(path, profile, settings.home, ROWS, digest, inputs)
        paths.append(path)
    return paths


def test_two_processes_train_what_one_does(small_bundle, tmp_path, monkeypatch):
    """Gloo, on the CPU, started as `accelerate launch` starts them on GPUs: by torch's own launcher."""
    import torch
    from safetensors.torch import load_file

    one, two = small_bundle
    monkeypatch.setenv("STOCK_LLM_THREADS", "1")
    train_bundle(one)
    launched = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
         "--no-python", str(Path(sys.executable).with_name("stock-llm")), "finetune", str(two)],
        cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.count("written to") == 1, "the first process alone tells"

    archives = [path.with_name("finetune-adapter.zip") for path in small_bundle]
    alone, together = map(adapter_archive.read_content, archives)
    assert together.trained_on.startswith("2 x CPU")
    assert (together.steps, together.rows, together.tokens) == (10, 39, alone.tokens)
    assert [point.loss for point in together.loss_curve] == pytest.approx(
        [point.loss for point in alone.loss_curve], rel=1e-4
    )
    weights = []
    for number, path in enumerate(archives):
        with open_archive(path, adapter_archive.KIND, lambda _: True) as opened:
            opened.extract(adapter_archive.WEIGHTS, tmp_path / f"{number}.safetensors")
        weights.append(load_file(tmp_path / f"{number}.safetensors"))
    assert weights[0].keys() == weights[1].keys() and len(weights[0]) == 14
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], atol=2e-4), name


def test_another_bundle_of_the_same_name_leaves_nothing_of_the_first(small_bundle, tmp_path):
    bundle.unpack_bundle(small_bundle[0], tmp_path / "work")
    (tmp_path / "work/base/model-00002-of-00002.safetensors").write_bytes(b"of another base")
    bundle.unpack_bundle(small_bundle[0], tmp_path / "work")
    with open_archive(small_bundle[0], bundle.KIND, lambda _: True) as opened:
        names = {name.removeprefix("base/") for name in opened.files}
    assert {file.name for file in (tmp_path / "work/base").iterdir()} == names - {"train.jsonl"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give a BUNDLE to train, or --bundle, or --take-back"),
        (["a.zip", "--bundle", "b.zip"], 2, "give a BUNDLE"),
        (["none.zip"], 1, "error: none.zip: there is no such file"),
        (["--take-back", "none.zip"], 1, "error: none.zip: there is no such file"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments, code, message, bare_home, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STOCK_LLM_HOME", str(bare_home))
    monkeypatch.setattr(sys, "argv", ["stock-llm", "finetune", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code and message in " ".join(capsys.readouterr().err.split())


def test_a_bundle_is_trained_by_one_at_a_time(small_bundle):
    lock = finetune_elsewhere._locked(small_bundle[0].with_name("finetune.work"))
    with pytest.raises(InputError, match="another process"):
        train_bundle(small_bundle[0])
    lock.release()
