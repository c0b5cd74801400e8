"""The Gaussian mixture of DAGMM and the features it is over. Imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TINY = 1e-12  # guards divisions by the norm of a row


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture of k components over z features.

    Shares (..., k), means (..., k, z), lower Cholesky factors of the covariances (..., k, z, z).
    """

    shares: Tensor
    means: Tensor
    factors: Tensor

    def joint(self, z: Tensor) -> Tensor:
        """Log of share times density of each row (..., n, z) in each component: (..., n, k)."""
        centred = (z.unsqueeze(-3) - self.means.unsqueeze(-2)).transpose(-1, -2)
        white = torch.linalg.solve_triangular(self.factors, centred, upper=False)
        half_log_det = torch.diagonal(self.factors, dim1=-2, dim2=-1).log().sum(dim=-1)
        constant = self.shares.log() - half_log_det - 0.5 * z.shape[-1] * math.log(2.0 * math.pi)
        logs: Tensor = constant.unsqueeze(-1) - 0.5 * white.square().sum(dim=-2)
        return logs.transpose(-1, -2)


def mixture_of(z: Tensor, membership: Tensor, floor: float) -> Mixture:
    """The mixture of rows ``z`` (..., n, z) that belong to components as ``membership`` (..., n, k) says.

    ``floor`` is added to the covariances' diagonals.
    """
    weight = membership.sum(dim=-2)
    means = membership.transpose(-1, -2) @ z / weight.unsqueeze(-1)
    centred = z.unsqueeze(-3) - means.unsqueeze(-2)
    weighted = centred * membership.transpose(-1, -2).unsqueeze(-1)
    covariances = weighted.transpose(-1, -2) @ centred / weight[..., None, None]
    covariances = covariances + floor * torch.eye(z.shape[-1], dtype=z.dtype)
    return Mixture(weight / membership.shape[-2], means, torch.linalg.cholesky(covariances))


def features(x: Tensor, code: Tensor, reconstructed: Tensor) -> Tensor:
    """What the estimation net sees of rows (..., d): code, relative Euclidean distance, cosine similarity."""
    own = torch.linalg.vector_norm(x, dim=-1, keepdim=True) + TINY
    other = torch.linalg.vector_norm(reconstructed, dim=-1, keepdim=True) + TINY
    distance = torch.linalg.vector_norm(x - reconstructed, dim=-1, keepdim=True)
    return torch.cat([code, distance / own, (x * reconstructed).sum(dim=-1, keepdim=True) / (own * other)], dim=-1)
