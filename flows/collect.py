"""Nightly flow: reads new trades, candles and feedback, and reports what was quarantined.

Returns a `History`; a Markdown artifact counts what it holds and what is new since the last report.
"""

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from stock_llm import environment
from stock_llm.artifacts import History
from stock_llm.pipeline import changes, report
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.settings import load_settings
from tasks import collect as stage


@flow(name="collect")
def collect(overrides: dict[str, Any] | None = None) -> History:
    """Reads what is new in the user's files and the feedback store.

    Args:
        overrides: settings by name that win over environment and stock-llm.toml, as {"trades":
            "mine.csv"}.
    """
    environment.prepare()
    settings = load_settings(**(overrides or {}))
    history = stage.collect(settings)
    unused = open_feedback(settings).unused(settings.uses_sample)
    create_markdown_artifact(
        report.history(history, changes.changes_since_report(settings, history), unused),
        key="collect",
        description=f"{history.first_day} to {history.last_day}",
    )
    changes.mark_reported(settings, history, datetime.now(UTC).isoformat(timespec="seconds"))
    return history
