"""Tells a Prefect server that enough feedback has gathered: its automation then starts `retrain`.

A plain request to its HTTP API: no Prefect is needed. A server that does not answer is logged and
no error; the hourly check of prefect.yaml finds the feedback too.
Source: docs.prefect.io/v3/api-ref/rest-api/server/events/create-events.
"""

import json
import logging
import os
import threading
import urllib.request
import uuid
from datetime import UTC, datetime
from http.client import HTTPException
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stock_llm.feedback.store import FeedbackStore

RESOURCE, EVENT = "stock-llm.feedback", "stock-llm.feedback.threshold"
"""What the automation in prefect.yaml waits for."""

FRESH_AFTER_REFUSAL = 20
"""Items that a rejected or blocked candidate did not have, before the next one is trained."""

_SECONDS = 5

_log = logging.getLogger(__name__)


def prefect_api_url() -> str:
    """URL of the Prefect server's API; empty where none is set."""
    return os.environ.get("PREFECT_API_URL", "").rstrip("/")


def is_due(store: "FeedbackStore", sample: bool, retrain_after: int) -> bool:
    """Whether enough feedback is ready for a candidate."""
    if store.unused(sample) <= retrain_after:
        return False
    refusal = store.counts(sample).refusal
    return refusal is None or refusal.fresh >= FRESH_AFTER_REFUSAL


class ThresholdWatch:
    """Posts one event each time that writes make a retrain due.

    Args:
        api_url: of the Prefect server; empty: nothing is posted.
    """

    def __init__(self, api_url: str, sample: bool, retrain_after: int):
        self._api_url, self._sample, self._retrain_after = api_url, sample, retrain_after
        self._told = threading.Event()

    def after_write(self, store: "FeedbackStore") -> bool:
        """Looks at the store after a write; returns whether an event is posted, which nobody waits
        for.

        Several processes that write at once may post one each: the deployment runs once at a time.
        """
        if not self._api_url:
            return False
        if not is_due(store, self._sample, self._retrain_after):
            self._told.clear()
            return False
        if self._told.is_set():
            return False
        self._told.set()
        arguments = (self._api_url, store.unused(self._sample))
        threading.Thread(target=post_event, args=arguments, daemon=True).start()
        return True


def post_event(api_url: str, ready: int) -> bool:
    """Posts the event; returns whether the server took it."""
    event = {
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": RESOURCE, "prefect.resource.name": "feedback"},
        "payload": {"ready": ready},
        "id": str(uuid.uuid4()),
    }
    request = urllib.request.Request(
        f"{api_url}/events",
        data=json.dumps([event]).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return True
    except (OSError, ValueError, HTTPException) as error:
        _log.warning(
            "%s did not take the event that enough feedback has gathered (%s); "
            "the hourly check will find it",
            api_url,
            error,
        )
        return False
