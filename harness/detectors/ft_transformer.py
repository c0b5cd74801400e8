"""FT-Transformer for intrusion detection: masked-feature pre-training, then a weighted classifier.

The source document gives two parameter counts, 854,858 and 901,828; the preset ``document`` has exactly these for 72
and 194 features, all of them numbers (categories one-hot encoded).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.base import Detector, as_training_rows
from harness.detectors.classifier import Classifier
from harness.detectors.module_detector import ModuleDetector, class_weights
from harness.detectors.transformer import PRESETS, Transformer
from harness.errors import InputError
from harness.training.adam import Adam
from harness.training.context import Epoch, FitContext
from harness.training.loop import descend, train


@dataclass
class FTTransformer(ModuleDetector, Classifier):
    """Score is the difference of the logits of attack and normal, 0 at probability 0.5.

    ``pretraining_epochs`` hide a share ``hidden_share`` of the features and learn to tell them (the document's number
    of epochs is 1; the share is not stated, 0.15 is the usual one). Then ``epochs`` of cross-entropy weighted by the
    inverse frequency of the classes. Columns named in ``categorical`` hold codes and are embedded; a code that training
    did not hold has an embedding of its own.
    """

    name: ClassVar[str] = "ft-transformer"
    rows_per_slice: ClassVar[int] = 256

    preset: Literal["document", "rtdl-default"] = "document"
    categorical: tuple[int, ...] = ()
    pretraining_epochs: int = 1
    hidden_share: float = 0.15
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    batch_size: int = 256
    epochs: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self._categories: tuple[tuple[int, int], ...] = ()  # column and number of embeddings

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Pre-train on all rows, then on their labels."""
        context = context or FitContext()
        rows, labels = as_training_rows(X, y, self.name)
        labels = self.require_both_kinds(labels)
        if self.pretraining_epochs and self.preset != "document":
            raise InputError(f"{self.name}: preset {self.preset!r} has no pre-training; set pretraining_epochs to 0.")
        for column in self.categorical:
            if not 0 <= column < rows.shape[1]:
                raise InputError(f"{self.name}: categorical names column {column}; rows have {rows.shape[1]} features.")
        self._categories = tuple((column, max(0, int(rows[:, column].max()) + 1) + 1) for column in self.categorical)
        self.build(rows.shape[1])
        x, y_all = torch.from_numpy(rows), torch.from_numpy(labels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.module.train()
            told = self._pretrain(x, context) if self.pretraining_epochs else ()
            self.history_ = told + self._finetune(x, y_all, context)
        self.module.eval()
        self.choose(context)
        return self

    def architecture(self) -> nn.Module:
        """The transformer."""
        return Transformer(self.n_features_, PRESETS[self.preset], self._categories)

    def score(self, x: Tensor) -> Tensor:
        """Logit of attack minus logit of normal."""
        logits = self.module(x)
        return logits[:, 1] - logits[:, 0]  # type: ignore[no-any-return]

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights, and the categories they are for."""
        categories = np.array(self._categories, dtype=np.int64).reshape(-1, 2)
        return {**super().state(), "categories": categories}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild the transformer and load its weights."""
        self._categories = tuple((int(column), int(count)) for column, count in state["categories"])
        super().restore({name: value for name, value in state.items() if name != "categories"})

    def _pretrain(self, x: Tensor, context: FitContext) -> tuple[Epoch, ...]:
        net = self._net()
        optimiser = self._adamw()

        def step(indices: Tensor) -> Tensor:
            batch = x[indices[0]]
            return descend(net.masked_loss(batch, torch.rand(batch.shape) < self.hidden_share), optimiser)

        return train(
            step, rows=len(x), batch_size=self.batch_size, epochs=self.pretraining_epochs, seeds=[self.seed],
            context=context, loss_names=("masked features",),
        )[0]  # fmt: skip

    def _finetune(self, x: Tensor, y: Tensor, context: FitContext) -> tuple[Epoch, ...]:
        weights = class_weights(y)
        optimiser = self._adamw()

        def step(indices: Tensor) -> Tensor:
            chosen = indices[0]
            return descend(functional.cross_entropy(self.module(x[chosen]), y[chosen], weight=weights), optimiser)

        return train(
            step, rows=len(x), batch_size=self.batch_size, epochs=self.epochs, seeds=[self.seed + 1], context=context
        )[0]

    def _adamw(self) -> Adam:
        """Weights of linear layers decay; tokens, normalisations and biases do not, as in the published code."""
        decaying: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.module.named_parameters():
            plain = parameter.ndim < 2 or name.startswith(("tokens.", "masked.weight", "masked.category_weight"))
            (others if plain else decaying).append(parameter)
        return Adam(decaying, self.learning_rate, weight_decay=self.weight_decay, undecayed=others)

    def _net(self) -> Transformer:
        assert isinstance(self.module, Transformer)
        return self.module
