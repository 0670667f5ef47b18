"""Stage 1: the user's exports, candles, rates and feedback become one checked history.

In: settings. Out: `History`, read from disk when nothing is new. What is read and how is
stock_llm/pipeline/history.py's, which asking and the command line need without Prefect.
"""

from prefect import task

from stock_llm.artifacts import History
from stock_llm.pipeline import history
from stock_llm.settings import Settings


@task(task_run_name="collect")
def collect(settings: Settings) -> History:
    """The history of what is there now.

    Raises:
        InputError: a file cannot be what it should be, or what was traded has no candles.
    """
    return history.current(settings)
