"""ONNX graphs of torch modules that are no dense nets, by torch's own exporter.

The exporter by tracing is the one that every torch since 2.6 has without further packages; the newer one needs
onnxscript.
"""

from __future__ import annotations

import io
import warnings

import torch
from torch import nn

from harness.scoring.onnx_graph import OPSET
from harness.scoring.program import ROWS, SCORE


def traced_graph(module: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The serialised graph of ``module`` from ``rows`` (n, *shape) to ``score`` (n,), n dynamic."""
    buffer = io.BytesIO()
    module.eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that this exporter is the older one, and that shapes become constants
        torch.onnx.export(
            module,
            (torch.zeros(2, *shape),),
            buffer,  # type: ignore[arg-type]  # any binary file will do
            input_names=[ROWS],
            output_names=[SCORE],
            dynamic_axes={ROWS: {0: "n"}, SCORE: {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()
