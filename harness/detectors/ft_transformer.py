"""FT-Transformer for intrusion detection: masked-feature pre-training, then a weighted classifier.

The source document gives two parameter counts, 854,858 and 901,828; the preset ``document`` has exactly these for 72
and 194 features, all of them numbers (categories one-hot encoded).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.detectors.base import DataError, Detector, as_training_rows, both_kinds
from harness.detectors.classifier import Classifier
from harness.detectors.net_detector import NetDetector
from harness.errors import InputError
from harness.training.context import Epoch, FitContext

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.detectors.transformer_training import NativeTransformer
    from harness.scoring.program import Program
    from harness.training.adam import Adam


@dataclass
class FTTransformer(NetDetector, Classifier):
    """Score is the difference of the logits of attack and normal, 0 at probability 0.5.

    Pre-training predicts hidden features from the others; then the classes' cross-entropy is weighted by their inverse
    frequency. A code of a categorical column that training did not hold has an embedding of its own.

    Args:
        preset: default ``document``, its sizes and form; or ``rtdl-default``, those of the published code.
        categorical: columns that hold codes and are embedded; default none.
        pretraining_epochs: int >= 0, default 1, the document's. Passes that predict hidden features.
        hidden_share: float in (0, 1), default 0.15. Share of the features hidden; the document does not state it, this
            is the usual one.
        weight_decay: float >= 0, default 1e-5. Share of the learning rate by which weights shrink at each step.
    """

    name: ClassVar[str] = "ft-transformer"
    rows_per_slice: ClassVar[int] = 256
    dense: ClassVar[bool] = False
    traced: ClassVar[bool] = True
    data_parallel: ClassVar[bool] = True
    rounds_products: ClassVar[bool] = True
    stages: ClassVar[tuple[str, ...]] = ("epochs", "pretraining_epochs")

    preset: Literal["document", "rtdl-default"] = "document"
    categorical: tuple[int, ...] = ()
    pretraining_epochs: int = 1
    hidden_share: float = 0.15
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    batch_size: int = 256
    epochs: int = 10

    _categories = cast("tuple[tuple[int, int], ...]", ())  # column and number of embeddings

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Pre-train on all rows, then on their labels."""
        import torch

        from harness.training.random_state import random_state

        context = context or FitContext()
        rows, labels = as_training_rows(X, y, self.name)
        labels = both_kinds(labels, self.name)
        if self.pretraining_epochs and self.preset != "document":
            raise InputError(f"{self.name}: preset {self.preset!r} has no pre-training; set pretraining_epochs to 0.")
        for column in self.categorical:
            if not 0 <= column < rows.shape[1]:
                raise DataError(f"{self.name}: categorical names column {column}; rows have {rows.shape[1]} features.")
        self._categories = tuple((column, max(0, int(rows[:, column].max()) + 1) + 1) for column in self.categorical)
        self.build(rows.shape[1])
        x, y_all = torch.from_numpy(rows), torch.from_numpy(labels)
        ranks = context.ranks
        seed = self.random_state if ranks is None else ranks.seed(self.random_state)
        with random_state(seed, alone=ranks is None):
            self.fitted_net().train()
            pretraining = self._pretrain(x, context) if self.pretraining_epochs else ()
            self.history_ = pretraining + self._finetune(x, y_all, context)
        self.fitted_net().eval()
        self.choose(context)
        return self

    @property
    def trains_natively(self) -> bool:
        """Always."""
        return True

    def architecture(self) -> nn.Module:
        """The transformer."""
        from harness.detectors.transformer import PRESETS, Transformer

        return Transformer(self.n_features_in_, PRESETS[self.preset], self._categories)

    def score_tensor(self, x: Tensor) -> Tensor:
        """Logit of attack minus logit of normal."""
        logits: Tensor = self.fitted_net()(x)
        return logits[:, 1] - logits[:, 0]

    def program(self) -> Program:
        """The tokens through the blocks, then what the class token becomes in the last one, and the class head."""
        from harness.detectors.transformer import Transformer
        from harness.detectors.transformer_program import program_of

        return program_of(self.net_as(Transformer), self.n_features_in_)

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights, and the categories they are for."""
        categories = np.array(self._categories, dtype=np.int64).reshape(-1, 2)
        return {**super().state(), "categories": categories}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild the transformer and load its weights."""
        self._categories = tuple((int(column), int(count)) for column, count in state["categories"])
        super().restore({name: value for name, value in state.items() if name != "categories"})

    def _pretrain(self, x: Tensor, context: FitContext) -> tuple[Epoch, ...]:
        import torch

        from harness.detectors.transformer import Transformer
        from harness.training.loop import descend, train

        net = self.net_as(Transformer)
        trained = self._native(context, masked=True)
        optimiser = None if trained else self._adamw()

        def step(indices: Tensor) -> Tensor:
            batch = x[indices[0]]
            hidden = torch.rand(batch.shape) < self.hidden_share
            if trained is not None:
                return torch.tensor(trained.restore(batch, hidden))
            assert optimiser is not None
            weight = hidden.sum().clamp_min(1)
            return descend(net.masked_loss(batch, hidden), optimiser, ranks=context.ranks, weight=weight)

        schedule = self.schedule([self], len(x), epochs=self.pretraining_epochs, loss_names=("masked features",))
        history = train(step, schedule, context)[0]
        if trained is not None:
            trained.write_back()
        return history

    def _finetune(self, x: Tensor, y: Tensor, context: FitContext) -> tuple[Epoch, ...]:
        import torch
        from torch.nn import functional

        from harness.training.early_stopping import class_weights
        from harness.training.loop import descend, train
        from harness.training.validation import MOST, ValidationCurve

        net, weights = self.fitted_net(), class_weights(y)
        self.class_weights_ = tuple(weights.tolist())
        curve = ValidationCurve(self.decision_function, net, context, MOST)
        trained = self._native(context, masked=False)
        optimiser = None if trained else self._adamw()

        def step(indices: Tensor) -> Tensor:
            chosen = indices[0]
            if trained is not None:
                return torch.tensor(trained.classify(x[chosen], y[chosen], weights))
            assert optimiser is not None
            loss = functional.cross_entropy(net(x[chosen]), y[chosen], weight=weights)
            return descend(loss, optimiser, ranks=context.ranks, weight=weights[y[chosen]].sum())

        schedule = replace(self.schedule([self], len(x)), seeds=(self.random_state + 1,))
        go_on = curve.go_on if trained is None else curve.after(trained.write_back)
        history = train(step, schedule, context, keep_going=go_on)[0]
        if trained is not None:
            trained.write_back()
        return curve.added_to(history)

    def _native(self, context: FitContext, *, masked: bool) -> NativeTransformer | None:
        """The net in training on the native kernels, where that is asked for and possible; ranks train with torch."""
        from harness.detectors.transformer import Transformer
        from harness.detectors.transformer_training import NativeTransformer
        from harness.linalg import native

        if context.trainer != "native" or context.ranks is not None or native.missing() is not None:
            return None
        net, features = self.net_as(Transformer), self.n_features_in_
        return NativeTransformer(
            net, features, masked=masked, learning_rate=self.learning_rate, weight_decay=self.weight_decay,
            seed=self.random_state, dtype=context.dtype,
        )  # fmt: skip

    def _adamw(self) -> Adam:
        """Weights decay as `harness.detectors.transformer_training.decays` says."""
        from harness.detectors.transformer_training import decays
        from harness.training.adam import Adam

        decaying: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.fitted_net().named_parameters():
            (decaying if decays(name, parameter) else others).append(parameter)
        return Adam(decaying, self.learning_rate, weight_decay=self.weight_decay, undecayed=others)
