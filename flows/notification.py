"""Tells people how a run ended, through a notification block of Prefect: a webhook, mail, Slack.

The block is made on Prefect's page (Blocks) and named by the setting `notify`; without one nobody
is told. A message that cannot be sent is said and ends no run.
"""

from typing import Any

from prefect.blocks.core import Block

from stock_llm.errors import LeakageError, ParityError
from stock_llm.settings import Settings, load_settings


def notify(settings: Settings, subject: str, text: str) -> None:
    """Sends a message to whom the setting names."""
    if not settings.notify:
        return
    from prefect.blocks import notifications  # noqa: F401  makes the kinds of blocks known

    try:
        block: Any = Block.load(settings.notify)
        block.notify(text, subject)
    except Exception as error:
        print(f"nobody was told through {settings.notify}: {type(error).__name__}: {error}")


def notify_failure(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001  (Prefect's names)
    """Hook of a flow that failed or crashed. Of a run inside another, the outer one tells."""
    if flow_run.parent_task_run_id:
        return
    settings = load_settings(**(flow_run.parameters.get("overrides") or {}))
    message = state.message or ""
    blocked = ParityError.__name__ in message or LeakageError.__name__ in message
    word = "was blocked" if blocked else state.name.lower()
    notify(settings, f"stock-llm: the run '{flow_run.name}' {word}", message)
