"""Scheduled flow: trains when enough feedback is unused, else reports how much is missing.

Returns the `RunRecord` of the training, or None; there is a Markdown artifact either way. Feedback
is used once it was in the dataset of a candidate that was judged, whichever flow trained it.
"""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.train import train
from stock_llm import environment
from stock_llm.pipeline import report
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.pipeline.run_record import RunRecord
from stock_llm.settings import load_settings


@flow(name="retrain")
def retrain(overrides: dict[str, Any] | None = None) -> RunRecord | None:
    """Trains if more than `retrain_after` feedback items are unused.

    Args:
        overrides: settings by name that win over environment and stock-llm.toml, as
            {"retrain_after": 50}.
    """
    environment.prepare()
    settings = load_settings(**(overrides or {}))
    unused = open_feedback(settings).unused(settings.uses_sample)
    message = report.waiting(unused, settings.retrain_after)
    print(message)
    create_markdown_artifact(message, key="retrain", description=f"{unused} unused feedback items")
    if unused <= settings.retrain_after:
        return None
    return train(why=f"{unused} unused feedback items", overrides=overrides)
