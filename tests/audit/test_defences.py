"""What would stop an attack: replays against gradients by hand, and what comes back of them."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

import recon
from recon.auditing import defences
from recon.auditing.defences import CUT, EPSILONS, Case, Late, Otherwise, Rule, attacked, changes_of, measured, updated
from recon.auditing.result import count_certified, count_vouched
from recon.metrics.privacy import epsilon
from recon.networks import MLP
from recon.progress import silent
from tests.audit.training import gradient, start

N = 20


@pytest.fixture(scope="module")
def digits():
    return recon.load_task("mnist_odd_even", N, seed=0, source="samples", n_test=1)


def case_of(digits, rule, **changes):
    w = {name: a.astype(np.float32) for name, a in start(784).items()}
    params = {f"Dense_{i}": {"kernel": w[f"fc{i + 1}.weight"].T, "bias": w[f"fc{i + 1}.bias"]} for i in (0, 1)}
    x = digits.train.x.reshape(N, -1)
    given = {"softmax": False, "gradient": False, "options": {}, **changes}
    return Case(MLP((256,)), params, x, np.float32(digits.train.y), rule=rule, **given)


def by_image(case):
    """Each image's gradient, by NumPy, as one vector."""
    w = start(784)
    x, y = case.x.astype(np.float64), case.y.astype(np.float64)
    made = [gradient(w, x[i : i + 1], y[i : i + 1]) for i in range(N)]
    return np.stack([joined(g["fc1.weight"].T, g["fc1.bias"], g["fc2.weight"].T, g["fc2.bias"]) for g in made])


def joined(*parts):
    return np.concatenate([np.ravel(part) for part in parts])


def vector(change):
    return joined(*(change[f"Dense_{i}"][part] for i in (0, 1) for part in ("kernel", "bias")))


def test_a_step_is_the_gradient(digits):
    case = case_of(digits, Rule())
    mean, (change, left) = by_image(case).mean(0), updated(case, 0)
    moved = vector(change)
    rate = -(moved @ mean) / (mean @ mean)
    assert rate > 0
    assert np.linalg.norm(moved + rate * mean) < 1e-5 * np.linalg.norm(moved)
    assert left < 1
    # Two steps are the second from where the first ended.
    twice, further = updated(case_of(digits, Rule(2)), 0)
    assert further < left
    assert np.linalg.norm(vector(twice) - 2 * moved) > 0.01 * np.linalg.norm(moved)


def test_clipping_shortens_each_image_and_noise_is_measured_by_the_clip(digits):
    each = by_image(case_of(digits, Rule()))
    lengths = np.linalg.norm(each, axis=1)
    clip = np.median(lengths)
    clipped = (each * np.minimum(1, clip / lengths)[:, None]).sum(0)
    plain = vector(updated(case_of(digits, Rule()), 0)[0])
    rate = np.linalg.norm(plain) / np.linalg.norm(each.sum(0))  # over the number of images
    moved = vector(updated(case_of(digits, Rule(clipped=True)), 0)[0])
    assert np.linalg.norm(moved + rate * clipped) < 1e-5 * np.linalg.norm(moved)
    noised = vector(updated(case_of(digits, Rule(clipped=True, noise=3.0)), 1)[0])
    assert np.std(noised - moved) == pytest.approx(3.0 * clip * rate, rel=0.01)
    again = vector(updated(case_of(digits, Rule(clipped=True, noise=3.0)), 2)[0])
    assert np.abs(np.corrcoef(noised - moved, again - moved)[0, 1]) < 0.02


@pytest.mark.parametrize("steps", [1, 60])
def test_epsilons_are_those_of_the_noise(digits, steps):
    rules = [change.rule for change in changes_of(case_of(digits, Rule(steps))) if isinstance(change, Otherwise)]
    noised = [rule for rule in rules if rule.noise]
    assert len(noised) == len(EPSILONS)
    for rule, promised in zip(noised, EPSILONS, strict=True):
        assert rule.clipped
        assert not rule.until  # a loss to stop at would be a look at the data
        # The accountant's is an upper bound, some per cent above.
        assert promised <= epsilon(rule.noise, rule.steps) < 1.3 * promised + 1


def test_what_comes_back(digits, optimised):
    x = digits.train.x.reshape(N, -1)
    case = case_of(digits, Rule(), gradient=True)
    changes = {change.words: change for change in changes_of(case)}

    def back(words):
        return attacked(changes[words].seen(case, 0), case, 20.0, 0)[0]

    whole = back("nothing: the update replayed")
    near = np.linalg.norm(whole.images[whole.certified].reshape(-1, 1, 784) - x, axis=-1).min(1)
    assert count_certified(whole) == N
    assert (near < 0.1).all()
    assert count_vouched(back("2 local steps in place of one")) == N
    assert count_vouched(back("initial weights that the attacker does not have")) == 0
    strong = next(words for words, change in changes.items() if change.note == "ε = 10")
    assert count_vouched(back(strong)) == 0


def test_the_time_is_kept_and_what_was_left_out_is_named(digits):
    case = case_of(digits, Rule())
    tried = measured(case, "These", 1e-9, 0, silent)
    assert tried.rows == ()
    assert all(change.words in tried.words for change in changes_of(case))


def test_an_attack_that_was_cut_short_is_no_defence_that_works(digits, monkeypatch):
    case = case_of(digits, Rule(), gradient=True)
    own = Otherwise("the update replayed", case.rule, "as it was")
    monkeypatch.setattr(defences, "changes_of", lambda _: [own])
    monkeypatch.setattr(defences, "ATTACK_SECONDS", 1e-6)
    ((_, certified, *_, note),) = measured(case, "These", 60.0, 0, silent).rows
    assert (certified, note) == ("0", f"as it was; {CUT}")
    seen = own.seen(case, 0)
    with pytest.raises(Late):  # of what there was no time for there is no row
        attacked(seen, replace(case, deadline=time.perf_counter() + 1e-3), 20.0, 0)


def test_the_command_shows_and_stores_them(command, digits, tmp_path, optimised):
    x, w = digits.train.x.reshape(N, -1).astype(np.float64), start(784)
    np.savez(tmp_path / "weights.npz", **w)
    np.savez(tmp_path / "gradient.npz", **gradient(w, x, digits.train.y))
    given = ["--weights", tmp_path / "weights.npz", "--gradient", tmp_path / "gradient.npz", "--out", tmp_path]
    done = command("audit", *given, "--defences", "--seconds", "4")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "report.json").read_text())["defences"]
    rows = [dict(zip(told["columns"], row, strict=True)) for row in told["rows"]]
    assert rows[0]["change"] == "nothing: the update replayed"
    assert (rows[0]["certified"], rows[0]["of"]) == (str(N), str(N))
    assert "There was no time" in told["words"]
    assert "What would stop this attack" in (tmp_path / "report.md").read_text()
    assert "the update replayed" in done.stdout
