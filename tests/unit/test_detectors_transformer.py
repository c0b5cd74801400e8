"""The FT-Transformer has the published sizes, and its shortcuts change no number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.detectors import registry
from harness.detectors.export import prepare
from harness.detectors.opening import open_scorer
from harness.detectors.published import PUBLISHED, rows_of
from harness.detectors.transformer import PRESETS, Preset, Transformer
from harness.detectors.transformer_program import program_of
from harness.errors import InputError
from harness.linalg import native
from harness.scoring import plan
from harness.scoring.evaluate import evaluate
from harness.training.early_stopping import class_weights


@pytest.mark.parametrize(
    ("preset", "features", "categories", "parameters"),
    [
        ("document", 72, (), 854_858),
        ("document", 194, (), 901_828),
        ("rtdl-default", 78, (), 921_986),
        ("rtdl-default", 42, ((2, 133), (3, 13), (4, 11)), 937_730),
        ("rtdl-default", 41, ((1, 3), (2, 70), (3, 11)), 923_330),
    ],
)
def test_parameter_counts(preset, features, categories, parameters):
    net = Transformer(features, PRESETS[preset], categories)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_last_block_for_one_token_is_the_last_block(preset):
    torch.manual_seed(0)
    net = Transformer(9, PRESETS[preset], ((4, 3),)).eval()
    x = torch.randn(5, 9)
    x[:, 4] = torch.tensor([0.0, 1.0, 2.0, 2.0, 7.0])
    h = net.tokens(x)
    for block in net.blocks:
        h = block(h)
    with torch.no_grad():
        torch.testing.assert_close(net(x), net.head(net.norm(h)[:, 0]), rtol=1e-4, atol=1e-5)


FORMS = {
    "document": (PRESETS["document"], 72, ()),
    "rtdl": (PRESETS["rtdl-default"], 9, ((2, 5), (4, 3))),
    "one block of rtdl": (Preset(12, 3, 1, 20, 0.0, 0.0, "rtdl"), 5, ((0, 4),)),
    "more tokens than a strip": (Preset(10, 2, 2, 7, 0.0, 0.0, "encoder"), 110, ((1, 4),)),
}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A transformer of the document's size and its program; seven rows, of which some score near zero."""
    X, y = rows_of(PUBLISHED["ft-transformer"], 40)
    folder = tmp_path_factory.mktemp("transformer")
    detector = registry.resolve("ft-transformer", {"epochs": 0, "pretraining_epochs": 0}).fit(X, y)
    return folder, prepare(detector, folder).program(), X[:7]


@pytest.mark.parametrize("form", FORMS)
def test_the_program_is_the_net(form):
    preset, features, categories = FORMS[form]
    torch.manual_seed(5)
    net = Transformer(features, preset, categories).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "norm" in name or name.startswith("head.0"):
                parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(20, features)
    for column, count in categories:
        x[:, column] = torch.randint(-1, count + 2, (20,))
    program = program_of(net, features)
    with torch.no_grad():
        logits = net.double()(x.double())
    expected = (logits[:, 1] - logits[:, 0]).numpy()
    np.testing.assert_allclose(evaluate(program, x.numpy().astype(np.float64)), expected, rtol=0, atol=3e-7)
    if native.extension is not None:
        run = plan.compiled(program)
        for rows in (1, 3, 20):
            np.testing.assert_allclose(run(x[:rows].numpy()), expected[:rows], rtol=0, atol=4e-6)


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
def test_scores_are_within_what_rounding_may_amount_to(untrained, backend):
    """Either backend against float64: a sum of n products in float32 is the exact one of weights that are n 2^-24 off.

    Each score is a difference of two logits, which may be larger by far.
    """
    folder, program, X = untrained
    if backend == "native" and native.extension is None:
        pytest.skip("the native kernels are not built")
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    exact, terms = evaluate(program, X.astype(np.float64)), PRESETS["document"].inner + 8
    generator, bound = np.random.default_rng(3), np.zeros(len(X))
    for _ in range(2):
        arrays = {
            name: array * (1.0 + terms * 2.0**-24 * generator.choice([-1.0, 1.0], array.shape))
            if array.dtype == np.float32 else array
            for name, array in program.arrays.items()
        }  # fmt: skip
        moved = evaluate(replace(program, arrays=arrays), X.astype(np.float64))
        bound = np.maximum(bound, np.abs(moved - exact).max())
    assert bound.max() < 2e-4, "a bound that catches nothing"
    found = open_scorer(folder, backend).score(X)
    assert (np.abs(found - exact) <= bound).all()


def test_nan_stays_in_its_row():
    net = Transformer(9, PRESETS["document"]).eval()
    x = np.random.default_rng(0).standard_normal((20, 9)).astype(np.float32)
    if native.extension is None:
        pytest.skip("the native kernels are not built")
    run = plan.compiled(program_of(net, 9))
    clean = run(x)
    x[4, 2] = np.nan
    dirty = run(x)
    assert np.isnan(dirty).nonzero()[0].tolist() == [4]
    np.testing.assert_array_equal(np.delete(dirty, 4), np.delete(clean, 4))


def test_tokens_are_the_published_formula():
    net = Transformer(4, PRESETS["document"])
    x = torch.randn(3, 4)
    tokens = net.tokens(x)
    torch.testing.assert_close(tokens[1, 3], net.tokens.bias[2] + x[1, 2] * net.tokens.weight[2])
    torch.testing.assert_close(tokens[2, 0], net.tokens.cls)


def test_hidden_features_are_not_seen_and_each_has_its_own_layer():
    torch.manual_seed(1)
    net = Transformer(6, PRESETS["document"], ((1, 4),)).eval()  # tokens: columns 0, 2, 3, 4, 5, then 1
    x = torch.randn(4, 6)
    x[:, 1] = torch.tensor([0.0, 1.0, 2.0, 3.0])
    hidden = torch.zeros(4, 6, dtype=torch.bool)
    hidden[:, [1, 5]] = True
    changed = x.clone()
    changed[:, 2] += 5.0
    changed[:, 1] = 3.0 - changed[:, 1]
    with torch.no_grad():
        numbers, logits = net.restored(x, hidden)
        for one, other in zip((numbers, logits), net.restored(changed, hidden), strict=True):
            torch.testing.assert_close(one, other)
        net.masked.bias[1] += 1.0
        difference = net.restored(x, hidden)[0] - numbers
    assert logits.shape == (4, 1, 4)
    assert difference[:, 1].tolist() == pytest.approx([1.0] * 4)
    assert difference[:, [0, 2, 3, 4]].abs().max() == 0


def test_masked_loss_is_the_loop_over_hidden_features():
    torch.manual_seed(2)
    net = Transformer(5, PRESETS["document"], ((0, 3), (4, 6))).eval()
    x = torch.randn(7, 5)
    x[:, 0], x[:, 4] = torch.randint(0, 3, (7,)), torch.randint(0, 6, (7,))
    hidden = torch.rand(7, 5) < 0.4
    with torch.no_grad():
        numbers, logits = net.restored(x, hidden)
        costs = []
        for row, feature in torch.nonzero(hidden).tolist():
            if feature < 3:
                costs.append((numbers[row, feature] - x[row, 1 + feature]).square())
            else:
                code = x[row, 0 if feature == 3 else 4].long()
                known = (3, 6)[feature - 3]
                costs.append(-logits[row, feature - 3, :known].log_softmax(0)[code])
        torch.testing.assert_close(net.masked_loss(x, hidden), torch.stack(costs).mean())


def test_unknown_codes_share_the_last_embedding():
    net = Transformer(2, PRESETS["rtdl-default"], ((1, 3),))
    x = torch.tensor([[0.5, -1.0], [0.5, 2.0], [0.5, 9.0], [0.5, 0.0]])
    tokens = net.tokens(x)[:, 2]
    torch.testing.assert_close(tokens[0], tokens[1])
    torch.testing.assert_close(tokens[0], tokens[2])
    assert not torch.allclose(tokens[0], tokens[3])


def test_gradients_are_those_of_differences():
    torch.manual_seed(3)
    net = Transformer(4, PRESETS["document"], ((2, 3),)).double()
    x = torch.tensor([[0.3, -1.0, 1.0, 2.0], [-0.7, 0.1, 0.0, -0.4]], dtype=torch.float64)
    y = torch.tensor([0, 1])
    hidden = torch.tensor([[True, False, False, True], [False, True, True, True]])

    def loss():
        return functional.cross_entropy(net(x), y) + net.masked_loss(x, hidden)

    loss().backward()
    for name in ("tokens.weight", "blocks.1.projection.weight", "masked.category_weight", "head.1.weight"):
        parameter = net.get_parameter(name)
        place = int(parameter.grad.abs().argmax())
        flat = parameter.data.view(-1)
        kept, step = flat[place].item(), 1e-5
        found = []
        for sign in (1, -1):
            flat[place] = kept + sign * step
            found.append(loss().item())
        flat[place] = kept
        assert parameter.grad.view(-1)[place].item() == pytest.approx((found[0] - found[1]) / (2 * step), rel=1e-4)


def test_it_overfits_one_batch():
    generator = np.random.default_rng(4)
    X = generator.normal(size=(32, 6)).astype(np.float32)
    X[:, 3] = generator.integers(0, 4, 32)
    y = np.arange(32) % 2
    how = {"categorical": [3], "epochs": 40, "pretraining_epochs": 0, "learning_rate": 1e-3, "batch_size": 32}
    detector = registry.resolve("ft-transformer", how).fit(X, y)
    assert detector.predict(X).tolist() == y.tolist()
    assert detector.history_[-1].loss < 0.05


def test_pretraining_learns_to_tell_features():
    generator = np.random.default_rng(0)
    base = generator.normal(size=(1024, 2))
    X = np.hstack([base, base, base]).astype(np.float32)  # every feature can be told from two others
    y = (base[:, 0] > 0).astype(int)
    detector = registry.resolve("ft-transformer", {"pretraining_epochs": 8, "epochs": 1, "learning_rate": 1e-3})
    history = detector.fit(X, y).history_
    assert list(history[0].losses) == ["masked features"]
    assert history[7].loss < 0.6 * history[0].loss


def test_class_weights_are_inverse_frequencies():
    weights = class_weights(torch.tensor([0] * 30 + [1] * 10))
    assert weights.tolist() == pytest.approx([40 / 60, 40 / 20])


def test_rtdl_has_no_pretraining():
    with pytest.raises(InputError, match="no pre-training"):
        registry.resolve("ft-transformer", {"preset": "rtdl-default"}).fit(np.eye(4), [0, 1, 0, 1])


def test_a_category_that_does_not_exist():
    with pytest.raises(InputError, match="names column 9"):
        registry.resolve("ft-transformer", {"categorical": [9]}).fit(np.eye(4), [0, 1, 0, 1])
