"""An audit's result in plain words."""

import dataclasses

import numpy as np
import pytest

from recon.auditing.verdict import leaks, verdict
from tests.audit.made import audit_of, images

N = 6


def test_control_that_is_none_is_said(rng):
    found, others = rng.normal(size=(2, N, 5, 5, 1))
    fine = audit_of(found, train=images(found), held_out=images(others))
    assert "held-out images are among" not in fine.verdict
    assert "swapped" not in fine.verdict
    rounded = np.round(found, 2)  # as another file format has them
    for control, many in ((rounded, "all"), (np.concatenate([others[2:], found[:2]]), "2")):
        made = audit_of(found, train=images(found), held_out=images(control))
        assert f"{many} of the held-out images are among the training images, which makes them no" in made.verdict
    swapped = audit_of(found, train=images(others), held_out=images(found), certified=False)
    assert "the held-out images come back rather than the training images: look whether the two are" in swapped.verdict
    assert leaks(swapped)
    assert "no proof of privacy" not in swapped.verdict


def test_one_image_is_spoken_of_as_one(rng):
    found, other = rng.normal(size=(2, 1, 5, 5, 1))
    made = audit_of(found, train=images(found), held_out=images(other))
    assert "gets the only training image, and knows it: the attack certifies it" in made.verdict
    assert "Of 1 training image given, 1 is within" in made.verdict
    assert "1 training image has a reconstruction nearer" in made.verdict
    unsure = audit_of(found, train=images(rng.normal(size=(4, 5, 5, 1))), certified=False)
    assert "show at least 1 different training image (" in unsure.verdict
    assert "The rank shows at least 1 different training image (" in unsure.verdict


def test_a_rank_that_nothing_confirms_counts_views(rng):
    found = rng.normal(size=(N, 5, 5, 1))
    unsure = audit_of(found, train=images(found[:2] + 1), certified=False)
    assert unsure.verdict.count("(of one that was augmented, each view counts)") == 2
    assert "each view" not in audit_of(found, train=images(found[:2])).verdict


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        ((8, 8), "the initial and the final weights look rounded to 8 significant bits, as bfloat16"),
        ((None, 8), "the final weights look rounded to 8 significant bits, as bfloat16"),
        ((11, 8), "the final weights look rounded to 8 significant bits, as bfloat16"),
        ((11, 8), "the initial weights look rounded to 11 significant bits, as float16"),
    ],
)
def test_rounded_files_are_named_where_images_are_missed(bits, said, rng):
    found = rng.normal(size=(N, 5, 5, 1))
    assert said in audit_of(found, certified=False, bits=bits).verdict
    assert "rounded" not in audit_of(found, bits=bits).verdict


def test_decay_in_a_state_is_named_where_the_rank_does_not_tell(rng):
    made = audit_of(rng.normal(size=(N, 5, 5, 1)), certified=False, from_state=True)
    unclear = dataclasses.replace(made, found=dataclasses.replace(made.found, n_estimated=None))
    assert "weight decay was part of the gradients" in verdict(unclear)
    assert "weight decay" not in made.verdict
