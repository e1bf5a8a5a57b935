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


@pytest.mark.parametrize("channels", [1, 3])
def test_small_strip_is_smaller_and_looks_the_same(rng, channels):
    smooth = np.linspace(0, 1, 32)[:, None] * np.linspace(0, 1, 32)
    noisy = np.clip(smooth[None, ..., None] + 0.1 * rng.normal(size=(6, 32, 32, channels)), 0, 1)
    small = strips.encode_small(noisy)
    back = strips.decode(small) / 255
    assert back.shape == (6, 32, 32, 3)
    assert np.sqrt(np.mean((back - noisy) ** 2)) < 0.1  # under the noise itself
    assert abs(back.mean() - noisy.mean()) < 0.02
    assert len(small["webp"]) < 0.5 * len(strips.encode(noisy)["png"])
