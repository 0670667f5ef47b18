"""How long judging takes, and how many rows can judge in the time that a profile allows.

What counts is what this machine was seen to take for a model of the profile; before that, what is
computed from the base's sizes (llm/bases/answer_time.py).
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stock_llm.llm.bases import answer_time, needs
from stock_llm.llm.profiles import Profile
from stock_llm.llm.runtime.devices import find_device
from stock_llm.machine import find_gpu
from stock_llm.network import is_loopback_url
from stock_llm.ollama.address import url_of
from stock_llm.settings import Settings
from stock_llm.skills import abstain
from stock_llm.skills.row import Row
from stock_llm.storage.checksums import digest_of, read_record, write_record

LEAST_ROWS = 20
"""Fewer say nothing of a model, however long they take."""

_STEP = 0.75
"""A share of the rows is this to some power: a machine that is a little slower on one day asks the
same ones."""

_ENOUGH = 16
"""Answers that tell how fast a model is."""


@dataclass(frozen=True)
class Timer:
    """How long one contestant takes for a row, answered by whom the profile names.

    Attributes:
        here: whether this process answers, whatever the profile says.
    """

    settings: Settings
    profile: Profile
    contestant: str
    here: bool = False

    def expected(self, rows: int) -> float | None:
        """Seconds for that many rows: as seen, else as computed; None where neither is known."""
        seen = (read_record(self._file) or {}).get(self._key)
        if seen is not None:
            return rows * float(seen)
        shape = needs.find_shape(self.profile, self.settings.home)
        if shape is None:
            return None
        tuned = self.contestant == "challenger"
        return answer_time.seconds(
            self.profile,
            shape,
            rows,
            # a base that was not tuned does not come to an end
            answer_time.ANSWER_TOKENS if tuned else self.profile.serving.num_predict,
            self.settings.threads,
            gpu=self._on_gpu,
        )

    @contextmanager
    def timing(self, rows: int) -> Iterator[None]:
        """Remembers what the block took for that many rows, if it comes to its end."""
        started = time.monotonic()
        yield
        if rows >= _ENOUGH:
            seen = read_record(self._file) or {}
            seconds = (time.monotonic() - started) / rows
            write_record(self._file, {**seen, self._key: round(seconds, 4)}, durable=False)

    @property
    def _key(self) -> str:
        settings, profile = self.settings, self.profile
        by = "Ollama" if self._by_ollama else f"{settings.threads} threads"
        by += " and GPU" if self._on_gpu else ""
        return f"{profile.name} {profile.gguf.quantization}, {self.contestant}, {by}"

    @property
    def _by_ollama(self) -> bool:
        return self.profile.evaluation.judge == "ollama" and not self.here

    @property
    def _on_gpu(self) -> bool:
        """Whether a GPU answers: llama.cpp's here; of an Ollama, this machine's or a server's."""
        if self._by_ollama:
            here = is_loopback_url(url_of(self.settings.ollama_host))
            return find_gpu() is not None or not here
        return _has_device()

    @property
    def _file(self) -> Path:
        return self.settings.artifacts / "answers" / "seconds-a-row.json"


def seconds(settings: Settings, profile: Profile, rows: int) -> float | None:
    """How long judging a candidate with that many rows of the holdout takes: the candidate, and the
    base or champion that it is compared with, where those are new too. None where it is not known.
    """
    frozen = round(len(abstain.frozen_rows()) * rows / max(1, profile.evaluation.holdout_rows))
    candidate = Timer(settings, profile, "challenger").expected(rows + frozen)
    rival = Timer(settings, profile, "base").expected(rows)
    return None if candidate is None or rival is None else candidate + rival


def rows_in_time(settings: Settings, profile: Profile) -> int:
    """How many rows of the holdout judge on this machine."""
    evaluation = profile.evaluation
    rows = whole = evaluation.holdout_rows
    step = 0
    while (
        rows > LEAST_ROWS
        and (takes := seconds(settings, profile, rows)) is not None
        and takes > 60 * evaluation.minutes
    ):
        step += 1
        rows = max(LEAST_ROWS, round(whole * _STEP**step))
    return rows


def share(settings: Settings, profile: Profile, candidate: str, holdout: str) -> float:
    """The share of the holdout that judges a candidate, up to 1. It is decided once: what judging
    it shows of this machine's speed counts for the candidates after it, so that a candidate is not
    judged anew because it was judged.

    Args:
        candidate, holdout: their digests.
    """
    evaluation = profile.evaluation
    asked = {"rows": evaluation.holdout_rows, "minutes": evaluation.minutes}
    key = digest_of(candidate=candidate, holdout=holdout, judge=evaluation.judge, **asked)
    file = settings.artifacts / "answers" / "rows-that-judge.json"
    known = read_record(file) or {}
    if key not in known:
        known[key] = rows_in_time(settings, profile)
        write_record(file, known)
    return float(known[key]) / evaluation.holdout_rows


def part(rows: Sequence[Row], share: float) -> list[Row]:
    """A share of the rows, the same ones whenever it is asked for, and among those of a larger
    share; in their order.
    """
    if share >= 1:
        return list(rows)
    ranked = sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())
    chosen = {row.id for row in ranked[: max(1, round(share * len(rows)))]}
    return [row for row in rows if row.id in chosen]


def _has_device() -> bool:
    try:
        return find_device() is not None
    except ImportError:
        return False
