"""Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019), by torch's fused kernel.

The classes of ``torch.optim`` import torch's graph compiler when one is constructed: more than a second, in every
process that trains for less. The arithmetic is the same function's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETAS = (0.9, 0.999)  # torch's and the paper's defaults, as is the next
EPS = 1e-8

_State = tuple[Tensor, Tensor, Tensor, Tensor]  # parameter, first and second moment, number of steps


class Adam:
    """Optimises parameters in place from their ``grad``; one without is left alone. ``learning_rate`` may change.

    Args:
        parameters: contiguous tensors of one device and dtype.
        learning_rate: step size.
        betas: decay of the first and of the second moment.
        weight_decay: share of the learning rate by which a parameter shrinks at each step.
        undecayed: further parameters, which do not shrink.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        learning_rate: float,
        betas: tuple[float, float] = BETAS,
        *,
        weight_decay: float = 0.0,
        undecayed: Sequence[Tensor] = (),
    ) -> None:
        self.learning_rate = learning_rate
        self.parameters = [*parameters, *undecayed]
        self._betas = betas
        self._groups = [(_fresh(parameters), weight_decay), (_fresh(undecayed), 0.0)]

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for states, weight_decay in self._groups:
            moving = [state for state in states if state[0].grad is not None]
            if not moving:
                continue
            parameters, first, second, steps = (list(column) for column in zip(*moving, strict=True))
            adamw(
                parameters,
                [parameter.grad for parameter in parameters],
                first,
                second,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=self.learning_rate,
                weight_decay=weight_decay,
                eps=EPS,
                maximize=False,
            )


def _fresh(parameters: Sequence[Tensor]) -> list[_State]:
    moments = torch.zeros_like
    return [(each, moments(each.detach()), moments(each.detach()), torch.zeros(())) for each in parameters]
