"""Trains when it is time to, else says what is missing. Started by the event that feedback posts
once enough has gathered, and every hour as a net for events that were lost.

Returns the `RunRecord` of the training, or None; there is a Markdown artifact either way. Feedback
is used once it was in the dataset of a candidate that was judged, whichever flow trained it.
"""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.notification import notify_failure
from flows.run_page import name_run
from flows.train import train
from stock_llm import environment
from stock_llm.operations.retraining import decide
from stock_llm.pipeline.run_record import RunRecord
from stock_llm.settings import load_settings


@flow(
    name="retrain",
    flow_run_name="retrain: {why}",
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
def retrain(
    why: str = "check", now: bool = False, overrides: dict[str, Any] | None = None
) -> RunRecord | None:
    """Trains if enough feedback is ready, or another trigger that is switched on says so.

    Args:
        why: What started this check; the run is named so while it is under way.
        now: Train whether or not it is time to.
        overrides: Settings for this run alone, which win over environment and stock-llm.toml, as
            {"retrain_after": 50}.
    """
    environment.prepare()
    settings = load_settings(**(overrides or {}))
    decision = decide(settings)
    print(decision.text)
    create_markdown_artifact(
        decision.text.replace("\n", "\n\n"),
        key="retrain",
        description=decision.triggers[0].short,
    )
    if not (decision.due or now):
        name_run(f"no retrain: {decision.triggers[0].short}", "no retrain")
        return None
    record = train(why=decision.why or why, overrides=overrides)
    name_run(f"retrained: v{record.version} {record.verdict}", record.verdict, record.profile)
    return record
