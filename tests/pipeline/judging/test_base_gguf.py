import shutil

from stock_llm.llm.profiles import load_profile
from stock_llm.pipeline.judging import base_gguf
from stock_llm.settings import load_settings


def test_a_base_that_would_be_written_otherwise_today_is_written_again(
    tiny_base, tmp_path, monkeypatch
):
    shutil.copytree(tiny_base / "models", tmp_path / "models")
    settings = load_settings(home=tmp_path, profile="tiny", threads=1)
    profile = load_profile(settings.home, "tiny")
    made = base_gguf.base_gguf(settings, profile, "Q8_0")
    before = made.stat()
    again = base_gguf.base_gguf(settings, profile, "Q8_0")
    after = again.stat()
    assert again == made, "kept"
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "kept"
    monkeypatch.setattr(base_gguf, "RECIPE", base_gguf.RECIPE + 1)
    assert base_gguf.base_gguf(settings, profile, "Q8_0") != made
