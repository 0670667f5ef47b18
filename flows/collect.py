"""Nightly flow: reads new trades, candles and feedback, and reports what was quarantined.

Returns a `History`; a Markdown artifact counts what it holds and what is new since the last report.
"""

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.notification import notify_failure
from stock_llm import environment
from stock_llm.artifacts import History
from stock_llm.pipeline import changes, report
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.settings import load_settings
from tasks import collect as stage


@flow(name="collect", on_failure=[notify_failure], on_crashed=[notify_failure])
def collect(overrides: dict[str, Any] | None = None) -> History:
    """Reads what is new in the user's files and the feedback store.

    Args:
        overrides: Settings for this run alone, which win over environment and stock-llm.toml, as
            {"trades": "mine.csv"}.
    """
    environment.prepare()
    settings = load_settings(**(overrides or {}))
    history = stage.collect(settings)
    ready = open_feedback(settings).unused(settings.uses_sample)
    create_markdown_artifact(
        report.history(history, changes.changes_since_report(settings, history), ready),
        key="collect",
        description=f"{history.first_day} to {history.last_day}",
    )
    changes.mark_reported(settings, history, datetime.now(UTC).isoformat(timespec="seconds"))
    return history
