"""Networks of the exact recovery: what is counted of an attack, and what other code trains."""

import numpy as np
import pytest

from recon.attacks import Reconstruction
from recon.cells.foreign import (
    FederatedAveraging,
    NumpyDescent,
    ScikitLearn,
    draw_weights,
    gradients,
    output,
    timed_fit,
)
from recon.cells.instances import FLOW, Head, Instance, Null, Plain, plain
from recon.cells.recovery import RecoveryCell, tally
from recon.dynamics import Descent, Linearised
from recon.metrics import distances
from recon.tasks import load_task


def of(truth, held_out, **options):
    return Instance({}, {}, truth, held_out, {}, **options)


def test_counts_are_of_images_matched_once():
    truth = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
    images = np.stack([truth[0], truth[0] + 0.001, truth[1], truth[2] + 1])
    found = Reconstruction(
        "exact", images, truth + 5, np.zeros((0, 2)), 0, "", certified=np.array([True, True, False, True])
    )
    scores, columns, matched = tally(of(truth, -truth), found)
    assert (scores["train"]["within"], scores["train"]["certified_within"]) == (2, 1)
    assert scores["start"]["mean"] == pytest.approx(distances(truth, truth + 5).min(1).mean())
    np.testing.assert_allclose(columns["distance"], np.linalg.norm(truth - matched, axis=1))
    relative = tally(of(1e4 * truth, truth, relative=True), found)[0]["train"]
    assert (relative["unit"], relative["limit"], relative["within"]) == ("relative", 1e-3, 0)
    none = Reconstruction("exact", images[:0], truth, np.zeros((0, 2)), 0, "", certified=np.zeros(0, bool))
    scores, columns, matched = tally(of(truth, truth), none)
    assert (scores["train"]["within"], scores["train"]["certified_within"], scores["train"]["worst"]) == (0, 0, None)
    assert scores["held_out"]["mean"] is None
    assert np.isnan(columns["distance"]).all()
    assert np.isnan(matched).all()


def test_settings_hold_what_is_not_a_default():
    assert plain(Plain(64)) == {"by": "Plain", "width": 64}
    rule = Descent(momentum=0.9, loss=1e-3)
    assert plain(Plain(64, rule, block=4)) == {
        "by": "Plain",
        "width": 64,
        "dynamics": "Descent(momentum=0.9, loss=0.001)",
        "block": 4,
    }
    settings = [
        Plain(64),
        Plain(64, Linearised()),
        Plain(64, rule),
        Head(64, "PCA"),
        Null(64, "random"),
        ScikitLearn(64),
    ]
    cells = [RecoveryCell("mnist_odd_even", 6, s) for s in settings]
    assert len({str(c.settings()) for c in cells}) == len(cells)
    assert plain(Plain(64, FLOW)) == plain(Plain(64))


@pytest.fixture(scope="module")
def data():
    return load_task("mnist_odd_even", 6, seed=0, source="samples", n_test=1)


@pytest.mark.parametrize("change", ["random", "permuted units"])
def test_a_null_change_is_of_the_true_rank_and_size_but_of_no_images(data, change):
    made, true = (s.instance(data, 0) for s in (Null(64, change), Plain(64, Linearised())))
    moved, real = (np.vstack([i.after["Dense_0"][k] - i.before["Dense_0"][k] for k in ("kernel", "bias")])
                   for i in (made, true))  # fmt: skip
    assert np.linalg.matrix_rank(moved, tol=1e-4) == np.linalg.matrix_rank(real, tol=1e-4) == 6
    assert moved.std() == pytest.approx(real.std(), rel=1e-3)
    assert np.abs(moved - real).max() > moved.std()


def test_blocks_are_means(data):
    pooled = Plain(64, block=4).pooled(data.train.x)
    assert pooled.shape == (6, 7, 7, 1)
    assert pooled[2, 1, 3, 0] == pytest.approx(data.train.x[2, 4:8, 12:16].mean())


def test_gradients_by_hand_are_those_of_the_loss(rng):
    weights = [w.astype(float) for w in draw_weights(rng, 5, 7)]
    x, y = rng.normal(size=(4, 5)), rng.normal(size=(4, 1))

    def loss(t, change):
        moved = [w + t * c for w, c in zip(weights, change)]
        return 0.5 * np.mean((output(moved, x) - y) ** 2)

    change = [rng.normal(size=w.shape) for w in weights]
    slope = (loss(1e-6, change) - loss(-1e-6, change)) / 2e-6
    assert slope == pytest.approx(sum(np.vdot(g, c) for g, c in zip(gradients(weights, x, y), change)), rel=1e-6)


def test_a_client_is_seen_on_its_own_images_and_the_average_on_all(data):
    one, all_ = (timed_fit(FederatedAveraging(16, average=average), data, 0) for average in (False, True))
    assert len(one.chosen) == 2
    assert sorted(all_.chosen) == list(range(6))
    assert list(one.before) == ["w0", "b0", "w1", "b1", "w2", "b2"]
    assert all(np.array_equal(one.before[k], all_.before[k]) for k in one.before)
    assert any(not np.array_equal(one.after[k], all_.after[k]) for k in one.after)
    # In a single round: what the client that is seen makes of the images that it is said to have.
    code, rng, x = FederatedAveraging(16, rounds=1), np.random.default_rng(0), data.train.x.reshape(6, -1)
    made = timed_fit(code, data, 0)
    rng.permutation(6)
    server = draw_weights(rng, 784, 16)
    seen = code.locally(server, x[made.chosen], data.train.y[made.chosen], rng)
    assert all(np.array_equal(a, b) for a, b in zip(seen, made.after.values(), strict=True))


@pytest.mark.parametrize("code", [ScikitLearn(32, loss=1e-2), NumpyDescent(32, rate=1e-3)])
def test_other_code_trains_from_the_weights_it_tells(data, code):
    made = code.instance(data, 0)
    x = data.train.x.reshape(6, -1)

    def loss(params):
        flat = [params[f"Dense_{i}"][k] for i in range(3) for k in ("kernel", "bias")]
        return 0.5 * np.mean((output(flat, x) - data.train.y) ** 2)

    assert loss(made.after) < 2e-2 < loss(made.before)
    assert made.before["Dense_0"]["kernel"].shape == (784, 32)
