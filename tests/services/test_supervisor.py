"""Programs are started in order, restarted with growing pauses, and all of them end; with real processes and real ports."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from factories.ports import free_port
from filelock import Timeout

from stock_llm.errors import InputError
from stock_llm.services import processes, supervisor
from stock_llm.services.config import ServicesSettings
from stock_llm.services.prefect_api import answers
from stock_llm.services.programs import Program, programs
from stock_llm.services.supervisor import Supervisor, bring_down, only_supervisor, read_state

PROJECT = Path(__file__).parents[2]

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

ORPHAN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def web_server(port: int, **options) -> Program:
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    return Program("web", command, url, port, lambda: answers(url), is_server=True, **options)


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


@pytest.fixture
def running(tmp_path, monkeypatch):
    """Runs a supervisor of some programs in a thread; ends it after the test."""
    monkeypatch.setattr(supervisor, "HEALTH_SECONDS", 0.1)
    started = []

    def start(*programs):
        environment = os.environ | {processes.MARK: str(tmp_path)}
        made = Supervisor(tmp_path, list(programs), environment, tmp_path / "logs")
        thread = threading.Thread(target=made.run)
        thread.start()
        started.append((made, thread))
        return made

    yield start
    for made, thread in started:
        made.stop()
        thread.join(30)
    assert processes.marked(tmp_path) == []


def service(made, name):
    return next(state for state in made.state() if state.name == name)


def test_a_program_starts_when_those_before_it_are_healthy_and_what_runs_once_is_not_repeated(
    running, tmp_path
):
    port = free_port()
    once = Program("once", python("print('done', flush=True)"), after=("web",), once=True)
    last = Program("last", python("import time; time.sleep(600)"), after=("once",))
    made = running(last, once, web_server(port))
    wait_for(made.is_ready)
    assert [service(made, name).health for name in ("web", "once", "last")] == [
        "runs",
        "done",
        "runs",
    ]
    assert (tmp_path / "logs" / "once.log").read_text() == "done\n"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}") as answer:
        assert answer.status == 200


def test_a_killed_program_is_started_again(running):
    made = running(web_server(free_port()))
    wait_for(made.is_ready)
    first = service(made, "web").pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: made.is_ready() and service(made, "web").pid != first)
    assert service(made, "web").restarts == 1


def test_a_child_that_a_killed_program_left_does_not_keep_its_port(running):
    """MLflow's command starts its server as a child."""
    port = free_port()
    server = f"[{sys.executable!r}, '-m', 'http.server', '--bind', '127.0.0.1', '{port}']"
    code = f"import subprocess, time; p = subprocess.Popen({server}); time.sleep(600)"
    url = f"http://127.0.0.1:{port}"
    made = running(Program("parent", python(code), url, port, lambda: answers(url)))
    wait_for(made.is_ready)
    first = service(made, "parent").pid
    (child,) = psutil.Process(first).children()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: made.is_ready() and service(made, "parent").pid != first)
    # where nobody waits for orphans, an ended one stays as a zombie
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert service(made, "parent").restarts == 1


def test_what_ends_again_and_again_is_started_after_longer_and_longer_pauses(running, tmp_path):
    made = running(
        Program("broken", python("import time; print(time.time(), flush=True); exit(3)"))
    )
    log = tmp_path / "logs" / "broken.log"

    def times():
        lines = log.read_text().splitlines() if log.exists() else []
        return [float(line) for line in lines if "ended" not in line]

    wait_for(lambda: len(times()) == 4, seconds=200)
    pauses = [after - before for before, after in zip(times(), times()[1:], strict=False)]
    assert pauses[0] >= 1 and pauses[1] >= 2 and pauses[2] >= 4
    assert "stock-llm up: broken ended with code 3" in log.read_text()
    assert service(made, "broken").restarts == 3


def test_stopping_ends_children_in_other_sessions_and_what_ignores_the_signal(running, tmp_path):
    made = running(Program("stubborn", python(STUBBORN)), Program("orphan", python(ORPHAN)))
    log = tmp_path / "logs" / "orphan.log"
    wait_for(lambda: log.exists() and log.read_text().strip())
    child = psutil.Process(int(log.read_text()))
    wait_for(made.is_ready)
    began = time.monotonic()
    made.stop()
    wait_for(lambda: processes.marked(tmp_path) == [] and read_state(tmp_path) is None)
    assert time.monotonic() - began < 10
    assert child not in processes.marked(tmp_path)


TIMED = """
import signal, subprocess, sys, time
def end(*_):
    time.sleep(float(sys.argv[2]))
    open(sys.argv[1], "w").write(str(time.time()))
    sys.exit()
signal.signal(signal.SIGTERM, end)
if len(sys.argv) > 3:
    subprocess.Popen([sys.executable, *sys.argv[3:]])
open(sys.argv[1] + ".ready", "w")
time.sleep(600)
"""


def test_what_a_server_started_ends_after_the_runs(tmp_path):
    """MLflow's command starts its server as a child."""
    script = tmp_path / "timed.py"
    script.write_text(TIMED)
    marked = os.environ | {processes.MARK: str(tmp_path)}

    def start(name, seconds, *more):
        command = [sys.executable, str(script), str(tmp_path / name), str(seconds), *more]
        return subprocess.Popen(command, env=marked)

    server = start("server", 0, str(script), str(tmp_path / "child"), "0")
    run = start("run", 0.5)
    names = ("server", "child", "run")
    wait_for(lambda: all((tmp_path / f"{name}.ready").exists() for name in names))
    assert processes.end_all(tmp_path, [server.pid], seconds=60) == 3
    server.wait()
    run.wait()
    ended = {name: float((tmp_path / name).read_text()) for name in names}
    assert ended["run"] < min(ended["server"], ended["child"])


CARELESS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_that_its_parent_does_not_wait_for_counts_as_ended():
    with subprocess.Popen(python(CARELESS), stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert processes.end([child], seconds=60) == []
        assert child.status() == psutil.STATUS_ZOMBIE
        parent.kill()


def test_no_password_stands_on_a_command_line(tmp_path):
    url = "postgresql+psycopg://me:hidden@127.0.0.1/mlflow"
    found = programs(ServicesSettings(), tmp_path, ("127.0.0.1", 11435), url)
    assert not [program.name for program in found if "hidden" in " ".join(program.command)]
    (mlflow,) = [program for program in found if program.name == "mlflow"]
    assert mlflow.environment == {"MLFLOW_BACKEND_STORE_URI": url}


def test_a_program_gets_its_own_variables(running, tmp_path):
    code = "import os; print(os.environ['MINE'], flush=True)"
    made = running(Program("once", python(code), once=True, environment={"MINE": "yes"}))
    wait_for(made.is_ready)
    assert (tmp_path / "logs" / "once.log").read_text() == "yes\n"


def test_a_taken_port_is_named_and_nothing_is_started(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = Program("prefect", python("raise SystemExit"), port=port)
        made = Supervisor(tmp_path, [program], dict(os.environ), tmp_path / "logs")
        with pytest.raises(
            InputError, match=rf"port {port} .*prefect_port in the table \[services\]"
        ):
            made.run()
    assert not (tmp_path / "logs").exists()


def test_a_dependency_that_is_away_delays_the_start(running):
    asked = []

    def before_start():
        asked.append(time.monotonic())
        if len(asked) < 3:
            raise ConnectionRefusedError

    made = running(
        Program("late", python("import time; time.sleep(600)"), before_start=before_start)
    )
    wait_for(made.is_ready)
    assert len(asked) == 3


def test_a_full_disk_ends_nothing_and_what_cannot_start_on_it_starts_later(
    running, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write = supervisor.atomic_write
    monkeypatch.setattr(supervisor, "atomic_write", full)
    (tmp_path / "logs" / "late.log").mkdir(parents=True)  # nothing can be written there
    sleep = python("import time; time.sleep(600)")
    made = running(Program("first", sleep), Program("late", sleep))
    wait_for(lambda: service(made, "first").health == "runs")
    first = service(made, "first").pid
    time.sleep(1)
    assert service(made, "late").health == "waits" and service(made, "late").pid is None
    assert service(made, "first").pid == first and psutil.pid_exists(first)

    (tmp_path / "logs" / "late.log").rmdir()
    monkeypatch.setattr(supervisor, "atomic_write", write)
    wait_for(made.is_ready)
    assert service(made, "first").pid == first
    state = tmp_path / "data" / "up" / "state.json"
    wait_for(lambda: state.exists() and state.read_text().count('"runs"') == 2)


def test_why_a_program_cannot_be_started_is_said_once(running, tmp_path, capsys):
    missing = str(tmp_path / "no-such-program")
    made = running(Program("web", [missing]))
    state = tmp_path / "data" / "up" / "state.json"
    wait_for(
        lambda: service(made, "web").problem and state.exists() and missing in state.read_text()
    )
    time.sleep(2.5)  # it is tried every second
    said = capsys.readouterr().err
    assert said.count("web cannot be started") == 1 and missing in said
    assert service(made, "web").health == "waits"


SUPERVISOR = """
import os, signal, sys
from pathlib import Path
from stock_llm.services.processes import MARK
from stock_llm.services.programs import Program
from stock_llm.services.supervisor import Supervisor, only_supervisor
home = Path(sys.argv[1])
with only_supervisor(home):
    program = Program("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])
    made = Supervisor(home, [program], os.environ | {MARK: str(home)}, home / "logs")
    signal.signal(signal.SIGTERM, lambda *_: made.stop())
    made.run()
"""


def start_supervisor(home):
    command = [*python(SUPERVISOR), str(home)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(PROJECT)})
    wait_for(lambda: (state := read_state(home)) and state.services[0].health != "waits")
    return process


def test_there_is_one_supervisor_and_bring_down_ends_it(tmp_path):
    process = start_supervisor(tmp_path)
    with pytest.raises(Timeout), only_supervisor(tmp_path, seconds=0):
        pass
    assert read_state(tmp_path).pid == process.pid
    began = time.monotonic()
    bring_down(tmp_path)
    assert time.monotonic() - began < 10
    assert process.wait(5) == 0
    assert read_state(tmp_path) is None and processes.marked(tmp_path) == []


def test_another_process_that_got_the_number_of_a_killed_supervisor_is_left_alone(tmp_path):
    process = start_supervisor(tmp_path)
    process.send_signal(signal.SIGSTOP)  # it holds the lock, as one that is just starting does
    state = tmp_path / "data" / "up" / "state.json"
    other = subprocess.Popen(python("import time; time.sleep(600)"))
    values = json.loads(state.read_text())
    an_hour_ago = values["started"] - 3600
    state.write_text(json.dumps(values | {"pid": other.pid, "started": an_hour_ago}))
    assert read_state(tmp_path) is None
    bring_down(tmp_path, seconds=0.5)
    assert other.poll() is None
    other.kill()
    other.wait()
    process.kill()
    process.wait()


def test_what_a_killed_supervisor_left_is_ended_by_the_next_one_or_by_bring_down(tmp_path):
    process = start_supervisor(tmp_path)
    process.kill()
    process.wait()
    assert len(left := processes.marked(tmp_path)) == 1
    again = start_supervisor(tmp_path)
    assert left[0] not in processes.marked(tmp_path)
    again.kill()
    again.wait()
    assert bring_down(tmp_path) == 1
    assert processes.marked(tmp_path) == []
    assert bring_down(tmp_path) == 0
