"""The candles of one symbol as every vendor returns them, and retries of a vendor's request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from stock_llm.errors import FetchError

ATTEMPTS = 4

T = TypeVar("T")


@dataclass(frozen=True)
class DailyCandles:
    """One symbol's candles, ascending, adjusted for splits but not for dividends.

    Attributes:
        day: datetime64[D], as the exchange's clock has it.
        prices: float64, 4 × n: open, high, low, close.
        adjusted: close adjusted for dividends as well.
        dividend: per unit, 0 on most days; None where the vendor does not say.
        split: new units per old one, 0 on most days.
    """

    symbol: str
    day: np.ndarray
    prices: np.ndarray
    adjusted: np.ndarray
    volume: np.ndarray
    dividend: np.ndarray | None
    split: np.ndarray


def call_with_retries(
    ask: Callable[[], T], transient: Callable[[BaseException], bool], vendor: str, wait: float
) -> T:
    """Call `ask`; transient failures are retried with jittered exponential backoff.

    Args:
        wait: seconds before the first retry.

    Raises:
        FetchError: the last attempt failed as well. Other exceptions come through as they are.
    """
    try:
        return Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential_jitter(initial=wait, max=60, jitter=wait),
            retry=retry_if_exception(transient),
            reraise=True,
        )(ask)
    except Exception as error:
        if not transient(error):
            raise
        detail = f" ({str(error).splitlines()[0][:160]})" if str(error) else ""
        raise FetchError(
            f"{vendor} could not be reached in {ATTEMPTS} attempts: {type(error).__name__}{detail}."
            " Candles that were fetched before are untouched; look at the connection and run the"
            " same command again"
        ) from None
