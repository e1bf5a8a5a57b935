"""What the exact attack vouches for, on networks whose training leaves what it takes for granted."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from recon.attacks import reconstruct
from recon.attacks.base import Problem
from recon.attacks.exact import observed
from recon.attacks.first_layer import certificate, images, joint, linear, vectors
from recon.cells import kinds
from recon.networks import from_params
from recon.tasks import load_task

TASK, N, WIDTHS = "mnist_odd_even", 6, (96, 96)


def make(kind, task, n, widths, linearised, seed):
    return kinds.make_by_descent(kind, load_task(task, n, seed=seed, n_test=1), widths, linearised, seed)


@pytest.fixture
def kind(request):
    name = {
        "plain": "plain",
        "raw": "no biases, raw pixels",
        "bare": "no biases, centred",
        "ntk-0.1": "NTK parametrisation, b 0.1",
        "ntk-1": "NTK parametrisation, b 1",
        "double-rate": "biases at twice the rate",
        "tenth-rate": "biases at a tenth of the rate",
        "frozen": "frozen biases",
        "decay-1e-3": "decay 1e-3 on kernels",
        "decay-1e-2": "decay 1e-2 on kernels",
        "decay-all": "decay 1e-3 on all",
        "contrast": "contrast jitter 10 %",
        "half": "one image at contrasts 1, 0.5",
        "dim": "one image at contrasts 1, 0.8",
        "noise-1": "noise 0.01 a step",
        "noise-3": "noise 0.03 a step",
        "twins": "near duplicate, other label",
        "flips": "flips",
        "labels": "one image at two labels",
        "similar": "similar images",
        "mixup": "mixup",
        "faint": "faint images",
        "std": "box of a std half as large",
        "mean": "box of another mean",
    }[request.param]
    return next(k for k in kinds.KINDS if k.name == name)


def shape(made):
    return (28, 28, 1) if made.truth.shape[1] == 784 else (32, 32, 3)


def attacked(made, linearised, boxed=True, **options):
    network = {} if made.network.parametrisation == "standard" else {"network": made.network}
    return reconstruct(
        made.before, made.after, attack="exact", image_shape=shape(made), box=made.box if boxed else None,
        m=2 * N, linearised=linearised, progress=False, starts=600, **network, **options,
    )  # fmt: skip


def false(found, truth):
    """Certified images that are none, and images vouched for of which no multiple is one."""
    x = np.float64(found.images.reshape(len(found.images), truth.shape[1]))
    if not len(x):
        return 0, 0
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    scaled = np.sqrt(np.maximum((truth**2).sum(1) - np.maximum(unit @ truth.T, 0) ** 2, 0)).min(1)
    return int((found.certified & (cdist(x, truth).min(1) > 0.1)).sum()), int(
        (found.up_to_scale & (scaled > 0.1)).sum()
    )


ALL = ("plain", "raw", "bare", "ntk-0.1", "ntk-1", "double-rate", "tenth-rate", "frozen", "decay-1e-3", "decay-1e-2",
       "decay-all", "contrast", "half", "dim", "noise-1", "noise-3", "twins", "flips", "labels", "similar", "mixup",
       "faint", "std", "mean")  # fmt: skip
# What comes back of them, with the box: all images are certified at their own size, or all but a few greys of few
# levels, whose size nothing tells where the biases tell it wrongly.
WHOLE = {"plain", "raw", "bare", "double-rate", "frozen", "decay-all", "ntk-0.1"}


@pytest.mark.parametrize("kind", ALL, indirect=True)
@pytest.mark.parametrize("linearised", [True, False], ids=["linearised", "standard"])
def test_nothing_false_is_certified(kind, linearised, request):
    kind = dataclasses.replace(kind, steps=min(kind.steps, 600))
    made = make(kind, TASK, N, WIDTHS, linearised, 0)
    truth = made.truth
    if kind.name == "flips":
        truth = np.vstack([truth, truth.reshape(-1, 28, 28)[:, :, ::-1].reshape(truth.shape)])
    for boxed in (True, False):
        found = attacked(made, linearised, boxed)
        own, scaled = false(found, truth)
        assert own == 0
        # Twins of opposite labels act as the one image that their weights add up to, which only the pixels give away.
        assert scaled <= (kind.name.startswith("near duplicate") and not boxed)
        if boxed and request.node.callspec.params["kind"] in WHOLE:
            assert found.certified.sum() >= N - 1
            assert found.up_to_scale.sum() == N


@pytest.mark.parametrize("kind", ["double-rate", "frozen", "decay-1e-2", "contrast"], indirect=True)
def test_without_a_box_wrong_sizes_are_not_certified_but_named(kind):
    made = make(dataclasses.replace(kind, steps=600), TASK, N, WIDTHS, True, 1)
    found = attacked(made, True, boxed=False)
    assert found.up_to_scale.sum() == N
    assert not found.certified.any()
    assert any("tell" in doubt and "size" in doubt for doubt in found.doubts)


@pytest.mark.parametrize("kind", ["noise-1"], indirect=True)
def test_images_that_change_from_step_to_step_are_told_by_the_rest_of_the_spectrum(kind):
    task, widths = "cifar10_animal_vehicle", (96, 96)
    noisy = make(dataclasses.replace(kind, steps=300), task, N, widths, True, 0)
    plain = make(kinds.KINDS[0], task, N, widths, True, 0)
    for made, same in ((noisy, False), (plain, True)):
        problem = Problem(from_params(made.before), made.before, made.after, shape(made), None, True, N)
        assert certificate.fixed(observed(problem)) == same
    found = attacked(noisy, True)
    assert not found.up_to_scale.any()
    assert any("not the same in every step" in doubt for doubt in found.doubts)


def test_blank_images_are_none(rng):
    made = make(kinds.KINDS[0], TASK, N, WIDTHS, True, 0)
    seen = observed(Problem(from_params(made.before), made.before, made.after, (28, 28, 1), None, True, N))
    x = np.vstack([np.zeros(20), np.full(20, 0.3), rng.normal(size=20)])
    np.testing.assert_array_equal(certificate.blank(seen, x), [True, True, False])


def planted(zero, alive):
    """Rows of which `zero` says where they vanish on inactive units and `alive` where they do not."""
    inactive = np.ones(zero.shape, bool)
    g = np.where(zero, 1e-9, np.where(alive, 1.0, 1e-4))
    inactive[alive] = False
    return certificate.Rows(g, inactive, np.ones(len(g)), np.full(len(g), 1e-8))


def test_images_hang_on_all_other_vectors():
    n, width = 5, 60
    rng = np.random.default_rng(0)
    alive = rng.random((n, width)) < 0.5
    assert certificate.settled(planted(~alive, alive)).all()
    # One vector that vanishes on too few of its inactive units spoils all images but its own.
    zero = ~alive
    zero[2] &= np.cumsum(zero[2]) <= n - 1 + certificate.ZEROS - 1
    np.testing.assert_array_equal(certificate.settled(planted(zero, alive)), np.arange(n) == 2)
    # One that vanishes wherever it should, but nowhere that the first image's vector does not: it may hold any share.
    alive[0] = alive[2] & (rng.random(width) < 0.8)
    hanging = certificate.settled(planted(~alive, alive))
    assert not hanging[0]
    assert hanging[1:].all()


def solved(made, linearised, dtype=np.float32):
    """What is seen of rounded weights, and what the search ends at if it begins with the right vectors."""
    after = {k: {a: np.float32(v.astype(dtype)) for a, v in layer.items()} for k, layer in made.after.items()}
    seen = observed(Problem(from_params(made.before), made.before, after, (28, 28, 1), None, linearised, N))
    c = np.concatenate([made.truth, np.ones((N, 1))], 1) @ seen.u
    right = vectors.judged(seen, linear.normalised(c), linear.normalised(np.linalg.inv(c).T * seen.s))
    return seen, joint.joint(seen, right)


def vouched(seen, found):
    return certificate.certificate(seen, found, certificate.Network((), None), np.zeros(len(found), bool))


@pytest.fixture(scope="module")
def digits():
    return {s: make(dataclasses.replace(kinds.KINDS[0], steps=600), TASK, N, WIDTHS, s, 0) for s in (True, False)}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("linearised", [True, False])
def test_what_rounding_moves_images_by_is_known(digits, linearised, dtype):
    """From weights of 11 and of 8 significant bits images come back at L2 0.01 to 0.5, of which the bound tells."""
    seen, found = solved(digits[linearised], linearised, dtype)
    x = images.images(seen, found.c)
    moved = np.linalg.norm(x - digits[linearised].truth, axis=1)
    expected = np.hypot(
        certificate.moved_by_span(seen, found, x),
        certificate.moved_by_vectors(seen, found, certificate.rows_of(seen, found), x),
    )
    assert moved.max() > 0.01
    np.testing.assert_allclose(expected, moved, rtol=0.2)
    assert (moved[vouched(seen, found).up_to_scale] < 0.01 * np.linalg.norm(x, axis=1).max()).all()


def test_where_units_leave_more_than_one_vector_any_mixture_may_stand_for_an_image(digits):
    seen, found = solved(digits[True], True)
    x, rows = images.images(seen, found.c), certificate.rows_of(seen, found)
    assert certificate.moved_by_vectors(seen, found, rows, x).max() < 1e-3
    # Two fewer than take all vectors but one away.
    few = rows.inactive.copy()
    few[2] &= np.cumsum(few[2]) <= N - 3
    moved = certificate.moved_by_vectors(seen, found, rows._replace(inactive=few), x)
    assert (np.delete(moved, 2) > 1).any()
    assert moved[2] < 1e-3


def test_units_on_the_wrong_side_contradict_an_image(digits):
    for linearised in (True, False):
        seen, found = solved(digits[linearised], linearised)
        rows = certificate.rows_of(seen, found)
        assert not certificate.contradicted(seen, found, rows).any()
        assert vouched(seen, found).up_to_scale.all()
        mixed = dataclasses.replace(found, c=found.c.copy())
        mixed.c[0] = linear.normalised(found.c[0] + found.c[1:2])[0]
        wrong = certificate.contradicted(seen, mixed, certificate.rows_of(seen, mixed))
        np.testing.assert_array_equal(wrong, (np.arange(N) == 0) & linearised)
        assert not vouched(seen, mixed).up_to_scale[0]
        # A gradient at a unit that is inactive at both ends is a contradiction in a Taylor model only.
        late = rows._replace(
            g=np.where(np.arange(N)[:, None] == 1, np.maximum(rows.g, 2 * rows.level[:, None]), rows.g)
        )
        np.testing.assert_array_equal(certificate.contradicted(seen, found, late), (np.arange(N) == 1) & linearised)


def test_one_vector_twice_does_not_complete_a_set(digits, rng):
    seen, found = solved(digits[True], True)
    assert not joint.repeated(found).any()
    q = found.q.copy()
    q[3] = linear.normalised(q[1:2] + 1e-3 * rng.normal(size=(1, N)))[0]
    twice = vectors.judged(seen, joint.corrected(found.c, q / seen.s), q)
    twice = dataclasses.replace(twice, agreement=np.where(np.arange(N) == 3, 0.9, 1.0))
    np.testing.assert_array_equal(joint.repeated(twice), np.arange(N) == 3)
    result = vouched(seen, twice)
    assert not result.up_to_scale.any()
    assert not result.certified.any()


def test_an_image_with_a_negative_input_of_the_biases_has_no_size(digits):
    """One image at two contrasts may add up to that: the picture is right, and not turned into its negative."""
    seen, found = solved(digits[True], True)
    seen = dataclasses.replace(seen, of_state=True)
    assert vouched(seen, found).certified.all()
    turned = seen.u.copy()
    turned[-1] *= -1
    result = vouched(dataclasses.replace(seen, u=turned), found)
    np.testing.assert_allclose(result.images, digits[True].truth, atol=1e-4)
    assert result.up_to_scale.all()
    assert not result.certified.any()


def test_what_is_promised_is_a_distance_of_pixels(digits):
    """In a box ten times as wide inputs, and the errors that are allowed, are ten times as large."""
    seen, found = solved(digits[True], True)
    low, high = (np.broadcast_to(side, 784) for side in digits[True].box)
    x = images.images(seen, found.c)
    narrow, wide = (dataclasses.replace(seen, low=s * low, high=s * high) for s in (1.0, 10.0))
    np.testing.assert_allclose(certificate.promised(narrow, x), 0.1)
    np.testing.assert_allclose(certificate.promised(wide, 10 * x), 1.0)


def test_a_picture_of_few_greys_is_not_taken_for_what_it_adds_up_to():
    """Two contrasts of one image act as one image at a third; with few greys that does not show in its levels."""
    kind = next(k for k in kinds.KINDS if k.name == "one image at contrasts 1, 0.5")
    # The first image has five greys.
    few = dataclasses.replace(kind, images=lambda x, y: kind.images(posterised(x), y))
    made = make(few, TASK, N, WIDTHS, True, 1)
    found = attacked(made, True)
    assert found.n_estimated == N - 1
    assert found.up_to_scale.sum() == N - 1
    assert found.certified.sum() == N - 2
    assert false(found, made.truth) == (0, 0)
    assert any("the pixels tell the size of most images and not of 1" in doubt for doubt in found.doubts)


def posterised(x):
    low = x.min()
    greys = x.copy()
    greys[0] = np.rint((x[0] - low) * 5) / 5 + low
    return greys


def test_images_outside_their_box_are_not_certified_and_the_box_is_named():
    made = make(kinds.KINDS[0], TASK, N, WIDTHS, True, 0)
    low, high = made.box
    found = attacked(dataclasses.replace(made, box=(low, low + 0.6 * (high - low))), True)
    # All but the box speaks for them: they are as found without it, and their outputs sit at targets.
    assert attacked(made, True, boxed=False).certified.all()
    assert found.up_to_scale.all()
    assert not found.certified.any()
    assert any("outside the box" in doubt for doubt in found.doubts)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_wrong_std_does_not_overrule_what_the_network_confirms(factor):
    made = make(kinds.KINDS[0], TASK, N, WIDTHS, True, 0)
    box = tuple(factor * side for side in made.box)  # as told by a std that is wrong by that factor
    found = attacked(dataclasses.replace(made, box=box), True)
    assert found.up_to_scale.all()
    assert false(found, made.truth) == (0, 0)
    assert found.certified.all() == (factor > 1)  # in a box too small they lie outside
    assert any("the std is wrong by that factor" in doubt for doubt in found.doubts)


@pytest.mark.parametrize("kind", ["faint"], indirect=True)
def test_a_faint_copy_of_a_picture_is_not_taken_for_the_picture(kind):
    made = make(kind, TASK, N, WIDTHS, True, 0)
    found = attacked(made, True)
    x = found.images.reshape(len(found.images), -1)
    faint = np.linalg.norm(x, axis=1) < 0.1 * np.linalg.norm(x, axis=1).max()
    assert faint.sum() == 2
    assert found.up_to_scale.all()
    assert found.certified.sum() == N - 2
    assert not found.certified[faint].any()
    # At their own size all the same: it is the one that the biases tell, as they do of the others.
    assert cdist(made.truth, x).min(1).max() < 0.01


def test_faint_copies_of_pictures_alone_are_not_taken_for_the_pictures():
    """No rate of biases is fifty times the kernels'; the doubt names the factor."""
    faint = dataclasses.replace(kinds.KINDS[0], images=lambda x, y: (0.02 * x, y), steps=20)
    found = attacked(made := make(faint, TASK, N, WIDTHS, True, 0), True)
    assert found.up_to_scale.all()
    assert not found.certified.any()
    assert cdist(made.truth, found.images.reshape(N, -1)).min(1).max() < 0.01
    assert any("at 50 times the size" in doubt and "fainter by it" in doubt for doubt in found.doubts)
