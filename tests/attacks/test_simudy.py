import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon import ReconError, reconstruct
from recon.attacks.adam import DescentSettings, Known
from recon.attacks.simudy import SimuDy, Simulation, balanced, distance_of, simulated, total_variation
from recon.dynamics import Descent, train
from recon.metrics import distances, greedy
from recon.networks import MLP
from tests.conftest import flat, small_problem

RATE, STEPS = 0.05, 4


def wide(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)


def moved(network, params, x, y):
    """The same training in plain steps."""
    slope = jax.jit(jax.grad(lambda p: 0.5 * jnp.mean(jnp.sum((network.apply(p, x) - y) ** 2, axis=1))))
    for _ in range(STEPS):
        grads = slope(params)
        params = jax.tree.map(lambda a, g: a - RATE * g, params, grads)
    return params


@pytest.mark.parametrize(("outputs", "distance"), [(1, "cosine"), (3, "squared")])
def test_distance_and_its_gradient_through_the_run(x64, rng, outputs, distance):
    network, params, _, _ = small_problem(n=3, outputs=outputs)
    params, y = wide(params), np.float64(balanced(6, outputs))
    x = rng.normal(size=(6, 12))
    change = jax.tree.map(lambda a: jnp.asarray(0.1 * rng.normal(size=a.shape)), params)
    settings, known = (
        SimuDy(train_rate=RATE, train_steps=STEPS, distance=distance),
        Known((params,), change, None, None),
    )

    compiled = jax.jit(jax.value_and_grad(lambda v: distance_of(network, known, v, y, settings)))

    def far(x):
        return float(compiled(jnp.asarray(x))[0])

    # In the images' span it is what plain steps in the whole space say.
    d, target = flat(moved(network, params, x, y)) - flat(params), flat(change)
    by_hand = {
        "cosine": 1 - d @ target / np.linalg.norm(d) / np.linalg.norm(target),
        "squared": np.sum((d - target) ** 2) / np.sum(target**2),
    }
    assert far(x) == pytest.approx(by_hand[distance], rel=1e-9)
    gradient = np.asarray(compiled(jnp.asarray(x))[1])
    for _ in range(3):
        h = rng.normal(size=x.shape)
        slope = (far(x + 1e-6 * h) - far(x - 1e-6 * h)) / 2e-6
        assert np.sum(gradient * h) == pytest.approx(slope, rel=1e-4, abs=1e-8)


@pytest.fixture(scope="module")
def plain():
    network, params0, x, _ = small_problem(n=4, dim=20, widths=(64,), bias=False)
    y = balanced(4, 1)
    trained = train(network, params0, x, y, Descent(learning_rate=0.02, loss=1e-2))
    return network, params0, trained, x, y


def test_simulation_is_the_training(plain):
    network, params0, trained, x, y = plain
    again = simulated(network, params0, x, y, 0.02, trained.final.step)
    change = flat(trained.final.params) - flat(params0)
    assert np.linalg.norm(flat(again) - flat(trained.final.params)) < 1e-4 * np.linalg.norm(change)


def test_images_come_back(plain):
    _, params0, trained, x, _ = plain
    call = {"attack": "simudy", "train_rate": 0.02, "train_steps": trained.final.step, "m": 4, "progress": False}
    found = reconstruct(params0, trained.final.params, steps=600, **call)
    error = greedy(distances(x, found.images)).distance.mean()
    assert error < 0.3 * greedy(distances(x, found.start)).distance.mean()
    # The truth is where it ends: started there, it stays.
    stays = reconstruct(params0, trained.final.params, steps=20, start=x[[0, 1, 2, 3]], learning_rate=1e-3, **call)
    ends = [greedy(distances(x, stays.images)).distance.mean(), greedy(distances(x, found.images)).distance.mean()]
    assert ends[0] < 0.1
    # What it is told matters: of a wrong rule it makes other images.
    wrong = reconstruct(params0, trained.final.params, steps=20, **(call | {"train_rate": 0.2}))
    assert np.abs(wrong.images - reconstruct(params0, trained.final.params, steps=20, **call).images).max() > 0.01


def test_labels_are_balanced():
    assert sorted(balanced(6, 1).ravel()) == [-1] * 3 + [1] * 3
    np.testing.assert_allclose(balanced(6, 3).sum(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(balanced(6, 3).max(axis=1), 2 / 3, rtol=1e-6)
    with pytest.raises(ReconError, match="equal shares"):
        balanced(7, 3)


def test_total_variation_by_hand():
    image = np.array([[0.0, 1.0], [3.0, 5.0]]).reshape(1, 2, 2, 1)
    assert float(total_variation(image)) == pytest.approx((1 + 2) / 2 + (3 + 4) / 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_rate": None}, "train_rate"),
        ({"steps": 0}, "at least one step"),
        ({"linearised": True}, "not its linearisation"),
        ({"m": 5}, "equal shares"),
    ],
)
def test_bad_options_are_refused(plain, options, message):
    _, params0, trained, _, _ = plain
    call = {"attack": "simudy", "train_rate": 0.02, "m": 4, "progress": False} | options
    with pytest.raises(ReconError, match=message):
        reconstruct(params0, trained.final.params, **call)


def test_adam_has_the_published_moments():
    objective = Simulation(DescentSettings(learning_rate=0.5), MLP((4,)), (3,), SimuDy())
    first, state = objective.optimiser.update(np.ones(1), objective.optimiser.init(np.zeros(1)))
    second, _ = objective.optimiser.update(-2 * np.ones(1), state)
    mean, square = 0.8 * 0.2 * 1 + 0.2 * -2, 0.9 * 0.1 * 1 + 0.1 * 4
    np.testing.assert_allclose(first, -0.5, rtol=1e-5)
    np.testing.assert_allclose(second, -0.5 * mean / (1 - 0.8**2) / np.sqrt(square / (1 - 0.9**2)), rtol=1e-5)
