"""The cell of one gradient: the gradient by finite differences, what is in it, and what is counted."""

import dataclasses

import numpy as np
import pytest

from recon import ReconError
from recon.cells.gradient import IN_GRADIENT, PHOTOGRAPHS, GradientCell, cross_entropy_gradient, drawn

CELL = GradientCell("mnist_10way", 20, 12, width=128, weights="lecun")


@pytest.fixture(scope="module")
def data():
    return CELL.load(source="samples")


def mean_loss(params, x, labels):
    """Cross-entropy by the definition."""
    first, last = params.values()
    logits = np.maximum(x @ first["kernel"] + first["bias"], 0) @ last["kernel"] + last["bias"]
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(x)), labels])


def test_the_gradient_is_the_slope_of_the_loss(rng):
    params = {
        "Dense_0": {"kernel": rng.normal(size=(7, 9)), "bias": rng.normal(size=9)},
        "Dense_1": {"kernel": rng.normal(size=(9, 4)), "bias": rng.normal(size=4)},
    }
    x, labels = rng.uniform(size=(5, 7)), rng.integers(4, size=5)
    gradient, delta, norms = cross_entropy_gradient(params, x, labels)
    step = 1e-6
    for name, layer in params.items():
        for part, values in layer.items():
            for place in np.ndindex(values.shape):
                ends = []
                for sign in (1, -1):
                    moved = {n: {k: v.copy() for k, v in of.items()} for n, of in params.items()}
                    moved[name][part][place] += sign * step
                    ends.append(mean_loss(moved, x, labels))
                assert gradient[name][part][place] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)
    for i in range(5):
        alone, own, _ = cross_entropy_gradient(params, x[i : i + 1], labels[i : i + 1])
        square = sum(float(np.sum(v**2)) for layer in alone.values() for v in layer.values())
        assert norms[i] == pytest.approx(np.sqrt(square))
        np.testing.assert_allclose(delta[i], own[0], atol=1e-15)


def test_a_dual_below_the_rounding_of_one_is_not_lost():
    params = {
        "Dense_0": {"kernel": np.eye(2), "bias": np.zeros(2)},
        "Dense_1": {"kernel": np.array([[80.0, 0.0], [0.0, 80.0]]), "bias": np.zeros(2)},
    }
    _, delta, _ = cross_entropy_gradient(params, np.array([[1.0, 0.0]]), np.array([0]))
    np.testing.assert_allclose(delta, [[-np.exp(-80.0), np.exp(-80.0)]], rtol=1e-12)


def test_a_batch_comes_back_with_its_labels(data):
    stored = CELL.compute(data)
    train, attack = stored.record["scores"]["train"], stored.record["attack"]
    assert train["inside"] == train["inside_within"] == attack["certified"] == 12
    assert train["labels_told"] == train["labels_right"] == 12
    assert train["false"] == 0
    assert stored.record["scores"]["held_out"]["mean"] > 10 * train["mean"]
    assert stored.record["scores"]["start"]["mean"] > 10 * train["mean"]


def test_what_is_attacked(data):
    batch = drawn(data, CELL)
    x = batch.instance.truth
    assert x.min() >= 0
    np.testing.assert_allclose(255 * x, np.rint(255 * x), atol=1e-12)
    assert (batch.duals > IN_GRADIENT).all()
    centred = drawn(data, dataclasses.replace(CELL, raw=False, form="step"))
    assert centred.instance.after["Dense_0"]["kernel"].dtype == np.float32
    assert centred.instance.truth.min() < 0
    noisy = drawn(data, dataclasses.replace(CELL, noise=1e-3)).gradient
    added = np.concatenate([
        (noisy[layer][part] - batch.gradient[layer][part]).ravel() for layer in noisy for part in noisy[layer]
    ])  # fmt: skip
    _, _, norms = cross_entropy_gradient(batch.instance.before, x.reshape(12, -1), batch.labels)
    assert added.std() == pytest.approx(1e-3 * norms.max() / 12, rel=0.02)


def test_photographs_are_a_draw_of_their_own():
    cell = GradientCell(PHOTOGRAPHS, 20, 20, width=200)
    data = cell.load()
    assert data.train.x.shape == (20, 224, 224, 3)
    np.testing.assert_array_equal(data.held_out.x, data.train.x[:, :, ::-1])
    assert data.train.y.shape == (20, 10)


def test_a_batch_larger_than_its_draw_is_refused():
    with pytest.raises(ReconError, match="has no batch of 30"):
        GradientCell("mnist_10way", 20, 30).check()
