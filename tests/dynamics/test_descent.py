import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon.dynamics import Descent, train
from recon.errors import ReconError
from tests.conftest import flat, small_problem


def by_hand(network, params0, x, y, rate, momentum, steps):
    """Heavy-ball descent in a plain loop, float64."""
    with jax.experimental.enable_x64():
        params = jax.tree.map(lambda a: jnp.asarray(a, "float64"), params0)
        velocity = jax.tree.map(jnp.zeros_like, params)
        gradient = jax.jit(jax.grad(lambda p: 0.5 * jnp.mean(jnp.sum((network.apply(p, x) - y) ** 2, axis=1))))
        for _ in range(steps):
            velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, gradient(params))
            params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
        return flat(params)


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


def test_steps_that_do_not_suffice():
    network, params0, x, y = small_problem(n=5)
    with pytest.raises(ReconError, match="raise max_steps"):
        train(network, params0, x, y, Descent(max_steps=5))
