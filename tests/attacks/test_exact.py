"""Exact recovery: instances with a known answer, invariances, instances without an answer, interruption."""

import dataclasses
import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import cdist

from recon import ReconError
from recon.attacks import Problem, exact, reconstruct
from recon.attacks.first_layer import certificate, flops, images, joint, linear, observe, vectors
from recon.dynamics import Descent, GradientFlow, Linearised, train
from recon.networks import MLP, from_params
from recon.tasks import load_task

N, DIM, WIDTH = 12, 40, 256


@dataclasses.dataclass(frozen=True)
class Instance:
    before: dict
    after: dict
    x: np.ndarray
    linearised: bool = False
    state: dict | None = None
    activation: str = "relu"

    def attack(self, **options):
        network = dataclasses.replace(from_params(self.before), activation=self.activation)
        where = {"linearised": self.linearised, "state": self.state, "m": len(self.x), "progress": False}
        where |= {} if self.activation == "relu" else {"network": network}
        return reconstruct(self.before, self.after, **{"attack": "exact", **where, **options})


def drawn(outputs=1, widths=(WIDTH, WIDTH), seed=0, activation="relu"):
    network = MLP(widths, outputs=outputs, activation=activation)
    before = jax.tree.map(np.asarray, network.init(jax.random.key(seed), DIM))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, DIM)).astype(np.float32)
    return network, before, x, rng.choice([-1.0, 1.0], size=(N, outputs)).astype(np.float32)


def trained(dynamics, **kind):
    network, before, x, y = drawn(**kind)
    run = train(network, before, x, y, dynamics)
    return Instance(run.initial.params, run.final.params, x, run.linearised, activation=network.activation)


@pytest.fixture(scope="module")
def linearised():
    return trained(Linearised())


def errors(instance, found):
    """For each image, the distance to its nearest reconstruction."""
    return cdist(np.float64(instance.x.reshape(len(instance.x), -1)), found.images.reshape(len(found.images), -1)).min(
        1
    )


@pytest.mark.parametrize(
    ("dynamics", "kind"),
    [
        (Linearised(), {}),
        (GradientFlow(loss=1e-6), {}),
        (Descent(loss=1e-6, batch_size=4, rate=0.5), {}),
        (Descent(loss=1e-6, momentum=0.9, rate=0.3), {"outputs": 3}),
        (Linearised(), {"widths": (WIDTH,)}),
        (Linearised(), {"widths": (WIDTH, 64, 64)}),
    ],
    ids=["linearised", "flow", "minibatches", "momentum, three outputs", "one hidden layer", "three hidden layers"],
)
def test_every_image_comes_back_and_is_certified(dynamics, kind):
    instance = trained(dynamics, **kind)
    found = instance.attack()
    assert found.why == "complete"
    assert found.n_estimated == len(found.images) == N
    assert found.certified.all()
    assert errors(instance, found).max() < 0.01


def test_digits_inside_their_box():
    data = load_task("mnist_odd_even", 20, seed=0, source="samples")
    network = MLP((256, 256))
    before = jax.tree.map(np.asarray, network.init(jax.random.key(0), 784))
    run = train(network, before, data.train.x, data.train.y, GradientFlow(loss=1e-4, tol=1e-2))
    instance = Instance(run.initial.params, run.final.params, data.train.x)
    found = instance.attack(image_shape=data.image_shape, box=data.box)
    assert found.images.shape == data.train.x.shape
    assert found.certified.all()
    assert errors(instance, found).max() < 0.01


def test_without_biases_the_box_gives_the_size_or_nothing_is_certified():
    data = load_task("mnist_odd_even", 20, seed=0, source="samples")
    network = MLP((256, 256), bias=False)
    before = jax.tree.map(np.asarray, network.init(jax.random.key(0), 784))
    run = train(network, before, data.train.x, data.train.y, Linearised())
    instance = Instance(run.initial.params, run.final.params, data.train.x, linearised=True)
    found = instance.attack(image_shape=data.image_shape, box=data.box)
    assert found.certified.all()
    assert errors(instance, found).max() < 0.05
    assert not instance.attack(image_shape=data.image_shape).certified.any()


def test_the_same_seed_gives_the_same_result(linearised):
    first, second, other = (linearised.attack(key=key) for key in (3, 3, 4))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.trace, second.trace)
    assert not np.array_equal(first.start, other.start)
    assert errors(linearised, other).max() < 0.01


def test_order_of_hidden_units_and_size_of_the_change_do_not_matter(linearised):
    order = np.random.default_rng(1).permutation(WIDTH)
    change = jax.tree.map(lambda a, b: b - a, linearised.before, linearised.after)
    first = {
        "before": {k: v[..., order] for k, v in linearised.before["Dense_0"].items()},
        "change": {k: 3 * v[..., order] for k, v in change["Dense_0"].items()},
    }
    after = jax.tree.map(np.add, first["before"], first["change"])
    moved = dataclasses.replace(
        linearised,
        before={**linearised.before, "Dense_0": first["before"]},
        after={**linearised.after, "Dense_0": after},
    )
    found = moved.attack()
    assert found.up_to_scale.all()
    assert errors(moved, found).max() < 0.01
    # Only one layer's change has grown: its outputs are at no targets, and nothing else tells the images' size.
    assert not found.certified.any()


@pytest.mark.parametrize("dynamics", [Linearised(), GradientFlow(loss=1e-6)], ids=["linearised", "flow"])
def test_swapped_weights_certify_nothing_wrong(dynamics):
    instance = trained(dynamics)
    found = dataclasses.replace(instance, before=instance.after, after=instance.before).attack()
    # The change only turns its sign, and patterns at both ends count; a linearised model's belong to θ₀ alone.
    if not instance.linearised:
        assert found.up_to_scale.all()
    error = cdist(found.images[found.certified], instance.x).min(1, initial=np.inf)
    assert np.all(error < 0.1)


def with_first_layer_change(instance, kernel, bias):
    first = instance.before["Dense_0"]
    after = {"kernel": np.float32(first["kernel"] + kernel), "bias": np.float32(first["bias"] + bias)}
    return dataclasses.replace(instance, after={**instance.after, "Dense_0": after})


@pytest.mark.parametrize("kind", ["random matrix", "permuted units"])
def test_nothing_is_certified_where_there_is_nothing_to_find(linearised, kind):
    rng = np.random.default_rng(0)
    first, last = linearised.before["Dense_0"], linearised.after["Dense_0"]
    kernel, bias = (last[k] - first[k] for k in ("kernel", "bias"))
    if kind == "random matrix":
        left, right = rng.normal(size=(DIM + 1, N)), rng.normal(size=(N, WIDTH))
        kernel, bias = np.split(1e-3 * left @ right, [DIM])
        bias = bias[0]
    else:
        order = rng.permutation(WIDTH)
        kernel, bias = kernel[:, order], bias[order]
    found = with_first_layer_change(linearised, kernel, bias).attack()
    assert found.n_estimated == N
    assert not found.certified.any()
    assert found.why == "nothing more found"


def test_weights_without_a_clear_rank_end_the_search_at_once(linearised):
    rng = np.random.default_rng(0)
    noisy = with_first_layer_change(linearised, 1e-3 * rng.normal(size=(DIM, WIDTH)), np.zeros(WIDTH))
    found = noisy.attack()
    assert found.why == "no clear rank"
    assert found.n_estimated is None
    assert found.images.shape == (0, DIM)


def test_ctrl_c_keeps_what_was_found(linearised):
    def interrupt(fraction, text):
        if fraction > 0:
            raise KeyboardInterrupt

    found = linearised.attack(progress=interrupt)
    assert found.interrupted
    assert 0 < len(found.images) <= N
    assert len(found.certified) == len(found.confidence) == len(found.images)


@pytest.mark.parametrize(("budget", "why"), [({"starts": 16}, "out of starts"), ({"seconds": 0.0}, "out of time")])
def test_budgets_end_the_search(linearised, budget, why):
    found = linearised.attack(rounds=1, **budget)
    assert found.why == why
    assert found.work["starts"] <= 48
    # The images that are missing may be in all the others; only what an image tells of itself counts.
    certified = np.float64(found.images[found.certified])
    assert cdist(certified, linearised.x).min(1, initial=0).max(initial=0) < 0.01


@pytest.mark.parametrize("decay", [1e-4, 1e-2])
@pytest.mark.parametrize("kernels_only", [False, True])
def test_weight_decay_is_taken_out(decay, kernels_only):
    network, before, x, y = drawn()
    mask = (lambda params: jax.tree.map(lambda a: a.ndim > 1, params)) if kernels_only else None
    optimiser = optax.chain(optax.add_decayed_weights(decay, mask), optax.sgd(0.1))
    rng = np.random.default_rng(0)
    shifted = {k: {**v, "bias": np.float32(0.1 * rng.normal(size=v["bias"].shape))} for k, v in before.items()}
    for start in (before, shifted):
        instance = Instance(start, descended(network, optimiser, start, x, y, 300)[0], x)
        found = instance.attack()
        assert found.up_to_scale.all()
        unit = linear.normalised(found.images)
        assert cdist(linear.normalised(np.float64(x)), unit).min(1).max() < 0.01
        # Biases of zero do not show whether they decayed as the kernels did; others do.
        if start is before or kernels_only:
            assert not found.certified.any()
        else:
            assert found.certified.all()
            assert errors(instance, found).max() < 0.05


def test_first_moment_of_adam_gives_the_images_away_that_the_weights_hide():
    network, before, x, y = drawn()
    after, (moments, *_) = descended(network, optax.adam(1e-4), before, x, y, 100)
    instance = Instance(before, after, x)
    assert not instance.attack().certified.any()
    found = dataclasses.replace(instance, state=jax.tree.map(np.asarray, moments.mu)).attack()
    assert found.certified.all()
    assert errors(instance, found).max() < 0.01


def test_momentum_buffer_gives_the_images_away():
    network, before, x, y = drawn()
    after, (buffer, _) = descended(network, optax.sgd(0.1, momentum=0.9), before, x, y, 100)
    found = Instance(before, after, x, state=jax.tree.map(np.asarray, buffer.trace)).attack()
    assert found.certified.all()
    assert errors(Instance(before, after, x), found).max() < 0.01


def descended(network, optimiser, before, x, y, steps):
    def loss(params):
        return 0.5 * jnp.mean(jnp.sum((network.apply(params, x) - y) ** 2, -1))

    @jax.jit
    def run(params):
        def body(_, carry):
            params, state = carry
            updates, state = optimiser.update(jax.grad(loss)(params), state, params)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, steps, body, (params, optimiser.init(params)))

    params, state = run(jax.tree.map(jnp.asarray, before))
    return jax.tree.map(np.asarray, params), state


def test_a_state_of_another_shape_is_refused(linearised):
    with pytest.raises(ReconError, match="not shaped like the weights"):
        linearised.attack(state={**linearised.before, "Dense_0": linearised.before["Dense_1"]})


def test_approximate_images_are_confirmed_and_wrong_ones_are_not(linearised):
    rng = np.random.default_rng(0)
    seen = exact.observed(problem_of(linearised))
    off = 0.1 * np.linalg.norm(linearised.x, axis=1, keepdims=True) * linear.normalised(rng.normal(size=(N, DIM)))
    assert len(exact.from_images(seen, linearised.x + off, rng)) == N
    assert len(exact.from_images(seen, rng.normal(size=(N, DIM)), rng)) < N / 3


def test_hybrid_adds_certified_images_to_those_of_the_gradient_attack(linearised):
    found = linearised.attack(attack="hybrid", steps=300, m=2 * N)
    assert found.images.shape == (2 * N, DIM)
    assert found.certified[:N].all()
    assert not found.certified[N:].any()
    assert errors(linearised, found).max() < 0.01


def problem_of(instance, box=None, shape=(DIM,)):
    network = dataclasses.replace(from_params(instance.before), activation=instance.activation)
    return Problem(network, instance.before, instance.after, shape, box, instance.linearised, N)


def test_null_vectors_against_an_eigendecomposition(rng):
    v = np.linalg.qr(rng.normal(size=(60, 10)))[0].T
    weight = rng.random((3, 60))
    q = linear.null_vectors(v, weight, rng.normal(size=(3, 10)), steps=10)
    for row, w in zip(q, weight, strict=True):
        values, vectors = np.linalg.eigh((v * w) @ v.T)
        assert row @ ((v * w) @ v.T) @ row == pytest.approx(values[0], abs=1e-12)
        assert abs(row @ vectors[:, 0]) == pytest.approx(1, abs=1e-9)


def test_operations_are_counted_as_by_hand(rng):
    batch, n, width, steps = 3, 10, 60, 4
    v, weight = np.linalg.qr(rng.normal(size=(width, n)))[0].T, rng.random((batch, width))
    with flops.counted() as count:
        linear.null_vectors(v, weight, rng.normal(size=(batch, n)), steps)
    lanczos = steps * 2 * batch * n * width * 2  # to the units and back
    orthogonal = sum(2 * 2 * (i + 1) * n * batch * 2 for i in range(steps))  # twice: overlaps, and what they take away
    assert count.flops == lanczos + orthogonal + 2 * batch * steps * n
    linear.null_vectors(v, weight, rng.normal(size=(batch, n)), steps)
    assert count.flops == lanczos + orthogonal + 2 * batch * steps * n  # nothing is counted outside the block


@pytest.mark.parametrize("attack", ["exact", "hybrid"])
def test_snapshots_show_the_way(linearised, attack):
    found = linearised.attack(attack=attack, **({"steps": 20} if attack == "hybrid" else {}))
    taken = found.snapshots
    assert len(taken) >= 2  # as few where the first batch of starts finds every image
    for a, b in itertools.pairwise(taken):
        assert (a.step, a.seconds, a.flops) <= (b.step, b.seconds, b.flops)
        assert a.flops < b.flops
    errors_on_the_way = [errors(linearised, s).mean() for s in taken]
    assert errors_on_the_way[0] > 2 * errors_on_the_way[-1]
    np.testing.assert_array_equal(taken[-1].images, found.images)
    assert taken[-1].flops == found.work["flops"] > 0
    assert taken[-1].seconds <= found.seconds["run"]


def test_mixtures_of_two_images_come_apart(linearised):
    seen = exact.observed(problem_of(linearised))
    c = np.c_[np.float64(linearised.x), np.ones(N)] @ seen.u
    right = linear.normalised(np.linalg.inv(c).T * seen.s)
    mixed = linear.normalised(right + 0.3 * np.roll(right, 1, axis=0))
    for after, least, most in ((vectors.sharpened(seen, c, mixed, 0.01), 0.99999, 1), (mixed, 0, 0.99)):
        cosine = np.abs(np.einsum("kn,kn->k", after, right))
        assert least < cosine.min()
        assert cosine.max() <= most + 1e-9


def test_logistic_steps_reach_the_optimum(rng):
    p = rng.normal(size=(80, 5))
    labels = (rng.random((2, 80)) < 0.5).astype(float)
    fit = linear.logistic(p, 0.5)
    c = fit.fit(labels, 300)
    slope = (linear.sigmoid(c @ p.T) - labels) @ p + fit.ridge * c
    assert np.abs(slope).max() < 1e-8


def test_corrected_coordinates_meet_the_conditions(rng):
    r, c = rng.normal(size=(4, 9)), rng.normal(size=(4, 9))
    product = vectors.corrected(c, r) @ r.T
    np.testing.assert_allclose(product - np.diag(np.diag(product)), 0, atol=1e-10)
    square = rng.normal(size=(5, 5))
    product = vectors.corrected(rng.normal(size=(5, 5)), square) @ square.T
    np.testing.assert_allclose(product - np.diag(np.diag(product)), 0, atol=1e-10)


def test_images_and_their_coordinates_are_inverse(linearised):
    first, last = (
        np.concatenate([np.float64(p["Dense_0"]["kernel"]), np.float64(p["Dense_0"]["bias"])[None]])
        for p in (linearised.before, linearised.after)
    )
    seen = observe.observe(first, last, bias=True, still=True)
    c = np.concatenate([np.float64(linearised.x), np.ones((N, 1))], 1) @ seen.u
    np.testing.assert_allclose(images.images(seen, 2.5 * c), linearised.x, atol=1e-4)
    assert seen.n == N


def with_planted_error(instance, share):
    """(what is seen, right vectors with an error of `share` of the first image's row in the last one's, the images)."""
    first, last = (
        np.concatenate([np.float64(p["Dense_0"]["kernel"]), np.float64(p["Dense_0"]["bias"])[None]])
        for p in (instance.before, instance.after)
    )
    seen = observe.observe(first, last, bias=True, still=True)
    true = np.concatenate([np.float64(instance.x), np.ones((N, 1))], 1) @ seen.u
    r = np.linalg.inv(true).T
    r[-1] += share * r[0]
    q = linear.normalised(r * seen.s)
    return seen, vectors.judged(seen, vectors.corrected(linear.normalised(true), r), q)


@pytest.mark.parametrize("share", [1e-4, 1e-3, 1e-2])
def test_spread_bounds_what_an_error_of_one_vector_does_to_another_image(linearised, share):
    seen, found = with_planted_error(linearised, share)
    x = images.images(seen, found.c)
    moved = np.linalg.norm(x - linearised.x, axis=1)
    bound = certificate.spread(seen, found, certificate.rows_of(seen, found), x)
    assert moved[0] > 3 * moved[1:].max()
    assert moved[0] < bound[0] < 10 * moved[0]
    # The last vector is not settled: no image hangs on the others alone, but the last one itself.
    assert not vouched(seen, found).up_to_scale[:-1].any()


def vouched(seen, found):
    nobody = certificate.Network((), None)
    return certificate.certificate(seen, found, nobody, np.zeros(len(found), bool))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [8, 16, 64])
def test_a_handful_of_images(n, width):
    """Neither a crash nor an endless search, and no certificate that so few units cannot carry."""
    for seed in range(6):
        network = MLP((width,))
        before = jax.tree.map(np.asarray, network.init(jax.random.key(seed), 30))
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 30)).astype(np.float32)
        y = rng.choice([-1.0, 1.0], size=(n, 1)).astype(np.float32)
        try:
            after = train(network, before, x, y, Descent(loss=1e-4, momentum=0.9, rate=0.3)).final.params
        except ReconError:  # dead units, nothing to attack
            continue
        instance = Instance(before, after, x)
        found = instance.attack(m=n)
        assert found.why in {"complete", "nothing more found", "out of starts", "no clear rank"}
        if width == 64 and found.why == "complete":
            near = errors(dataclasses.replace(instance, x=found.images), SimpleNamespace(images=x))
            assert near[found.certified].max(initial=0.0) < 0.1
        if width == 8 and n > 1:
            assert not found.certified.any()


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_an_error_between_images_that_are_alike_is_not_certified(share):
    # The first image's row vanishes on most units where the last one is inactive, as the two images are alike: an error
    # of the one in the other's row shows on a few units only, under the quantile that `tail` looks at.
    network, before, x, y = drawn()
    x[0] = x[-1] + 0.3 * x[0]
    run = train(network, before, x, y, Linearised())
    instance = Instance(run.initial.params, run.final.params, x, True)
    seen, found = with_planted_error(instance, share)
    moved = np.linalg.norm(images.images(seen, found.c) - x, axis=1)
    rows = certificate.rows_of(seen, found)
    assert certificate.tail(rows)[-1] < 1e-5
    assert moved[0] > certificate.CERTAIN_SPREAD
    assert not vouched(seen, found).up_to_scale[0]
    assert vouched(*with_planted_error(instance, 0.0)).up_to_scale.all()


def test_a_leak_of_the_last_image_shows_in_the_pattern(linearised):
    assert not joint.leaked(*with_planted_error(linearised, 0.0)).any()
    flagged = joint.leaked(*with_planted_error(linearised, 0.3))
    assert flagged[0]
    assert not flagged[1:].any()
