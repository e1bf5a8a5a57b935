import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from recon import ReconError, reconstruct
from recon.attacks.adam import Known
from recon.attacks.gradient_matching import Target, box_penalty, matching_loss, projected_loss
from recon.attacks.ntk_minibatch import Minibatch, Running, Variables, batch_of, full_sum, held_sharpness, refresh
from recon.dynamics import Linearised, train
from recon.metrics import distances, greedy
from recon.networks import MLP, softplus
from tests.conftest import small_problem

M = 12


def loop_state(rng, dtype, points=2, outputs=3):
    """(target, known, variables, state at step 0) of a random problem."""
    network = MLP((9, 7), outputs=outputs)
    trees = [jax.tree.map(lambda a: a.astype(dtype), network.init(jax.random.key(s), 6)) for s in range(points + 1)]
    target = Target(network, tuple(trees[1:]), trees[0])
    box = (jnp.full(2, -0.5, dtype), jnp.full(2, 0.5, dtype))
    whole = Variables(
        jnp.asarray(rng.normal(size=(M, 6)), dtype), jnp.asarray(rng.normal(size=(M, points, outputs)), dtype)
    )
    moments = jax.vmap(optax.scale_by_adam().init)(whole)
    total = full_sum(target, whole, 5, held_sharpness(Minibatch(), jnp.asarray(0)))
    return target, Known(target.points, target.change, None, box), whole, Running(moments, total)


def gap(a, b):
    """Largest difference of two sums, relative to the largest entry."""
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(s)]) for s in (a, b))
    return np.abs(a - b).max() / np.abs(b).max()


def walk(rng, dtype, steps, settings):
    target, known, whole, state = loop_state(rng, dtype)
    key = jax.random.key(0)
    step = jax.jit(lambda w, s, i: refresh(target, settings, known, w, s, batch_of(key, i, M, settings.batch), i))
    for i in range(steps):
        whole, state, _ = step(whole, state, jnp.asarray(i))
    return state.total, full_sum(target, whole, M, held_sharpness(settings, jnp.asarray(steps - 1)))


def test_running_sum_is_the_full_sum(x64, rng):
    running, full = walk(rng, np.float64, 300, Minibatch(steps=300, batch=5))
    assert gap(running, full) < 1e-10


def test_single_precision_drifts_slowly(rng):
    settings = Minibatch(steps=4000, batch=5)
    drift = [gap(*walk(np.random.default_rng(0), np.float32, k, settings)) for k in (10, 1000)]
    # Rounding adds up like a random walk: √1000 roundings of 6e-8 are 2e-6; a hundredfold of that would be an error.
    assert drift[0] < 1e-5
    assert 0 < drift[1] < 2e-4


def test_gradient_of_a_batch_is_that_of_the_whole_loss(x64, rng):
    target, known, whole, state = loop_state(rng, np.float64)
    index, beta = jnp.array([7, 2, 9]), held_sharpness(Minibatch(), jnp.asarray(0))

    def loss(x, duals):
        value = matching_loss(target, x, duals.swapaxes(0, 1), softplus(beta))
        return float(value + box_penalty(x.reshape(M, 3, 2), known.box, 0.1))

    moved, after, before = refresh(target, Minibatch(), known, whole, state, index, jnp.asarray(0))
    assert float(before) == pytest.approx(
        float(matching_loss(target, whole.x, whole.duals.swapaxes(0, 1), softplus(beta)))
        + float(box_penalty(whole.x[index].reshape(3, 3, 2), known.box, 0.1))
    )
    # Adam's first moment holds a tenth of the gradient.
    gradient = jax.tree.map(lambda mu: mu / 0.1, after.moments.mu)
    for j, d in [(7, 0), (2, 5), (9, 3), (9, 4)]:
        h = np.zeros((M, 6))
        h[j, d] = 1e-6
        slope = (loss(whole.x + h, whole.duals) - loss(whole.x - h, whole.duals)) / 2e-6
        assert float(gradient.x[j, d]) == pytest.approx(slope, rel=1e-5, abs=1e-8)
    for j, p, c in [(7, 0, 0), (2, 1, 2), (9, 1, 1)]:
        h = np.zeros(whole.duals.shape)
        h[j, p, c] = 1e-6
        slope = (loss(whole.x, whole.duals + h) - loss(whole.x, whole.duals - h)) / 2e-6
        assert float(gradient.duals[j, p, c]) == pytest.approx(slope, rel=1e-5, abs=1e-8)
    others = np.setdiff1d(np.arange(M), index)
    np.testing.assert_array_equal(moved.x[others], whole.x[others])
    assert not np.any(np.asarray(after.moments.count)[others])
    np.testing.assert_array_equal(np.asarray(after.moments.count)[index], 1)


def test_a_batch_of_all_takes_the_published_steps(x64, rng):
    target, known, whole, state = loop_state(rng, np.float64)
    settings = Minibatch(batch=M, resum=1, steps=5)
    plain, adam = whole, optax.adam(settings.learning_rate)
    plain_state = adam.init(plain)
    for i in range(5):
        beta = held_sharpness(settings, jnp.asarray(i))
        state = state._replace(total=full_sum(target, whole, 4, beta))  # as the loop does where resum = 1
        whole, state, loss = refresh(target, settings, known, whole, state, jnp.arange(M), jnp.asarray(i))

        def published(v, beta=beta):
            fit = matching_loss(target, v.x, v.duals.swapaxes(0, 1), softplus(beta))
            return fit + box_penalty(v.x.reshape(M, 3, 2), known.box, settings.box_weight)

        value, grads = jax.value_and_grad(published)(plain)
        updates, plain_state = adam.update(grads, plain_state)
        plain = optax.apply_updates(plain, updates)
        assert float(loss) == pytest.approx(float(value), rel=1e-10)
    for a, b in zip(whole, plain):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_an_epoch_draws_every_image_once():
    batches = [np.asarray(batch_of(jax.random.key(0), jnp.asarray(i), M, 4)) for i in range(6)]
    for epoch in (batches[:3], batches[3:]):
        assert sorted(np.concatenate(epoch)) == list(range(M))
    assert any(set(a) != set(b) for a, b in zip(batches[:3], batches[3:]))


def test_the_key_draws_the_batches():
    network, params0, x, y = small_problem(n=3)
    final = train(network, params0, x, y, Linearised()).final.params
    start = np.random.default_rng(0).normal(size=(6, 12))
    call = {"attack": "ntk-minibatch", "start": start, "batch": 2, "steps": 1, "progress": False}
    touched = set()
    for key in range(4):
        found = reconstruct(params0, final, key=key, **call)
        touched.add(tuple(np.flatnonzero((found.images != found.start).any(axis=1))))
    assert all(len(pair) == 2 for pair in touched)
    assert len(touched) > 1


@pytest.mark.usefixtures("optimised")
def test_large_sets_come_back_by_batches():
    network, params0, x, y = small_problem(n=3, dim=10, widths=(256, 256))
    trained = train(network, params0, x, y, Linearised())
    options = {"linearised": True, "batch": 2, "resum": 100, "decay": "cosine", "progress": False}
    found = reconstruct(params0, trained.final.params, attack="ntk-minibatch", m=6, steps=6000, snapshots=3, **options)
    error = greedy(distances(x, found.images)).distance
    assert error.mean() < 0.5 * greedy(distances(x, found.start)).distance.mean()
    assert found.trace[-1, 1] < 0.1 * found.trace[0, 1]
    assert found.duals.shape == (1, 6, 1)
    assert [s.step for s in found.snapshots] == [10, 245, 6000]
    # How the loop is cut up does not matter to where it goes.
    again = reconstruct(params0, trained.final.params, attack="ntk-minibatch", m=6, steps=50, key=1, **options)
    cut = reconstruct(params0, trained.final.params, attack="ntk-minibatch", m=6, steps=50, key=1, snapshots=9,
                      **options)  # fmt: skip
    np.testing.assert_allclose(again.images, cut.images, atol=1e-6)


def test_projected_duals_are_the_best_of_each_sum_and_held_between():
    network, params0, x, y = small_problem(n=3, dim=10, widths=(64, 64))
    final = train(network, params0, x, y, Linearised()).final.params
    call = {"linearised": True, "m": 6, "batch": 2, "resum": 3, "duals": "projected", "progress": False}
    start, held, again = (
        reconstruct(params0, final, attack="ntk-minibatch", steps=k, sharpness_end=11.0, **call) for k in (1, 3, 4)
    )
    np.testing.assert_array_equal(start.duals, held.duals)
    change = jax.tree.map(lambda a, b: b - a, params0, final)
    target = Target(network, (params0,), change)
    for images, duals in ((start.start, start.duals), (held.images, again.duals)):
        _, best = projected_loss(target, images, softplus(11.0), ridge=1e-4)
        np.testing.assert_allclose(duals, best, rtol=1e-2, atol=1e-2 * np.abs(best).max())
    assert np.abs(again.duals - held.duals).max() > 0.01 * np.abs(held.duals).max()
    # The loss that the next batch sees is that of the projected duals.
    assert again.trace[-1, 1] == pytest.approx(
        float(matching_loss(target, held.images, again.duals, softplus(11.0))), rel=1e-3
    )


def test_work_of_a_step_goes_by_the_batch():
    network, params0, x, y = small_problem(n=3, dim=40, widths=(64, 64))
    final = train(network, params0, x, y, Linearised()).final.params
    call = {"m": 60, "steps": 1, "progress": False}
    by_batch = {
        b: reconstruct(params0, final, attack="ntk-minibatch", batch=b, resum=1000, **call).work["flops_per_step"]
        for b in (10, 30, 60)
    }
    whole = reconstruct(params0, final, attack="ntk", **call).work["flops_per_step"]
    assert by_batch[10] < 0.3 * by_batch[60]
    assert 2 < by_batch[30] / by_batch[10] < 3.5
    assert by_batch[60] < 2.5 * whole


def test_settings():
    network, params0, x, y = small_problem(n=3)
    final = train(network, params0, x, y, Linearised()).final.params
    for options in ({"batch": 0}, {"resum": 0}, {"steps": 0}):
        with pytest.raises(ReconError, match="at least one"):
            reconstruct(params0, final, attack="ntk-minibatch", m=4, progress=False, **options)
    stopped = reconstruct(params0, final, attack="ntk-minibatch", m=4, seconds=0.2, progress=False)
    assert stopped.why == "time budget"
    assert 0 < stopped.steps < 80_000
    assert dataclasses.asdict(Minibatch())["resum"] == 1000  # as published
