"""The search by the network's own gradients: what training images meet, and what it finds where others find nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from recon.attacks import exact
from recon.attacks.first_layer.certificate import moved_by_span
from recon.attacks.first_layer.gradients import best_outputs, by_activations, outside, passed, spans
from recon.attacks.first_layer.tangent import RESIDUAL, Tangent, flipped
from recon.dynamics import GradientFlow, Linearised
from recon.networks.activations import named
from tests.attacks.test_exact import N, errors, problem_of, trained

NARROW = (32, 32)  # 2.7 units for each of the 12 images
KINDS = [
    {"widths": NARROW},
    {"widths": (32, 40, 48)},
    {"widths": (64,)},
    {"widths": (48, 48), "outputs": 3},
    {"widths": (64, 64), "activation": "leaky_relu:0.2"},
    {"widths": (96, 96), "activation": "gelu"},
]


def coordinates(instance, seen):
    return np.c_[np.float64(instance.x), np.ones(N)] @ seen.u


def gradient_outside(known, units, c):
    """Share of the own gradient outside the row space of the first layer's change."""
    g = passed(c @ known.p.T, known.above, units).g[0]
    d = best_outputs(g, known.v)
    return outside(np.einsum("bc,bcw->bw", d, g), known.v.T)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_training_images_meet_the_spans_and_others_do_not(kind, rng, x64):
    instance = trained(Linearised(), **kind)
    problem = problem_of(instance)
    seen = exact.observed(problem)
    known, units = spans(seen, problem), problem.mlp.units
    c = coordinates(instance, seen)
    at = passed(c @ known.p.T, known.above, units)
    assert gradient_outside(known, units, c).max() < RESIDUAL
    for g, rows in zip(at.g[1:], known.rows, strict=True):
        assert len(rows) == N
        d = best_outputs(g, rows)
        assert outside(np.einsum("bc,bcw->bw", d, g), rows.T).max() < RESIDUAL
    if known.h.shape[1]:
        assert outside(at.h, known.h).max() < RESIDUAL
        some = rng.permutation(len(known.p))[: 2 * N]
        few = by_activations(known, some)
        assert outside(units.value(c @ few.p.T), few.h).max() < RESIDUAL
    others = c[rng.permutation(N)] + rng.normal(size=c.shape)
    others /= (others @ seen.u[-1])[:, None]
    assert gradient_outside(known, units, others).min() > 100 * RESIDUAL


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_gradients_are_those_of_the_network(kind, x64):
    instance = trained(Linearised(), **kind)
    problem = problem_of(instance)
    network, x = problem.mlp, np.float64(instance.x)
    params = jax.tree.map(np.float64, problem.params0)
    first = params["Dense_0"]

    def outputs(z):
        """With z added to the first pre-activations, by way of the biases."""
        moved = params | {"Dense_0": first | {"bias": first["bias"] + z}}
        return network.apply(moved, x[:1])[0]

    expected = jax.jacrev(outputs)(jnp.zeros(len(first["bias"])))
    known = spans(exact.observed(problem), problem)
    mine = passed(x @ first["kernel"] + first["bias"], known.above, network.units)
    np.testing.assert_allclose(mine.g[0][0], expected, atol=1e-7)


def test_flips_lead_back_to_the_pattern(rng):
    """Planted: four of 60 units on the wrong side, in the span of other rows."""
    values = rng.normal(size=(3, 60))
    active = rng.random((3, 60)) < 0.5
    g = np.where(active, values, 0)
    rows = np.linalg.qr(np.concatenate([g, rng.normal(size=(9, 60))]).T)[0].T
    wrong = active.copy()
    wrong[:, 5:9] ^= True
    start, other = np.where(wrong, values, 0), np.where(wrong, 0, values)
    assert outside(start, rows.T).min() > 1e-3
    np.testing.assert_array_equal(flipped(start, other, rows), g)
    np.testing.assert_array_equal(flipped(g, values - g, rows), g)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_narrow_networks_give_all_images_back_certified(kind):
    """By the first layer's patterns alone nothing comes of them."""
    instance = trained(Linearised(), **kind)
    found = instance.attack()
    assert found.why == "complete"
    assert found.certified.all()
    assert errors(instance, found).max() < 0.01


def test_images_of_a_narrow_network_are_out_of_reach_by_inactive_units_alone():
    instance = trained(Linearised(), widths=NARROW)
    assert not instance.attack(loose=True, starts=600).certified.any()


def test_a_descended_network_of_few_units():
    instance = trained(GradientFlow(loss=1e-6), widths=(64, 64))
    found = instance.attack()
    assert found.why == "complete"
    assert errors(instance, found).max() < 0.05


def test_an_image_alone_is_placed_and_vouched_for(rng, x64):
    """From half of the images, each a little off: the others are not needed."""
    instance = trained(Linearised(), widths=(64, 64))
    problem = problem_of(instance)
    seen = exact.observed(problem)
    way = Tangent.on(seen, problem)
    c = coordinates(instance, seen)[: N // 2]
    right = way.settled(seen, c)
    off = dataclasses.replace(right, c=right.c * (1 + 1e-3 * rng.normal(size=c.shape)))
    found, moved = way.alone(seen, off)
    images = (found.c / (found.c @ seen.u[-1])[:, None]) @ seen.u[:-1].T
    error = np.linalg.norm(images - instance.x[: N // 2], axis=1)
    assert error.max() < 1e-3
    assert np.all(error < 5 * moved)
    assert moved.max() < 0.1
    # From mixtures one comes to an image, which counts once, or to nothing that is vouched for.
    mixed = dataclasses.replace(right, c=right.c + right.c[::-1])
    found, moved = way.alone(seen, mixed)
    told = np.isfinite(moved)
    images = (found.c / (found.c @ seen.u[-1])[:, None]) @ seen.u[:-1].T
    distance = cdist(images[told], instance.x)
    assert told.sum() == len(set(distance.argmin(1))) < len(told)
    assert np.all(distance.min(1) < 1e-3)


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_what_noise_moves_images_by_is_known(name, rng, x64):
    """Noise on the weights moves images by about what is said of them."""
    instance = trained(Linearised(), widths=(96, 96), activation=name)
    after = jax.tree.map(lambda a: a + 1e-6 * rng.standard_normal(a.shape).astype(np.float32), instance.after)
    problem = problem_of(dataclasses.replace(instance, after=after))
    seen = exact.observed(problem)
    way = Tangent.on(seen, problem)
    found, moved = way.alone(seen, way.settled(seen, coordinates(instance, seen)))
    images = (found.c / (found.c @ seen.u[-1])[:, None]) @ seen.u[:-1].T
    error = np.linalg.norm(images - instance.x, axis=1)
    told = np.isfinite(moved)
    assert told.any()
    ratio = error[told] / np.hypot(moved, moved_by_span(seen, found, images))[told]
    assert 0.3 < np.median(ratio) < 2
    assert ratio.max() < 3
    assert named(name).leak == problem.mlp.units.leak
