"""A base on this machine, before anything of it is loaded."""

import re
import shutil
from pathlib import Path

import pytest

from stock_llm.artifacts import Adapter, load_or_make
from stock_llm.errors import StockLLMError
from stock_llm.llm.bases import needs
from stock_llm.llm.profiles import load_profile
from stock_llm.machine import Gpu, Machine
from stock_llm.pipeline import preflight
from stock_llm.settings import load_settings

PROJECT = Path(__file__).parents[2]
GIB = 1 << 30


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Profiles and stock-tiny, on a machine with 24 GiB of memory and a disk of 60 GiB, all free."""
    shutil.copytree(PROJECT / "models", tmp_path / "models")
    monkeypatch.setattr(preflight, "this_machine", lambda: Machine(24 * GIB, None))
    for place in (needs, preflight):
        monkeypatch.setattr(place, "free_disk", lambda _: 60 * GIB)
    return load_settings(home=tmp_path, threads=2)


def test_the_embedded_base_fits_and_says_what_it_takes(settings):
    preflight.require(settings)
    said = preflight.report(settings)
    assert said.startswith("stock-tiny needs")
    assert "fine-tuning 1." in said and "(24.0 GiB free)" in said
    assert "60.0 GiB free" in said
    assert "minutes of fine-tuning on 2 cores" in said
    assert all(len(line) <= 80 for line in said.splitlines())
    alone = settings.model_copy(update={"threads": 1})
    assert "of fine-tuning on 1 core\n" in preflight.report(alone)
    assert "1 cores" not in preflight.report(alone)


def test_it_says_how_long_judging_takes_and_with_how_many_rows(settings):
    assert "of judging by 400 rows\n" in preflight.report(settings) + "\n"
    large = settings.model_copy(update={"profile": "mistral-7b"})
    said = preflight.report(large)
    line = said.splitlines()[-1]
    assert re.search(r"of judging by \d+ of 1000 rows, (to end within 60 minutes|the fewest)", line)
    assert all(len(line) <= 80 for line in said.splitlines())


def test_what_does_not_fit_is_refused_before_it_begins(settings):
    large = settings.model_copy(update={"profile": "llama2-13b"})
    with pytest.raises(
        StockLLMError,
        match=r"a run needs .* GiB in .*, 60\.0 GiB are free.*smaller base",
    ):
        preflight.require(large)


def test_a_gpu_takes_over_what_it_can(settings, monkeypatch):
    machine = Machine(24 * GIB, Gpu("Card", 80 * GIB, 80 * GIB))
    monkeypatch.setattr(preflight, "this_machine", lambda: machine)
    found = preflight.examine(settings, load_profile(settings.home, "mistral-7b"), machine)
    assert found.lacks == []
    large = settings.model_copy(update={"profile": "mistral-7b"})
    assert "80.0 GiB on Card" in preflight.report(large)
    assert "of fine-tuning on Card" in preflight.report(large)


def test_what_was_fine_tuned_elsewhere_needs_nothing_for_it_here(settings, monkeypatch):
    machine = Machine(24 * GIB, Gpu("Card", 2 * GIB, 2 * GIB))
    monkeypatch.setattr(preflight, "this_machine", lambda: machine)
    profile = load_profile(settings.home, "mistral-7b")
    before = preflight.examine(settings, profile, machine).lacks
    assert before[0].startswith("fine-tuning needs")

    def adapter(folder):
        return Adapter(
            digest="d", folder=folder, weights=folder, profile="mistral-7b", base_digest="b", rows=1, tokens=1, steps=1,
            train_loss=1.0, seconds=1.0, resumed_from_step=0, loss_curve=[], trained_on="1 x Card",
        )  # fmt: skip

    load_or_make(Adapter, settings.artifacts, "d", adapter)
    assert preflight.examine(settings, profile, machine).lacks == before[1:]
    said = preflight.report(settings.model_copy(update={"profile": "mistral-7b"}))
    assert "fine-tuning, which was done elsewhere" in said and "memory  merging" in said
    other = load_profile(settings.home, "llama2-13b")
    assert preflight.examine(settings, other, machine).lacks[0].startswith("fine-tuning needs")


def test_a_profile_that_tells_no_sizes_is_let_through(settings):
    text = (settings.home / "models/profiles/mistral-7b.toml").read_text()
    head, _, rest = text.partition("[shape]")
    file = settings.home / "models/profiles/mine.toml"
    text = head.replace('"mistral-7b"', '"mine"') + rest[rest.index("[lora]") :]
    # without sizes nothing tells how fast it may learn
    file.write_text(text.replace("effort = 1.0", "learning_rate = 2e-4"))
    mine = settings.model_copy(update={"profile": "mine"})
    preflight.require(mine)
    assert preflight.report(mine) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30, "a minute or two"), (240, "4 minutes"), (5000, "83 minutes"), (5400, "2 hours"), (9e4, "25 hours"), (2e5, "2 days")],
)  # fmt: skip
def test_durations_are_rough(seconds, text):
    assert preflight.duration(seconds) == text
