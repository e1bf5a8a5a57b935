import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recon import statistics
from recon.statistics import bootstrap, mean, mean_correlation, paired, partial_spearman, share, spearman, within


def estimate(low, high):
    return {"value": None if low is None else (low + high) / 2, "low": low, "high": high, "n": 9, "groups": 9}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_spearman_is_scipys_ties_and_all(points):
    x, y = np.array(points, float).T
    ours = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_partial_correlation_is_the_textbook_formula(rng):
    z = rng.normal(size=50)
    x, y = z + rng.normal(size=50), z + rng.normal(size=50)
    xy, xz, yz = (stats.spearmanr(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_spearman(x, y, z) == pytest.approx(expected, abs=1e-12)
    assert xy > 0.3 > abs(partial_spearman(x, y, z))
    assert np.isnan(partial_spearman(x, y, np.exp(x)))


def test_strata_undo_simpsons_paradox():
    x, y = np.array([0.0, 1, 2, 10, 11, 12]), np.array([2.0, 1, 0, 12, 11, 10])
    strata = np.array(["a"] * 3 + ["b"] * 3)
    assert spearman(x, y) > 0.5
    assert within(spearman, strata, x, y) == pytest.approx(-1)
    # A stratum where the correlation is undefined does not count; where all are, nothing is said.
    assert within(spearman, np.append(strata, ["c", "c"]), np.append(x, [5, 5]), np.append(y, [1, 2])) == -1
    assert np.isnan(within(spearman, np.array(["c", "c"]), np.ones(2), np.ones(2)))


def nested(rng, groups=16, each=5, shared=0.8):
    """Correlated normal points of which a part is shared inside a group; Spearman's rho is 6/π·asin(0.6/2)."""
    cov = [[1, 0.6], [0.6, 1]]
    common, own = rng.multivariate_normal([0, 0], cov, groups), rng.multivariate_normal([0, 0], cov, (groups, each))
    points = np.sqrt(shared) * common[:, None] + np.sqrt(1 - shared) * own
    return points.reshape(-1, 2).T, np.repeat(np.arange(groups), each)


def test_bootstrap_over_groups_covers_where_one_over_points_does_not():
    rng, truth, rounds = np.random.default_rng(1), 6 / np.pi * np.arcsin(0.3), 60
    hits = np.zeros(2)
    for i in range(rounds):
        (x, y), groups = nested(rng)
        for j, g in enumerate((groups, np.arange(len(groups)))):
            e = bootstrap(spearman, (x, y), g, seed=i, resamples=60)
            hits[j] += e["low"] <= truth <= e["high"]
    by_group, by_point = hits / rounds
    assert by_group > 0.8
    assert by_point < 0.75


def test_bootstrap_does_not_depend_on_the_order_of_points(rng):
    (x, y), groups = nested(rng)
    one, again = (bootstrap(spearman, (x, y), groups, resamples=50) for _ in range(2))
    assert one == again
    order = rng.permutation(len(x))
    other = bootstrap(spearman, (x[order], y[order]), groups[order], resamples=50)
    assert [other[k] for k in ("value", "low", "high")] == pytest.approx([one[k] for k in ("value", "low", "high")])
    assert (one["n"], one["groups"]) == (80, 16)
    assert bootstrap(spearman, (x, y), groups, seed=1, resamples=50) != one


def test_bootstrap_says_nothing_where_there_is_nothing_to_say(rng):
    x, y = rng.normal(size=(2, 8))
    few = bootstrap(spearman, (x, y), np.repeat(np.arange(4), 2))
    assert few["value"] == pytest.approx(spearman(x, y))
    assert few["low"] is few["high"] is None
    flat = bootstrap(spearman, (x, np.ones(8)), np.arange(8), resamples=20)
    assert flat["value"] is flat["low"] is None


def test_mean_is_students_interval_of_the_groups_means(rng):
    values, groups = rng.normal(size=12), np.repeat(["a", "b", "c", "d"], 3)
    means = values.reshape(4, 3).mean(axis=1)
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    ours = mean(values, groups)
    assert [ours["value"], ours["low"], ours["high"]] == pytest.approx([means.mean(), *expected])
    # Copies of a point inside its group add no certainty.
    copied = mean(np.repeat(values, 10), np.repeat(groups, 10))
    assert [copied["low"], copied["high"]] == pytest.approx([ours["low"], ours["high"]])
    assert mean(values[:3], groups[:3])["low"] is None
    assert mean(np.append(values, np.nan), np.append(groups, "e")) == ours
    assert mean(np.array([]), np.array([]))["value"] is None


def test_mean_covers_with_three_groups_where_the_percentile_bootstrap_does_not():
    drawn = np.random.default_rng(0).normal(size=(1000, 3))
    student = [mean(row, np.arange(3)) for row in drawn]
    assert np.mean([e["low"] <= 0 <= e["high"] for e in student]) == pytest.approx(0.95, abs=0.02)
    resampled = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)
    low, high = np.quantile(drawn[:, resampled].mean(axis=2), [0.025, 0.975], axis=1, method="inverted_cdf")
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.75, abs=0.04)


def test_paired_difference_drops_what_pairs_share(rng):
    level, groups = rng.normal(scale=10, size=8), np.arange(8)
    raised = level + 1 + 0.1 * rng.normal(size=8)
    effect, alone = paired(raised, level, groups), mean(raised, groups)
    assert 0.8 < effect["low"] < effect["high"] < 1.2
    assert alone["high"] - alone["low"] > 5


def test_equal_groups_have_no_interval():
    for same in (np.full(3, 0.39), np.full(5, 1.0), np.zeros(4), np.array([0.1 + 0.2, 0.3, 0.3])):
        assert mean(same, np.arange(len(same)))["low"] is None
    assert mean(np.array([0.39, 0.39, 0.4]), np.arange(3))["low"] is not None
    assert mean_correlation(np.ones(3), np.arange(3), 7)["low"] is None
    x = np.arange(12.0)
    assert bootstrap(spearman, (x, x), np.repeat(np.arange(6), 2), resamples=20)["low"] is None


def test_an_interval_ends_at_the_bounds_of_what_it_is_of():
    shares = np.array([1.0, 0.9, 0.95])
    assert mean(shares, np.arange(3))["high"] > 1 == mean(shares, np.arange(3), (0.0, 1.0))["high"]


def test_correlations_go_by_fishers_z():
    rho = np.array([0.9, 0.2, 0.7])
    z = stats.ttest_1samp(np.arctanh(rho), 0).confidence_interval(0.95)
    ours = mean_correlation(rho, np.arange(3), 20)
    assert [ours["value"], ours["low"], ours["high"]] == pytest.approx(np.tanh([np.arctanh(rho).mean(), *z]))
    # Student's interval of the correlations themselves would go beyond 1.
    assert mean(rho, np.arange(3))["high"] > 1 > ours["high"]
    # All but the last of five ranks in order is 0.9, all in order counts as halfway between that and 1.
    assert mean_correlation(np.array([1.0]), np.arange(1), 5)["value"] == pytest.approx(0.95)
    assert mean_correlation(np.array([-1.0, np.nan]), np.arange(2), np.array([5, 5]))["value"] == pytest.approx(-0.95)


@pytest.mark.parametrize(("true", "draws"), [(0.0, 3), (0.6, 3), (0.9, 5)])
def test_intervals_of_correlations_cover(true, draws):
    rng, m, rounds = np.random.default_rng(2), 12, 300
    points = rng.multivariate_normal([0, 0], [[1, true], [true, 1]], (rounds, draws, m))
    rho = np.array([[spearman(*p.T) for p in one] for one in points])
    centre = np.tanh(np.arctanh(np.clip(rho, -0.9965, 0.9965)).mean())  # what correlations of so few points are of
    found = [mean_correlation(r, np.arange(draws), m) for r in rho]
    assert np.mean([e["low"] <= centre <= e["high"] for e in found]) == pytest.approx(0.95, abs=0.03)
    assert all(-1 < e["low"] < e["high"] < 1 for e in found)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_share_is_clopper_and_pearsons_over_groups(k):
    for right in range(k + 1):
        theirs = stats.binomtest(right, k).proportion_ci(0.95, method="exact")
        # Two points a group: a group holds if both do.
        holds, groups = np.repeat(np.arange(k) < right, 2), np.repeat(np.arange(k), 2)
        holds[1::2] |= k == 20  # one of them alone is not enough
        ours = share(holds, groups)
        assert [ours["value"], ours["low"], ours["high"]] == pytest.approx([right / k, theirs.low, theirs.high])
        assert (ours["n"], ours["groups"]) == (2 * k, k)
    assert share(np.zeros(0, bool), np.zeros(0))["value"] is None


def test_an_interval_of_a_share_can_be_wrong_on_either_side():
    k = 12
    found = [share(np.arange(k) < right, np.arange(k)) for right in range(k + 1)]
    for p in np.linspace(0.02, 0.98, 25):
        odds = stats.binom.pmf(np.arange(k + 1), k, p)
        below = sum(o for o, e in zip(odds, found) if e["high"] < p)
        above = sum(o for o, e in zip(odds, found) if e["low"] > p)
        assert max(below, above) <= 0.025
    assert max(sum(o for o, e in zip(stats.binom.pmf(np.arange(k + 1), k, p), found) if not e["low"] <= p <= e["high"])
               for p in np.linspace(0.02, 0.98, 25)) > 0.02  # fmt: skip


def test_growth_is_the_slope_along_each_run(rng):
    x, runs = np.tile([1.0, 2, 4, 8], 3), np.repeat([0, 1, 2], 4)
    y = x**1.5 * np.repeat([1.0, 10, 100], 4)
    y[3] *= 50  # one point off does not move Theil and Sen's slope by much
    clean = statistics.growth(x, y * np.exp2(0.01 * rng.normal(size=12)), runs, runs)
    assert clean["value"] == pytest.approx(1.5, abs=0.5)
    assert clean["groups"] == 3
    assert statistics.growth(x[4:], y[4:], runs[4:], runs[4:])["value"] == pytest.approx(1.5)
    assert statistics.growth(x[:1], y[:1], runs[:1], runs[:1])["value"] is None
    # Runs of one group are one piece of evidence.
    assert statistics.growth(x, y, runs, np.array([0] * 4 + [1] * 8))["groups"] == 2


def test_largest_is_of_what_it_is():
    assert statistics.largest(np.array([1e-9, 3e-8]), np.array([0, 0])) == {
        "value": 3e-8,
        "low": None,
        "high": None,
        "n": 2,
        "groups": 1,
    }


def test_a_claim_of_parts_needs_all_of_them():
    assert statistics.combined(["reproduced", "reproduced"]) == "reproduced"
    assert statistics.combined(["not reproduced", "not reproduced"]) == "not reproduced"
    assert statistics.combined(["reproduced", "not reproduced"]) == "inconclusive"


def test_text():
    assert statistics.text(estimate(0.25, 0.75)) == "+0.50 [+0.25, +0.75]"
    assert statistics.text(estimate(1.0, 3.0), ".0f", np.exp2) == "4 [2, 8]"
    assert statistics.text(estimate(None, None)) == "undefined"
    assert statistics.text(estimate(0.25, 0.75) | {"low": None}, suffix=" dB") == "+0.50 dB (no interval from 9 groups)"
    assert statistics.text(estimate(0.25, 0.75) | {"low": None, "groups": 1}).endswith("(no interval from 1 group)")
