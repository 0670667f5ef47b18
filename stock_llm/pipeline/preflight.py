"""Whether this machine can take a base through a run: what it needs, what is free, how long that
takes. Said before the first byte of the base is loaded.

What is needed is computed in llm/bases/needs.py. Each stage asks again for itself when it begins.
Fine-tuning is left out where an adapter was taken back from another machine: should it be one of
an earlier dataset, the stage will ask.
"""

from dataclasses import dataclass

from stock_llm.artifacts import RECORD, Adapter, load
from stock_llm.errors import StockLLMError
from stock_llm.llm.bases import needs, training_time
from stock_llm.llm.bases.needs import StageNeeds
from stock_llm.llm.profiles import Profile, load_profile
from stock_llm.machine import Machine, free_disk, this_machine
from stock_llm.pipeline.judging import timing
from stock_llm.settings import Settings


@dataclass(frozen=True)
class Preflight:
    """A base on this machine.

    Attributes:
        stages: what each of them needs.
        disk: bytes that a whole run needs.
        seconds: how long fine-tuning takes, roughly; 0 where it was done elsewhere.
        judged_rows: rows of the holdout that judge on this machine.
        judging_seconds: how long that takes, as it was seen here or roughly; None: not known.
        lacks: what this machine has too little of, a sentence each.
    """

    profile: Profile
    stages: list[StageNeeds]
    disk: int
    seconds: float
    judged_rows: int
    judging_seconds: float | None
    lacks: list[str]


def examine(settings: Settings, profile: Profile, machine: Machine) -> Preflight | None:
    """A base on a machine; None where neither its files nor its profile tell its sizes.

    Raises:
        InputError: config.json of the base cannot be read.
    """
    shape = needs.find_shape(profile, settings.home)
    if shape is None:
        return None
    stages = needs.stages(profile, shape)
    seconds = training_time.training_seconds(
        profile, shape, settings.train_rows, settings.threads, machine.gpu is not None
    )
    if _trained_elsewhere(settings, profile):
        fine_tuning = needs.fine_tuning(profile, shape)
        stages, seconds = [stage for stage in stages if stage != fine_tuning], 0.0
    judged = timing.rows_in_time(settings, profile)
    disk = needs.run_disk(profile, shape, settings.home)
    lacks = [needs.memory_lacks(stage, machine) for stage in stages]
    lacks.append(needs.disk_lacks("a run", disk, settings.artifacts))
    return Preflight(
        profile,
        stages,
        disk,
        seconds,
        judged,
        timing.seconds(settings, profile, judged),
        [lack for lack in lacks if lack],
    )


def _trained_elsewhere(settings: Settings, profile: Profile) -> bool:
    """Whether an adapter of this profile is here that was trained on another machine."""
    adapters = (
        load(Adapter, record.parent)
        for record in (settings.artifacts / "adapter").glob(f"*/{RECORD}")
        if record.parent.suffix != ".partial"
    )
    return any(
        adapter and adapter.profile == profile.name and adapter.trained_on for adapter in adapters
    )


def require(settings: Settings) -> None:
    """
    Raises:
        StockLLMError: this machine has too little memory or disk for a run with the base of
            `settings.profile`.
    """
    found = examine(settings, load_profile(settings.home, settings.profile), this_machine())
    if found and found.lacks:
        raise StockLLMError(f"{'; '.join(found.lacks)}. {needs.memory_remedy(found.profile)}")


def report(settings: Settings) -> str:
    """What a run needs and takes here, in a few lines; empty where it cannot be told."""
    machine = this_machine()
    found = examine(settings, load_profile(settings.home, settings.profile), machine)
    if found is None:
        return ""
    card = machine.gpu
    memory = ", ".join(f"{stage.name} {needs.size(stage.memory)}" for stage in found.stages)
    free = needs.size(machine.memory)
    free += f", {needs.size(card.free)} on {card.name}" if card else ""
    cores = "1 core" if settings.threads == 1 else f"{settings.threads} cores"
    worker = card.name if card else cores
    time = f"{duration(found.seconds)} of fine-tuning on {worker}"
    if not found.seconds:
        time = "none for fine-tuning, which was done elsewhere"
    return f"""{found.profile.name} needs, computed from its sizes (docs/performance.md):
  memory  {memory} ({free} free)
  disk    {needs.size(found.disk)} ({needs.size(free_disk(settings.artifacts))} free)
  time    {time}{_judging(found)}"""


def _judging(found: Preflight) -> str:
    """A line on how long judging takes and with what; empty where it is not known."""
    if found.judging_seconds is None:
        return ""
    whole = found.profile.evaluation.holdout_rows
    rows = f"{found.judged_rows} rows"
    if found.judged_rows < whole:
        minutes = f"{found.profile.evaluation.minutes:g} minutes"
        rows = f"{found.judged_rows} of {whole} rows, to end within {minutes}"
        if found.judging_seconds > 60 * found.profile.evaluation.minutes:
            rows = f"{found.judged_rows} of {whole} rows, the fewest that say something"
    return f"\n          {duration(found.judging_seconds)} of judging by {rows}"


def duration(seconds: float) -> str:
    """A rough time for people: minutes, hours or days."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}s"
    return "a minute or two"
