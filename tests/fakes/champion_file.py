"""A registry of versions in place of MLflow's, which takes seconds to import: who the champion is stands in a file, so that it
outlives a process that is killed."""

import sys
from dataclasses import dataclass
from pathlib import Path

from stock_llm.pipeline.publication import judgements, restoring, retention


@dataclass(frozen=True)
class Champion:
    """What publishing asks of a champion."""

    number: int
    replaced: int | None = None


class ChampionFile:
    """The functions of `stock_llm.pipeline.registry` that publishing calls.

    Attributes:
        known: what `versions` gives.
    """

    def __init__(self, file: Path):
        self.file = file
        self.known: list[object] = []

    def versions(self, _):
        return self.known

    def champion(self, _):
        if not self.file.exists():
            return None
        number, _, before = self.file.read_text().partition(" ")
        return Champion(int(number), int(before) if before else None)

    def promote(self, _, number):
        before = self.champion(_)
        if before is None or before.number != number:
            self.file.write_text(f"{number} {before.number if before else ''}")

    def mark(self, *_):
        """Tags are not kept."""

    ROLLBACK_REASON, PROMOTE_REASON = "rollback_reason", "promote_reason"


def install(monkeypatch, file: Path) -> ChampionFile:
    """One in place of the registry, for all that publishes."""
    fake = ChampionFile(file)
    put_in_place(monkeypatch, fake)
    return fake


def put_in_place(monkeypatch, registry: object) -> None:
    """A registry in place of the one that all that publishes asks."""
    for module in (judgements, restoring, retention):
        monkeypatch.setattr(module, "registry", registry)
    if stage := sys.modules.get("tasks.publish"):
        monkeypatch.setattr(stage, "registry", registry)
