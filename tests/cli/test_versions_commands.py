"""promote and rollback keep the reason that was given; nobody is asked where no terminal is watching."""

import sys

import pytest

from stock_llm.cli import main, versions
from stock_llm.errors import InputError
from stock_llm.operations.reports import comparison
from stock_llm.pipeline import registry
from stock_llm.pipeline.publication import restoring


@pytest.fixture
def decided(monkeypatch, bare_home):
    """What the commands did: the version that was moved to, and the tags that were set."""
    monkeypatch.setenv("STOCK_LLM_HOME", str(bare_home))
    done = []
    monkeypatch.setattr(
        restoring, "roll_back", lambda _, number: (done.append(number) or number, [])
    )
    monkeypatch.setattr(registry, "mark", lambda _, *tag: done.append(tag))
    return done


@pytest.mark.parametrize(
    ("arguments", "tag"),
    [
        (
            ["promote", "4", "--reason", " shorter answers "],
            (4, "promote_reason", "shorter answers"),
        ),
        (["rollback", "3", "--reason", "it invents"], (3, "rollback_reason", "it invents")),
        (["promote", "4"], (4, "promote_reason", "")),
    ],
)
def test_the_reason_is_kept(decided, monkeypatch, arguments, tag):
    monkeypatch.setattr(sys, "argv", ["stock-llm", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0
    assert decided == [tag[0], tag]


@pytest.mark.usefixtures("decided")
@pytest.mark.parametrize("number", ["7", "v7"])
def test_compare_and_parity_understand_v7_as_well_as_7(monkeypatch, capsys, number):
    asked = []

    def compare(_, *numbers):
        asked.extend(numbers)
        raise InputError("enough")

    monkeypatch.setattr(comparison, "compare", compare)
    monkeypatch.setattr(registry, "versions", lambda _: [])
    for command in (["compare", number, "v12"], ["parity", number], ["parity", "x7"]):
        monkeypatch.setattr(sys, "argv", ["stock-llm", *command])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert ended.value.code == 1
    assert asked == [7, 12]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "error: enough" and told[1].startswith("error: there is no version yet")
    assert told[2].startswith("error: 'x7' is no version")


def test_a_person_at_a_terminal_is_asked(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(versions.typer, "prompt", lambda *_, **__: "because ")
    assert versions.ask_reason(None) == "because"
    assert versions.ask_reason("given") == "given"
