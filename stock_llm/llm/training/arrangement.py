"""How a training uses the memory that there is: what it keeps and what it computes again.

The choices cost or save time and memory only: the same rows give the same steps, but for rounding.
A training that goes on on another machine may choose otherwise. Imports none of the large
libraries.
"""

from dataclasses import dataclass

from stock_llm.llm.architectures import ModelShape
from stock_llm.llm.bases import needs
from stock_llm.llm.profiles import Profile
from stock_llm.machine import Machine


@dataclass(frozen=True)
class Arrangement:
    """What a training does with memory.

    Attributes:
        unpacked: the base's 4-bit weights lie in memory as the floats that they stand for, instead
            of being unpacked in every forward and backward pass; off a GPU only, where that takes
            about a tenth of the time and the fused LoRA layers need it.
        checkpointing: activations are computed again in the backward pass instead of kept, which
            takes a third more time.
    """

    unpacked: bool
    checkpointing: bool


def arrange(profile: Profile, shape: ModelShape, machine: Machine) -> Arrangement:
    """The fastest arrangement that fits into what is free, as computed beforehand.

    The memory of a GPU is there for this. Main memory is other programs' too: for a large base, a
    training takes the least that it can.
    """
    large = shape.weights > needs.LARGE_MODEL
    if machine.gpu:
        keeping_all = needs.training_memory(profile, shape, checkpointing=False)
        return Arrangement(False, checkpointing=large and keeping_all > machine.gpu.free)
    unpacked = needs.training_memory(profile, shape, unpacked=True)
    return Arrangement(not large and unpacked <= machine.memory, checkpointing=large)
