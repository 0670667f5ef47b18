import pytest

from stock_llm.errors import InputError
from stock_llm.llm.profiles import load_profile
from stock_llm.settings import CONFIG_FILE, load_settings


def test_arguments_win_over_environment_over_file(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    (tmp_path / CONFIG_FILE).write_text('seed = 1\nprofile = "file"\nretrain_after = 5\n')
    monkeypatch.setenv("STOCK_LLM_SEED", "2")
    monkeypatch.setenv("STOCK_LLM_PROFILE", "environment")
    settings = load_settings(profile="argument")
    assert (settings.profile, settings.seed, settings.retrain_after) == ("argument", 2, 5)


def test_paths_and_urls_are_taken_from_home(tmp_path):
    settings = load_settings(home=tmp_path)
    assert settings.path("data/x") == tmp_path / "data/x"
    assert settings.path("/else/x").as_posix() == "/else/x"
    assert settings.url("sqlite:///data/feedback.db") == f"sqlite:///{tmp_path}/data/feedback.db"
    assert settings.url("sqlite:////abs.db") == "sqlite:////abs.db"
    assert settings.url("postgresql://u@h/d") == "postgresql://u@h/d"


def test_the_sample_is_known_as_such(tmp_path):
    assert load_settings(home=tmp_path).uses_sample
    assert not load_settings(home=tmp_path, trades="mine/trades.csv").uses_sample


@pytest.mark.parametrize(
    ("dial", "value"), [("seed", "seven"), ("retrain_after", "0"), ("holdout_from", "soon")]
)
def test_a_wrong_value_names_the_setting(dial, value):
    with pytest.raises(InputError, match=dial):
        load_settings(**{dial: value})


def test_an_unknown_setting_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    (tmp_path / CONFIG_FILE).write_text("sead = 1\n")
    with pytest.raises(InputError, match="sead"):
        load_settings()


@pytest.mark.parametrize("where", ["file", "environment", "argument"])
def test_a_setting_that_moved_into_the_profile_is_refused_with_its_place(
    tmp_path, monkeypatch, where
):
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    if where == "file":
        (tmp_path / CONFIG_FILE).write_text("holdout_rows = 160\n")
    elif where == "environment":
        monkeypatch.setenv("STOCK_LLM_HOLDOUT_ROWS", "160")
    with pytest.raises(InputError, match=r"profile .*models/profiles/NAME\.toml.*\[evaluation\]"):
        load_settings(**({"holdout_rows": 160} if where == "argument" else {}))


def test_a_broken_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    (tmp_path / CONFIG_FILE).write_text("seed = = 1\n")
    with pytest.raises(InputError, match=CONFIG_FILE):
        load_settings()


def test_an_unknown_profile_lists_the_known(tmp_path):
    folder = tmp_path / "models" / "profiles"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text("name = 1")
    with pytest.raises(InputError, match="Known profiles: mine"):
        load_profile(tmp_path, "other")
    with pytest.raises(InputError, match=r"mine\.toml"):
        load_profile(tmp_path, "mine")
