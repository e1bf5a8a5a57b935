"""One gradient in the place of final weights: exact images, labels, what is not in it, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from recon import ReconError
from recon.arrays import enable_x64
from recon.attacks import exact, reconstruct
from recon.attacks.base import Problem
from recon.attacks.exact import stages
from recon.attacks.first_layer.gradients import best_outputs, exact_outputs
from recon.attacks.first_layer.linear import normalised
from recon.attacks.first_layer.observe import cut_at, observe
from recon.attacks.first_layer.tangent import Tangent
from recon.attacks.rank import rank_of_double
from recon.networks import MLP

N, DIM, WIDTH, CLASSES = 8, 30, 96, 5


def drawn(seed=0, n=N, outputs=CLASSES, scale=1.0):
    """Weights, images in [0, 1] and labels, in float64."""
    rng = np.random.default_rng(seed)
    params = {
        f"Dense_{i}": {"kernel": scale * rng.normal(size=(a, b)) / np.sqrt(a), "bias": 0.1 * rng.normal(size=b)}
        for i, (a, b) in enumerate(((DIM, WIDTH), (WIDTH, outputs)))
    }
    return params, rng.uniform(size=(n, DIM)), rng.integers(outputs, size=n)


def outputs_of(params, x):
    first, last = params.values()
    return jnp.maximum(x @ first["kernel"] + first["bias"], 0) @ last["kernel"] + last["bias"]


def cross_entropy(params, x, labels):
    chances = jax.nn.log_softmax(outputs_of(params, x))
    return -jnp.mean(chances[jnp.arange(len(x)), labels])


def squared(params, x, targets):
    return jnp.mean(jnp.sum((outputs_of(params, x) - targets) ** 2, axis=1))


def gradient_of(loss, params, *data):
    """By automatic differentiation in float64."""
    with enable_x64():
        return jax.tree.map(np.asarray, jax.grad(loss)(params, *data))


def attacked(params, gradient, **options):
    options = {"attack": "exact", "box": (0.0, 1.0), "progress": False, "seconds": 60.0, **options}
    return reconstruct(params, gradient=gradient, **options)


def apart(found, x):
    """Distances, a row for each reconstruction."""
    return cdist(found.images.reshape(len(found.images), DIM), x)


@pytest.fixture(scope="module")
def batch():
    params, x, labels = drawn()
    return params, x, labels, gradient_of(cross_entropy, params, x, labels)


def test_float64_gives_images_to_its_own_precision_with_their_labels(batch):
    params, x, labels, gradient = batch
    found = attacked(params, gradient)
    distance = apart(found, x)
    assert found.images.dtype == np.float64
    assert distance.min(0).max() < 1e-8  # float32 alone would leave 1e-6
    assert found.certified.all()
    assert found.n_estimated == N
    np.testing.assert_array_equal(found.labels, labels[distance.argmin(1)])
    assert found.absent == 0


def test_float32_gives_them_too_and_says_the_same(batch):
    params, x, labels, gradient = batch
    single = [jax.tree.map(lambda a: np.asarray(a, np.float32), tree) for tree in (params, gradient)]
    found = attacked(*single)
    distance = apart(found, x)
    assert found.images.dtype == np.float32
    assert 1e-8 < distance.min(0).max() < 1e-2
    assert found.certified.all()
    np.testing.assert_array_equal(found.labels, labels[distance.argmin(1)])
    # Numbers of float32 in arrays of float64 are no more than they are.
    wide = [jax.tree.map(np.float64, tree) for tree in single]
    assert attacked(*wide).images.dtype == np.float32


def test_a_copy_counts_once_and_not_as_absent(batch):
    params, x, labels, _ = batch
    again, twice = np.vstack([x, x[:1]]), np.append(labels, labels[:1])
    found = attacked(params, gradient_of(cross_entropy, params, again, twice))
    assert found.n_estimated == N
    assert found.certified.all()
    assert found.absent == 0
    assert apart(found, x).min(0).max() < 1e-8


def test_one_image_with_two_labels_has_none():
    params, x, labels = drawn(seed=1)
    again, twice = np.vstack([x, x[:1]]), np.append(labels, (labels[0] + 1) % CLASSES)
    found = attacked(params, gradient_of(cross_entropy, params, again, twice))
    nearest = apart(found, x).argmin(1)
    told = found.labels[nearest != 0]
    np.testing.assert_array_equal(told, labels[nearest[nearest != 0]])
    assert found.labels[nearest == 0] == [-1]
    assert found.absent is None


def test_an_image_that_a_saturated_softmax_hides_is_absent_and_not_missed():
    params, x, _ = drawn(seed=2, scale=20.0)
    logits = np.asarray(outputs_of(params, x))
    order = np.argsort(logits, axis=1)
    labels = order[:, 0]  # wrong ones, which leave a dual of about √2
    margin = logits[np.arange(N), order[:, -1]] - logits[np.arange(N), order[:, -2]]
    sure = int(margin.argmax())
    assert margin[sure] > 60  # so that its dual is below e⁻⁶⁰
    labels[sure] = order[sure, -1]
    found = attacked(params, gradient_of(cross_entropy, params, x, labels))
    distance = apart(found, x).min(0)
    assert found.n_estimated == N - 1
    assert found.absent == 1
    assert found.certified.all()
    assert np.delete(distance, sure).max() < 1e-6
    assert distance[sure] > 0.5


@pytest.mark.parametrize("outputs", [1, CLASSES])
def test_labels_of_squared_loss(outputs):
    params, x, labels = drawn(seed=3, outputs=outputs)
    if outputs == 1:
        labels = np.arange(N) % 2
        targets = 2.0 * labels[:, None] - 1
    else:
        targets = np.eye(outputs)[labels] - 1 / outputs
    found = attacked(params, gradient_of(squared, params, x, targets))
    distance = apart(found, x)
    assert distance.min(0).max() < 1e-6
    told = found.labels >= 0
    np.testing.assert_array_equal(found.labels[told], labels[distance.argmin(1)][told])
    assert told.all()


def test_no_labels_where_targets_are_no_classes():
    params, x, _ = drawn(seed=4)
    targets = np.random.default_rng(0).normal(size=(N, CLASSES))
    found = attacked(params, gradient_of(squared, params, x, targets))
    assert found.certified.all()
    assert (found.labels == -1).all()


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_nothing_is_certified_of_a_random_matrix(batch, precision, rng):
    params, _, _, gradient = batch
    z = rng.normal(size=(DIM + 1, N)) @ rng.normal(size=(N, WIDTH))
    fake = {**gradient, "Dense_0": {"kernel": z[:-1], "bias": z[-1]}}
    found = attacked(params, jax.tree.map(lambda a: np.asarray(a, precision), fake), seconds=5.0)
    assert found.n_estimated == N
    assert not found.certified.any()
    assert not found.up_to_scale.any()


def test_noise_on_the_gradient_leaves_no_false_certificate(batch, rng):
    params, x, _, gradient = batch
    noisy = jax.tree.map(lambda g: g + 1e-2 * np.abs(g).max() * rng.normal(size=g.shape), gradient)
    found = attacked(params, noisy, seconds=5.0)
    right = apart(found, x).min(1, initial=np.inf) < 0.1
    assert not (found.certified & ~right).any()


def test_an_attack_on_changes_takes_the_gradient_as_one(batch):
    params, _, _, gradient = batch
    found = attacked(params, gradient, attack="ntk-fast", m=N, steps=5)
    assert found.images.shape == (N, DIM)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params1": True}, "Give the final weights, params1, or in their place one gradient"),
        ({"gradient": None}, "Give the final weights, params1, or in their place one gradient"),
        ({"attack": "kkt"}, "says nothing of the attack 'kkt'"),
        ({"attack": "simudy"}, "says nothing of the attack 'simudy'"),
        ({"state": True}, "optimiser's state"),
        ({"linearised": True}, "optimiser's state and linearised"),
        ({"gradient": {"Dense_0": {"kernel": np.zeros((2, 2))}}}, "not shaped like the weights"),
        ({"gradient": 0.0}, "The gradient is zero everywhere"),
        ({"gradient": np.nan}, "The gradient's weights hold values that are not finite"),
    ],
)
def test_what_does_not_fit_is_refused(batch, change, message):
    params, _, _, gradient = batch
    options = {"gradient": gradient, "attack": "exact", "progress": False}
    for name, value in change.items():
        factor = isinstance(value, float)
        options[name] = jax.tree.map(lambda g, v=value: v * g, gradient) if factor else value
        if value is True and name != "linearised":
            options[name] = params
    with pytest.raises(ReconError, match=message):
        reconstruct(params, **options)


def test_the_rank_of_float64_is_where_values_fall_to_rounding():
    spread = np.array([1.0, 1e-3, 1e-4, 1e-9, 1e-12, 4e-16, 3e-16, 2e-16])
    n, gap, told = rank_of_double(spread, 7)
    assert (n, told) == (5, True)
    assert gap == pytest.approx(1e-12 / 4e-16)
    # With noise in all directions rounding is nowhere seen, and only a gap can tell.
    assert rank_of_double(np.array([1.0, 0.5, 1e-5, 9e-6, 8e-6]), 4)[::2] == (2, False)


def test_a_cut_takes_what_is_fainter_for_noise(rng):
    x = np.append(rng.normal(size=(DIM, N)), np.ones((1, N)), axis=0)
    duals = np.where(np.arange(N) == N - 1, 1e-9, 1.0)
    z = x @ (duals[:, None] * rng.normal(size=(N, WIDTH)))
    weights = rng.normal(size=z.shape)
    seen = observe(weights, weights, True, still=True, state=z, double=True)
    assert seen.n == N
    assert seen.at_rounding
    assert stages(seen) == [N - 1, N]
    less = cut_at(seen, N - 1)
    assert less.u.shape == (DIM + 1, N - 1)
    assert less.gap == pytest.approx(seen.s[-2] / seen.s[-1])
    # The noise of a rest of one singular value, as `observe` itself counts it.
    edge = np.sqrt(DIM + 1) + np.sqrt(WIDTH)
    assert less.noise == pytest.approx(seen.s[-1] / edge)


def test_the_combination_of_outputs_is_right_to_rounding(rng):
    g = rng.normal(size=(1, CLASSES, WIDTH)) * (rng.random(WIDTH) < 0.5)
    d = rng.normal(size=CLASSES)
    rows = np.linalg.qr(np.vstack([d @ g[0], rng.normal(size=(6, WIDTH))]).T)[0].T
    rough = best_outputs(g, rows)
    exact = exact_outputs(g, rough, rows)
    d /= np.linalg.norm(d)
    assert 1 - abs(exact[0] @ d) < 1e-15
    assert (
        np.abs(exact[0] * np.sign(exact[0] @ d) - d).max() < 1e-14 < np.abs(rough[0] * np.sign(rough[0] @ d) - d).max()
    )


def test_a_problem_keeps_the_gradient_as_its_change(batch):
    params, _, _, gradient = batch
    problem = Problem(MLP((WIDTH,), outputs=CLASSES), params, params, (DIM,), None, True, N, gradient=gradient)
    np.testing.assert_array_equal(problem.change["Dense_0"]["kernel"], -gradient["Dense_0"]["kernel"])
    assert problem.precision == np.float64


def test_ends_near_an_image_settle_on_its_own_row(batch, rng):
    params, x, labels, gradient = batch
    problem = Problem(MLP((WIDTH,), outputs=CLASSES), params, params, (DIM,), None, True, N, gradient=gradient)
    seen = exact.observed(problem)
    near = np.repeat(x, 8, axis=0) + 0.05 * rng.normal(size=(8 * N, DIM))
    ends = Tangent.on(seen, problem).settled(seen, np.append(near, np.ones((8 * N, 1)), axis=1) @ seen.u)
    first, last = params.values()
    chances = np.asarray(jax.nn.softmax(outputs_of(params, x)), np.float64)
    own = ((chances - np.eye(CLASSES)[labels]) @ last["kernel"].T) * (x @ first["kernel"] + first["bias"] > 0)
    found = ends.q @ seen.v
    cosines = np.abs(normalised(found) @ normalised(own).T)
    assert np.mean(ends.ratio < 1) > 0.9
    assert cosines[ends.ratio < 1].max(1).min() > 1 - 1e-9


@pytest.mark.parametrize("seed", [647, 648])  # of the latter rounding leaves a singular matrix
def test_outputs_are_exact_where_several_combinations_vanish(seed):
    rng = np.random.default_rng(seed)
    row, share = rng.normal(size=(1, 6)), rng.normal(size=(3, 1))
    near = np.cross(share[:, 0], rng.normal(size=3))[None]
    found = exact_outputs((share @ row)[None], near, np.zeros((0, 6)))
    assert abs(found[0] @ share[:, 0]) < 1e-12
