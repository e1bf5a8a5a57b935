"""The rank of the first layer's change, and how large a gap must be to tell it."""

import numpy as np
import pytest

from recon.attacks.first_layer.observe import observe
from recon.attacks.rank import CLEAR_GAP, NOISE, SEARCHED_GAP, first_layer_span, largest_gap


def test_the_largest_gap_counts_above_rounding_and_within_what_can_be_told():
    assert largest_gap(np.array([8.0, 4.0, 1.0, 0.5])) == (2, 4.0)
    assert largest_gap(np.array([1.0, 0.5, 0.4 * NOISE, 1e-16])) == (2, pytest.approx(0.5 / (0.4 * NOISE)))
    falling = np.array([8.0, 4.0, 3.0, 0.0])
    assert largest_gap(falling)[0] == 3
    assert largest_gap(falling, most=2) == (1, 2.0)


@pytest.mark.parametrize(("gap", "told"), [(3.0, (False, False)), (7.0, (False, True)), (12.0, (True, True))])
def test_the_search_begins_at_gaps_that_are_too_small_to_rely_on(gap, told):
    rng = np.random.default_rng(0)
    n, d, w = 5, 40, 60
    u, v = (np.linalg.qr(rng.normal(size=(side, side)))[0] for side in (d, w))
    s = np.r_[np.ones(n), np.full(d - n, 1 / gap)]
    z = u @ np.diag(s) @ v[:d]
    span, seen = first_layer_span(z), observe(np.zeros((d, w)), np.zeros((d, w)), bias=False, state=z)
    assert span.n == seen.n == n
    assert span.gap == pytest.approx(gap) == seen.gap
    assert (span.clear, seen.clear) == told
    assert SEARCHED_GAP < 7 < CLEAR_GAP
