"""Data-parallel training: every rank takes its share of each batch, and the gradients are combined before each step.

What is combined is the sum over the ranks of gradient times weight, divided by the sum of the weights. The weight is
what the mean of a rank's loss was taken over: its rows, or the summed class weights of its rows. So P ranks take the
steps that one rank takes, whatever the batch leaves for the last of them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.errors import InputError, MeasurementError
from harness.training.rank_setting import RankSetting
from harness.training.shared_group import shared_group

_MEET_S = 900.0  # until all have started and read their data


class Group(Protocol):
    """What a process group of torch does here, and one of ranks that share memory."""

    def allreduce(self, tensors: list[Tensor]) -> Any:
        """Sum over all ranks, in place, when what is returned has been waited for."""


class Ranks:
    """One of several ranks that train together.

    Args:
        group: of all of them; None for the only one.
        rank, count: which one, of how many.
    """

    def __init__(self, group: Group | None, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        self.whole = 0  # rows of the present batch
        self.reductions = 0
        self.reduce_s = 0.0
        self._group = group
        self._weight = 0.0

    def own(self, batch: Tensor) -> Tensor:
        """This rank's columns of a batch (K, rows); where there are fewer rows than ranks, one that counts nothing."""
        self.whole = batch.shape[1]
        start, end = (self.whole * at // self.count for at in (self.rank, self.rank + 1))
        self._weight = float(end - start)
        return batch[:, start:end] if end > start else batch[:, :1]

    def combine(self, gradients: Sequence[Tensor], losses: Tensor, weight: Tensor | None = None) -> Tensor:
        """Make ``gradients`` those of the whole batch, in place; the losses of the whole batch.

        Args:
            gradients: of this rank's mean loss.
            losses: its means, detached.
            weight: what they are means over, where that is not the number of rows.

        Raises:
            MeasurementError: another rank is gone.
        """
        own = torch.tensor([self._weight], dtype=losses.dtype)
        if weight is not None and self._weight:
            own = weight.detach().to(losses.dtype).reshape(1)
        parts = [each.reshape(-1) for each in (*gradients, losses)]
        flat = torch.cat([*(part * own for part in parts), own])
        self._sum(flat)
        means = flat[:-1] / flat[-1]
        start = 0
        for gradient in gradients:
            end = start + gradient.numel()
            gradient.copy_(means[start:end].view_as(gradient))
            start = end
        return means[start:].view_as(losses)

    def seed(self, random_state: int) -> int:
        """Of what this rank draws for its own rows."""
        return random_state + 1_000_003 * self.rank

    def first(self, value: float) -> float:
        """What the first rank has, on all of them."""
        shared = torch.tensor([value if self.rank == 0 else 0.0], dtype=torch.float64)
        self._sum(shared)
        return float(shared)

    def same(self, what: str, content: Iterable[bytes | memoryview]) -> None:
        """See that all ranks have the same.

        Raises:
            MeasurementError: they have not.
        """
        digest = hashlib.sha256()
        for part in content:
            digest.update(part)
        number = int.from_bytes(digest.digest()[:4], "little")
        sums = torch.tensor([number, number * number], dtype=torch.float64)
        own = sums.clone()
        self._sum(sums)
        if not torch.equal(sums, own * self.count):
            raise MeasurementError(f"the ranks have different {what}")

    def together(self) -> None:
        """Wait until all ranks are here.

        Raises:
            MeasurementError: one of them is gone.
        """
        self._sum(torch.zeros(1))

    def _sum(self, values: Tensor) -> None:
        if self._group is None:
            return
        started = time.perf_counter()
        try:
            self._group.allreduce([values]).wait()
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            raise MeasurementError(f"rank {self.rank}: another rank is gone or does not answer: {reason}") from error
        self.reduce_s += time.perf_counter() - started
        self.reductions += 1


def connect(setting: RankSetting) -> Ranks:
    """Meet the other ranks.

    Raises:
        InputError: this build of torch cannot.
        MeasurementError: they do not come.
    """
    if setting.count == 1:
        return Ranks(None)
    try:
        group = shared_group(setting, _MEET_S) if setting.reduce == "native" else _over_gloo(setting)
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        raise MeasurementError(f"rank {setting.rank} does not reach the others: {reason}") from error
    ranks = Ranks(group, setting.rank, setting.count)
    ranks.same("versions of torch", [torch.__version__.encode()])
    return ranks


def _over_gloo(setting: RankSetting) -> Group:
    distributed = import_module("torch.distributed")
    if not distributed.is_available() or not distributed.is_gloo_available():
        raise InputError(
            f"torch {torch.__version__} is built without gloo, over which ranks talk.", remedy="Leave out --ranks."
        )
    if setting.interface is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = setting.interface
    store = _store(setting, distributed)
    store = distributed.PrefixStore(setting.prefix, store) if setting.prefix else store
    store.set(f"here/{setting.rank}", "")
    store.wait([f"here/{rank}" for rank in range(setting.count)], timedelta(seconds=_MEET_S))
    group: Group = distributed.ProcessGroupGloo(store, setting.rank, setting.count, timedelta(seconds=setting.answer_s))
    return group


def _store(setting: RankSetting, distributed: Any) -> Any:
    host, colon, port = setting.store.rpartition(":")
    if colon and port.isdecimal():
        wait = timedelta(seconds=_MEET_S)
        return distributed.TCPStore(host, int(port), setting.count, setting.serves, wait, wait_for_workers=False)
    return distributed.FileStore(setting.store, setting.count)
