"""Writes what a project folder needs: settings, deployments, base profiles, the embedded base model
and the sample.

In: a folder. Out: the files in it. They come from the installed package, or from the checkout that
the package is run from.
"""

import shutil
from pathlib import Path

_PACKAGED = Path(__file__).parent / "starter"
"""Where the wheel has the files (pyproject.toml puts them there); absent in a checkout, which has
them at its top level."""

_COPIED = ("prefect.yaml", "models/profiles", "models/stock-tiny", "data/sample")

CONFIG = """\
# Settings of this folder. What is commented out is the default. Environment variables win: STOCK_LLM_TRADES=...

# trades = "data/trades"                 # exports of your brokers, or a plain table; the default is the fictional sample
# candles = "data/candles"               # daily candles, CSV or Parquet; the default is the fictional sample
# fx = "data/fx"                         # exchange rates: eurofxref-hist.csv, or EURUSD.csv and the like
# base_currency = "EUR"                  # currency in which returns are shown besides an instrument's own
# exchange = "XNYS"                      # calendar of symbols without a suffix
# profile = "stock-tiny"                 # base model: a file models/profiles/NAME.toml
# train_rows = 1000
# retrain_after = 100                    # more items of feedback than these, ready to learn from, set off `retrain`
# notify = ""                            # notification block of Prefect, such as "slack-webhook/me"
# ollama_host = "http://127.0.0.1:11434"

# [services]                             # stock-llm up
# prefect_port = 4200
# mlflow_port = 5000

# [schedule]
# timezone = "UTC"                       # of the schedules, such as "Asia/Bangkok"

# [publish]
# keep = 5                               # versions that stay where they are published
# mode = "merged"                        # or "adapter": versions share the base's file, an update moves the LoRA alone

# [gateway]                              # stock-llm serve
# port = 11435
# grounding = "auto"                     # your own numbers for questions about your symbols; "off": none
# ledger_to_cloud = "nothing"            # or "percentages", "everything": what a cloud model sees of your positions
# claude_cli = false                     # cloud providers are off
# claude_api = false
# daily_dollars = 15
# monthly_dollars = 30
"""


def write_project(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the files of a new project folder; leave those that are there as they are.

    Args:
        folder: made if it does not exist.

    Returns:
        The files and folders that were written, and those that were there already.
    """
    source = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1]
    folder.mkdir(parents=True, exist_ok=True)
    written, existing = [], []
    config = folder / "stock-llm.toml"
    if config.exists():
        existing.append(config)
    else:
        config.write_text(CONFIG, encoding="utf-8")
        written.append(config)
    for name in _COPIED:
        target = folder / name
        if target.exists():
            existing.append(target)
            continue
        partial = target.with_name(f".{target.name}.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, partial, dirs_exist_ok=True)
        else:
            shutil.copy(source / name, partial)
        partial.rename(target)  # a copy that was interrupted is made again, not taken for whole
        written.append(target)
    return written, existing
