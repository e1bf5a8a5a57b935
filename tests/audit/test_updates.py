"""Updates, as clients of federated learning send them, in the place of final weights."""

import re

import numpy as np
import pytest

import recon
from recon import ReconError
from tests.audit.descent import N, descended, digits, linear, outputs, plain


@pytest.fixture(scope="module")
def data():
    return digits()


@pytest.fixture(scope="module")
def client(data):
    """Weights, and the update of a client after five steps of momentum."""
    x, y, *_ = data
    before = plain(np.random.default_rng(0))
    return before, less(descended(outputs, before, x, y, steps=5, eta=1e-2)[0], before)


def less(after, before):
    return {name: after[name] - before[name] for name in before}


def test_one_clients_update_gives_its_images(data, client, tmp_path, command):
    x, _, others, mean = data
    before, update = client
    np.savez(tmp_path / "weights.npz", **before)
    np.savez(tmp_path / "update.npz", **{f"module.{name}": a for name, a in update.items()})
    np.savez(tmp_path / "x.npz", x=x)
    given = ("--weights", "weights.npz", "--update", "update.npz", "--data", "x.npz", f"--mean={mean}")
    done = command("audit", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"An attacker who has the initial weights and an update gets all {N} training" in " ".join(
        done.stdout.split()
    )
    assert re.search(r"attacked +\| an update ", (tmp_path / ".recon/audit/report.md").read_text())
    # The same as two files of weights.
    found = recon.audit(before, {name: before[name] + update[name] for name in before}, held_out=others, mean=mean)
    assert found.certified == N


def test_the_mean_of_several_clients_updates_counts_as_one_training_set(data):
    x, y, others, mean = data
    before = plain(np.random.default_rng(0))
    updates = [
        less(descended(outputs, before, x[own], y[own], steps=5, eta=1e-2)[0], before)
        for own in (slice(0, 6), slice(6, 20))
    ]
    found = recon.audit(before, update=updates, data=x, held_out=others, mean=mean, progress=False)
    assert found.n == found.certified == found.train.within == N
    assert found.updates == 2
    assert "The 2 updates count as one: their images as one training set." in found.verdict
    assert "who has the initial weights and the mean of the updates gets all 20" in found.verdict


def test_an_update_counts_as_precisely_as_it_is_given(data):
    x, y, _, mean = data
    before = {name: a.astype(np.float64) for name, a in plain(np.random.default_rng(0)).items()}
    z = x @ before["fc1.weight"].T + before["fc1.bias"]
    h = np.maximum(z, 0)
    delta = (h @ before["fc2.weight"].T + before["fc2.bias"] - y) / N
    back = delta @ before["fc2.weight"] * (z > 0)
    gradient = {"fc1.weight": back.T @ x, "fc1.bias": back.sum(0), "fc2.weight": delta.T @ h, "fc2.bias": delta.sum(0)}
    update = {name: -1e-9 * a for name, a in gradient.items()}
    # At the weights' size float32 shows nothing of it, be it in an update, or in final weights of float64.
    for given in ({"update": update}, {"final": {name: before[name] + update[name] for name in before}}):
        found = recon.audit(before, **given, data=x, mean=mean, linearised=True, progress=False)
        assert found.certified == found.train.within == N
        assert found.membership.rank == N
    single = {name: a.astype(np.float32) for name, a in update.items()}
    assert recon.audit(before, update=single, mean=mean, linearised=True, progress=False).certified == N
    rounded = {name: (before[name] + update[name]).astype(np.float32) for name in before}
    assert not recon.audit(before, rounded, mean=mean, attack="exact", seconds=2.0, progress=False).certified


def test_noise_on_a_precise_update_is_not_taken_for_rounding(data, client):
    x, _, _, mean = data
    before, update = client
    rng = np.random.default_rng(0)
    noisy = {n: a + 1e-3 * np.sqrt(np.mean(a**2)) * rng.normal(size=a.shape) for n, a in update.items()}
    found = recon.audit(before, update=noisy, data=x, mean=mean, attack="exact", seconds=3.0, progress=False)
    assert found.certified <= found.train.within


def test_layers_that_an_update_leaves_out_did_not_change(data, rng):
    x, y, *_ = data
    frozen = linear("body", 784, 200, rng)
    shown = np.maximum(x @ frozen["body.weight"].T + frozen["body.bias"], 0)
    head = plain(rng, ("head.0", "head.2"), 200)
    after, _ = descended(lambda p, z: outputs(p, z, ("head.0", "head.2")), head, shown, y, eta=3e-3, steps=200)
    found = recon.audit(frozen | head, update=less(after, head), features=True, data=shown, progress=False)
    assert found.n == found.vouched == found.train.within == N
    assert "the features of all 20" in found.verdict


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda before, update: {"update": before}, "The update is the weights themselves"),
        (lambda before, update: {"update": {f"{n}s": a for n, a in update.items()}}, "arrays that the weights do not"),
        (lambda before, update: {"update": {n: a[:3] for n, a in update.items()}}, r"of other shapes \(fc1.bias"),
        (lambda before, update: {"update": {n: np.nan * a for n, a in update.items()}}, "not finite"),
        (lambda before, update: {"update": {n: 0 * a for n, a in update.items()}}, "there is no change"),
        (lambda before, update: {"update": update, "final": before}, "Give the final weights or, in their place"),
        (lambda before, update: {"update": update, "gradient": update}, "Give the final weights or, in their place"),
        (lambda before, update: {"update": []}, "Give the final weights or, in their place"),
    ],
)
def test_what_is_no_update_is_refused(change, message, client):
    with pytest.raises(ReconError, match=message):
        recon.audit(client[0], progress=False, **change(*client))
