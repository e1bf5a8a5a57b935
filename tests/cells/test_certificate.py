"""Kinds of training for the certificate, by hand: gradients, tangents, best multiples."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from recon import ReconError
from recon.cells import kinds
from recon.cells.certificate import CertificateCell, best_multiples


def test_linearised_descent_follows_the_taylor_model(rng):
    """The hand-written gradients and tangents against finite differences."""
    network = kinds.MLP((7, 5), parametrisation="ntk", b_std=0.3)
    sizes = ((4, 7), (7, 5), (5, 1))
    weights = [a for i, o in sizes for a in (rng.normal(size=(i, o)), rng.normal(size=o))]
    scales = [network.scales(i) for i, _ in sizes]
    x, y = rng.normal(size=(3, 4)), rng.normal(size=(3, 1))
    inputs, active = kinds.forward(weights, scales, x)
    gradients = kinds.backward(weights, scales, inputs, active, inputs[-1] - y)
    change = [rng.normal(size=w.shape) for w in weights]

    def loss(t):
        return 0.5 * np.sum((kinds.forward([w + t * c for w, c in zip(weights, change)], scales, x)[0][-1] - y) ** 2)

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert slope == pytest.approx(sum(np.vdot(g, c) for g, c in zip(gradients, change)), rel=1e-6)
    moved = [w + 1e-6 * c for w, c in zip(weights, change)]
    outputs = (kinds.forward(moved, scales, x)[0][-1] - inputs[-1]) / 1e-6
    np.testing.assert_allclose(kinds.tangent(weights, change, scales, inputs, active), outputs, rtol=1e-4)


def test_best_multiples_by_their_definition(rng):
    found, truth = rng.normal(size=(4, 6)), rng.normal(size=(3, 6))

    def away(f, t):
        return minimize_scalar(lambda s: np.linalg.norm(np.exp(s) * f - t), bounds=(-20, 5), method="bounded").fun

    brute = [min(away(f, t) for t in truth) for f in found]
    np.testing.assert_allclose(best_multiples(found, truth), brute, atol=1e-4)


def test_unknown_kinds_are_refused():
    CertificateCell("mnist_odd_even", 4, "flips", True).check()
    with pytest.raises(ReconError, match="Unknown kind 'flip'"):
        CertificateCell("mnist_odd_even", 4, "flip", True).check()
