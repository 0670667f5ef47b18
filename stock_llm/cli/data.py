"""Commands for trades and candles: import, positions, fetch, forget."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stock_llm.cli.json_output import Json, only_json
from stock_llm.cli.options import Candles, Trades, load_settings

if TYPE_CHECKING:
    from stock_llm.settings import Settings


def import_(
    files: Annotated[
        list[Path], typer.Argument(help="Exports of your brokers: CSV, Excel, JSON, XML, OFX.")
    ],
    look: Annotated[
        bool, typer.Option("--look", help="Only show what they hold; keep no copy.")
    ] = False,
    draft: Annotated[
        bool,
        typer.Option(
            "--draft", help="Print a draft of a format for a CSV file that no format knows."
        ),
    ] = False,
    trades: Trades = None,
    as_json: Json = False,
) -> None:
    """Show what exports hold, and put copies into the folder of trades, which every run reads.

    The format is recognised by the content. Importing a file again, or one that overlaps, adds
    nothing twice.

    Examples:

        stock-llm import ~/Downloads/transactions.csv

        stock-llm import --look *.csv

        stock-llm import --look --json transactions.csv | jq '.files[0].added'

        stock-llm import unknown.csv --draft > data/formats/mybank.toml
    """
    settings = load_settings(trades=trades)
    if as_json:
        _print_previews(files, settings, only_look=look and not draft)
        return
    if draft:
        from stock_llm.importers.scaffold.draft import draft_format

        for file in files:
            print(draft_format(file))
        return
    from rich.console import Console

    from stock_llm.pipeline import import_command

    console = Console()
    for preview in import_command.preview_exports(files, settings):
        console.print(import_command.preview_table(preview))
        if look:
            continue
        if preview.mostly_bad:
            print(f"not kept: more than half of the rows of {preview.file.name} are bad\n")
        else:
            print(f"kept as {import_command.copy_to_trades(preview.file, settings)}\n")
    if not look and settings.path(settings.trades) != import_command.trades_folder(settings):
        print(
            f"Runs read {settings.trades}. To use the folder of exports, write into "
            "stock-llm.toml: "
            'trades = "data/trades"'
        )


def _print_previews(files: list[Path], settings: "Settings", only_look: bool) -> None:
    """What files hold, as JSON.

    Raises:
        InputError: files would be copied too.
    """
    from collections import Counter

    from stock_llm.errors import InputError
    from stock_llm.pipeline import import_command

    if not only_look:
        raise InputError("--json shows and copies nothing", remedy="Give --look with it")
    with only_json(True) as result:
        result["files"] = [
            {
                "file": preview.file,
                "formats": list(dict.fromkeys(form.title for form in preview.imported.formats)),
                "rows": preview.imported.rows_read,
                "events": preview.imported.rows_kept,
                "entries": Counter(preview.imported.table["kind"].to_pylist()),
                "added": preview.added,
                "conflicts": preview.conflicts,
                "mostly_bad": preview.mostly_bad,
                "quarantined": [
                    {"file": row.file, "row": row.row, "reason": row.reason}
                    for row in preview.imported.quarantined
                ],
                "duplicates": preview.duplicates,
                "differences": preview.imported.differences,
            }
            for preview in import_command.preview_exports(files, settings)
        ]


def positions(
    trades: Trades = None,
    candles: Candles = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="Dividends, charges and average cost as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what you hold, what it cost and returned, and what is wrong or unclear in your files.

    Reads new files first. Returns are before fees and taxes. Without candles, nothing has a value.

    Examples:

        stock-llm positions

        stock-llm positions --wide

        stock-llm positions --json | jq '.positions[] | [.instrument, .quantity]'
    """
    from rich.console import Console

    from stock_llm.pipeline import positions_table
    from stock_llm.pipeline.history import current

    with only_json(as_json) as result:
        history = current(load_settings(trades=trades, candles=candles), candles_required=False)
        if as_json:
            import pyarrow.parquet as pq

            result["positions"] = pq.read_table(history.positions).to_pylist()
            result["findings"] = pq.read_table(history.findings).to_pylist()
            return
    console = Console()
    table = positions_table.positions_table(history.positions, wide=wide)
    if wide and not console.is_terminal:  # a file or a pipe has no width
        console = Console(width=max(console.width, console.measure(table).maximum))
    console.print(table)
    console.print(positions_table.findings_table(history))


def fetch(
    symbols: Annotated[
        list[str], typer.Argument(help="As the vendor writes them: AAPL, AET.L, ^GSPC, EURUSD=X.")
    ],
    vendor: Annotated[str, typer.Option("--from", help="yfinance or alpaca.")] = "yfinance",
    since: Annotated[
        str | None, typer.Option(help="First day, YYYY-MM-DD. Default: ten years ago.")
    ] = None,
    candles: Candles = None,
) -> None:
    """Fetch daily candles into the folder of candles, one file a symbol; exchange rates such as
    EURUSD=X into theirs.

    A symbol that is there is fetched again as a whole: adjusted prices change with every dividend.

    Alpaca needs the keys of your account in APCA_API_KEY_ID and APCA_API_SECRET_KEY.

    Examples:

        stock-llm fetch AAPL MSFT --candles ~/candles

        stock-llm fetch AAPL --from alpaca --since 2020-01-01

        stock-llm fetch EURUSD=X
    """
    from stock_llm.market.fetch import download
    from stock_llm.pipeline.input_files import download_folder

    folder = partial(download_folder, load_settings(candles=candles))
    for file in download.download(folder, symbols, vendor, download.parse_since(since)):
        print(
            f"{file.file}: {file.candles} candles, {file.first_day} to {file.last_day}", flush=True
        )


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
    conversation: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="A conversation with the gateway: the end of its page's address."
        ),
    ] = None,
) -> None:
    """Leave an item of feedback, a trade or an account out from now on, and mark what was trained
    with it; delete a conversation with the gateway.

    Your own files are not changed. A model that was trained with it answers as before until the
    next run makes another.

    Examples:

        stock-llm forget --feedback 3f2a

        stock-llm forget --trade T00005

        stock-llm forget --account U1234567

        stock-llm forget --conversation 0123456789abcdef0123456789abcdef
    """
    from stock_llm.errors import InputError
    from stock_llm.pipeline import forgetting

    kinds = {"feedback": feedback, "trade": trade, "account": account}
    given = {kind: name for kind, name in kinds.items() if name is not None}
    if not given and conversation is None:
        raise InputError(
            "nothing to forget was named",
            remedy="Give --feedback ID, --trade ID, --account ID or --conversation ID",
        )
    settings = load_settings()
    if conversation is not None:
        turns = forgetting.forget_conversation(settings, conversation)
        print(f"the conversation is deleted, with its {turns} answers")
    for kind, name in given.items():
        print(forgetting.summary(forgetting.forget(settings, kind, name), settings))  # type: ignore[arg-type]
