"""Where further samples lie: an optional folder, for whoever has real files of the kinds that the tests make up.

`FURTHER_SAMPLES=FOLDER` names it; without that it is `shared/data` beside the checkout. Tests that can take its files try them
besides their own inputs; nothing is skipped where it is missing.
"""

import os
from pathlib import Path

SHARED = Path(
    os.environ.get("FURTHER_SAMPLES") or Path(__file__).parents[3] / "shared" / "data"
).absolute()
"""Has the folders brokers, ohlcv, instruct, sentiment and reference, of which any may be missing."""
