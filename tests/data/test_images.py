import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recon.data import content_keys, fingerprint

pixels = hnp.arrays(np.uint8, st.tuples(st.integers(2, 5), st.integers(1, 3), st.integers(1, 3), st.just(1)))


@given(pixels)
def test_fingerprint_is_of_content_and_order(images):
    labels = np.arange(len(images))
    same = fingerprint(images.copy(), labels.copy())
    assert fingerprint(images, labels) == same
    assert fingerprint(np.asfortranarray(images), labels) == same
    changed = images.copy()
    changed[-1, 0, 0, 0] ^= 1
    assert fingerprint(changed, labels) != same
    assert fingerprint(images, labels[::-1]) != same
    assert fingerprint(images.reshape(len(images), -1), labels) != same
    assert fingerprint(images, labels.astype(np.int32)) != same


@given(pixels)
def test_content_keys_tell_images_apart_exactly_by_their_pixels(images):
    keys = content_keys(images)
    for i in range(len(images)):
        for j in range(len(images)):
            assert (keys[i] == keys[j]) == np.array_equal(images[i], images[j])
