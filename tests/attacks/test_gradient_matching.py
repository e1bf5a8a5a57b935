import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from recon import ReconError, memory, reconstruct
from recon.attacks import adam
from recon.attacks.adam import sharpness
from recon.attacks.gradient_matching import (
    GradientMatching,
    Target,
    box_penalty,
    matching_loss,
    projected_loss,
    stacked,
)
from recon.attacks.rank import first_layer_span
from recon.dynamics import GradientFlow, Linearised, train
from recon.kernels import as_matrix, ntk
from recon.loops import Program
from recon.metrics import distances, greedy
from recon.networks import MLP, softplus
from tests.conftest import flat, processor_time, small_problem


def target_and_point(rng, points, outputs, bias=True, widths=(9, 7)):
    network = MLP(widths, outputs=outputs, bias=bias)
    trees = [network.init(jax.random.key(s), 6) for s in range(points + 1)]
    x = jnp.asarray(rng.normal(size=(4, 6)))
    duals = jnp.asarray(rng.normal(size=(points, 4, outputs)))
    return Target(network, tuple(trees[1:]), trees[0]), x, duals


def plain_loss(target, x, duals, activation):
    """Eq. 7 as written: parameter gradients by automatic differentiation, summed as trees."""
    total = jax.tree.map(jnp.zeros_like, target.change)
    for params, a in zip(target.points, duals):
        _, pull = jax.vjp(lambda p: target.network.apply(p, x, activation), params)
        total = jax.tree.map(jnp.add, total, pull(a / len(x))[0])
    return sum(jnp.sum((d - t) ** 2) for d, t in zip(jax.tree.leaves(target.change), jax.tree.leaves(total)))


@pytest.mark.parametrize(("points", "outputs", "bias"), [(1, 1, True), (2, 1, True), (3, 3, True), (1, 2, False)])
def test_layerwise_loss_and_gradient_equal_the_plain_ones(x64, rng, points, outputs, bias):
    target, x, duals = target_and_point(rng, points, outputs, bias)
    activation = softplus(30.0)
    ours = jax.value_and_grad(lambda x, a: matching_loss(target, x, a, activation), argnums=(0, 1))(x, duals)
    plain = jax.value_and_grad(lambda x, a: plain_loss(target, x, a, activation), argnums=(0, 1))(x, duals)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain)):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 3, 4, 9])
def test_gradients_in_chunks_are_the_same_and_take_less_memory(x64, rng, chunk):
    target, x, duals = target_and_point(rng, 2, 3)
    activation = softplus(30.0)
    whole, parts = (
        jax.value_and_grad(lambda x, a, c=c: matching_loss(target, x, a, activation, c), argnums=(0, 1))(x, duals)
        for c in (None, chunk)
    )
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts)):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_chunks_save_memory():
    network, params0, x, y = small_problem(n=4, dim=10, widths=(64, 64))
    final = train(network, params0, x, y, Linearised()).final.params
    used = [
        reconstruct(params0, final, attack="ntk", m=800, steps=1, chunk=c, progress=False).work["temporary_bytes"]
        for c in (None, 50)
    ]
    assert used[1] < used[0] / 3


@pytest.mark.parametrize(("points", "outputs", "bias"), [(1, 1, True), (2, 3, True), (1, 2, False)])
def test_projected_duals_are_the_least_squares_solution(x64, rng, points, outputs, bias):
    target, x, _ = target_and_point(rng, points, outputs, bias)
    activation = softplus(30.0)
    loss, duals = projected_loss(target, x, activation, ridge=0.0)

    def gradients(a):
        m = len(x)
        pulls = [
            flat(jax.vjp(lambda p: target.network.apply(p, x, activation), params)[1](a[i] / m)[0])
            for i, params in enumerate(target.points)
        ]
        return np.sum(pulls, axis=0)

    basis = np.eye(duals.size).reshape(duals.size, *duals.shape)
    columns = np.stack([gradients(jnp.asarray(b)) for b in basis], axis=1)
    expected, *_ = np.linalg.lstsq(columns, flat(target.change), rcond=None)
    np.testing.assert_allclose(duals.ravel(), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(loss, matching_loss(target, x, duals, activation), rtol=1e-8)


def test_gradients_through_the_projection_match_finite_differences(x64, rng):
    target, x, _ = target_and_point(rng, 2, 2)
    f = jax.jit(lambda x: projected_loss(target, x, softplus(20.0), ridge=1e-3)[0])
    gradient = jax.grad(f)(x)
    for i, j in [(0, 0), (2, 3), (3, 5)]:
        step = np.zeros(x.shape)
        step[i, j] = 1e-5
        assert float(gradient[i, j]) == pytest.approx(float(f(x + step) - f(x - step)) / 2e-5, rel=1e-5, abs=1e-8)


def test_stacked_layers_give_the_kernel_between_points(x64, rng):
    target, x, _ = target_and_point(rng, 2, 1)
    layers = stacked(target, x, softplus(20.0))
    rows = sum((h @ h.T + 1) * (d[:, 0] @ d[:, 0].T) for h, d in zip(layers.inputs, layers.deltas))
    own = as_matrix(ntk(target.network, target.points[1], x, activation=softplus(20.0)))
    np.testing.assert_allclose(rows[4:, 4:], own, rtol=1e-10)


def test_box_penalty_and_sharpness_are_the_published_formulas():
    x = jnp.array([[[[1.5, 0.0]]], [[[-0.5, 3.0]]]])
    box = (jnp.array([0.0, 0.0]), jnp.array([1.0, 2.0]))
    assert float(box_penalty(x, box, 0.1)) == pytest.approx(0.1 * 2 * (0.25 + 0.25 + 1.0) / 4)
    settings = GradientMatching()
    for step in (0, 20_000, 40_000, 60_000):
        beta = min(10 + 10 ** (step / 20_000), 200)
        assert float(sharpness(settings, jnp.array(float(step)))) == pytest.approx(beta, rel=1e-5)


def test_published_settings():
    settings = GradientMatching()
    assert (settings.steps, settings.learning_rate, settings.decay) == (80_000, 0.02, "constant")
    assert (settings.duals, settings.points, settings.span) == ("free", (1.0,), False)
    assert (settings.x_scale, settings.dual_scale, settings.box_weight) == (0.2, 0.5, 0.1)


def test_loop_takes_the_steps_of_adam():
    network, params0, x, y = small_problem(n=3, dim=6, widths=(16, 16))
    trained = train(network, params0, x, y, Linearised())
    found = reconstruct(
        params0, trained.final.params, attack="ntk", m=4, linearised=True, key=3, steps=7, progress=False
    )
    settings = GradientMatching(steps=7)
    change = jax.tree.map(lambda a, b: b - a, params0, trained.final.params)
    target = Target(network, (params0,), change)
    k_x, k_a = jax.random.split(jax.random.key(3))
    v = {
        "x": 0.2 * jax.random.normal(k_x, (4, 6)),
        "duals": jax.random.uniform(k_a, (1, 4, 1), minval=-0.5, maxval=0.5),
    }
    np.testing.assert_array_equal(found.start, v["x"])
    adam = optax.adam(0.02)
    state = adam.init(v)
    for i in range(7):
        grads = jax.grad(
            lambda v, i=i: plain_loss(target, v["x"], v["duals"], softplus(min(10 + 10 ** (4 * i / 7), 200)))
        )(v)
        updates, state = adam.update(grads, state)
        v = optax.apply_updates(v, updates)
    assert sharpness(settings, jnp.array(6.0)) == 200
    np.testing.assert_allclose(found.images, v["x"], atol=2e-4)
    np.testing.assert_allclose(found.duals, v["duals"], atol=2e-4)


@pytest.mark.parametrize("attack", ["ntk-fast", "ntk-autodiff"])
def test_duals_are_the_best_ones_at_the_last_sharpness(attack):
    network, params0, x, y = small_problem(n=3)
    final = train(network, params0, x, y, Linearised()).final.params
    found = reconstruct(params0, final, attack=attack, linearised=True, m=4, steps=3, progress=False)
    settings = GradientMatching(steps=3)
    target = Target(network, (params0,), jax.tree.map(lambda a, b: b - a, params0, final))
    first, last = (
        projected_loss(target, found.images, softplus(sharpness(settings, jnp.asarray(step))), settings.ridge)[1]
        for step in (0.0, 3.0)
    )
    size = np.abs(last).max()
    assert np.abs(first - last).max() > 0.01 * size
    np.testing.assert_allclose(found.duals, last, atol=1e-3 * size)


@pytest.mark.parametrize("options", [{}, {"span": True}, {"duals": "free"}, {"points": (0.0, 1.0)}])
def test_small_training_sets_come_back(options):
    # Wide for its few images in few dimensions, so that the attack has a clear answer.
    network, params0, x, y = small_problem(n=3, dim=10, widths=(256, 256))
    for dynamics in (Linearised(), GradientFlow(tol=1e-2)):
        trained = train(network, params0, x, y, dynamics)
        found = reconstruct(
            params0, trained.final.params, linearised=trained.linearised, steps=1500, progress=False, **options
        )
        assert found.n_estimated == 3
        assert len(found.images) == 6
        # Images of norm √10 ≈ 3.2; directions are what the weights give away.
        error = greedy(distances(x, found.images)).distance
        control = greedy(distances(x, found.start)).distance
        assert error.mean() < 0.5 * control.mean()


@pytest.mark.parametrize(
    ("values", "n", "clear"),
    [
        ((4, 3, 2, 2 / 11, 0.1), 3, True),
        ((4, 3, 2, 2 / 9, 0.1), 3, False),
        ((1, 0.1, 1e-5, 1e-10, 0), 3, True),  # the third is small, but no rounding yet
        ((4, 3, 3e-6, 1.5e-6, 0), 2, True),
        ((4, 3, 0.3, 3e-6, 3e-12), 3, True),  # the wider gap lies within the rounding
    ],
)
def test_the_rank_is_told_by_a_clear_gap_above_the_rounding(rng, values, n, clear):
    left, right = (np.linalg.qr(rng.normal(size=(k, 5)))[0] for k in (5, 30))
    span = first_layer_span(left * values @ right.T)
    assert (span.n, span.clear) == (n, clear)


def test_span_holds_the_training_images(rng):
    network, params0, x, y = small_problem(n=5, dim=30, widths=(64, 64))
    trained = train(network, params0, x, y, GradientFlow(tol=1e-2))
    change = trained.final.params["Dense_0"]["kernel"] - params0["Dense_0"]["kernel"]
    span = first_layer_span(change)
    assert span.clear
    assert span.n == 5
    np.testing.assert_allclose(x @ span.basis @ span.basis.T, x, atol=1e-3)
    assert not first_layer_span(rng.normal(size=(30, 64))).clear


def test_stopping():
    network, params0, x, y = small_problem(n=3)
    final = train(network, params0, x, y, Linearised()).final.params
    calls = []

    def interrupt(fraction, text):
        calls.append(fraction)
        if len(calls) == 5:
            raise KeyboardInterrupt

    stopped = reconstruct(params0, final, attack="ntk", progress=interrupt)
    assert stopped.interrupted
    assert 0 < stopped.steps < 80_000
    assert stopped.images.shape == (6, 12)
    assert stopped.trace[-1, 1] == pytest.approx(stopped.trace[:, 1].min(), rel=1)
    with processor_time() as spent:
        budget = reconstruct(params0, final, attack="ntk", seconds=0.5, progress=False)
    assert budget.why == "time budget"
    assert spent.seconds < 10


def test_an_interrupted_descent_keeps_the_variables_of_least_loss():
    losses = iter([5.0, 1.0, 3.0, 4.0])

    def interrupt(fraction, text):
        if text == "loss 4.00e+00":
            raise KeyboardInterrupt

    program = Program(lambda v, state, first, last, known: ({"x": last}, state, jnp.asarray(next(losses))), {}, {})
    done = adam.descend(program, {"x": 0}, None, None, GradientMatching(), None, interrupt)
    assert (done.variables["x"], done.loss, done.why) == (done.step, 1.0, "interrupted")
    assert done.step == done.trace[1, 0]
    assert list(done.trace[:, 1]) == [5, 1, 3, 4]


def slow_problem(rng, n=25, outputs=100):
    """Weights of which a step of ntk-fast takes seconds: a matrix of 2,500 rows is factored."""
    network = MLP((16,), outputs=outputs)
    before = jax.tree.map(np.asarray, network.init(jax.random.key(0), 20))
    after = jax.tree.map(lambda a: a + rng.normal(size=a.shape).astype(np.float32) / 100, before)
    return before, after, {"m": n, "progress": False}


@pytest.mark.parametrize("stopped", ["interrupted", "time budget"])
def test_slow_steps_hear_ctrl_c_and_the_clock(rng, monkeypatch, stopped):
    before, after, call = slow_problem(rng)
    monkeypatch.setattr(adam, "GRACE", 0.1)
    real, waited = adam.computed, []

    def wait(value, seconds):
        waited.append(value)
        if len(waited) == 1 and stopped == "interrupted":
            threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,)).start()
        return real(value, seconds)

    monkeypatch.setattr(adam, "computed", wait)
    seconds = None if stopped == "interrupted" else 0.2
    for attack in ("ntk-fast", "ntk-autodiff")[: 1 + (stopped == "interrupted")]:
        waited.clear()
        found = reconstruct(before, after, attack=attack, seconds=seconds, **call)
        assert not waited[-1].is_ready()  # the step is still under way
        assert (found.why, found.steps, found.duals) == (stopped, 0, None)
        np.testing.assert_array_equal(found.images, found.start)


def test_steps_that_no_memory_holds_are_refused(rng, monkeypatch):
    before, after, call = slow_problem(rng)
    square = 4 * (100 * 2000) ** 2
    monkeypatch.setattr(memory, "room", lambda: 7 * square)
    refused = pytest.raises(memory.TooLarge, match=r"^A step of the attack takes [\d.e+]+ GB .*: reconstruct fewer")
    with processor_time() as spent:
        for attack in ("ntk-fast", "hybrid"):  # a step takes eight matrices
            with refused:
                reconstruct(before, after, attack=attack, **{**call, "m": 2000})
    assert spent.seconds < 20  # compiling, not computing


def test_the_best_of_several_starts_is_kept():
    network, params0, x, y = small_problem(n=3)
    final = train(network, params0, x, y, Linearised()).final.params
    call = {"attack": "ntk-fast", "linearised": True, "m": 6, "steps": 60, "progress": False}
    several = reconstruct(params0, final, key=5, restarts=3, **call)
    single = [reconstruct(params0, final, key=k, **call) for k in jax.random.split(jax.random.key(5), 3)]
    best = min(single, key=lambda r: r.trace[-1, 1])
    np.testing.assert_array_equal(several.images, best.images)
    np.testing.assert_array_equal(several.start, best.start)
    assert several.steps == 180
    assert several.work["starts"] == 3


def test_snapshots_are_the_images_on_the_way():
    network, params0, x, y = small_problem(n=3)
    final = train(network, params0, x, y, Linearised()).final.params
    call = {"attack": "ntk", "linearised": True, "m": 6, "key": 1, "progress": False}
    found = reconstruct(params0, final, steps=300, snapshots=4, **call)
    assert [s.step for s in found.snapshots] == [10, 31, 97, 300]
    np.testing.assert_array_equal(found.snapshots[-1].images, found.images)
    assert np.all(np.diff([s.seconds for s in found.snapshots]) > 0)
    assert found.snapshots[1].flops == 31 * found.work["flops_per_step"]
    # The schedule of the published attack does not depend on when one looks.
    np.testing.assert_allclose(reconstruct(params0, final, steps=300, **call).images, found.images, atol=1e-6)
    stopped = reconstruct(params0, final, steps=10**6, seconds=0.3, snapshots=3, **call)
    assert stopped.snapshots[-1].step == stopped.steps


@pytest.mark.parametrize("options", [{"restarts": 0}, {"chunk": 0}, {"chunk": 2, "duals": "projected"}])
def test_impossible_settings_are_refused(options):
    network, params0, x, y = small_problem(n=3)
    final = train(network, params0, x, y, Linearised()).final.params
    with pytest.raises(ReconError):
        reconstruct(params0, final, attack="ntk", m=4, steps=2, progress=False, **options)
