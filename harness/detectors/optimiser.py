"""Adam (Kingma and Ba 2015) over given tensors, by torch's functional form in its fused kernel.

The classes of ``torch.optim`` import torch's graph compiler when one is constructed: more than a second, in every
process that trains for less. The arithmetic is the same function's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS = (0.9, 0.999)  # torch's and the paper's defaults, as is the next
EPS = 1e-8


class Adam:
    """Optimises ``parameters`` in place from ``gradients``, which stay the same tensors; ``learning_rate`` may change.

    Args:
        parameters: contiguous tensors of one device and dtype.
        gradients: one per parameter, of its shape.
        learning_rate: step size.
        betas: decay of the first and of the second moment.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        learning_rate: float,
        betas: tuple[float, float] = BETAS,
    ) -> None:
        self.learning_rate = learning_rate
        self._betas = betas
        self._parameters, self._gradients = list(parameters), list(gradients)
        self._first = [torch.zeros_like(one) for one in parameters]
        self._second = [torch.zeros_like(one) for one in parameters]
        self._steps = [torch.zeros(()) for _ in parameters]

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter."""
        adam(
            self._parameters,
            self._gradients,
            self._first,
            self._second,
            [],
            self._steps,
            fused=True,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=EPS,
            maximize=False,
        )
