"""The type checks that all tests run under are on, with sizes and without."""

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from recon.attacks.first_layer.flops import product
from recon.attacks.first_layer.linear import null_vectors
from recon.benchmark import benchmarks


def test_sizes_that_disagree_are_refused():
    v, weight, start = np.eye(4), np.ones((2, 4)), np.ones((2, 4))
    assert null_vectors(v, weight, start, 2).shape == (2, 4)
    with pytest.raises(TypeCheckError):
        null_vectors(v, weight, start[:, :3], 2)
    with pytest.raises(TypeCheckError):
        null_vectors(v, weight, start.tolist(), 2)


@pytest.mark.parametrize(("function", "given"), [(product, ([1.0], np.ones(1))), (benchmarks, (3,))])
def test_so_are_other_types(function, given):
    with pytest.raises((BeartypeCallHintViolation, TypeCheckError)):
        function(*given)
