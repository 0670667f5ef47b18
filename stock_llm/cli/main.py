"""The command line: the composition root. It alone may import flows, and only inside its commands, so that --help is quick.

Errors that a person can act on are one line on standard error and exit code 1; an interrupted command says how to go on.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stock_llm.settings import Settings

app = typer.Typer(
    help="Turns your own trading history and feedback into a better local model, again and again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
base_app = typer.Typer(help="The embedded base model.", no_args_is_help=True)
feedback_app = typer.Typer(
    help="What you said about answers: the store that retraining learns from.", no_args_is_help=True
)
dataset_app = typer.Typer(help="What models were taught and judged with.", no_args_is_help=True)
app.add_typer(base_app, name="base")
app.add_typer(dataset_app, name="dataset")
app.add_typer(feedback_app, name="feedback")

Profile = Annotated[str | None, typer.Option(help="Base model: a file models/profiles/NAME.toml.")]
Trades = Annotated[Path | None, typer.Option(help="CSV file or folder with your trading history.")]
CandlesAt = Annotated[
    Path | None, typer.Option("--candles", help="Folder with daily candles, CSV or Parquet.")
]


_INTERRUPTED = 130
"""Typer's exit code after Ctrl-C."""


def main() -> None:
    """Entry point: translates errors into a line and an exit code."""
    with _told():
        app()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            print("\ninterrupted; run the same command again to go on from here", file=sys.stderr)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        line = _one_line(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)


def _one_line(error: Exception) -> str | None:
    """What to tell a person about an error that they can act on; None for a fault of ours, which deserves its traceback."""
    import errno

    from stock_llm.errors import StockLLMError

    if isinstance(error, StockLLMError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
    ):
        return f"{error.filename or 'the disk'}: {error.strerror}. Nothing was published; make room or grant access, and run again"
    return None


def _settings(**given: object) -> "Settings":
    from stock_llm.environment import prepare
    from stock_llm.settings import load_settings

    prepare()
    return load_settings(**given)


@app.command()
def run(profile: Profile = None, trades: Trades = None, candles: CandlesAt = None) -> None:
    """Run the main job: collect, build the dataset, fine-tune, quantize, evaluate, register, publish.

    With nothing new since the last judged run it says so at once. Killed anywhere, it goes on when run again.

    Examples:

        stock-llm run

        stock-llm run --trades ~/broker/2025.csv --candles ~/candles

        stock-llm run --profile mistral-7b
    """
    from stock_llm.pipeline import report
    from stock_llm.pipeline.run_record import finished

    settings = _settings(profile=profile, trades=trades, candles=candles)
    if known := finished(settings):
        print(report.nothing_new(known))
        return
    from flows.train import train_with

    outcome = train_with(settings, why="stock-llm run")
    print(report.outcome(outcome))


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Exports of your brokers: CSV, JSON, XML.")],
    look: Annotated[
        bool, typer.Option("--look", help="Only show what they hold; keep no copy.")
    ] = False,
    draft: Annotated[
        bool,
        typer.Option("--draft", help="Print a format for a CSV file that none knows, to complete."),
    ] = False,
    trades: Trades = None,
) -> None:
    """Show what exports hold, and put copies into the folder of trades, which every run reads.

    The format is told by the content. Importing a file again, or one that overlaps, adds nothing twice.

    Examples:

        stock-llm import ~/Downloads/transactions.csv

        stock-llm import --look *.csv

        stock-llm import unknown.csv --draft > data/formats/mybank.toml
    """
    settings = _settings(trades=trades)
    if draft:
        from stock_llm.importers.scaffold.draft import draft_format as drafted

        for file in files:
            print(drafted(file))
        return
    from rich.console import Console

    from stock_llm.pipeline import import_exports

    console = Console()
    for one in import_exports.preview_exports(files, settings):
        console.print(import_exports.preview_table(one))
        if look:
            continue
        if one.mostly_bad:
            print(f"not kept: more than half of the rows of {one.file.name} are bad\n")
        else:
            print(f"kept as {import_exports.copy_to_trades(one.file, settings)}\n")
    if not look and settings.path(settings.trades) != import_exports.trades_folder(settings):
        print(
            f'Runs read {settings.trades}. To use the folder of exports, write into stock-llm.toml: trades = "data/trades"'
        )


@app.command()
def positions(trades: Trades = None, candles: CandlesAt = None) -> None:
    """Show what you hold, what it cost and brought, and what was found in your files on the way.

    Reads what is new first. Returns are before fees and taxes, which stand beside them.

    Example:

        stock-llm positions
    """
    from rich.console import Console

    from stock_llm.pipeline import positions_table
    from stock_llm.pipeline.history import current

    history = current(_settings(trades=trades, candles=candles))
    console = Console()
    console.print(positions_table.positions_table(history.positions))
    console.print(positions_table.findings_table(history))


@app.command()
def ask(
    text: Annotated[
        str,
        typer.Argument(
            help="Your question. Symbols of your candles and 'my portfolio' get their computed numbers."
        ),
    ],
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what the model sees, before the answer.")
    ] = False,
    model: Annotated[str, typer.Option(help="Name of a published model.")] = "stock-llm:latest",
    candles: CandlesAt = None,
) -> None:
    """Ask the published model.

    Examples:

        stock-llm ask "Analyze KESTRO."

        stock-llm ask --show-prompt "ควรซื้อ ถือ หรือขาย KESTRO"

        stock-llm ask --model stock-llm:v1 "What does RSI14 mean?"
    """
    from stock_llm.pipeline.ask import ask as asked

    reply = asked(_settings(candles=candles), text, model)
    if show_prompt:
        print(f"{reply.prompt}\n{'-' * 40}")
    print(reply.text)
    if reply.invented:
        print(
            f"warning: not in the numbers that the model was given: {', '.join(reply.invented)}",
            file=sys.stderr,
        )


@app.command()
def serve(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; another than this machine's own needs a token."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on. Default: 11435.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="Routing rules: service, orchestrator, or a TOML file of your own."),
    ] = None,
) -> None:
    """Start the gateway: one door to local models and, if you switch them on, to Claude. It speaks Ollama's API and OpenAI's.

    Cloud providers are off. Ctrl-C ends it when the answers under way are finished.

    Examples:

        stock-llm serve

        curl 127.0.0.1:11435/api/chat -d '{"model": "auto", "messages": [{"role": "user", "content": "What is RSI14?"}]}'

        STOCK_LLM_GATEWAY__CLAUDE_CLI=true stock-llm serve --policy orchestrator

        STOCK_LLM_GATEWAY__TOKEN=... stock-llm serve --host 0.0.0.0
    """
    from stock_llm.errors import MissingExtra

    dials = {"host": host, "port": port, "policy": policy}
    given = {name: value for name, value in dials.items() if value is not None}
    settings = _settings(**({"gateway": given} if given else {}))
    try:
        from stock_llm.gateway.app import serve as run_until_told
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "gateway") from None
    run_until_told(settings)


@app.command()
def fetch(
    symbols: Annotated[
        list[str], typer.Argument(help="As the provider writes them: AAPL, AET.L, ^GSPC, EURUSD=X.")
    ],
    provider: Annotated[str, typer.Option("--from", help="yfinance or alpaca.")] = "yfinance",
    since: Annotated[
        str | None, typer.Option(help="First day, YYYY-MM-DD. Default: ten years ago.")
    ] = None,
    candles: CandlesAt = None,
) -> None:
    """Fetch daily candles into the folder of candles, one file a symbol; currencies such as EURUSD=X into that of exchange rates.

    A symbol that is there is fetched again as a whole: adjusted prices change with every dividend.

    Alpaca wants the keys of your account in APCA_API_KEY_ID and APCA_API_SECRET_KEY.

    Examples:

        stock-llm fetch AAPL MSFT --candles ~/candles

        stock-llm fetch AAPL --from alpaca --since 2020-01-01

        stock-llm fetch EURUSD=X
    """
    from stock_llm.market.fetch import download

    where = partial(download.folder_for, _settings(candles=candles))
    for file in download.download(where, symbols, provider, download.parse_since(since)):
        print(
            f"{file.file}: {file.candles} candles, {file.first_day} to {file.last_day}", flush=True
        )


@app.command()
def history() -> None:
    """List the versions with their scores and verdicts, and which one is champion.

    Example:

        stock-llm history
    """
    from rich.console import Console

    from stock_llm.pipeline import registry, report

    Console().print(report.versions_table(registry.versions(_settings())))


@app.command()
def rollback(
    number: Annotated[
        int, typer.Argument(help="The version to go back to, as `stock-llm history` numbers it.")
    ],
) -> None:
    """Make an earlier version the champion again: `stock-llm:latest` and the registry's alias, together.

    Example:

        stock-llm rollback 3
    """
    from tasks.publish import roll_back

    roll_back(_settings(), number)
    print(f"stock-llm:latest and the champion are v{number}")


@app.command()
def doctor() -> None:
    """Look at this machine: what is installed, disk, memory, GPU, servers, and what each missing thing costs.

    Exit code 1 when the main job cannot run.

    Example:

        stock-llm doctor
    """
    from rich.console import Console

    from stock_llm.doctor import run_checks, table

    findings = run_checks(_settings())
    Console().print(table(findings))
    if any(finding.fatal for finding in findings):
        raise typer.Exit(1)


@app.command()
def costs(
    days: Annotated[int, typer.Option(min=1, help="How many days back.")] = 30,
    per_million: Annotated[
        float,
        typer.Option(
            min=0.0, help="Dollars for a million tokens at the API that you compare with."
        ),
    ] = 15.0,
    fixed: Annotated[
        float,
        typer.Option(min=0.0, help="Dollars a month that your machine and subscriptions cost."),
    ] = 20.0,
) -> None:
    """Say what the gateway's calls cost, what is left of the budgets, and what the same tokens would have cost at an API.

    Examples:

        stock-llm costs

        stock-llm costs --days 7 --per-million 15 --fixed 200
    """
    from decimal import Decimal

    from rich.console import Console

    from stock_llm.gateway.accounting import cost_report as report

    settings = _settings()
    url = settings.url(settings.gateway.costs_url)
    period = report.read_period(url, days)
    left = report.read_left(url, settings.gateway.daily_dollars, settings.gateway.monthly_dollars)
    prices = {"per_million": Decimal(str(per_million)), "fixed_month": Decimal(str(fixed))}
    returns = {"the plan": report.plan(**prices), "recorded": report.measured(period, **prices)}
    Console().print(report.render(period, left, returns, **prices))


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("data/sample"),
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Write nothing; measure how predictable the sample is."),
    ] = False,
) -> None:
    """Write the fictional sample: candles, trades and feedback. The same bytes every time.

    Examples:

        stock-llm sample

        stock-llm sample --measure
    """
    from stock_llm.synthetic.sample import market as made

    settings = _settings()
    if measure:
        print(made.measure_predictability(settings.path(folder)))
    else:
        made.write_sample(settings.path(folder))
        print(f"written to {settings.path(folder)}")


@base_app.command("build")
def base_build(
    minutes: Annotated[float, typer.Option(help="How long to train.")] = 60.0,
    steps: Annotated[int | None, typer.Option(help="How many steps to train instead.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew; forget what an interrupted build had done.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Build nothing; hold corpus and loss against the card.")
    ] = False,
) -> None:
    """Make models/stock-tiny from nothing: corpus, tokenizer, weights, card. Killed, it goes on when run again.

    Examples:

        stock-llm base build --minutes 60

        stock-llm base build --check
    """
    from stock_llm.synthetic.stock_tiny import build

    settings = _settings()
    if check:
        print(f"held-out loss {build.check(settings):.4f} nats per token, as the card says")
        return
    budget = build.TrainingBudget(steps=steps) if steps else build.TrainingBudget(minutes=minutes)
    print(f"written to {build.build(settings, budget, resume=not fresh)}")


@dataset_app.command("show")
def dataset_show(
    row: Annotated[
        str, typer.Argument(help="Id of a row, or its last eight letters. Without one: the card.")
    ] = "",
) -> None:
    """Print a row with its provenance: the lines of your files, the trades and the feedback that it was made of.

    Without an id: the card of the newest dataset, and how often each holdout was looked at.

    Examples:

        stock-llm dataset show

        stock-llm dataset show signal-KESTRO-2025-03-14-1a2b3c4d

        stock-llm dataset show 1a2b3c4d
    """
    from stock_llm.dataset import provenance
    from stock_llm.dataset.holdout_usage import HoldoutUsage
    from stock_llm.errors import InputError

    settings = _settings()
    if row:
        print(provenance.markdown(provenance.find(settings, row)))
        return
    known = provenance.datasets(settings)
    if not known:
        raise InputError("no dataset was built yet", remedy="Run: stock-llm run")
    print(known[0].card.read_text(encoding="utf-8"))
    for one in HoldoutUsage(settings).all():
        print(
            f"holdout {one.digest}, {one.period}: frozen on {one.frozen_at[:10]}, {one.looks} looks"
        )


@app.command()
def forget(
    feedback: Annotated[str | None, typer.Option(metavar="ID", help="An item of feedback.")] = None,
    trade: Annotated[
        str | None,
        typer.Option(metavar="ID", help="A trade, by its id in your file or in the ledger."),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(metavar="ID", help="All trades of an account, as your file names it."),
    ] = None,
) -> None:
    """Forget an item of feedback, a trade or an account: the next run learns without it, and what learnt from it is marked.

    Your own files are not changed. A model that learnt from it answers as before until the next run makes another.

    Examples:

        stock-llm forget --feedback 3f2a

        stock-llm forget --trade T00005

        stock-llm forget --account U1234567
    """
    from stock_llm.errors import InputError
    from stock_llm.pipeline import forgetting

    given = [
        pair
        for pair in (("feedback", feedback), ("trade", trade), ("account", account))
        if pair[1] is not None
    ]
    if not given:
        raise InputError(
            "nothing to forget was named", remedy="Give --feedback ID, --trade ID or --account ID"
        )
    settings = _settings()
    for kind, name in given:
        print(forgetting.summary(forgetting.forget(settings, kind, name), settings))  # type: ignore[arg-type]


@feedback_app.command("import")
def feedback_import(
    file: Annotated[
        Path, typer.Argument(help="JSON Lines, one item a line, as in data/sample/feedback.jsonl.")
    ],
) -> None:
    """Take feedback items from a file. Items that are in already change nothing.

    Example:

        stock-llm feedback import my-feedback.jsonl
    """
    from stock_llm.feedback.store import FeedbackStore

    settings = _settings()
    url, limits = settings.url(settings.feedback_url), settings.feedback
    store = FeedbackStore(url, daily_limit=limits.daily_limit)
    print(store.import_file(file, owner_names=limits.owner_names).summary())


@feedback_app.command("count")
def feedback_count() -> None:
    """Say how many items are in, how many no judged model has learnt from, and how many a retrain waits for.

    Example:

        stock-llm feedback count
    """
    from stock_llm.feedback.store import FeedbackStore

    settings = _settings()
    store = FeedbackStore(settings.url(settings.feedback_url))
    unused = store.unused(settings.uses_sample)
    missing = max(0, settings.retrain_after + 1 - unused)
    print(
        f"{len(store.all(settings.uses_sample))} items, {unused} unused; a retrain waits for {missing} more"
    )
