import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon.arrays import enable_x64
from recon.dynamics import Descent, descent, train
from recon.errors import ReconError
from tests.conftest import flat, small_problem


def by_hand(network, params0, x, y, rate, momentum, steps):
    """Heavy-ball descent in a plain loop, float64."""
    with enable_x64():
        params = jax.tree.map(lambda a: jnp.asarray(a, "float64"), params0)
        velocity = jax.tree.map(jnp.zeros_like, params)
        gradient = jax.jit(jax.grad(lambda p: 0.5 * jnp.mean(jnp.sum((network.apply(p, x) - y) ** 2, axis=1))))
        for _ in range(steps):
            velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, gradient(params))
            params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
        return flat(params)


def in_numpy(params0, x, y, settings, steps):
    """(weights, optimiser state) of SGD or Adam in plain NumPy, float64: gradients by hand for two hidden layers."""
    (w1, b1), (w2, b2), (w3, b3) = (
        (np.float64(params0[k]["kernel"]), np.float64(params0[k]["bias"])) for k in ("Dense_0", "Dense_1", "Dense_2")
    )
    theta = [w1, b1, w2, b2, w3, b3]
    first, second = ([np.zeros_like(a) for a in theta] for _ in range(2))
    for step in range(1, steps + 1):
        w1, b1, w2, b2, w3, b3 = theta
        z1 = x @ w1 + b1
        h1 = np.maximum(z1, 0)
        z2 = h1 @ w2 + b2
        h2 = np.maximum(z2, 0)
        d3 = (h2 @ w3 + b3 - y) / len(x)
        d2 = (d3 @ w3.T) * (z2 > 0)
        d1 = (d2 @ w2.T) * (z1 > 0)
        gradient = [x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)]
        gradient = [g + settings.weight_decay * a for g, a in zip(gradient, theta)]
        if settings.optimiser == "sgd":
            first = [settings.momentum * m + g for m, g in zip(first, gradient)]
            move = first
        else:
            first = [0.9 * m + 0.1 * g for m, g in zip(first, gradient)]
            second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, gradient)]
            move = [m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) for m, v in zip(first, second)]
        theta = [a - settings.learning_rate * m for a, m in zip(theta, move)]

    def tree(leaves):
        return {f"Dense_{i}": {"kernel": leaves[2 * i], "bias": leaves[2 * i + 1]} for i in range(3)}

    return flat(tree(theta)), flat(tree(first))


@pytest.mark.parametrize(
    "settings",
    [
        Descent(learning_rate=0.05, weight_decay=0.01, loss=1e-2, dtype="float64"),
        Descent(learning_rate=0.02, weight_decay=0.01, momentum=0.9, loss=1e-2, dtype="float64"),
        Descent(optimiser="adam", learning_rate=1e-3, loss=1e-2, dtype="float64"),
        Descent(optimiser="adam", learning_rate=1e-3, weight_decay=0.01, loss=1e-2, dtype="float64"),
    ],
    ids=["decay", "decay and momentum", "adam", "adam and decay"],
)
def test_decay_and_adam_against_numpy(settings):
    network, params0, x, y = small_problem(n=5)
    trained = train(network, params0, x, y, settings)
    assert trained.final.step > 10
    weights, state = in_numpy(params0, np.float64(x), np.float64(y), settings, trained.final.step)
    np.testing.assert_allclose(flat(trained.final.params), weights, atol=3e-8, rtol=1e-6)
    if settings.optimiser == "sgd" and not settings.momentum:
        assert trained.state is None
    else:
        np.testing.assert_allclose(flat(trained.state), state, atol=1e-9, rtol=1e-6)


def test_adam_takes_a_learning_rate_and_no_momentum():
    network, params0, x, y = small_problem(n=5)
    for wrong in (Descent(optimiser="adam"), Descent(optimiser="adam", learning_rate=1e-3, momentum=0.5)):
        with pytest.raises(ReconError, match="give it a learning_rate"):
            train(network, params0, x, y, wrong)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_full_batch_descent_is_the_textbook_rule(momentum):
    network, params0, x, y = small_problem(n=5)
    trained = train(network, params0, x, y, Descent(learning_rate=0.02, momentum=momentum, loss=1e-3, dtype="float64"))
    expected = by_hand(network, params0, np.float64(x), np.float64(y), 0.02, momentum, trained.final.step)
    # The final weights are stored in float32.
    np.testing.assert_allclose(flat(trained.final.params), expected, atol=3e-8, rtol=1e-6)
    assert trained.final.loss <= 1e-3
    one_less = by_hand(network, params0, np.float64(x), np.float64(y), 0.02, momentum, trained.final.step - 1)
    assert np.linalg.norm(one_less - expected) > 1e-5


def test_path_losses_do_not_depend_on_how_the_path_is_walked():
    network, params0, x, y = small_problem(n=6)
    plain = train(network, params0, x, y, Descent(rate=0.005, loss=1e-4)).loss_path
    walks = Descent(rate=0.0005, momentum=0.9, loss=1e-4), Descent(rate=0.005, batch_size=3, loss=1e-4)
    for settings in walks:
        np.testing.assert_allclose(train(network, params0, x, y, settings).loss_path, plain, rtol=0.05)
    assert np.ptp(plain) > 0.3 * plain.mean()


def test_rate_is_a_multiple_of_the_inverse_curvature():
    network, params0, x, y = small_problem(n=5)
    assert train(network, params0, x, y, Descent(rate=1.0, loss=1e-3)).final.step > 3
    with pytest.raises(ReconError, match="lower the rate"):
        train(network, params0, x * 30, y, Descent(learning_rate=1.0))


def test_minibatches():
    network, params0, x, y = small_problem(n=6)
    a, b, c = (
        train(network, params0, x, y, Descent(rate=0.5, batch_size=2, loss=1e-4, seed=s)).final for s in (0, 0, 1)
    )
    assert a.loss <= 1.01e-4
    np.testing.assert_array_equal(flat(a.params), flat(b.params))
    assert np.linalg.norm(flat(a.params) - flat(c.params)) > 1e-4
    with pytest.raises(ReconError, match="cannot be drawn"):
        train(network, params0, x, y, Descent(batch_size=7))


def test_an_epoch_draws_every_image_once_in_an_order_of_its_own():
    network, params0, x, y = small_problem(n=6)
    rule, drawn = Descent(learning_rate=1.0, batch_size=2, dtype="float64"), []
    with enable_x64():
        wide, x, y = jax.tree.map(lambda a: jnp.asarray(a, "float64"), (params0, x, y))
        slope = jax.jit(jax.grad(lambda p, x, y: 0.5 * jnp.sum((network.apply(p, x[None]) - y) ** 2)))
        single = np.stack([flat(slope(wide, x[i], y[i])) for i in range(6)], axis=1)
        start = wide, descent._optimiser(rule, 1.0).init(wide), jnp.zeros(6)
        for step in range(6):  # each from the same weights, so that its move tells its images
            moved = descent._descend(network, rule, start, ((x, y), 1.0, jax.random.key(3)), step, step + 1)[0]
            part = np.linalg.lstsq(single, 2 * (flat(wide) - flat(moved)))[0]
            np.testing.assert_allclose(part, part.round(), atol=1e-6)
            drawn.append(tuple(np.flatnonzero(part.round())))
    assert sorted(sum(drawn[:3], ())) == sorted(sum(drawn[3:], ())) == list(range(6))
    assert drawn[:3] != drawn[3:]


def test_steps_that_do_not_suffice():
    network, params0, x, y = small_problem(n=5)
    with pytest.raises(ReconError, match="raise max_steps"):
        train(network, params0, x, y, Descent(max_steps=5))
