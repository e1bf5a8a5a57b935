import numpy as np
import pytest

from recon.dynamics import Linearised, train
from recon.dynamics.noised_linearised import NoisedLinearised
from recon.errors import ReconError
from tests.conftest import flat, small_problem


def test_noise_measures_what_leaving_an_image_out_moves():
    network, params0, x, y = small_problem(widths=(48, 48))
    whole = flat(train(network, params0, x, y, Linearised()).final.params)
    without = []
    for i in range(len(x)):
        kept = np.arange(len(x)) != i
        without.append(flat(train(network, params0, x[kept], y[kept], Linearised()).final.params))
    moved = max(np.linalg.norm(whole - w) for w in without)
    noised = train(network, params0, x, y, NoisedLinearised(2.0, seed=3))
    noise = flat(noised.final.params) - whole
    assert np.std(noise) == pytest.approx(2.0 * moved, rel=4 / np.sqrt(2 * len(noise)))
    assert noised.linearised
    assert noised.final.loss > 0.01
    quiet = train(network, params0, x, y, NoisedLinearised(0.0))
    np.testing.assert_array_equal(flat(quiet.final.params), whole.astype(np.float32))


def test_negative_noise():
    with pytest.raises(ReconError, match="at least zero"):
        train(*small_problem(), NoisedLinearised(-1.0))
