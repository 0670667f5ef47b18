"""Muon: momentum whose matrix is made orthogonal before it is applied (Jordan et al. 2024,
kellerjordan.github.io/posts/muon).

In: the matrices of hidden layers. Out: steps of one size in every direction. torch.optim.Muon does
the same in bfloat16, which makes training six to eight times slower on a CPU without bf16 units;
this one stays in the parameters' precision.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch

_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic that drives singular values towards 1, from the source above."""


class Muon(torch.optim.Optimizer):
    """For parameters of two dimensions.

    Args:
        lr: size of a step; 0.02 is the source's.
        momentum: share of the past in the running mean of gradients (Nesterov's form).
        weight_decay: share of `lr` by which weights shrink in a step.
        each: `map`, or that of a pool of threads: parameters do not depend on each other.
    """

    def __init__(
        self,
        parameters: Iterable[dict[str, object]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
        each: Callable[..., Iterable[object]] = map,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._each = each

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One step for every parameter that has a gradient."""
        for group in self.param_groups:
            for _ in self._each(
                lambda parameter, of=group: self._move(parameter, of), group["params"]
            ):
                pass

    @torch.no_grad()
    def _move(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        if parameter.grad is None:
            return
        state = self.state[parameter]
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        mean.lerp_(parameter.grad, 1 - group["momentum"])
        direction = orthogonal(parameter.grad.lerp(mean, group["momentum"]))
        rows, columns = parameter.shape
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """A matrix with the same singular vectors and singular values near 1 (between about 0.7 and
    1.2)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x: torch.Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.T if tall else x
