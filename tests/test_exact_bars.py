"""The script that measures the exact solver's bars: one small instance, resuming, verdicts."""

import sys

import msgspec
import numpy as np
import pytest

from recon import ReconError
from recon.attacks import Reconstruction
from recon.dynamics import Linearised
from recon.metrics import distances
from recon.networks import MLP
from recon.tasks import load_task
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import exact_bars
    finally:
        sys.path.pop(0)
    return exact_bars


@pytest.fixture(scope="module")
def rows():
    import exact_rows

    return exact_rows


@pytest.fixture(scope="module")
def instance(rows):
    data = load_task("mnist_odd_even", 6, seed=0, source="samples", n_test=1)
    return rows.trained(0, data, MLP((64, 64)), Linearised())


def small(rows, **options):
    row = {
        "group": "small",
        "name": "6/64",
        "n": 6,
        "width": 64,
        "make": None,
        "seeds": (0,),
        "options": {"starts": 32},
    }
    return rows.Row(**row | options)


def test_a_run_is_measured_stored_and_not_repeated(script, rows, instance, tmp_path):
    made = []

    def counted(seed, n, width):
        made.append(seed)
        return instance

    row, out = small(rows, make=counted, bar=rows.Bar(seconds=1e6), seeds=(0, 1)), tmp_path / "bars.json"
    first = script.run([row], out, seeds=1, progress=False)
    assert first["rows"][0]["met"] is None  # one seed of two
    assert out.read_bytes() == script.json_bytes(msgspec.json.decode(out.read_bytes()))
    (run,) = first["rows"][0]["runs"]
    assert {"made_at", "code_version", "rule", "source", "fingerprints", "train_seconds", "why", "starts"} <= set(run)
    assert (run["seed"], run["n"], run["width"], run["limit"], run["unit"]) == (0, 6, 64, 0.1, "L2")
    assert run["certified_within"] <= min(run["certified"], run["within"])
    assert run["within"] <= run["found"] <= 6
    assert run["start"] > 1
    script.run([row], out, seeds=1, progress=False)
    assert made == [0]
    whole = script.run([row], out, progress=False)
    assert made == [0, 1]
    assert whole["rows"][0]["met"] is True
    script.run([row], out, seeds=1, force=True, progress=False)
    assert made == [0, 1, 0]


def test_ctrl_c_and_failures(script, rows, tmp_path):
    out = tmp_path / "bars.json"

    def make(seed, n, width):
        if seed == 1:
            raise KeyboardInterrupt
        raise ReconError("Does not train: choose another.")

    row = small(rows, make=make, seeds=(0, 1), bar=rows.Bar(seconds=1e6))
    with pytest.raises(KeyboardInterrupt):
        script.run([row], out, progress=False)
    (run,) = msgspec.json.decode(out.read_bytes())["rows"][0]["runs"]
    assert (run["seed"], run["error"]) == (0, "Does not train: choose another.")
    assert not row.bar.passes(run)


def test_counts_are_of_images_matched_once(script, rows):
    truth = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
    images = np.stack([truth[0], truth[0] + 0.001, truth[1], truth[2] + 1])
    found = Reconstruction(
        "exact", images, truth + 5, np.zeros((0, 2)), 0, "", certified=np.array([True, True, False, True])
    )
    run = script.judged(rows.Instance({}, {}, truth, -truth, {}), found)
    assert (run["found"], run["certified"], run["within"], run["certified_within"]) == (4, 3, 2, 1)
    assert run["start"] == pytest.approx(distances(truth, truth + 5).min(1).mean())
    relative = script.judged(rows.Instance({}, {}, 1e4 * truth, truth, {}, relative=True), found)
    assert (relative["unit"], relative["limit"], relative["within"]) == ("relative", 1e-3, 0)
    none = Reconstruction("exact", images[:0], truth, np.zeros((0, 2)), 0, "", certified=np.zeros(0, bool))
    run = script.judged(rows.Instance({}, {}, truth, truth, {}), none)
    assert (run["within"], run["certified_within"], run["max"], run["held_out"]) == (0, 0, None, None)


def test_verdicts(rows):
    good = {"certified": 50, "certified_within": 50, "within": 50, "max": 0.001, "seconds": 1.0}
    fewer, far, slow, none = ({**good, **changed} for changed in (
        {"certified_within": 48}, {"max": 0.5}, {"seconds": 9.0}, {"within": 0, "max": None}))  # fmt: skip
    each = rows.Bar(certified_within=49, worst=0.01, seconds=5)
    assert each.text == "≥ 49 certified within, max < 0.01, time < 5 s"
    assert each.met([good, good])
    assert not any(each.met([good, bad]) for bad in (fewer, far, slow, none, {"error": "failed"}))
    two = rows.Bar(certified_within=49, median=5, runs=2)
    assert two.met([good, good, fewer])
    assert not two.met([good, fewer, fewer])
    assert not two.met([good, slow, slow])


def test_pool(script, rows):
    def pooled(name, group, seed):
        return small(rows, name=name, group=group, seeds=(seed,))

    pool, nothing = pooled("a", "certificate", 1000), pooled("b", "null", 2000)
    run = {"code_version": pool.version, "n": 1000, "within": 400, "certified": 398, "certified_within": 396}
    made = {"a": [{**run, "seed": 1000}], "b": [{**run, "seed": 2000, "certified": 0}]}
    summary = script.certificate([pool, nothing], made)
    assert summary["met"] is True
    assert summary["precision"]["value"] == 396 / 398
    assert summary["recall"]["value"] == 0.99
    assert (summary["networks"]["part"], summary["networks"]["of"]) == (0, 1)
    failed = {"a": [*made["a"], {"code_version": pool.version, "seed": 1001, "error": "no images"}], "b": made["b"]}
    wider = small(rows, name="a", group="certificate", seeds=(1000, 1001))
    assert script.certificate([wider, nothing], failed)["met"] is False
    made["b"][0]["certified"] = 1
    assert script.certificate([pool, nothing], made)["met"] is False
    assert script.certificate([pool, nothing], {"a": made["a"]})["met"] is None


def test_the_interval_of_the_precision_is_over_networks(script):
    right = {"n": 10, "within": 10, "certified": 10, "certified_within": 10}
    wrong, none = right | {"certified_within": 3}, right | {"certified": 0, "certified_within": 0}
    networks = script.tallied([right] * 38 + [wrong] * 2 + [none] * 5)["networks"]
    assert (networks["part"], networks["of"]) == (38, 40)
    # Clopper-Pearson by its definition: the tail beyond what was seen holds 2.5 %.
    from scipy.stats import binom

    assert binom.sf(37, 40, networks["low"]) == pytest.approx(0.025)
    assert binom.cdf(38, 40, networks["high"]) == pytest.approx(0.025)
    assert script.tallied([none])["networks"] == {"part": 0, "of": 0, "value": None, "low": None, "high": None}


def test_narrow_instances_are_judged_by_precision_alone(script, rows):
    row = small(rows, name="a", group="narrow", seeds=(3000,))
    run = {"code_version": row.version, "seed": 3000, "n": 4000, "within": 3000, "certified": 1000}
    assert script.narrow([row], {"a": [{**run, "certified_within": 990}]})["met"] is True
    assert script.narrow([row], {"a": [{**run, "certified_within": 989}]})["met"] is False
    assert script.narrow([row], {"a": [{**run, "certified": 999, "certified_within": 999}]})["met"] is False
    assert script.narrow([row], {})["met"] is None


def test_rows_are_distinct_and_the_pool_is_large_and_fresh(script, rows):
    every = rows.all_rows()
    assert len({row.name for row in every}) == len(every)
    pool = [row for row in every if row.group == "certificate"]
    assert sum(row.n * len(row.seeds) for row in pool) >= script.POOL_IMAGES
    assert min(seed for row in pool for seed in row.seeds) >= 1000
    assert min(seed for row in every if row.group == "narrow" for seed in row.seeds) >= 3000
