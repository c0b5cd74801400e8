"""Denoising score matching of DSEBM on a tape of the native kernels. Imports torch.

With layers a_l = h_(l-1) C_l + b_l, h_l = softplus(a_l), of which the second half has the weights of the first half
transposed, slopes s_l = sigmoid(a_l) times u_l = s_(l+1) C_(l+1)^T, and the energy's gradient x - c - s_1 C_1^T, what a
step down that gradient leaves of a noisy row is c + s_1 C_1^T, which is compared with the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.detectors.energy_net import TiedNet
from harness.detectors.net_detector import NetDetector
from harness.linalg import native
from harness.training.adam import BETAS, EPS
from harness.training.context import FitContext, Matrix
from harness.training.native_loop import batches_per_step
from harness.training.replicas import Noise
from harness.training.tape import ALIGN, TURNED, Value, Writer, view


@dataclass(frozen=True)
class Shared:
    """Weights (in, out) that two layers share, their copy (out, in), and what the weights' gradient is the product of.

    ``left`` (4 rows, in) and ``right`` (4 rows, out) have in every quarter what one use of the weights gives.
    """

    weight: Value
    turned: Value
    gradient: Value
    left: Value
    right: Value


class EnergyTape:
    """A net in training.

    Args:
        net: plain, initialised.
        rows: of a batch.
        noise: standard deviation of the noise.
        learning_rate: Adam's.
    """

    def __init__(self, net: TiedNet, rows: int, noise: float, learning_rate: float) -> None:
        self._net, self._rows, self._noise = net, rows, noise
        self._writer = writer = Writer(net.centre.shape[0], rows)
        room = sum(
            (parameter.shape[-1] if parameter.ndim == 2 else 1) * _padded(parameter.shape[0])
            for parameter in net.parameters()
        )
        flat, gradient, mean, square = (writer.value(1, room) for _ in range(4))
        self._at, self._flat, self._of_gradient = 0, flat, gradient
        self._shared = [self._share(weight) for weight in net.weights]
        self._biases = [self._parameter(1, len(bias)) for bias in net.biases]
        self._centre = self._parameter(1, len(net.centre))
        self._record()
        writer.operation("adam", (flat, gradient, mean, square), reals=(learning_rate, *BETAS, EPS))
        for shared in self._shared:
            writer.operation("turn", (shared.weight, None, shared.turned))
        self._memory = writer.memory()
        self._load()
        self._tape = writer.tape(self._memory)

    @property
    def drawn(self) -> int:
        """Numbers of noise per step."""
        return sum(self._writer.per_step)

    def run(self, X: Matrix, order: NDArray[np.int64], source: np.random.Generator) -> float:
        """Steps over the rows of an order; the mean of their losses."""
        return float(self._tape.run(X, [order], source).mean(dtype=np.float64))

    def write_back(self) -> None:
        """The weights into the plain net."""
        with torch.no_grad():
            for weight, shared in zip(self._net.weights, self._shared, strict=True):
                weight.copy_(torch.from_numpy(view(self._memory, shared.weight).T.copy()))
            rows = [*self._net.biases, self._net.centre]
            for row, (value, _) in zip(rows, [*self._biases, self._centre], strict=True):
                row.copy_(torch.from_numpy(view(self._memory, value)[0].copy()))

    def _load(self) -> None:
        for weight, shared in zip(self._net.weights, self._shared, strict=True):
            view(self._memory, shared.weight)[:] = weight.detach().numpy().T
            view(self._memory, shared.turned)[:] = weight.detach().numpy()
        rows = [*self._net.biases, self._net.centre]
        for row, (value, _) in zip(rows, [*self._biases, self._centre], strict=True):
            view(self._memory, value)[0] = row.detach().numpy()

    def _parameter(self, rows: int, columns: int) -> tuple[Value, Value]:
        value, gradient = (
            self._writer.at(whole.offset + self._at, rows, columns) for whole in (self._flat, self._of_gradient)
        )
        self._at += rows * value.ld
        return value, gradient

    def _share(self, weight: Tensor) -> Shared:
        outputs, inputs = weight.shape
        value, gradient = self._parameter(inputs, outputs)
        left, right = (self._writer.value(4 * self._rows, width) for width in (inputs, outputs))
        return Shared(value, self._writer.value(outputs, inputs), gradient, left, right)

    def _quarter(self, whole: Value, which: int) -> Value:
        return self._writer.rows_of(whole, which * self._rows, (which + 1) * self._rows)

    def _of(self, layer: int) -> tuple[Shared, bool]:
        """The weights of a layer, counted from 1, and whether it has them transposed."""
        depth = len(self._shared)
        return (self._shared[layer - 1], False) if layer <= depth else (self._shared[2 * depth - layer], True)

    def _place(self, layer: int, use: int) -> tuple[Value, Value]:
        """Where the input and the output of a layer's weights in a use lie: 0 forward, 1 of the slopes."""
        shared, turned = self._of(layer)
        quarter = 2 * use + int(turned)
        pair = self._quarter(shared.left, quarter), self._quarter(shared.right, quarter)
        return pair[::-1] if turned else pair

    def _multiply(
        self, layer: int, x: Value, to: Value, *, back: bool, bias: Value | None = None, word: int = 0
    ) -> None:
        """Through the weights of a layer, or ``back`` through them."""
        shared, turned = self._of(layer)
        weights = shared.weight if turned == back else shared.turned
        self._writer.operation("product", (x, weights, to, bias), word=word)

    def _record(self) -> None:
        assert native.extension is not None
        writer, last = self._writer, 2 * len(self._shared)
        write, layers = writer.operation, range(1, last + 1)
        x, drawn = writer.value(self._rows, writer.features), writer.value(self._rows, writer.features)
        writer.gather(x, 0)
        writer.normal(drawn)
        h = [self._place(layer, 0)[0] for layer in layers]  # inputs of the layers
        of_sums = [self._place(layer, 0)[1] for layer in layers]  # gradients of the layers' sums
        of_products = [self._place(layer, 1)[0] for layer in layers]  # gradients of what leaves a layer's weights, back
        slopes = [self._place(layer, 1)[1] for layer in layers]
        write("add", (x, drawn, h[0]), reals=(self._noise,))
        plain = [writer.like(each) for each in of_sums]
        gates = [*(writer.like(each) for each in of_sums[:-1]), slopes[-1]]
        for layer in layers[:-1]:
            self._multiply(layer, h[layer - 1], plain[layer - 1], back=False, bias=self._biases[layer - 1][0])
            write("soft", (plain[layer - 1], None, h[layer], gates[layer - 1]))
        sigmoid = native.extension.ACTIVATIONS["sigmoid"]
        self._multiply(last, h[-1], slopes[-1], back=False, bias=self._biases[-1][0], word=sigmoid)
        for layer in layers[-2::-1]:  # plain becomes the slope before its gate
            self._multiply(layer + 1, slopes[layer], plain[layer - 1], back=True)
            write("multiply", (plain[layer - 1], gates[layer - 1], slopes[layer - 1]))
        reconstructed = writer.like(x)
        self._multiply(1, slopes[0], reconstructed, back=True, bias=self._centre[0])
        share = 1.0 / (self._rows * writer.features)
        write("square", (reconstructed, x, of_products[0]), number=writer.loss(1), reals=(share,))
        write("sums", (of_products[0], None, self._centre[1]))
        self._record_back(h, plain, gates, of_sums, of_products)

    def _record_back(
        self,
        h: Sequence[Value],
        plain: Sequence[Value],
        gates: Sequence[Value],
        of_sums: Sequence[Value],
        of_products: Sequence[Value],
    ) -> None:
        writer, last = self._writer, len(h)
        write, of_slopes = writer.operation, [writer.like(each) for each in of_sums]
        for layer in range(1, last + 1):
            self._multiply(layer, of_products[layer - 1], of_slopes[layer - 1], back=False)
            if layer < last:
                write("multiply", (of_slopes[layer - 1], gates[layer - 1], of_products[layer]))
        write("clear", (None, None, of_sums[-1]))
        write("bend", (of_slopes[-1], None, of_sums[-1], gates[-1]))
        for layer in range(last, 0, -1):
            write("sums", (of_sums[layer - 1], None, self._biases[layer - 1][1]))
            if layer > 1:
                self._multiply(layer, of_sums[layer - 1], of_sums[layer - 2], back=True)
                write("bend", (of_slopes[layer - 2], plain[layer - 2], of_sums[layer - 2], gates[layer - 2]))
        for shared in self._shared:
            write("product", (shared.left, shared.right, shared.gradient), number=TURNED)


class EnergyTapes:
    """Replicas in training, each on a tape of its own, spread over threads.

    Args:
        replicas: built.
        normal: training rows (n, d).
        batch: rows of a step.
        noise: standard deviation of the noise.
    """

    def __init__(self, replicas: Sequence[NetDetector], normal: Matrix, batch: int, noise: float) -> None:
        self._normal = normal
        self._tapes = [EnergyTape(replica.net_as(TiedNet), batch, noise, replica.learning_rate) for replica in replicas]
        self._sources = Noise([replica.random_state for replica in replicas]).sources
        self._threads = min(len(replicas), native.default_threads())

    def step(self, indices: Tensor) -> Tensor:
        """Steps over the rows of each order (K, rows); the means of their losses (K,)."""
        with ThreadPoolExecutor(self._threads) as pool:
            runs = [
                pool.submit(tape.run, self._normal, order, source)
                for tape, order, source in zip(self._tapes, indices.numpy(), self._sources, strict=True)
            ]
        return torch.tensor([run.result() for run in runs], dtype=torch.float64)

    def write_back(self) -> None:
        """Give the replicas the weights as they are now."""
        for tape in self._tapes:
            tape.write_back()

    def per_call(self, context: FitContext) -> int:
        """Batches of a call of `step`."""
        return batches_per_step(context, self._tapes[0].drawn)


def _padded(columns: int) -> int:
    return -(-columns // ALIGN) * ALIGN
