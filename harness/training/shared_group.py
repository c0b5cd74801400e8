"""Ranks of one system that sum through memory they share: it has no name anywhere, and is gone with the last of them.

Rank 0 makes the memory and hands it to each of the others over a Unix socket. Over the same sockets they wait for each
other, asleep; a rank that is gone closes its own, which all of them notice. Every rank adds the parts in the order of
the ranks, so all of them get the same bits. Before it sleeps a rank looks for the others for a moment: steps of equal
length end nearly together, and to be woken costs more than that, most of all in a virtual machine.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.training.rank_setting import RankSetting

NAME = "lparbench-ranks"  # of the memory, as /proc/PID/fd shows it
_RETRY_S = 0.02
_LOOK_S = 2e-4
_PAGE = mmap.PAGESIZE
_HERE = b"."
_NUMBER = struct.Struct("<I")


@dataclass(frozen=True)
class Done:
    """A sum that is there."""

    def wait(self) -> None:
        """Nothing is left to wait for."""


class SharedGroup:
    """All ranks of a training, on one system.

    Args:
        memory: handle of the memory that they share; this object closes it.
        peers: of rank 0, sockets to the others in their order; of another rank, that to rank 0.
        rank, count: which one, of how many.
    """

    def __init__(self, memory: int, peers: Sequence[socket.socket], rank: int, count: int) -> None:
        self._memory, self._peers = memory, peers
        self._rank, self._count = rank, count
        self._slot = 0  # bytes of a rank's part
        self._half = 0  # of two that take turns: one may still be read while the next sum is written
        self._map: mmap.mmap | None = None

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Leave the group, which all others notice when they next wait for this rank."""
        for peer in self._peers:
            peer.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def allreduce(self, tensors: list[Tensor]) -> Done:
        """Sum the one tensor over all ranks, in place.

        Raises:
            RuntimeError: a rank is gone, or does not answer in time.
        """
        (values,) = tensors
        own = values.numpy()
        parts = self._parts(own)
        parts[self._rank] = own
        self._meet()
        np.add.reduce(parts, axis=0, out=own)
        return Done()

    def _parts(self, like: NDArray[Any]) -> NDArray[Any]:
        """What each rank gives to a sum, shape (count, n), in the half whose turn it is."""
        if like.nbytes > self._slot:
            self._meet()  # nobody reads any more
            self._slot = -(-like.nbytes // _PAGE) * _PAGE
            size = 2 * self._count * self._slot
            if os.fstat(self._memory).st_size < size:
                os.ftruncate(self._memory, size)
            self._map = mmap.mmap(self._memory, size)
        assert self._map is not None
        self._half = 1 - self._half
        start = self._half * self._count * self._slot
        part: NDArray[Any] = np.ndarray(
            (self._count, len(like)), like.dtype, self._map, start, (self._slot, like.itemsize)
        )
        return part

    def _meet(self) -> None:
        """Wait until all ranks are here."""
        try:
            if self._rank == 0:
                for at, peer in enumerate(self._peers, start=1):
                    _heard(peer, at)
                for peer in self._peers:
                    peer.sendall(_HERE)
            else:
                self._peers[0].sendall(_HERE)
                _heard(self._peers[0], 0)
        except TimeoutError:
            self.close()
            raise RuntimeError("no answer in time") from None
        except OSError as error:
            self.close()
            raise RuntimeError(error.strerror or "its socket is closed") from None


def _heard(peer: socket.socket, rank: int) -> None:
    ready = select.poll()
    ready.register(peer, select.POLLIN)
    until = time.perf_counter() + _LOOK_S
    while not ready.poll(0) and time.perf_counter() < until:
        pass
    if not peer.recv(1):
        raise ConnectionResetError(0, f"rank {rank} ended")


def shared_group(setting: RankSetting, meet_s: float) -> SharedGroup:
    """Meet the other ranks of this system at the path of ``setting``, for which nothing is left there.

    Args:
        setting: which rank this is.
        meet_s: until all have to be there.

    Raises:
        RuntimeError: they do not come.
    """
    until = time.monotonic() + meet_s
    try:
        if setting.rank:
            return _joined(setting, until)
        return _gathered(setting, until)
    except OSError as error:
        raise RuntimeError(error.strerror or "they do not come") from None


def _gathered(setting: RankSetting, until: float) -> SharedGroup:
    peers: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener, _short(setting.store) as path:
        listener.bind(path)
        try:
            listener.listen(setting.count)
            while len(peers) < setting.count - 1:
                listener.settimeout(max(_RETRY_S, until - time.monotonic()))
                peer, _ = listener.accept()
                peer.settimeout(setting.answer_s)
                peers[_NUMBER.unpack(peer.recv(_NUMBER.size, socket.MSG_WAITALL))[0]] = peer
        finally:
            Path(path).unlink()
    memory = os.memfd_create(NAME)
    ordered = [peers[rank] for rank in range(1, setting.count)]
    for peer in ordered:
        socket.send_fds(peer, [_HERE], [memory])
    return SharedGroup(memory, ordered, 0, setting.count)


def _joined(setting: RankSetting, until: float) -> SharedGroup:
    first = socket.socket(socket.AF_UNIX)
    with _short(setting.store) as path:
        while True:
            try:
                first.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > until:
                    raise
                time.sleep(_RETRY_S)
    first.sendall(_NUMBER.pack(setting.rank))
    first.settimeout(max(_RETRY_S, until - time.monotonic()))
    _, handles, _, _ = socket.recv_fds(first, 1, 1)
    if not handles:
        raise ConnectionResetError(0, "rank 0 ended")
    first.settimeout(setting.answer_s)
    return SharedGroup(handles[0], [first], setting.rank, setting.count)


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """Another name of ``path``, as the address of a Unix socket has 108 bytes at most."""
    place = Path(path)
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{place.name}"
    finally:
        os.close(folder)
