from itertools import combinations

import jax
import numpy as np
import pytest

from recon.attacks.assembly import MOST_LACKING, Duals, assembled, dual_weights
from recon.attacks.base import Problem
from recon.dynamics import GradientFlow, Linearised, train
from recon.networks.conv import CNN, patches

SHAPE, SIDE = (12, 12, 1), 6
ERROR = 1e-3


def duals(weights, error=ERROR):
    """Duals of patches by (patch, position), one output, all of equal error."""
    return Duals(weights[..., None], np.full(weights.shape, error))


def of_images(alphas, shared=()):
    """Dual weights of four patches for each image, and the images of each patch.

    Args:
      shared: (position, images) that have one patch there.
    """
    owners, rows = [], []
    for p in range(4):
        sets = [tuple(i) for q, i in shared if q == p]
        sets += [(i,) for i in range(len(alphas)) if not any(i in s for s in sets)]
        for images in sets:
            owners.append((p, images))
            rows.append(np.eye(4)[p] * sum(alphas[i] for i in images))
    return np.array(rows), owners


def images_of(made, owners):
    """The images that each assembled row's patches are of, a set for each position."""
    return [[set(owners[k][1]) if k >= 0 else set() for k in row] for row in made.parts]


@pytest.fixture(scope="module", params=[Linearised(), GradientFlow(tol=1e-2)], ids=["linearised", "standard"])
def trained(request):
    """A network on disjoint patches after training, as a problem, and its training images; two have a patch in common.

    Images 0 and 1 have the first patch in common, and image 2 has it at its second position.
    """
    network, rng = CNN((160,), patch=SIDE), np.random.default_rng(0)
    params0 = jax.tree.map(np.asarray, network.init(jax.random.key(0), SHAPE))
    x = rng.uniform(-0.5, 0.5, size=(4, *SHAPE)).astype(np.float32)
    x[1, :SIDE, :SIDE] = x[0, :SIDE, :SIDE]
    x[2, :SIDE, SIDE:] = x[0, :SIDE, :SIDE]
    run = train(network, params0, x, np.array([[1.0], [-1.0], [1.0], [-1.0]], np.float32), request.param)
    linearised = isinstance(request.param, Linearised)
    return Problem(network, run.initial.params, run.final.params, SHAPE, None, linearised, 4), x, run.duals[:, 0]


def test_dual_weights_are_those_of_training_within_their_errors(trained):
    problem, x, alpha = trained
    each = np.asarray(patches(x, SIDE, SIDE, False)).reshape(16, SIDE, SIDE, 1)
    kept = [k for k in range(16) if k not in (4, 9)]  # without the copies of patch 0
    found = dual_weights(problem, each[kept], 4)
    expected = np.zeros((16, 4))
    expected[np.arange(16), np.arange(16) % 4] = np.repeat(alpha, 4)
    expected[0, :2] = alpha[0] + alpha[1], alpha[2]
    size = np.sqrt(np.mean(alpha**2))
    if problem.linearised:
        np.testing.assert_allclose(found.value[..., 0], expected[kept], atol=ERROR * size)
    else:
        # Patches of one image agree; the kernel at θ₀ tells the flow's duals only roughly.
        np.testing.assert_allclose(found.value[..., 0], expected[kept], atol=0.2 * size)
        own = found.value[..., 0], found.error
        three = [kept.index(k) for k in (13, 14, 15)], [1, 2, 3]
        value, error = (a[three] for a in own)
        for a, b in combinations(range(3), 2):
            assert abs(value[a] - value[b]) < error[a] + error[b]
    assert found.error.max() < 0.2 * size


def test_images_come_together_round_a_shared_patch(trained):
    problem, x, _ = trained
    each = np.asarray(patches(x, SIDE, SIDE, False)).reshape(16, SIDE, SIDE, 1)
    kept = [k for k in range(16) if k not in (4, 9)]
    made = assembled(dual_weights(problem, each[kept], 4))
    rows = {tuple(kept[k] for k in row) for row in made.parts[made.sure]}
    # Image 2 has the shared patch to itself at its position; images 0 and 1 lack theirs.
    assert rows == {(8, 0, 10, 11), (12, 13, 14, 15)}


def test_patches_of_equal_dual_weights_make_an_image(rng):
    weights, owners = of_images([0.5, -1.0, 2.0])
    order = rng.permutation(12)
    noisy = weights + 0.5 * ERROR * rng.uniform(-1, 1, size=weights.shape)
    made = assembled(duals(noisy[order]))
    owners = [owners[k] for k in order]
    assert made.sure.all()
    assert sorted(min(row[0]) for row in images_of(made, owners)) == [0, 1, 2]
    for row, images in zip(made.parts, images_of(made, owners), strict=True):
        assert all(i == images[0] for i in images)
        assert [owners[k][0] for k in row] == [0, 1, 2, 3]


def test_a_patch_that_is_missing_makes_its_image_unsure():
    weights, owners = of_images([0.5, -1.0, 2.0])
    kept = [k for k, (p, images) in enumerate(owners) if (p, images) != (2, (1,))]
    made = assembled(duals(weights[kept]))
    owners = [owners[k] for k in kept]
    short = np.any(made.parts < 0, axis=1)
    assert short.sum() == 1
    np.testing.assert_array_equal(made.sure, ~short)


@pytest.mark.parametrize("swapped", [False, True])
def test_both_sides_of_a_possible_swap_are_refused(swapped):
    """Images 0 and 1 are nearly equal in dual weight: at one position the errors may have exchanged them."""
    alphas = [-0.0360, -0.0352, 0.0380, 0.0520]
    weights, owners = of_images(alphas)
    at = [owners.index((1, (i,))) for i in (0, 1)]
    if swapped:
        weights[at, 1] = -0.03525, -0.03600  # each within 0.0001 of the other image's dual weight
    made = assembled(duals(weights, 5e-4))
    images = images_of(made, owners)
    assert {i for row, sure in zip(images, made.sure, strict=True) if sure for i in row[0]} == {2, 3}
    # Where the errors are a tenth of that, the same weights tell the images apart.
    assert swapped or assembled(duals(weights, 5e-5)).sure.all()


def test_a_position_that_disagrees_makes_its_image_unsure():
    """A chain of near weights may join an image's patches though its ends disagree."""
    weights, owners = of_images([0.5, -1.0])
    for p, off in enumerate((0.0, 1.5, 3.0, 4.5)):
        weights[owners.index((p, (0,))), p] += off * ERROR
    made = assembled(duals(weights))
    assert [row[0] == {1} for row in images_of(made, owners)] == list(made.sure)


def test_images_of_a_shared_patch_are_unsure_and_the_others_are_not():
    weights, owners = of_images([0.5, -1.0, 2.0, 0.7], shared=[(3, (0, 1))])
    made = assembled(duals(weights))
    sure = [row for row, sure in zip(images_of(made, owners), made.sure, strict=True) if sure]
    assert sorted(min(row[0]) for row in sure) == [2, 3]
    assert all(i == row[0] for row in sure for i in row)


def test_a_shared_patch_is_not_taken_for_the_image_whose_dual_weight_is_its_sum():
    """The blank corner of images 0 and 1 weighs as image 2 does, which shares its own with image 3."""
    weights, owners = of_images([0.5, -1.0, -0.5, 0.8], shared=[(3, (0, 1)), (3, (2, 3))])
    made = assembled(duals(weights))
    wrong = [row for row in images_of(made, owners) if row[0] == row[1] == row[2] == {2}]
    assert wrong[0][3] == {0, 1}  # the best guess is no image
    assert not made.sure.any()


def test_where_too_many_images_lack_a_patch_none_is_sure():
    alphas = np.linspace(1.0, 2.0, MOST_LACKING + 2) ** 3
    for sharing, sure in ((MOST_LACKING, 2), (MOST_LACKING + 1, 0)):
        weights, _ = of_images(alphas, shared=[(3, range(sharing))])
        assert assembled(duals(weights, 1e-9)).sure.sum() == sure


def test_a_patch_at_two_positions_is_of_two_images():
    weights, owners = of_images([0.5, -1.0, 2.0])
    a, b = owners.index((0, (0,))), owners.index((1, (1,)))
    weights[a] += weights[b]  # one patch is the first of image 0 and the second of image 1
    kept = [k for k in range(12) if k != b]
    made = assembled(duals(weights[kept]))
    assert made.sure.all()
    assert sum(kept.index(a) in row for row in made.parts) == 2
