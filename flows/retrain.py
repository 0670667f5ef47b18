"""On a schedule: trains when enough feedback has gathered that no judged model has learnt from, else says how much is missing.

In: the settings of the folder it runs in. Out: the `Outcome` of the training, or None; a Markdown artifact either way. An item is
used once it was in the dataset of a candidate that was judged, whichever flow trained it.
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
def retrain(dials: dict[str, Any] | None = None) -> RunRecord | None:
    """Trains if more than `retrain_after` feedback items are unused.

    Args:
        dials: settings by name that win over environment and stock-llm.toml, as {"retrain_after": 50}.
    """
    environment.prepare()
    settings = load_settings(**(dials or {}))
    unused = open_feedback(settings).unused(settings.uses_sample)
    told = report.waiting(unused, settings.retrain_after)
    print(told)
    create_markdown_artifact(told, key="retrain", description=f"{unused} unused feedback items")
    if unused <= settings.retrain_after:
        return None
    return train(why=f"{unused} unused feedback items", dials=dials)
