"""Commands that answer questions: ask, serve, and costs of the gateway's calls."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from stock_llm.cli.json_output import Json, only_json
from stock_llm.cli.options import Candles, load_settings
from stock_llm.truth.blocks import LedgerSharing

if TYPE_CHECKING:
    from stock_llm.pipeline.ask import AskResult


def _dollars(amount: float) -> float:
    """An option's amount. Raises: BadParameter, also for what is no number, which no `min`
    refuses."""
    if not 0 <= amount <= 10**9:
        raise typer.BadParameter(f"{amount} is no amount of dollars; write it as 19.99")
    return amount


PerMillion = Annotated[
    float,
    typer.Option(
        min=0.0,
        callback=_dollars,
        help="Dollars for a million tokens at the API that you compare with.",
    ),
]
Fixed = Annotated[
    float,
    typer.Option(
        min=0.0,
        callback=_dollars,
        help="Dollars a month that your machine and subscriptions cost.",
    ),
]


def ask(
    text: Annotated[
        str,
        typer.Argument(
            help="Your question. Computed numbers are added for symbols of your candles, for "
            "'my portfolio' and for 'my last trade'."
        ),
    ],
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what the model sees, before the answer.")
    ] = False,
    model: Annotated[str, typer.Option(help="Name of a published model.")] = "stock-llm:latest",
    candles: Candles = None,
) -> None:
    """Ask the published model.

    Examples:

        stock-llm ask "Analyze KESTRO."

        stock-llm ask "Review my portfolio."

        stock-llm ask --show-prompt "ควรซื้อ ถือ หรือขาย KESTRO"

        stock-llm ask --model stock-llm:v1 "What does RSI14 mean?"
    """
    from stock_llm.pipeline import ask as pipeline

    reply = pipeline.ask(load_settings(candles=candles), text, model)
    if show_prompt:
        print(f"{reply.prompt}\n{'-' * 40}")
    print(_marked(reply) if reply.check else reply.text)
    if reply.note:
        print(f"note: {reply.note}", file=sys.stderr)
    if reply.invented:
        print(
            f"warning: not in the numbers that the model was given: {', '.join(reply.invented)}",
            file=sys.stderr,
        )


def _marked(reply: "AskResult") -> str:
    """The answer with each false sentence marked and the true one below it."""
    from stock_llm.truth.answer_check import marked

    assert reply.check
    in_colour = sys.stdout.isatty()
    marks = ("\x1b[31m", "\x1b[0m") if in_colour else ("", "")
    return marked(reply.text, reply.check, *marks)


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
    """Start the gateway: Ollama's API, OpenAI's and Anthropic's in front of local models and, if
    you switch them on, Claude.

    Cloud providers are off. Ctrl-C ends it when the answers under way are finished.

    Examples:

        stock-llm serve

        curl 127.0.0.1:11435/api/generate -d '{"model": "auto", "prompt": "What is RSI14?"}'

        STOCK_LLM_GATEWAY__CLAUDE_CLI=true stock-llm serve --policy orchestrator

        STOCK_LLM_GATEWAY__TOKEN=... stock-llm serve --host 0.0.0.0
    """
    from stock_llm.errors import MissingExtra

    options = {"host": host, "port": port, "policy": policy}
    given = {name: value for name, value in options.items() if value is not None}
    settings = load_settings(**({"gateway": given} if given else {}))
    try:
        from stock_llm.cli.gateway_context import gateway_context, project_functions
        from stock_llm.gateway import app
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "gateway") from None
    app.serve(settings.gateway, gateway_context(settings), project_functions(settings))


def mcp(
    http: Annotated[
        bool,
        typer.Option(
            "--http",
            help="Streamable HTTP on this machine, behind the gateway's token, in place of stdio.",
        ),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for --http.")] = 11436,
    share: Annotated[
        LedgerSharing | None,
        typer.Option(
            help="What of your ledger the program may see. Default: gateway.ledger_to_cloud, since "
            "its model usually runs elsewhere."
        ),
    ] = None,
) -> None:
    """Serve read-only tools over your data to Claude Desktop, IDEs and agents (Model Context
    Protocol).

    Tools: positions, performance, trades, candles, income, findings, term. Without sharing, only
    candles and term.

    Examples:

        stock-llm mcp

        stock-llm mcp --share percentages

        STOCK_LLM_GATEWAY__TOKEN=... stock-llm mcp --http --port 11436
    """
    import asyncio
    import threading

    from stock_llm.cli.gateway_context import Redaction, own_numbers
    from stock_llm.errors import MissingExtra

    settings = load_settings()
    try:
        from stock_llm.grounding import mcp_server
        from stock_llm.grounding.tools import OwnToolBox
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "mcp") from None
    numbers = own_numbers(settings)
    redact = Redaction(numbers, settings.secrets) if settings.gateway.cloud_redaction else str
    sharing = share or settings.gateway.ledger_to_cloud
    # what finds identities takes seconds to import: now, and not while the first call waits
    threading.Thread(target=_import_rules, args=(redact,), daemon=True).start()
    server = mcp_server.mcp_server(OwnToolBox(numbers), sharing, redact)
    if not http:
        asyncio.run(mcp_server.serve_stdio(server))
        return
    import uvicorn

    app = mcp_server.http_app(server, settings.gateway.token.get_secret_value())
    print(f"stock-llm mcp on http://127.0.0.1:{port}{mcp_server.PATH}", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def _import_rules(redact: Callable[[str], str]) -> None:
    from stock_llm.errors import StockLLMError

    with suppress(StockLLMError):  # whoever calls a tool is told
        redact("nobody@example.org")


def costs(
    days: Annotated[int, typer.Option(min=1, help="How many days back.")] = 30,
    per_million: PerMillion = 15.0,
    fixed: Fixed = 20.0,
    as_json: Json = False,
) -> None:
    """Show what the gateway's calls cost, what is left of the budgets, and what the same tokens
    would cost at an API.

    Examples:

        stock-llm costs

        stock-llm costs --days 7 --per-million 15 --fixed 200

        stock-llm costs --json | jq .left
    """
    from decimal import Decimal

    from rich.console import Console

    from stock_llm.gateway.accounting import cost_report as report

    with only_json(as_json) as result:
        settings = load_settings()
        gateway, url = settings.gateway, settings.url(settings.gateway.costs_url)
        period = report.read_period(url, days)
        left = report.read_left(url, gateway.daily_dollars, gateway.monthly_dollars)
        prices = {"per_million": Decimal(str(per_million)), "fixed_month": Decimal(str(fixed))}
        returns = {"the plan": report.plan(**prices), "recorded": report.measured(period, **prices)}
        result |= {"period": period, "left": left, "plan": returns["the plan"]}
        result |= {"recorded": returns["recorded"]} | prices
    if not as_json:
        Console().print(report.render(period, left, returns, **prices))


def kpis(
    since: Annotated[
        str | None, typer.Option(help="First day, YYYY-MM-DD. Default: 30 days back.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last day. Default: today.")] = None,
    per_million: PerMillion = 15.0,
    fixed: Fixed = 20.0,
    csv: Annotated[
        str | None, typer.Option(metavar="TABLE", help="CSV: kpis, providers or days.")
    ] = None,
) -> None:
    """Show the gateway's figures of a period against their targets: speed, availability,
    satisfaction, costs, savings. The page of costs shows the same, and how each is counted.

    Examples:

        stock-llm kpis

        stock-llm kpis --since 2026-01-01 --until 2026-01-31 --fixed 200

        stock-llm kpis --csv days > days.csv
    """
    from decimal import Decimal

    from rich.console import Console

    from stock_llm.errors import InputError
    from stock_llm.gateway.accounting import kpi_tables
    from stock_llm.gateway.accounting import kpis as report
    from stock_llm.gateway.accounting.kpi_sources import KpiSources

    if csv not in (None, *kpi_tables.TABLES):
        raise InputError(
            f"there is no table '{csv}'", remedy=f"Choose one of {', '.join(kpi_tables.TABLES)}"
        )
    days = report.parse_period(since or "", until or "")
    settings = load_settings()
    gateway = settings.gateway
    sources = KpiSources(
        settings.url(gateway.costs_url),
        settings.url(settings.feedback_url),
        gateway.daily_dollars,
        gateway.monthly_dollars,
    )
    read = report.read_report(sources, *days, Decimal(str(per_million)), Decimal(str(fixed)))
    if csv:
        print(kpi_tables.csv_of(read, csv), end="")
    else:
        Console().print(kpi_tables.render(read))
