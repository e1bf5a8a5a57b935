import jax
import numpy as np
import pytest

from recon import ReconError, distill
from recon.distillation.rkip_finite import labels_of
from recon.dynamics import GradientFlow, Linearised
from recon.kernels import ntk_by_jacobian
from recon.metrics import distances
from recon.networks import MLP
from tests.conftest import small_problem


@pytest.mark.parametrize("outputs", [1, 3])
def test_labels_are_those_that_the_duals_fit(x64, rng, outputs):
    network, params, x, _ = small_problem(n=4, dim=20, outputs=outputs)
    alpha = rng.normal(size=(4, outputs)).astype(np.float32)
    kernel = ntk_by_jacobian(network, jax.tree.map(np.float64, params), np.float64(x)).reshape(4 * outputs, -1)
    solved = np.linalg.solve(kernel, np.float64(labels_of(network, params, x, alpha)).ravel())
    np.testing.assert_allclose(solved, alpha.ravel(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dynamics", [Linearised(), GradientFlow(tol=1e-2)])
def test_images_and_labels_explain_a_trained_network(dynamics):
    _, _, x, _ = small_problem(n=2, dim=10)
    y = np.float32([[-1], [1]])
    call = {"method": "rkip-finite", "network": MLP((256, 256)), "dynamics": dynamics, "progress": False}
    found = distill((x, y), 2, options={"steps": 1000}, **call)
    # More images than were trained on, so these and their labels have to come back.
    assert found.images.shape == (4, 10)
    d = distances(x, found.images)
    assert d.min(axis=1).mean() < 0.5 * distances(x, found.start).min(axis=1).mean()
    np.testing.assert_array_equal(np.sign(found.labels[d.argmin(axis=1)]), y)
    assert {"train", "run"} <= set(found.seconds)
    assert found.loss < found.trace[0, 1]


def test_interrupted_and_refused():
    _, _, x, _ = small_problem(n=4)
    y = np.float32([[-1], [1], [-1], [1]])
    call = {"method": "rkip-finite", "network": MLP((32,)), "dynamics": Linearised()}

    def interrupt(fraction, text):
        if text.startswith("attack"):
            raise KeyboardInterrupt

    assert distill((x, y), 1, progress=interrupt, **call).interrupted
    for options, message in [
        ({"options": {"speed": 1}}, "no setting speed"),
        ({"options": {"points": (0.0, 1.0)}}, "points one number"),
    ]:
        with pytest.raises(ReconError, match=message):
            distill((x, y), 1, progress=False, **call, **options)
