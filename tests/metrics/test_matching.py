import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recon.metrics import distances, greedy, nearest, optimal

tables = st.integers(1, 5).flatmap(
    lambda n: hnp.arrays(np.float64, (n, n + 1), elements=st.floats(0, 100), unique=True)
)


def greedy_by_hand(table):
    """The paper's rule, literally: smallest entry, strike row and column, repeat."""
    table = table.copy()
    index = np.full(len(table), -1)
    for _ in range(len(table)):
        i, j = np.unravel_index(np.argmin(table), table.shape)
        index[i] = j
        table[i, :] = np.inf
        table[:, j] = np.inf
    return index


@given(tables)
def test_greedy_is_the_papers_rule(table):
    found = greedy(table)
    np.testing.assert_array_equal(found.index, greedy_by_hand(table))
    np.testing.assert_array_equal(found.distance, table[np.arange(len(table)), found.index])


@given(tables)
def test_optimal_is_the_best_of_all_matchings(table):
    n, m = table.shape
    best = min(sum(table[i, p[i]] for i in range(n)) for p in itertools.permutations(range(m), n))
    found = optimal(table)
    np.testing.assert_allclose(found.distance.sum(), best, rtol=1e-12)
    assert len(set(found.index)) == n


@given(tables)
def test_order_of_the_three(table):
    near, best, paper = nearest(table), optimal(table), greedy(table)
    np.testing.assert_array_equal(near.distance, table.min(axis=1))
    assert near.distance.sum() <= best.distance.sum() + 1e-9
    assert best.distance.sum() <= paper.distance.sum() + 1e-9


@given(tables, st.randoms())
def test_greedy_curve_does_not_depend_on_order(table, random):
    rows, columns = list(range(table.shape[0])), list(range(table.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    shuffled = greedy(table[np.ix_(rows, columns)])
    np.testing.assert_array_equal(np.sort(shuffled.distance), np.sort(greedy(table).distance))


def test_fewer_reconstructions_than_images():
    table = np.array([[3.0], [1.0], [2.0]])
    for match in (greedy(table), optimal(table)):
        assert match.index.tolist() == [-1, 0, -1]
        assert match.distance.tolist() == [np.inf, 1.0, np.inf]


def test_distances_by_brute_force(rng):
    a, b = rng.normal(size=(3, 2, 2, 1)).astype(np.float32), rng.normal(size=(5, 2, 2, 1)).astype(np.float32)
    expected = [[np.sqrt(((np.float64(x) - y) ** 2).sum()) for y in b] for x in a]
    np.testing.assert_allclose(distances(a, b), expected, rtol=1e-12)


def test_nothing_found():
    images = np.ones((3, 2, 2, 1))
    assert distances(images, images[:0]).shape == (3, 0)
    assert np.isinf(greedy(distances(images, images[:0])).distance).all()
