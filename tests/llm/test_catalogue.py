"""The committed profiles: each names its prompt format, and pins its base or says how to."""

import re
import tomllib
from pathlib import Path

import pytest

from stock_llm.llm.architectures import ARCHITECTURES
from stock_llm.llm.profiles import load_profile, profile_names
from stock_llm.llm.prompt_formats import FORMATS

PROJECT = Path(__file__).parents[2]
NAMES = profile_names(PROJECT)


def test_the_catalogue_is_there():
    assert set(NAMES) == {
        *("mistral-7b", "mistral-7b-v01", "ministral-3-3b", "ministral-3-8b", "llama2-7b"),
        *("llama2-13b", "codellama-7b", "codellama-13b", "deepseek-coder-6.7b", "phi-2"),
        *("tinyllama-1.1b", "smollm2-135m", "stock-tiny"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_says_what_its_base_is(name):
    text = (PROJECT / f"models/profiles/{name}.toml").read_text(encoding="utf-8")
    profile = load_profile(PROJECT, name)
    assert profile.name == name
    assert tomllib.loads(text)["prompt_format"] in FORMATS, "the default would be silent"
    assert profile.about.architecture in ARCHITECTURES
    assert profile.about.parameters > 0
    assert profile.about.tokenizer
    assert profile.about.languages
    assert re.match("compared|not compared|the same", profile.about.own_template)
    assert profile.training.max_tokens <= profile.serving.num_ctx


@pytest.mark.parametrize("name", NAMES)
def test_a_base_is_a_folder_here_a_package_or_a_commit_to_pin(name):
    profile = load_profile(PROJECT, name)
    text = (PROJECT / f"models/profiles/{name}.toml").read_text(encoding="utf-8")
    if profile.path.startswith("models/"):
        assert profile.revision == ""
        assert name == "stock-tiny" or profile.package
    else:
        assert re.fullmatch(r"[0-9a-f]{40}", profile.revision) or (
            f"stock-llm profiles pin {name}" in text
        )
