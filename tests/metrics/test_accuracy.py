import numpy as np

from recon.metrics import share_right


def test_signs_of_one_output_and_the_largest_of_several():
    one = np.array([[0.2], [-3.0], [1.0], [-0.1]])
    assert share_right(one, np.array([[1.0], [-1.0], [-1.0], [1.0]])) == 0.5
    several = np.array([[0.9, -0.1, 0.0], [-5.0, -6.0, -4.0], [0.0, 1.0, 2.0]])
    assert share_right(several, np.eye(3)[[0, 2, 1]]) == 2 / 3
