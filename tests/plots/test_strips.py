import numpy as np
import pytest

from recon.plots import strips


@pytest.mark.parametrize("channels", [1, 3])
def test_strip_round_trip(rng, channels):
    pixels = rng.integers(0, 256, (4, 5, 6, channels))
    back = strips.decode(strips.encode(pixels / 255))
    np.testing.assert_array_equal(back.reshape(pixels.shape), pixels)


def test_choice_is_the_ends_and_the_middle(rng):
    distance = rng.permutation(40).astype(float)
    chosen = distance[strips.choose(distance, 5)]
    assert chosen.tolist() == [*range(5), *range(17, 22), *range(35, 40)]
    assert sorted(distance[strips.choose(distance[:12], 5)]) == sorted(distance[:12])
