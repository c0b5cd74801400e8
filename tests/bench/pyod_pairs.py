"""Our detectors beside PyOD's of the same nets, in pairs: ours and theirs in turn, one thread, the median ratio.

    python tests/bench/pyod_pairs.py [--pairs 3] [--only autoencoder,vae,alad,anogan,scoring,egbad] [--json]

prints every figure with its bar and exits 1 if one is missed. PyOD comes with the extra ``bench``. A training is a
whole ``fit`` of the same rows, layers, batch size and epochs; both sides then score the training rows for a threshold.
Times are the process's CPU time, as in ``kernel_pairs.py``. EGBAD, which PyOD has not, is compared with plain torch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np
import threadpoolctl
import torch
from kernel_pairs import Call, Figure, take_turns
from torch import nn
from torch.nn import functional

from harness.detectors.egbad import EGBAD
from harness.detectors.registry import resolve
from harness.detectors.replicated import fit_together
from harness.training.context import FitContext

FEATURES = 41
TRAINING_BAR, SCORING_BAR, REPLICAS_BAR = 10.0, 50.0, 1.5
BAR_OF_TRAINER = {"native": TRAINING_BAR, "torch": 1.0}  # a run trains on torch only what the native one cannot
QUIET = {"preprocessing": False, "verbose": 0}


def rows(count: int, features: int = FEATURES) -> np.ndarray:
    """Standard normal rows: what is timed does not depend on their values."""
    return np.random.default_rng(0).normal(size=(count, features)).astype(np.float32)


def training(name: str, ours: Call, theirs: Call, pairs: int, bar: float = TRAINING_BAR) -> Figure:
    """The line of one training."""
    found = take_turns(ours, theirs, pairs, 0.0)
    return Figure(name, "PyOD", found.ratio, bar, False, _seconds(found.ours), _seconds(found.theirs))


def autoencoder(pairs: int) -> Iterator[Figure]:
    """The RocketCE document's net, two epochs of 10,000 rows, on our native trainer and on torch."""
    from pyod.models.auto_encoder import AutoEncoder

    X = rows(10_000)

    def theirs() -> object:
        net = {"hidden_neuron_list": [32, 16, 8], "batch_norm": False, "dropout_rate": 0.0}
        return AutoEncoder(epoch_num=2, batch_size=64, **net, **QUIET).fit(X)

    for trainer in ("native", "torch"):
        context = FitContext(trainer=trainer)
        yield training(
            f"autoencoder 41-32-16-8, batches of 64, {trainer} trainer",
            lambda context=context: resolve("autoencoder", {"epochs": 2}).fit(X, context=context), theirs, pairs,
            BAR_OF_TRAINER[trainer],
        )  # fmt: skip


def vae(pairs: int) -> Iterator[Figure]:
    """Two epochs of 10,000 rows, on our native trainer and on torch."""
    from pyod.models.vae import VAE

    X = rows(10_000)

    def theirs() -> object:
        net = {"encoder_neuron_list": [64, 32], "decoder_neuron_list": [32, 64], "latent_dim": 8, "dropout_rate": 0.0}
        return VAE(epoch_num=2, batch_size=64, output_activation_name="identity", **net, **QUIET).fit(X)

    how = {"epochs": 2, "batch_size": 64, "hidden": (64, 32), "latent": 8}
    for trainer in ("native", "torch"):
        context = FitContext(trainer=trainer)
        yield training(
            f"variational autoencoder 41-64-32-8, batches of 64, {trainer} trainer",
            lambda context=context: resolve("vae", how).fit(X, context=context), theirs, pairs,
            BAR_OF_TRAINER[trainer],
        )  # fmt: skip


def alad(pairs: int) -> Iterator[Figure]:
    """Fifty optimiser steps on 100,000 rows: what PyOD calls fifty epochs."""
    from pyod.models.alad import ALAD

    X = rows(100_000)

    def theirs() -> object:
        nets = {"latent_dim": 32, "enc_layers": [64], "dec_layers": [64, 128], "disc_xz_layers": [128, 128]}
        judges = {"disc_xx_layers": [128], "disc_zz_layers": [32]}
        return ALAD(epochs=50, batch_size=50, preprocessing=False, **nets, **judges).fit(X.astype(np.float64))

    context = FitContext(max_steps=50)
    yield training(
        "ALAD, 50 steps of 50 rows", lambda: resolve("alad", {"epochs": 1}).fit(X, context=context), theirs, pairs
    )


def anogan(pairs: int) -> Iterator[Figure]:
    """One epoch of 100 rows, then a search of 20 steps for the code of each of them."""
    from pyod.models.anogan import AnoGAN

    X = rows(100)

    def theirs() -> object:
        nets = {"latent_dim_G": 32, "G_layers": [64, 128], "D_layers": [256, 128, 128], "output_activation": None}
        return AnoGAN(epochs=1, batch_size=50, epochs_query=20, preprocessing=False, **nets).fit(X)

    how = {"epochs": 1, "search_steps": 20}
    yield training("AnoGAN, 100 rows, 20 search steps each", lambda: resolve("anogan", how).fit(X), theirs, pairs)


def scoring(pairs: int) -> Iterator[Figure]:
    """100,000 rows of 41 features by the same autoencoder, on each backend."""
    import tempfile
    from pathlib import Path

    from pyod.models.auto_encoder import AutoEncoder

    from harness.detectors.export import prepare
    from harness.detectors.opening import open_scorer

    X = rows(100_000)
    few = X[:1000]
    net = {"hidden_neuron_list": [32, 16, 8], "batch_norm": False, "dropout_rate": 0.0}
    theirs = AutoEncoder(epoch_num=1, batch_size=64, **net, **QUIET).fit(few)
    with tempfile.TemporaryDirectory() as folder:
        backends = prepare(resolve("autoencoder", {"epochs": 1}).fit(few), Path(folder)).backends
        for backend in reversed(backends):
            scorer = open_scorer(Path(folder), backend)
            found = take_turns(
                lambda scorer=scorer: scorer.score(X), lambda: theirs.decision_function(X), pairs, 0.0
            )  # fmt: skip
            name = f"scoring 100,000 x 41, autoencoder, {backend}"
            bar = SCORING_BAR if backend == "native" else 1.0  # the one that is made for such nets is held to the bar
            yield Figure(name, "PyOD", found.ratio, bar, False, _seconds(found.ours), _seconds(found.theirs))


class PlainEGBAD:
    """The published KDD99 training in plain torch: a module per net, an optimiser each, averages by a loop."""

    def __init__(self, features: int) -> None:
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(features, 64), nn.LeakyReLU(0.1), nn.Linear(64, 32))
        layers = [nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, features)]
        self.generator = nn.Sequential(*layers)
        self.of_rows, self.of_codes, self.joint = (self._branch(width) for width in (features, 32, 256))
        self.out = nn.Linear(128, 1)
        judges = (self.of_rows, self.of_codes, self.joint, self.out)
        nets = (judges, (self.generator,), (self.encoder,))
        groups = [[parameter for net in part for parameter in net.parameters()] for part in nets]
        self.optimisers = [torch.optim.Adam(group, lr=1e-5, betas=(0.5, 0.999)) for group in groups]
        self.live = [parameter for group in groups for parameter in group]
        self.averages = [parameter.detach().clone() for parameter in self.live]

    @staticmethod
    def _branch(inputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(inputs, 128), nn.LeakyReLU(0.1), nn.Dropout(0.2))

    def judged(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Logits of pairs."""
        return self.out(self.joint(torch.cat([self.of_rows(x), self.of_codes(z)], dim=1)))

    def steps(self, X: torch.Tensor, count: int, batch: int) -> None:
        """``count`` steps of both sides."""
        judge, generator, encoder = self.optimisers
        cost: Callable[..., torch.Tensor] = functional.binary_cross_entropy_with_logits
        one, zero = torch.ones(batch, 1), torch.zeros(batch, 1)
        for index in range(count):
            start = index * batch % len(X)
            real, codes = X[start : start + batch], torch.randn(batch, 32)
            fake, inferred = self.generator(codes).detach(), self.encoder(real).detach()
            judge.zero_grad()
            (cost(self.judged(real, inferred), one) + cost(self.judged(fake, codes), zero)).backward()
            judge.step()
            codes = torch.randn(batch, 32)
            generator.zero_grad()
            encoder.zero_grad()
            fooled = cost(self.judged(self.generator(codes), codes), one)
            (fooled + cost(self.judged(real, self.encoder(real)), zero)).backward()
            generator.step()
            encoder.step()
            with torch.no_grad():
                for average, live in zip(self.averages, self.live, strict=True):
                    average.lerp_(live, 1e-4)


def egbad(pairs: int) -> Iterator[Figure]:
    """Five replicas against one seed in plain torch: ten epochs of 40 steps of 50 rows of KDD99's 121 columns each."""
    X = rows(2_000, 121)
    plain, source = PlainEGBAD(121), torch.from_numpy(X)

    def ours() -> None:
        labels = np.zeros(len(X), dtype=np.int64)
        fit_together([EGBAD(epochs=10, random_state=seed) for seed in range(5)], X, labels)

    found = take_turns(ours, lambda: plain.steps(source, 400, 50), pairs, 0.0)
    name, against = "EGBAD KDD99, 5 seeds at once, steps of 50 rows", "one seed, plain torch"
    times = (_seconds(found.ours), _seconds(found.theirs))
    yield Figure(name, against, 1.0 / found.ratio, REPLICAS_BAR, True, *times)


SECTIONS: dict[str, Callable[[int], Iterator[Figure]]] = {
    "autoencoder": autoencoder,
    "vae": vae,
    "alad": alad,
    "anogan": anogan,
    "scoring": scoring,
    "egbad": egbad,
}


def _seconds(times: tuple[float, ...]) -> str:
    return f"{sorted(times)[len(times) // 2]:.4f} s"


def main() -> int:
    """Print the figures; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ["TQDM_DISABLE"] = "1"
    figures = []
    with threadpoolctl.threadpool_limits(1):
        for section in arguments.only.split(","):
            for figure in SECTIONS[section](arguments.pairs):
                figures.append(figure)
                if not arguments.json:
                    print(figure.line(), flush=True)
    if arguments.json:
        print(json.dumps([{**asdict(figure), "met": figure.met} for figure in figures], indent=1))
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
