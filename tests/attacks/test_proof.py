"""Vectors that their own zeros prove: planted rows, mixtures, chance, rounding; networks at ordinary rates."""

import itertools

import numpy as np
from scipy import linalg
from scipy.spatial.distance import cdist

from recon.attacks import reconstruct
from recon.attacks.first_layer import proof, search
from recon.attacks.first_layer.linear import normalised
from recon.attacks.first_layer.observe import observe
from recon.attacks.first_layer.vectors import judged
from recon.attacks.first_layer.zeros import Zeros
from recon.cells.instances import Plain
from recon.dynamics import Descent
from recon.tasks import load_task

N, DIM, WIDTH = 12, 40, 256


def planted(noise=1e-7, seed=0):
    """A change of N images that each leave a random half of the units untouched, and its right null vectors."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(N, WIDTH)) * (rng.random((N, WIDTH)) < 0.5)
    x = np.concatenate([rng.normal(size=(N, DIM)), np.ones((N, 1))], axis=1)
    before = rng.normal(size=(DIM + 1, WIDTH))
    seen = observe(before, before + x.T @ rows + noise * rng.normal(size=before.shape), bias=True)
    assert seen.n == N
    # q V is the row of the change: found by least squares, not through the images.
    q = normalised(linalg.lstsq(seen.v.T, rows.T)[0].T)
    assert np.allclose(normalised(q @ seen.v), normalised(rows), atol=1e-5 + noise)
    return seen, q


def test_planted_vectors_are_proven_and_mixtures_are_not():
    seen, q = planted()
    assert (proof.uniqueness(seen, q) > 5 * proof.UNIQUE).all()
    pairs = normalised(q + np.roll(q, 1, axis=0))
    # A pair vanishes on a quarter of the units, more than any vector can be made to, but not alone.
    assert (proof.vanishing(seen, pairs).sum(1) > N + proof.FEWEST).all()
    assert (proof.uniqueness(seen, pairs) < 0.01 * proof.UNIQUE).all()
    drawn_at_random = normalised(np.random.default_rng(1).normal(size=q.shape))
    assert (proof.uniqueness(seen, drawn_at_random) == 0).all()


def test_a_mixture_that_vanishes_on_more_units_by_chance_is_not_proven():
    seen, q = planted()
    g = q @ seen.v
    both = np.flatnonzero((np.abs(g[:2]) > 0.03).all(0))
    mixtures = normalised(np.stack([g[1, k] * q[0] - g[0, k] * q[1] for k in both]))
    zero = proof.vanishing(seen, mixtures)
    assert zero[np.arange(len(both)), both].mean() > 0.9  # up to rounding
    assert (proof.uniqueness(seen, mixtures) < 0.01 * proof.UNIQUE).all()
    # Of three images, on two units.
    all_three = np.flatnonzero((np.abs(g[:3]) > 0.03).all(0))
    triples = [linalg.null_space(g[:3, list(pair)].T)[:, 0] @ q[:3] for pair in itertools.pairwise(all_three)]
    assert len(triples) > 5
    assert (proof.uniqueness(seen, normalised(np.array(triples))) < 0.01 * proof.UNIQUE).all()


def test_what_is_nearly_right_settles_on_its_zeros():
    seen, q = planted()
    rng = np.random.default_rng(2)
    near = normalised(q + 0.2 * rng.normal(size=q.shape) / np.sqrt(N))
    assert (proof.uniqueness(seen, near) == 0).all()
    settled = proof.settled(seen, near)
    assert np.abs(np.einsum("kn,kn->k", settled, q)).min() > 1 - 1e-9


def test_a_complete_set_is_settled_where_a_vector_is_pulled():
    seen, q = planted()
    pulled = q.copy()
    pulled[0] = normalised(q[:1] + 1e-3 * q[1:2])[0]
    mixture = q.copy()
    mixture[0] = normalised(q[:1] + q[1:2])[0]
    right, off, other = (
        judged(seen, normalised(linalg.inv(normalised(some / seen.s)).T), some) for some in (q, pulled, mixture)
    )
    made = proof.finished(seen, off)
    away = [1 - np.abs(np.einsum("kn,kn->k", some.c, right.c)).min() for some in (off, made)]
    assert away[0] > 1e-8
    assert away[1] < 1e-3 * away[0]
    assert np.array_equal(proof.finished(seen, right.take(np.arange(N - 1))).q, right.q[:-1])
    # What is a mixture and no image that was pulled a little does not turn into one of its images.
    turned = np.abs(proof.finished(seen, other).q[0] @ np.stack([mixture[0], *q]).T)
    assert turned.argmax() == 0


def test_rounding_that_hides_zeros_proves_nothing():
    seen, q = planted(noise=0.03)
    assert not proof.tells(seen)
    assert (proof.uniqueness(seen, q) == 0).all()
    assert proof.tells(planted()[0])


def certified_at_an_ordinary_rate(seed):
    rule = Descent(learning_rate=0.04, momentum=0.9, loss=1e-8)
    setting = Plain(256, rule, depth=1, init_rule="he")
    instance = setting.instance(load_task("mnist_odd_even", 20, seed=seed, n_test=1), seed)
    x = instance.truth.reshape(20, -1)
    ends = [x @ tree["Dense_0"]["kernel"] for tree in (instance.before, instance.after)]
    assert ((ends[0] > 0) != (ends[1] > 0)).mean() > 0.05  # of the patterns moved
    found = reconstruct(instance.before, instance.after, attack="exact", box=instance.box, progress=False)
    assert (cdist(found.images[found.certified], x).min(1, initial=0) < 0.1).all()
    return found.certified.sum()


def test_units_that_were_active_for_a_while_hide_no_image(monkeypatch):
    seeds = range(3)
    assert all(certified_at_an_ordinary_rate(seed) >= 19 for seed in seeds)
    monkeypatch.setattr(Zeros, "on", classmethod(lambda *_: None))
    monkeypatch.setattr(search, "tells", lambda _: False)
    assert not all(certified_at_an_ordinary_rate(seed) for seed in seeds)
