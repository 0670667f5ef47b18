"""up and down where there is nothing to start or to end."""

import sys

import pytest

from stock_llm.cli import main


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["up"], 1, "there is no prefect.yaml, which says what to deploy"),
        (["up", "--detach"], 1, "stock-llm init"),
        (["down"], 0, "nothing runs here"),
    ],
)
def test_a_folder_without_a_project(bare_home, monkeypatch, capsys, arguments, code, said):
    monkeypatch.setenv("STOCK_LLM_HOME", str(bare_home))
    monkeypatch.setattr(sys, "argv", ["stock-llm", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    printed = capsys.readouterr()
    assert ended.value.code == code
    assert said in printed.out + printed.err and "Traceback" not in printed.err
