"""K equally shaped nets trained as one, by batched matrix products: seeds and learning rates of one detector together.

A replica keeps its own initial weights, row order, noise, learning rate and gradient norm, so it becomes what it
would have become alone, up to the rounding of a product computed in another order. Training alone is the case K = 1
of the same code.

The parameters of all nets lie in one buffer: zeroing, averaging and the optimiser touch memory once instead of once
per layer and replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.training import fused_chain as chains
from harness.training.adam import Adam
from harness.training.nets import activation_of


class Noise:
    """Random numbers per replica, each from its own generator, so that no replica sees how many others there are."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.sources = [np.random.Generator(np.random.SFC64(seed)) for seed in seeds]

    def normal(self, rows: int, features: int) -> Tensor:
        """Standard normal (K, rows, features)."""
        drawn = np.empty((len(self.sources), rows, features), dtype=np.float32)
        for source, out in zip(self.sources, drawn, strict=True):
            source.standard_normal(out=out, dtype=np.float32)
        return torch.from_numpy(drawn)

    def keep(self, rows: int, features: int, probability: float) -> Tensor:
        """Dropout masks (K, rows, features): 0, or 1 / (1 - probability) with that chance; 16 bits decide each."""
        words = -(-rows * features // 4)
        drawn = np.empty((len(self.sources), words), dtype=np.uint64)
        for source, out in zip(self.sources, drawn, strict=True):
            out[:] = source.bit_generator.random_raw(words)
        bits = drawn.view(np.uint16)[:, : rows * features].reshape(-1, rows, features)
        kept = bits >= round(probability * 65536)
        return torch.from_numpy(np.multiply(kept, np.float32(1.0 / (1.0 - probability)), dtype=np.float32))


class Replicas:
    """One net of each replica, all of the same shape, and the optimiser of their parameters.

    Args:
        nets: the plain nets, initialised by their own seeds; `write_back` puts the trained weights into them.
        learning_rates: one per replica.
        betas: Adam's.
        noise: for dropout layers.
        ema_decay: keep exponential moving averages of the parameters with this decay.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        learning_rates: Sequence[float],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        noise: Noise | None = None,
        ema_decay: float | None = None,
    ) -> None:
        self._nets = list(nets)
        self._noise = noise
        self._decay = ema_decay
        count = len(self._nets)
        self.flat = torch.empty(count * sum(parameter.numel() for parameter in self._nets[0].parameters()))
        self.gradient = torch.zeros_like(self.flat)
        self._weights: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}
        offset = 0
        for name, first in self._nets[0].named_parameters():
            end = offset + count * first.numel()
            # weights lie as (in, out), so that neither the product nor its gradient needs a transposed copy
            shape = tuple(reversed(first.shape)) if first.ndim == 2 else (1, *first.shape)
            values = [net.get_parameter(name).detach() for net in self._nets]
            view = self.flat[offset:end].view(count, *shape)
            view.copy_(torch.stack([value.t() if value.ndim == 2 else value[None] for value in values]))
            self._weights[name], self._gradients[name] = view, self.gradient[offset:end].view(count, *shape)
            offset = end
        self.average = None if ema_decay is None else self.flat.clone()
        self._buffers = {
            name: torch.cat([net.get_buffer(name).reshape(-1) for net in self._nets])
            for name, buffer in self._nets[0].named_buffers()
            if buffer.is_floating_point()
        }
        self._optimisers = self._adam(learning_rates, betas)

    def net(self, path: str = "") -> Net:
        """The sub-net at ``path`` (all of it by default) as a function of x (K, rows, in)."""
        module = self._nets[0].get_submodule(path)
        assert isinstance(module, nn.Sequential), path
        prefix = f"{path}." if path else ""
        layers = [self._layer(part, f"{prefix}{name}") for name, part in module.named_children()]
        return Net([layer for layer in layers if layer is not None])

    def leaf(self, name: str) -> Tensor:
        """A parameter as a leaf of the gradient graph, (K, in, out) or (K, 1, out), for what is no dense chain."""
        return _with_gradient(self._weights[name].detach().requires_grad_(), self._gradients[name])

    def zero(self) -> None:
        """Clear the gradients."""
        self.gradient.zero_()

    def clip(self, norm: float) -> None:
        """Scale each replica's gradient to at most ``norm``, as ``clip_grad_norm_`` does."""
        views = list(self._gradients.values())
        if len(self._nets) == 1:
            total = torch.linalg.vector_norm(self.gradient).reshape(1)
        else:
            total = torch.stack([torch.linalg.vector_norm(view, dim=(1, 2)) for view in views]).square().sum(0).sqrt()
        scale = (norm / (total + 1e-6)).clamp_(max=1.0)
        if len(self._nets) == 1:
            self.gradient.mul_(scale)
            return
        for view in views:
            view.mul_(scale.view(-1, 1, 1))

    def descend(self, losses: Tensor, max_grad_norm: float | None = None) -> None:
        """One step down the gradient of the summed ``losses``, each replica's no longer than ``max_grad_norm``."""
        self.zero()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        if max_grad_norm is not None:
            self.clip(max_grad_norm)
        self.step()

    def step(self) -> None:
        """One optimiser step, then the moving average."""
        for optimiser in self._optimisers:
            optimiser.step()
        if self.average is not None and self._decay is not None:
            self.average.lerp_(self.flat, 1.0 - self._decay)

    def write_back(self, *, averaged: bool = False) -> None:
        """Copy the weights (or their moving averages) into the plain nets and switch those to evaluation mode."""
        source = self.average if averaged and self.average is not None else self.flat
        count, offset = len(self._nets), 0
        with torch.no_grad():
            for name, view in self._weights.items():
                stacked = source[offset : offset + view.numel()].view(count, -1)
                offset += view.numel()
                for net, row in zip(self._nets, stacked, strict=True):
                    parameter = net.get_parameter(name)
                    shape = parameter.shape
                    parameter.copy_(row.view(*reversed(shape)).t() if len(shape) == 2 else row.view(shape))
            for name, joined in self._buffers.items():
                for net, row in zip(self._nets, joined.view(count, -1), strict=True):
                    net.get_buffer(name).copy_(row.view_as(net.get_buffer(name)))
        for net in self._nets:
            net.eval()

    def _layer(self, layer: nn.Module, name: str) -> chains.Layer | None:
        weight, bias = f"{name}.weight", f"{name}.bias"
        match layer:
            case nn.Linear():
                return (chains.Logit if layer.out_features == 1 else chains.Linear)(
                    self._weights[weight], self._weights[bias], self._gradients[weight], self._gradients[bias]
                )
            case nn.BatchNorm1d():
                return chains.BatchNorm(
                    self._weights[weight], self._weights[bias], self._gradients[weight], self._gradients[bias],
                    self._buffers[f"{name}.running_mean"], self._buffers[f"{name}.running_var"],
                    layer.momentum or 0.0, layer.eps,
                )  # fmt: skip
            case nn.Dropout():
                assert self._noise is not None, "a net with dropout needs noise"
                return chains.Dropout(partial(self._noise.keep, probability=layer.p))
            case nn.Identity():
                return None
            case _:
                return chains.Activation(*activation_of(layer))

    def _adam(self, learning_rates: Sequence[float], betas: tuple[float, float]) -> list[Adam]:
        """One for the whole buffer, or one per replica when their learning rates differ."""
        if len(set(learning_rates)) == 1:
            return [Adam([_with_gradient(self.flat, self.gradient)], learning_rates[0], betas)]
        optimisers = []
        for index, rate in enumerate(learning_rates):
            pairs = zip(self._weights.values(), self._gradients.values(), strict=True)
            own = [_with_gradient(weights[index], gradients[index]) for weights, gradients in pairs]
            optimisers.append(Adam(own, rate, betas))
        return optimisers


@dataclass(frozen=True)
class Net:
    """A dense net of all replicas."""

    layers: list[chains.Layer]

    def __call__(self, x: Tensor, *, learn: bool = True) -> Tensor:
        """``x`` (K, rows, in) through the net; with ``learn`` off only ``x`` receives gradients."""
        return chains.apply(self.layers, x, learn=learn)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Any]]:
        """The output without a gradient graph, and what `backward` needs."""
        return chains.forward(self.layers, x)

    def backward(self, saved: list[Any], g: Tensor, *, learn: bool = True, wanted: slice | None = None) -> Tensor:
        """Add the parameters' gradients if they ``learn``, given that of the output; that of the ``wanted`` inputs.

        For losses whose derivative is plain to write.
        """
        return chains.backward(self.layers, saved, g, learn=learn, wanted=wanted)


def _with_gradient(values: Tensor, gradient: Tensor) -> Tensor:
    values.grad = gradient
    return values
