"""Training of the FT-Transformer on the native kernels: a batch forward, back and a step of AdamW in one call.

Imports torch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.detectors.transformer import Block, Transformer
from harness.linalg import native
from harness.linalg.flat_parameters import flat, floats_of, parts
from harness.record.spec import TrainingDtype
from harness.training.adam import BETAS, EPS


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter shrinks: weights of linear layers do; tokens, normalisations and biases do not.

    As in the published code.
    """
    plain = ("tokens.", "masked.weight", "masked.category_weight")
    return parameter.ndim >= 2 and not name.startswith(plain)


class NativeTransformer:
    """A transformer in training; the net has what it learns after `write_back`.

    Args:
        net: to train; every one of its parameters is given to the kernels, those of the other task unchanged.
        n_features: of a row.
        masked: it learns to restore hidden features; otherwise classes.
        learning_rate: AdamW's.
        weight_decay: AdamW's, of the parameters that `decays`.
        seed: key of the bits by which shares of attention and inner values are dropped, see lparbench_kernels.h.
        dtype: to which operands of products are rounded; sums, parameters, gradients and all else are float32.
        isa: the instruction set to use instead of the best one, by its name.
    """

    def __init__(
        self,
        net: Transformer,
        n_features: int,
        *,
        masked: bool,
        learning_rate: float,
        weight_decay: float,
        seed: int = 0,
        dtype: TrainingDtype = "float32",
        isa: str | None = None,
    ) -> None:
        assert native.extension is not None
        self._net = net
        self._adam, self._weight_decay = (learning_rate, *BETAS, EPS), weight_decay
        self._threads = native.default_threads()
        named = list(net.named_parameters())
        first = net.blocks[0]
        assert isinstance(first, Block)
        width, inner = net.tokens.cls.shape[0], first.down.in_features
        form = first.gated, first.attention_dropout, first.dropout.p, seed, native.extension.DTYPES[dtype]
        entries = [
            *((column, 0) for column in net.tokens.numbers),
            *zip(net.tokens.columns, net.tokens.counts, strict=True),
        ]
        self._compiled = native.extension.TransformerTrainer(
            native.select(isa).index,
            (n_features, width, first.heads, len(net.blocks), inner),
            np.array(entries, dtype=np.int64).reshape(-1, 2),
            masked,
            form,
            np.array([parameter.numel() for _, parameter in named], dtype=np.int64),
            np.array([decays(*each) for each in named], dtype=np.int64),
            flat([parameter.detach().numpy() for _, parameter in named]),
        )

    def classify(self, x: Tensor, y: Tensor, weights: Tensor) -> float:
        """A step down the mean cross-entropy of rows (n, d) with labels (n,), weighted by their classes' (2,)."""
        of_rows = weights[y]
        return self._step(x, y.numpy(), (of_rows / of_rows.sum()).numpy())

    def restore(self, x: Tensor, hidden: Tensor) -> float:
        """A step down `Transformer.masked_loss` of rows (n, d), of which ``hidden`` (n, d) are hidden."""
        return self._step(x, hidden.to(torch.int8).numpy(), None)

    def gradients(self, x: Tensor, target: Tensor, weights: Tensor | None) -> tuple[float, dict[str, Tensor]]:
        """Loss and gradients by parameter, without a step.

        Args:
            x: rows (n, d).
            target: labels (n,), with ``weights`` of the rows (n,) that sum to 1; or which features are hidden (n, d).
            weights: of classes; None for hidden features.
        """
        sizes = [parameter.numel() for parameter in self._net.parameters()]
        whole = np.empty(floats_of(sizes), dtype=np.float32)
        given = target.to(torch.int8) if weights is None else target
        loss = self._step(x, given.numpy(), None if weights is None else weights.numpy(), whole)
        return loss, {
            name: torch.from_numpy(part).view_as(parameter)
            for (name, parameter), part in zip(self._net.named_parameters(), parts(whole, sizes), strict=True)
        }

    def write_back(self) -> None:
        """The parameters as they are now into the net."""
        parameters = list(self._net.parameters())
        sizes = [parameter.numel() for parameter in parameters]
        whole = np.empty(floats_of(sizes), dtype=np.float32)
        self._compiled.read(whole)
        with torch.no_grad():
            for parameter, part in zip(parameters, parts(whole, sizes), strict=True):
                parameter.copy_(torch.from_numpy(part).view_as(parameter))

    def _step(
        self,
        x: Tensor,
        target: NDArray[np.int64] | NDArray[np.int8],
        weights: NDArray[np.float32] | None,
        gradient: NDArray[np.float32] | None = None,
    ) -> float:
        loss: float = self._compiled.step(
            x.numpy(), target, weights, self._adam, self._weight_decay, self._threads, gradient
        )
        return loss
