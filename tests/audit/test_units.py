"""Training images given in other units, or in another order, than the network takes."""

import numpy as np
import pytest

from recon.auditing.units import units
from recon.auditing.view import View
from tests.audit.made import audit_of, images

SHAPE, N = (9, 9, 3), 8
MEAN, STD = np.array([0.5, 0.4, 0.3]), np.array([0.25, 0.2, 0.3])
VIEW = View(SHAPE, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))


@pytest.fixture
def pixels(rng):
    """Smooth colour pictures in [0, 1], the training images' and others'."""
    rough = rng.uniform(size=(2 * N, 3, 3, 3))
    return np.kron(rough, np.ones((1, 3, 3, 1))) * [1.0, 0.7, 0.4]


def inputs(pixels):
    return (pixels - MEAN) / STD


CHANGES = {
    "255": (lambda p: 255 * p, "with the factor 0.01569,0.01961,0.01307 and the offset -2,-2,-1."),
    "half": (lambda p: (p - 0.5) / 0.5, "with the factor 2,2.5,1.667 and the offset 0,0.5,0.6667."),
    "inverted": (lambda p: 1 - p, "inverted, and with the factor -4,-5,-3.333 and the offset 2,3,2.333."),
    "transposed": (lambda p: inputs(p).swapaxes(1, 2), "with height and width swapped."),
    "bgr": (lambda p: inputs(p)[..., ::-1], "with their channels in reverse order."),
    "all": (
        lambda p: 255 * (1 - p.swapaxes(1, 2)[..., ::-1]),
        "with height and width swapped and with their channels in reverse order and inverted, and with the factor ",
    ),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("certified", [True, False])
def test_change_of_units_or_order_is_named(pixels, change, said, certified):
    found = inputs(pixels[:N])
    made = audit_of(found, VIEW, images(change(pixels[:N])), images(change(pixels[N:])), certified=certified)
    assert f"network's inputs: all {N} are within the limit of a reconstruction {said}" in units(made)
    assert units(audit_of(found, VIEW, images(change(pixels[N:])), certified=certified)) == ""


def test_units_of_pictures_are_said_as_the_options(pixels):
    found = inputs(pixels[:N])
    for turn, words in (
        (lambda p: p, ""),
        (lambda p: p[..., ::-1], "with their channels in reverse order and "),
        (lambda p: 1 - p, "inverted and "),
    ):
        for view in (View(SHAPE), View(SHAPE, mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1))):
            given = images(view.inputs(turn(pixels[:N])), pixels=True)
            said = f"a reconstruction {words}with --mean 0.5,0.4,0.3 --std 0.25,0.2,0.3."
            assert said in units(audit_of(found, view, given))


def test_units_are_seen_where_reconstructions_are_merely_near(pixels, rng):
    near = inputs(pixels[:N]) + rng.normal(0, 0.05, (N, *SHAPE))
    junk = rng.normal(size=(N, *SHAPE))
    found = np.concatenate([junk, near])
    for change in (lambda p: 255 * p, lambda p: 1 - p, lambda p: inputs(p).swapaxes(1, 2)):
        train, other = images(change(pixels[:N])), images(change(pixels[N:]))
        said = units(audit_of(found, VIEW, train, other, certified=False))
        assert f"all {N} are far nearer to a reconstruction than any held-out image" in said
        # Not without held-out images, nor the other way round, nor where nothing came back, nor where units are right.
        assert units(audit_of(found, VIEW, train, certified=False)) == ""
        assert units(audit_of(found, VIEW, other, train, certified=False)) == ""
        assert units(audit_of(junk, VIEW, train, other, certified=False)) == ""
    right = audit_of(found, VIEW, images(inputs(pixels[:N])), images(inputs(pixels[N:])), certified=False)
    assert units(right) == ""


def test_units_of_images_whose_brightness_nothing_tells(pixels, rng):
    found = inputs(pixels[:N]) * rng.uniform(0.3, 2, (N, 1, 1, 1))
    for given, said in (
        (images(inputs(pixels[:N]) + 1.5), "with the factor 1 and the offset -1.5."),
        (images(-inputs(pixels[:N])), "inverted, and with the factor -1 and the offset 0."),
        (images(inputs(pixels[:N]).swapaxes(1, 2)), "with height and width swapped."),
    ):
        for certified in (True, False):
            assert said in units(audit_of(found, VIEW, given, certified=certified, up_to_scale=True))


def test_features_are_measured_by_their_length(rng):
    found = 100 * rng.normal(size=(N, 30))
    made = audit_of(found, train=images(found / 7 + 2), features=True)
    assert f"all {N} are within the limit of a reconstruction with the factor 7 and the offset -14." in units(made)
