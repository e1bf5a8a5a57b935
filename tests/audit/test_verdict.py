"""An audit's result in plain words."""

import numpy as np

from recon.auditing.verdict import leaks
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
