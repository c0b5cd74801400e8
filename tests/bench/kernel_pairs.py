"""The kernels beside torch and ONNX Runtime, in pairs: ours and theirs in turn, one thread, the median of the ratios.

    python tests/bench/kernel_pairs.py [--pairs 30] [--only gemm,inference,training,replicas,roof] [--json]

prints every figure with its bar and exits 1 if one is missed. Times are the process's CPU time: both sides run on one
thread and never wait, so it is their wall time on a quiet machine, and less disturbed by neighbours on another.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import threadpoolctl
import torch
from torch import nn
from torch.nn import functional

from harness.linalg import native
from harness.linalg.backend_native import NativeBackend
from harness.linalg.chain import DenseChain
from harness.linalg.layers import from_torch
from harness.linalg.trainer import DenseTrainer
from harness.roofline import cases
from harness.roofline import probes as roofline

Call = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """One line of the table: how many times faster (or what share), against its bar."""

    name: str
    against: str
    ratio: float
    bar: float
    at_most: bool = False  # the bar is an upper bound
    ours: str = ""
    theirs: str = ""

    @property
    def met(self) -> bool:
        """Whether the bar holds."""
        return self.ratio <= self.bar if self.at_most else self.ratio >= self.bar

    def line(self) -> str:
        """For people."""
        mark, sign = "ok  " if self.met else "MISS", "<=" if self.at_most else ">="
        start = f"{mark} {self.name:66s} {self.ratio:8.3f} {sign} {self.bar:<6g} {self.against:25s}"
        return f"{start} {self.ours} | {self.theirs}" if self.ours else start


@dataclass(frozen=True)
class Pairs:
    """Times per call of two calls that took turns."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median over the pairs of their time by ours."""
        return statistics.median(b / a for a, b in zip(self.ours, self.theirs, strict=True))


def take_turns(
    ours: Call,
    theirs: Call,
    pairs: int,
    sample_s: float = 2e-3,
    clock: Callable[[], float] = time.process_time,
    rest_s: float = 0.0,
) -> Pairs:
    """Time both in turn, the order alternating, each sample long enough for the clock.

    ``rest_s`` before each sample lets threads of the other side, which look for work for a while after a call, fall
    asleep: they would hold the CPUs of this one.
    """
    counts = [_calls_for(call, sample_s) for call in (ours, theirs)]
    times: list[list[float]] = [[], []]
    for index in range(pairs):
        for side in (0, 1) if index % 2 else (1, 0):
            call, count = (ours, theirs)[side], counts[side]
            if rest_s:
                time.sleep(rest_s)
                call()
            start = clock()
            for _ in range(count):
                call()
            times[side].append((clock() - start) / count)
    return Pairs(tuple(times[0]), tuple(times[1]))


def _calls_for(call: Call, sample_s: float) -> int:
    call()
    start = time.process_time()
    call()
    return max(1, math.ceil(sample_s / max(time.process_time() - start, 1e-7)))


def _rate(operations: float, times: tuple[float, ...]) -> str:
    return f"{operations / min(times) / 1e9:.1f} GFLOP/s"


def _time(times: tuple[float, ...]) -> str:
    return f"{statistics.median(times) * 1e6:.2f} us"


ATTENTION = ((64, 80, 16, 80), (64, 80, 80, 16))  # scores, and the weighted values, of a head of 80 tokens
# Shares of the peak measured in the same run: what a library that compiles a kernel per shape reaches, libxsmm 2.0 on a
# processor with AVX-512; of layers and of attention, for which a range is known, its upper end.
PEAK_SHARES = {
    (8, 8, 8): 0.23, (16, 16, 16): 0.52, (32, 32, 32): 0.49, (64, 64, 64): 0.58, (128, 128, 128): 0.70,
    (64, 41, 64): 0.76, (64, 64, 32): 0.76, (50, 121, 64): 0.76, (50, 256, 128): 0.76,
    (80, 16, 80): 0.56, (80, 80, 16): 0.56,
}  # fmt: skip
GEMM_BARS = {8: 3.0, 16: 1.5, 32: 1.1}  # of square products; larger ones and layers: 0.95 each, 1.05 in the mean


def gemm(pairs: int) -> Iterator[Figure]:
    """Batched products against torch.bmm, and as shares of the measured peak."""
    peak = roofline.compute_roof([min(os.sched_getaffinity(0))])
    assert peak is not None
    kernels = NativeBackend(threads=1)
    others = []
    for batch, m, k, n in (*cases.SHAPES, *ATTENTION):
        a, b, out = torch.randn(batch, m, k), torch.randn(batch, k, n), torch.empty(batch, m, n)
        x, y, z = a.numpy(), b.numpy(), np.empty((batch, m, n), np.float32)
        found = take_turns(
            lambda x=x, y=y, z=z: kernels.matmul(x, y, z), lambda a=a, b=b, out=out: torch.bmm(a, b, out=out), pairs
        )
        operations = 2.0 * batch * m * k * n
        bar = GEMM_BARS.get(n, 0.95) if m == k == n else 0.95
        if bar == 0.95:
            others.append(found.ratio)
        name = f"GEMM {m}x{k}x{n}, batch {batch}"
        yield Figure(
            name, "torch.bmm", found.ratio, bar, False, _rate(operations, found.ours), _rate(operations, found.theirs)
        )
        if (m, k, n) in PEAK_SHARES:
            share = operations / min(found.ours) / peak.ops_per_s
            yield Figure(name, "the measured peak", share, PEAK_SHARES[m, k, n])
    yield Figure(
        "GEMM, geometric mean of the larger", "torch.bmm", math.exp(statistics.fmean(map(math.log, others))), 1.05
    )


def torch_net(widths: tuple[int, ...], seed: int = 0) -> nn.Sequential:
    """ReLU between linear layers."""
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        parts += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def onnx_session(net: nn.Sequential, head: str):
    """The net, and the reconstruction error for an autoencoder, as ONNX Runtime runs it on one thread."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers, value = [], [], "x"
    for index, layer in enumerate(from_torch(net)):
        initializers += [
            numpy_helper.from_array(layer.weight, f"w{index}"),
            numpy_helper.from_array(layer.bias, f"b{index}"),
        ]
        nodes.append(helper.make_node("Gemm", [value, f"w{index}", f"b{index}"], [f"g{index}"], transB=1))
        value = f"g{index}"
        if layer.activation == "relu":
            nodes.append(helper.make_node("Relu", [value], [f"r{index}"]))
            value = f"r{index}"
    inputs, outputs = net[0].in_features, ["n", net[-1].out_features]
    if head == "mse":
        initializers.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
        nodes += [
            helper.make_node("Sub", [value, "x"], ["d"]),
            helper.make_node("Mul", ["d", "d"], ["s"]),
            helper.make_node("ReduceMean", ["s", "axes"], ["m"], keepdims=0),
        ]
        value, outputs = "m", ["n"]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, outputs)], initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


PEAK_SHARE = {"logit": 0.60, "mse": 0.40}


def inference(pairs: int) -> Iterator[Figure]:
    """The MLP and the autoencoder against eager torch and ONNX Runtime, called from Python."""
    peak = roofline.compute_roof([min(os.sched_getaffinity(0))])
    assert peak is not None
    for title, (widths, head) in cases.CHAINS.items():
        for rows in (1, 4096):
            yield from _inference(title, widths, head, rows, pairs, peak.ops_per_s)


def _inference(title: str, widths: tuple[int, ...], head: str, rows: int, pairs: int, peak: float) -> Iterator[Figure]:
    net = torch_net(widths)
    chain, session = DenseChain(from_torch(net), head, threads=1), onnx_session(net, head)
    x = np.random.default_rng(0).standard_normal((rows, widths[0])).astype(np.float32)
    tensor = torch.from_numpy(x)

    def eager() -> torch.Tensor:
        with torch.inference_mode():
            output = net(tensor)
            return (output - tensor).square().mean(1) if head == "mse" else output

    name = f"{title}, {rows} {'row' if rows == 1 else 'rows'}"
    bar = 10.0 if rows == 1 else 1.2
    onnx = take_turns(lambda: chain.score(x), lambda: session.run(None, {"x": x}), pairs)
    yield Figure(name, "ONNX Runtime", onnx.ratio, bar, False, _time(onnx.ours), _time(onnx.theirs))
    if rows > 1:
        torchs = take_turns(lambda: chain.score(x), eager, pairs)
        yield Figure(name, "eager", torchs.ratio, bar, False, _time(torchs.ours), _time(torchs.theirs))
        operations = 2.0 * rows * sum(inputs * outputs for inputs, outputs in pairwise(widths))
        share = operations / min(onnx.ours + torchs.ours) / peak
        yield Figure(name, "the measured peak", share, PEAK_SHARE[head], False, _rate(operations, onnx.ours))


def training_rows() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """Training and test rows of NSL-KDD with their labels; synthetic ones, so named, where the data set is not here."""
    from harness.datasets.base import load

    folder = os.environ.get("LPARBENCH_DATA") or str(Path(__file__).resolve().parents[3] / "shared" / "data")
    data = load(
        "nsl-kdd", directory=Path(folder), options={"encoding": "ordinal-standard", "validation": 0.2, "seed": 42}
    )
    return (
        np.ascontiguousarray(data.train_x, np.float32), data.train_y.astype(np.float32),
        np.ascontiguousarray(data.test_x, np.float32), data.test_y.astype(np.float32), data.origin,
    )  # fmt: skip


class _OneByOne(torch.utils.data.Dataset):
    def __init__(self, X: np.ndarray, y: np.ndarray | None) -> None:
        self.X, self.y = torch.from_numpy(X), None if y is None else torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: int) -> object:
        return self.X[index] if self.y is None else (self.X[index], self.y[index])


def document_epoch(net: nn.Sequential, X: np.ndarray, y: np.ndarray | None, optimiser: torch.optim.Optimizer) -> None:
    """As the RocketCE document trains: rows one by one through a loader, plain Adam, the loss read every step."""
    for batch in torch.utils.data.DataLoader(_OneByOne(X, y), batch_size=64, shuffle=True):
        rows, targets = batch if y is not None else (batch, None)
        optimiser.zero_grad()
        output = net(rows)
        if targets is None:
            loss = functional.mse_loss(output, rows)
        else:
            loss = functional.binary_cross_entropy_with_logits(output.view(-1), targets)
        loss.backward()
        if targets is not None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        loss.item()


def eager_epoch(
    net: nn.Sequential, X: torch.Tensor, y: torch.Tensor | None, order: torch.Tensor, optimiser: torch.optim.Optimizer
) -> None:
    """The quick way to write it: batches gathered from one tensor, fused Adam, no loss read."""
    for chosen in order.split(64):
        rows = X[chosen]
        optimiser.zero_grad()
        output = net(rows)
        if y is None:
            loss = functional.mse_loss(output, rows)
        else:
            loss = functional.binary_cross_entropy_with_logits(output.view(-1), y[chosen])
        loss.backward()
        if y is not None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()


def training(pairs: int) -> Iterator[Figure]:
    """Epochs of batch 64 against the document's loop and eager torch with fused Adam; then accuracy over five seeds."""
    X, y, X_test, y_test, origin = training_rows()
    for title, (widths, head) in cases.CHAINS.items():
        rows, labels = (X, y) if head == "logit" else (X[y == 0], None)
        part = rows[:6400], None if labels is None else labels[:6400]  # a sample of the epoch, so that pairs are many
        net, rate = torch_net(widths), 1e-4 if head == "logit" else 1e-3
        trainer = _trainer(net, head, rate)
        order = np.random.default_rng(0).permutation(len(part[0]))
        plain = torch.optim.Adam(net.parameters(), lr=rate)
        fused = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
        tensors = torch.from_numpy(part[0]), None if part[1] is None else torch.from_numpy(part[1])
        index = torch.from_numpy(order)

        def ours(trainer=trainer, part=part, order=order):
            trainer.epoch(*part, order=order, batch_size=64)

        slow = take_turns(
            ours, lambda net=net, part=part, o=plain: document_epoch(net, *part, o), max(10, pairs // 2), 0.0
        )
        quick = take_turns(ours, lambda net=net, t=tensors, i=index, o=fused: eager_epoch(net, *t, i, o), pairs, 0.0)
        name = f"{title}, epoch, batch 64 ({origin})"
        yield Figure(name, "the document's loop", slow.ratio, 10.0, False, _time(slow.ours), _time(slow.theirs))
        yield Figure(name, "eager, fused Adam", quick.ratio, 5.0, False, _time(quick.ours), _time(quick.theirs))
        yield from _accuracy(title, widths, head, rate, rows, labels, X_test, y_test, origin)


def _trainer(net: nn.Sequential, head: str, rate: float) -> DenseTrainer:
    bce = head == "logit"
    return DenseTrainer(
        from_torch(net), "bce" if bce else "mse", learning_rate=rate, max_grad_norm=1.0 if bce else None
    )


def _accuracy(title, widths, head, rate, rows, labels, X_test, y_test, origin) -> Iterator[Figure]:
    """Test accuracy after three epochs from the same weights and orders, natively and by torch, over five seeds."""
    ours, theirs = [], []
    tensors = torch.from_numpy(rows), None if labels is None else torch.from_numpy(labels)
    for seed in range(5):
        net = torch_net(widths, seed)
        trainer = _trainer(net, head, rate)
        optimiser = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
        for epoch in range(3):
            order = np.random.default_rng([seed, epoch]).permutation(len(rows))
            trainer.epoch(rows, labels, order=order, batch_size=64)
            eager_epoch(net, *tensors, torch.from_numpy(order), optimiser)
        for layers, found in ((trainer.layers(), ours), (from_torch(net), theirs)):
            chain = DenseChain(layers, head, threads=1)
            limit = 0.0 if head == "logit" else np.quantile(chain.score(rows), 0.85)
            found.append(float(((chain.score(X_test) > limit) == (y_test > 0)).mean()))
    gap = abs(statistics.fmean(ours) - statistics.fmean(theirs))
    shown = [" ".join(f"{value:.4f}" for value in found) for found in (ours, theirs)]
    yield Figure(f"{title}, test accuracy, 5 seeds ({origin})", "gap to torch", gap, 0.005, True, *shown)


def replicas(pairs: int) -> Iterator[Figure]:
    """Sixteen replicas by torch against one; sixteen native ones against one, for the record."""
    from harness.detectors.mlp import MLP
    from harness.detectors.replicated import fit_together
    from harness.training.context import FitContext

    X, y, *_, origin = training_rows()
    rows, labels = X[:6400], y[:6400].astype(np.int64)

    def fit(count: int, trainer: str) -> Call:
        return lambda: fit_together(
            [MLP(epochs=1, random_state=seed) for seed in range(count)],
            rows,
            labels,
            context=FitContext(trainer=trainer),
        )

    for trainer, bar in (("torch", 4.0), ("native", 16.5)):
        found = take_turns(fit(1, trainer), fit(16, trainer), max(10, pairs // 2), 0.0)
        name = f"16 replicas of the MLP, {trainer} ({origin})"
        yield Figure(name, "the time of one", found.ratio, bar, True, _time(found.theirs), _time(found.ours))


def roof(pairs: int) -> Iterator[Figure]:
    """No kernel above the measured peak, and the peak near the best rate."""
    cpu = min(os.sched_getaffinity(0))
    peak = roofline.compute_roof([cpu], seconds=0.5)
    assert peak is not None
    backends = ("native", "torch", "numpy")
    best = max(
        roofline.on_each(
            [cpu], lambda _cpu: [roofline.best_rate(case.call, case.operations) for case in cases.products(backends)]
        )[0]
    )
    yield Figure(
        "best rate of any backend",
        "the measured peak",
        best / peak.ops_per_s,
        1.03,
        True,
        f"{best / 1e9:.1f} GFLOP/s",
        f"{peak.ops_per_s / 1e9:.1f} GFLOP/s",
    )
    yield Figure("best rate of any backend", "the measured peak", best / peak.ops_per_s, 0.95)


SECTIONS: dict[str, Callable[[int], Iterator[Figure]]] = {
    "gemm": gemm,
    "inference": inference,
    "training": training,
    "replicas": replicas,
    "roof": roof,
}


def measured(section: str, pairs: int) -> Iterator[Figure]:
    """The figures of a section, every library on one thread."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # what harness.linalg takes its default from
    with threadpoolctl.threadpool_limits(1):
        yield from SECTIONS[section](pairs)


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    figures: list[Figure] = []
    for name in chosen.only.split(","):
        for figure in measured(name, chosen.pairs):
            figures.append(figure)
            if not chosen.json:
                print(figure.line(), flush=True)
    if chosen.json:
        print(
            json.dumps(
                {"isa": native.select().name, "figures": [{**asdict(f), "met": f.met} for f in figures]}, indent=2
            )
        )
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
