"""up and down where there is nothing to start or to end."""

import subprocess
import sys
from dataclasses import replace

import pytest

from stock_llm.cli import main, services
from stock_llm.errors import InputError
from stock_llm.services import supervisor
from stock_llm.services.supervisor import ServiceState, UpState
from stock_llm.settings import load_settings


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


def test_a_detached_up_says_once_what_cannot_be_started(tmp_path, monkeypatch, capsys):
    """And what another `up` that begins at the same moment wrote into the log goes on there."""
    settings = load_settings(home=tmp_path)
    log = settings.path(settings.services.logs) / "up.log"
    log.parent.mkdir(parents=True)
    log.write_text("of an earlier one\n")
    waits = ServiceState("web", "waits", None, "", "", 0, "", problem="no such program")
    ended = replace(waits, restarts=services.DETACHED_RESTARTS)
    seen = iter([waits, waits, ended, ended])
    monkeypatch.setattr(supervisor, "read_state", lambda _: UpState(1, 0.0, "", "", [next(seen)]))
    monkeypatch.setattr(supervisor, "is_running", lambda _: False)
    begun = log.open("a")
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    start = subprocess.Popen
    started = []
    monkeypatch.setattr(
        subprocess,
        "Popen",
        lambda _, **options: started.append(start(sleeps, **options)) or started[0],
    )
    with pytest.raises(InputError, match="web does not run yet"):
        services._start_detached(settings)
    started[0].kill()
    started[0].wait()
    begun.write("of one that begins\n")
    begun.close()
    assert log.read_text() == "of one that begins\n"
    assert capsys.readouterr().err.count("web cannot be started yet: no such program") == 1
