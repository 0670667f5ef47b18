"""What a training keeps and computes again, by the memory that is free; the dial of a profile."""

import tomllib
from pathlib import Path

import pytest

from stock_llm.errors import InputError
from stock_llm.llm.bases import needs
from stock_llm.llm.profiles import Profile, learning_rate_of, load_profile, profile_names
from stock_llm.llm.training.arrangement import Arrangement, arrange
from stock_llm.llm.training.schedule import split_validation
from stock_llm.machine import Gpu, Machine

PROJECT = Path(__file__).parents[3]
GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "machine", "expected"),
    [
        ("stock-tiny", Machine(16 * GIB, None), Arrangement(True, False)),
        ("smollm2-135m", Machine(16 * GIB, None), Arrangement(True, False)),
        ("smollm2-135m", Machine(1, None), Arrangement(False, False)),
        ("mistral-7b", Machine(200 * GIB, None), Arrangement(False, True)),
        ("mistral-7b", Machine(GIB, Gpu("H200", 139 * GIB, 140 * GIB)), Arrangement(False, False)),
        ("mistral-7b", Machine(GIB, Gpu("RTX", 23 * GIB, 24 * GIB)), Arrangement(False, True)),
        ("stock-tiny", Machine(GIB, Gpu("T4", 15 * GIB, 16 * GIB)), Arrangement(False, False)),
    ],
)
def test_the_fastest_that_fits_is_chosen(name, machine, expected):
    profile = load_profile(PROJECT, name)
    assert arrange(profile, needs.find_shape(profile, PROJECT), machine) == expected


def test_the_logits_that_are_held_are_limited():
    profile = load_profile(PROJECT, "ministral-3-8b")
    shape = profile.shape
    wide = shape.model_copy(update={"vocab_size": 10 * shape.vocab_size})
    assert needs.activations(profile, wide) == needs.activations(profile, shape)


def toml(name: str, **training: object) -> dict:
    content = tomllib.loads((PROJECT / f"models/profiles/{name}.toml").read_text(encoding="utf-8"))
    for key, value in training.items():
        content["training"][key] = value
    return content


def test_epochs_rows_and_learning_rate_follow_from_the_effort():
    given = toml("mistral-7b")
    for name in ("epochs", "batch", "accumulate", "learning_rate", "warmup_ratio", "effort"):
        given["training"].pop(name, None)
    usual = Profile.model_validate(given).training
    assert (usual.epochs, usual.batch, usual.accumulate, usual.learning_rate) == (2, 4, 4, 2.9e-4)
    given["training"]["effort"] = 4
    long = Profile.model_validate(given).training
    assert (long.epochs, long.batch, long.accumulate, long.learning_rate) == (8, 4, 8, 4.0e-4)
    given["training"] |= {"batch": 2, "epochs": 1}
    own = Profile.model_validate(given).training
    assert (own.epochs, own.batch, own.accumulate, own.learning_rate) == (1, 2, 16, 4.0e-4)
    given["training"] |= {"learning_rate": 1e-4, "accumulate": 3}
    own = Profile.model_validate(given).training
    assert (own.accumulate, own.learning_rate) == (3, 1e-4)


def test_the_learning_rate_is_near_those_that_were_found_by_hand():
    for name in ("stock-tiny", "smollm2-135m"):
        profile = load_profile(PROJECT, name)
        width = needs.find_shape(profile, PROJECT).hidden_size
        rows = profile.training.batch * profile.training.accumulate
        assert 0.5 < learning_rate_of(width, rows) / profile.training.learning_rate < 2


@pytest.mark.parametrize("name", profile_names(PROJECT))
def test_what_a_committed_profile_gives_is_what_counts(name):
    given = toml(name)["training"]
    training = load_profile(PROJECT, name).training
    assert {key: getattr(training, key) for key in given if key != "preferences"} == {
        key: value for key, value in given.items() if key != "preferences"
    }


@pytest.mark.parametrize(
    ("training", "problem"),
    [
        ({"effort": 0}, r"training\.effort"),
        ({"effort": "much"}, r"training\.effort"),
        ({"early_stopping_patience": -1}, r"training\.early_stopping_patience"),
        ({"accumulate": "x"}, r"training\.accumulate"),
        ({"batch": 0}, r"training\.batch"),
    ],
)
def test_a_wrong_dial_is_refused_by_its_name(tmp_path, training, problem):
    refused(tmp_path, problem, **training)


def test_a_learning_rate_that_cannot_follow_is_asked_for(tmp_path):
    refused(tmp_path, r"no learning_rate, and \[shape\]", learning_rate=None)


def refused(home: Path, problem: str, **training: object) -> None:
    lines = []
    section = ""
    for line in (PROJECT / "models/profiles/stock-tiny.toml").read_text().splitlines():
        section = line.split("]")[0][1:] if line.startswith("[") else section
        if not (section == "training" and line.split(" = ")[0] in training):
            lines.append(line)
        if line.startswith("[training]"):
            lines += [
                f"{name} = {value!r}" for name, value in training.items() if value is not None
            ]
    file = home / "models/profiles/wrong.toml"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(lines))
    with pytest.raises(InputError, match=problem):
        load_profile(home, "wrong")


def test_validation_rows_are_the_last_by_date_and_have_one():
    days = [f"2024-01-{day:02d}" for day in range(30, 0, -1)] + [""] * 10
    used, cut = split_validation(days)
    assert sorted(days[place] for place in cut) == [f"2024-01-{day:02d}" for day in range(27, 31)]
    assert sorted([*used, *cut]) == list(range(40)) and used == sorted(used)
    assert len(split_validation(["2024-01-01"] * 2000)[1]) == 96
    assert split_validation([""] * 20) == (list(range(20)), [])
    assert split_validation(["2024-01-01"] * 9) == (list(range(9)), [])
