"""Which rows a training sees when: in what order, how many in a step and in a forward pass.

Fixed by the seed before training starts, so that a resumed training cannot see others. Imports none
of the large libraries.
"""

import math
import random
from dataclasses import dataclass

from stock_llm.errors import InputError
from stock_llm.llm.bases.needs import TOKENS_AT_ONCE
from stock_llm.llm.profiles import Profile

VALIDATION_ROWS = 96
"""Of the validation slice, at most, and at most the tenth part of the rows: as many as preference
tuning's has.
"""


@dataclass(frozen=True)
class TokenizedRow:
    """One tokenized row.

    Attributes:
        ids: token ids of the whole conversation, BOS to EOS.
        prompt: how many of them are the prompt, on which there is no loss.
        verdict: places of the tokens that name a verdict, such as BUY or OVERSOLD.
    """

    ids: list[int]
    prompt: int
    verdict: tuple[int, ...] = ()

    @property
    def labels(self) -> list[int]:
        """The tokens that there is a loss on; -100, PyTorch's `ignore_index`, for the others."""
        return [-100] * self.prompt + self.ids[self.prompt :]

    def weights(self, verdict: float) -> list[float]:
        """The weight of each token's loss: that of a verdict's, 1.0 elsewhere."""
        weights = [1.0] * len(self.ids)
        for place in self.verdict:
            weights[place] = verdict
        return weights


@dataclass(frozen=True)
class TrainingSchedule:
    """What is seen when.

    Attributes:
        order: indices of examples, all epochs one after the other.
        batch: rows per forward pass.
        accumulate: forward passes per step, of each process.
    """

    order: list[int]
    batch: int
    accumulate: int


def split_validation(days: list[str]) -> tuple[list[int], list[int]]:
    """Cuts a validation slice from the end of the training time.

    Args:
        days: ISO date of each row, empty for a text without one, which is never cut.

    Returns:
        Places of the rows to train on, in their order, and of those of the slice.
    """
    dated = sorted((day, place) for place, day in enumerate(days) if day)
    count = min(VALIDATION_ROWS, len(days) // 10)
    cut = {place for _, place in dated[len(dated) - count :]} if count else set()
    return [place for place in range(len(days)) if place not in cut], sorted(cut)


def schedule(
    examples: list[TokenizedRow],
    weights: list[float],
    kinds: list[str],
    profile: Profile,
    seed: int,
    processes: int = 1,
) -> TrainingSchedule:
    """Which rows are seen when: fixed by the seed before training starts, so that a resumed
    training cannot see others.

    A row of weight 2.5 is seen twice in every epoch and, every other epoch or so, three times.
    Rows of a kind are shuffled and spread evenly, so that every stretch of an epoch holds each kind
    in its share: were a step of one skill, two skills that differ in a word of the question would
    not be told apart. A step's rows go through the model in equal parts of like length, as many as
    `TOKENS_AT_ONCE` asks for, and as many processes share.

    Args:
        kinds: of each row, its skill and language.
        processes: how many train together; a step has the same rows whatever their number.

    Raises:
        InputError: the weights leave no row, or the processes cannot share a step equally.
    """
    chance = random.Random(seed)
    order: list[int] = []
    for epoch in range(math.ceil(profile.training.epochs)):
        seen = [
            index
            for index, weight in enumerate(weights)
            for _ in range(math.floor(weight) + (chance.random() < weight - math.floor(weight)))
        ]
        seen = _spread(seen, kinds, chance)
        order += seen[: round(len(seen) * min(1.0, profile.training.epochs - epoch))]
    if not order:
        raise InputError("the weights of the rows leave none to train on")

    batch = profile.training.batch
    block = batch * profile.training.accumulate
    if block % processes:
        raise InputError(
            f"a step has {block} rows, which {processes} processes cannot share equally",
            remedy=f"Start as many processes as divide {block}, or change batch or accumulate",
        )
    longest = max(len(examples[index].ids) for index in order)
    rows = max(
        rows
        for rows in range(1, batch + 1)
        if batch % rows == 0
        and block // rows % processes == 0
        and (rows == 1 or rows * longest <= TOKENS_AT_ONCE)
    )
    sorted_order: list[int] = []
    for start in range(0, len(order), block):
        by_length = sorted(order[start : start + block], key=lambda index: len(examples[index].ids))
        # only in the last block; the part that is not full comes last
        short = len(by_length) % rows
        groups = [by_length[at : at + rows] for at in range(short, len(by_length), rows)]
        chance.shuffle(groups)
        sorted_order += [index for group in groups for index in group] + by_length[:short]
    return TrainingSchedule(sorted_order, rows, block // rows // processes)


def _spread(indices: list[int], kinds: list[str], chance: random.Random) -> list[int]:
    """The rows in random order, each kind at even distances."""
    groups: dict[str, list[int]] = {}
    for index in indices:
        groups.setdefault(kinds[index], []).append(index)
    placed = []
    for group in groups.values():
        chance.shuffle(group)
        start = chance.random()
        placed += [((start + place) / len(group), index) for place, index in enumerate(group)]
    return [index for _, index in sorted(placed)]
