"""Commands for the servers of a project folder, and how everything is: up, down, status."""

import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from stock_llm.cli.json_output import Json, only_json
from stock_llm.cli.options import load_settings

if TYPE_CHECKING:
    from stock_llm.services.supervisor import Supervisor, UpState
    from stock_llm.settings import Settings

DETACHED_SECONDS = 900
"""How long `up --detach` waits until everything runs: seconds on an idle machine, minutes while it
trains."""

ENDING_SECONDS = 15
"""How long `up --detach` waits for one that is just ending, or has not told yet what it starts."""

DETACHED_RESTARTS = 3
"""A service that ended so often does not come up by waiting."""


def up(
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Return when everything runs; `stock-llm down` ends it."),
    ] = False,
) -> None:
    """Start Prefect's server, a worker, MLflow and the gateway, deploy the flows, and keep all of
    it running.

    Prefect and MLflow listen on this machine only, the gateway where [gateway] says. What ends is
    started again, after 1, 2, 4 … 60 seconds. Ctrl-C or `stock-llm down` ends all of it within ten
    seconds; a run under way goes on from where it was when it is started again. Ports, folders and
    databases are settings: the table [services] of stock-llm.toml.

    Examples:

        stock-llm up

        stock-llm up --detach

        STOCK_LLM_SCHEDULE__TIMEZONE=Asia/Bangkok stock-llm up
    """
    from filelock import Timeout

    from stock_llm.services.supervisor import only_supervisor, read_state

    settings = load_settings()
    _require_parts(settings)
    if (state := read_state(settings.home)) is not None:
        _print_running(settings, state)
        return
    if detach:
        _start_detached(settings)
        return
    try:
        with only_supervisor(settings.home):
            _supervise(settings)
    except Timeout:
        print(f"stock-llm up runs already in {settings.home}, or is just ending")


def down() -> None:
    """End what `stock-llm up` started here, within ten seconds.

    Example:

        stock-llm down
    """
    from stock_llm.services.supervisor import bring_down, is_running

    settings = load_settings()
    ran = is_running(settings.home)
    left = bring_down(settings.home)
    if ran:
        print("ended")
    elif left:
        print(f"stock-llm up did not run here any more; {left} processes that it left are ended")
    else:
        print(f"nothing runs here: no stock-llm up was started in {settings.home}")


def status(as_json: Json = False) -> None:
    """Show how everything is: servers, next runs, champion, feedback, last verdicts, disk, and
    which databases the next start would migrate.

    Examples:

        stock-llm status

        stock-llm status --json | jq .feedback.counts.ready
    """
    from rich.console import Console

    from stock_llm.operations.status import project_status, status_view

    with only_json(as_json) as result:
        settings = load_settings()
        found = project_status(settings)
        result |= vars(found)
    if not as_json:
        Console(highlight=False).print(status_view(found, settings.schedule.timezone))


def _supervise(settings: "Settings") -> None:
    """Runs until a signal comes."""
    from stock_llm.services.prefect_api import PrefectApi
    from stock_llm.services.programs import api_url
    from stock_llm.services.view import LineView, RunsWatch, TerminalView

    supervisor = _supervisor(settings)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.stop())
    watch = RunsWatch(PrefectApi(api_url(settings.services)))
    view = (
        TerminalView(supervisor.state, watch, settings.home, settings.schedule.timezone)
        if sys.stdout.isatty()
        else LineView(supervisor.state)
    )
    with view:
        supervisor.run(view.show)
    watch.end()
    print("ended")


def _supervisor(settings: "Settings") -> "Supervisor":
    from stock_llm.services.programs import api_url, programs, service_environment
    from stock_llm.services.supervisor import Supervisor

    services, home = settings.services, settings.home
    address = (settings.gateway.host, settings.gateway.port)
    return Supervisor(
        home,
        programs(services, home, address, settings.url(settings.mlflow_uri)),
        service_environment(services, home, settings.schedule.timezone),
        settings.path(services.logs),
        api_url(services),
    )


def _start_detached(settings: "Settings") -> None:
    """Starts `up` in a session of its own and waits until everything runs; where another one has
    just been started, waits for that.

    Raises:
        InputError: it ended, or a service ends again and again, or not everything runs after
            `DETACHED_SECONDS`.
    """
    import subprocess
    import time

    from stock_llm.errors import InputError
    from stock_llm.services.supervisor import is_running, read_state

    log = settings.path(settings.services.logs) / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    ending = time.monotonic() + ENDING_SECONDS
    while (running := is_running(settings.home)) and time.monotonic() < ending:
        if read_state(settings.home):
            break
        time.sleep(0.1)
    if not running:
        log.write_bytes(b"")  # another that begins now has it open
    with log.open("ab") as output:  # another one may write here too
        process = subprocess.Popen(
            [sys.executable, "-m", "stock_llm.cli.main", "up"],
            cwd=settings.home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    end, told = time.monotonic() + DETACHED_SECONDS, set[str]()
    while time.monotonic() < end and (process.poll() is None or is_running(settings.home)):
        state = read_state(settings.home)
        if state and all(service.health in ("runs", "done") for service in state.services):
            _print_running(settings, state)
            return
        for service in state.services if state else []:
            problem = f"{service.name} cannot be started yet: {service.problem}"
            if service.problem and problem not in told:
                told.add(problem)
                print(problem, file=sys.stderr)
        if state and any(service.restarts >= DETACHED_RESTARTS for service in state.services):
            break
        time.sleep(0.5)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if process.poll() is not None and not is_running(settings.home):
        raise InputError(f"stock-llm up ended: {said[-1] if said else 'it said nothing'}", file=log)
    state = read_state(settings.home)
    missing = [s.name for s in state.services if s.health not in ("runs", "done")] if state else []
    raise InputError(
        f"{', '.join(missing) or 'stock-llm up'} does not run yet",
        remedy=f"See {log.parent}; it goes on trying until stock-llm down",
    )


def _print_running(settings: "Settings", state: "UpState") -> None:
    from rich.console import Console

    from stock_llm.services.prefect_api import PrefectApi
    from stock_llm.services.view import runs_text, services_table

    console = Console()
    console.print(f"stock-llm up runs in {settings.home}, process {state.pid}, since {state.since}")
    console.print(services_table(state.services, settings.home))
    api = PrefectApi(state.api_url)
    try:
        planned, current = api.planned_runs(), api.current_runs()
    except OSError:
        planned, current = [], []
    console.print(runs_text(planned, current, settings.schedule.timezone))
    console.print("end it: stock-llm down")


def _require_parts(settings: "Settings") -> None:
    """
    Raises:
        MissingExtra: a server is not installed.
        InputError: the folder has no deployments.
    """
    from importlib.util import find_spec

    from stock_llm.errors import InputError, MissingExtra

    if not (settings.home / "prefect.yaml").is_file():
        raise InputError(
            "there is no prefect.yaml, which says what to deploy",
            file=settings.home,
            remedy=f"Write what is missing: stock-llm init {settings.home}",
        )

    needed = [("prefect", "flows"), ("mlflow", "flows")]
    needed += [("uvicorn", "gateway")] if settings.services.gateway else []
    for library, extra in needed:
        spec = find_spec(library)
        # a project folder named mlflow is an empty namespace where the library is missing
        if spec is None or spec.origin is None:
            raise MissingExtra(library, extra)
