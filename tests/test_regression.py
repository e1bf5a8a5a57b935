"""The gate on real tiny cells: equal code passes, and a regression of each kind that it is for is caught."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from recon import ReconError
from recon import regression as gate
from recon.attacks import attacks
from recon.benchmark import Planned, run_cells
from recon.cells import AttackCell, PruningCell
from recon.dynamics import Linearised
from recon.networks import MLP
from recon.records import Store, json_bytes, provenance
from recon.regression.measures import SHORTEST, group_name

CELL = AttackCell("mnist_odd_even", 6, MLP((64,)), Linearised(), "ntk-fast")
STEPS = 300
EACH = 4  # cells in a figure's record


def settings(**changes):
    """The attack's own settings changed: what a change of the code looks like to a cell."""
    attack = attacks()["ntk-fast"]
    return dataclasses.replace(attack, settings=dataclasses.replace(attack.settings, **{"steps": STEPS, **changes}))


class Runs:
    """Records of the cell on the images of seed 0: repeats with fresh weights and a fresh start of the attack."""

    def __init__(self, folder):
        self.data, self.folder = CELL.load(source="samples"), folder

    def __call__(self, start, count):
        planned = [
            Planned(dataclasses.replace(CELL, seed=s), self.data, f"{start}-{s}") for s in range(start, start + count)
        ]
        return [r.record for r in run_cells(planned, Store(self.folder), True, lambda *_: None, 1)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def repeats(runs):
    """Twelve runs of the same code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(attacks(), "ntk-fast", settings())
        return runs(0, 3 * EACH)


def figure(records):
    """A figure's record of some cells, which stand in for seeds 0, 1, 2, ... of the figure."""
    renamed = [r | {"cell": r["cell"] | {"seed": i}} for i, r in enumerate(records)]
    facts = {"figure": "fig", "preset": "tiny", "source": "samples", "provenance": provenance()}
    return json.loads(json_bytes(facts | {"cells": renamed}))


@pytest.fixture(scope="module")
def baseline(repeats):
    return gate.make(figure(repeats[:EACH]), [], "the first one")


def failed(baseline, records):
    rows = gate.compare(baseline, gate.groups(figure(records)["cells"]))
    return {row.metric for row in rows if row.failed and row.metric != "attack time / reference"}


def test_equal_code_passes_twenty_times_in_a_row(baseline, repeats):
    # Every comparison is of other runs than the baseline's: twenty draws of four out of eight.
    fresh = list(itertools.combinations(repeats[EACH:], EACH))
    draws = [fresh[i] for i in np.random.default_rng(0).choice(len(fresh), 20, replace=False)]
    compared = [gate.compare(baseline, gate.groups(figure(d)["cells"])) for d in draws]
    assert [[r for r in rows if r.failed and r.metric != "attack time / reference"] for rows in compared] == [[]] * 20
    # Not for want of metrics that gate: error, steps, FLOPs, bytes and memory are all compared, each time.
    gated = {r.metric for r in compared[0] if r.allowed is not None}
    assert {"mean L2", "attack steps", "FLOPs a step", "bytes a step", "temporary bytes"} <= gated
    errors = [next(r.now for r in rows if r.metric == "mean L2") for rows in compared]
    assert len(set(errors)) == 20
    # The very same run moves nothing.
    again = gate.compare(baseline, gate.groups(figure(repeats[:EACH])["cells"]))
    assert {r.status for r in again} <= {"same", "within", "not gated"}
    assert {r.now == r.before for r in again} == {True}


@pytest.mark.parametrize(
    ("change", "caught", "spared"),
    [
        # Steps cut: cheaper, and worse.
        ({"steps": STEPS // 10}, {"mean L2"}, {"FLOPs a step", "temporary bytes"}),
        # A second point of the path: more work and memory for each step.
        ({"points": (1.0, 1.0)}, {"FLOPs a step", "bytes a step", "temporary bytes"}, {"attack steps"}),
    ],
)
def test_planted_regressions_are_caught(baseline, runs, monkeypatch, change, caught, spared):
    monkeypatch.setitem(attacks(), "ntk-fast", settings(**change))
    found = failed(baseline, runs(0, EACH))
    assert caught <= found
    assert not spared & found


def changed(records, *where, by):
    """Copies of records with a number multiplied."""
    copies = json.loads(json_bytes(records))
    for record in copies:
        inner = record
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] *= by
    return copies


def statuses(baseline, records):
    return {r.metric: r.status for r in gate.compare(baseline, gate.groups(figure(records)["cells"]))}


def test_each_direction_and_limit(baseline, repeats):
    own = repeats[:EACH]
    memory = ("attack", "work", "temporary_bytes")
    assert statuses(baseline, changed(own, *memory, by=1.04))["temporary bytes"] == "within"
    assert statuses(baseline, changed(own, *memory, by=1.06))["temporary bytes"] == "worse"
    assert statuses(baseline, changed(own, *memory, by=0.9))["temporary bytes"] == "better"
    assert statuses(baseline, changed(own, "attack", "steps", by=1.1))["attack steps"] == "worse"
    assert statuses(baseline, changed(own, "scores", "train", "mean", by=9.0))["mean L2"] == "worse"
    assert statuses(baseline, changed(own, "attack", "n_estimated", by=0))["estimated N"] == "worse"
    assert statuses(baseline, changed(own, "training", "test_accuracy", by=0.1)).get("test accuracy") in (None, "worse")
    slow = statuses(baseline, changed(own, "attack", "seconds", "run", by=2.1))
    assert slow["attack time / reference"] == "worse"
    assert {status for metric, status in slow.items() if metric != "attack time / reference"} == {"same"}


def test_a_time_gates_where_it_is_long_enough_and_by_the_median(baseline, repeats):
    own = json.loads(json_bytes(repeats[:EACH]))
    for record, seconds in zip(own, (1.0, 1.1, 1.2, 1.3)):
        record["attack"]["seconds"]["run"] = seconds
        record["reference_seconds"] = 0.01
    before = gate.make(figure(own), [], "timed")
    (group,) = before.groups.values()
    assert group.metrics["attack time / reference"].value == pytest.approx(115)

    def status(by):
        now = json.loads(json_bytes(own))
        for record, factor in zip(now, by):
            record["attack"]["seconds"]["run"] *= factor
        return statuses(before, now)["attack time / reference"]

    assert status((1, 1, 1, 1)) == "same"
    assert status((1, 1, 1, 9)) == "same"  # one run that something disturbed
    assert status((1, 9, 9, 9)) == "worse"
    assert status([0.9 * SHORTEST] * 4) == status([1, 1, 1, 0.9 * SHORTEST / 1.3]) == "not gated"
    # What became slow enough to be measured gates, whatever it was before.
    for record in own:
        record["attack"]["seconds"]["run"] = SHORTEST / 10
    before = gate.make(figure(own), [], "too short")
    assert status([1] * 4) == "not gated"
    assert status([100] * 4) == "worse"


def test_other_data_and_devices_do_not_gate(baseline, repeats):
    worse = changed(repeats[:EACH], "scores", "train", "mean", by=9.0)
    worse = changed(changed(worse, "attack", "work", "temporary_bytes", by=9), "attack", "seconds", "run", by=9)
    worse[1]["data"]["fingerprints"]["train"] = "others"
    assert set(statuses(baseline, worse).values()) == {"other data"}
    worse[1]["data"]["fingerprints"] = repeats[1]["data"]["fingerprints"]
    for record in worse:
        record["provenance"]["machine"]["cpus"] += 1
    found = statuses(baseline, worse)
    assert (found["attack time / reference"], found["temporary bytes"]) == ("other machine", "worse")
    for record in worse:
        record["provenance"]["device"]["kind"] = "other"
    found = statuses(baseline, worse)
    assert (found["attack time / reference"], found["temporary bytes"]) == ("other device", "other device")
    assert found["mean L2"] == "worse"


def test_what_is_gone_fails_and_what_is_new_does_not(baseline, repeats):
    assert set(statuses(baseline, repeats[: EACH - 1]).values()) == {"missing"}
    assert "worse" not in statuses(baseline, repeats[: EACH + 1]).values()
    wider = json.loads(json_bytes(repeats[:EACH]))
    for record in wider:
        record["cell"]["network"]["widths"] = [65]
    rows = gate.compare(baseline, gate.groups(figure(wider)["cells"]))
    assert {r.status for r in rows} == {"missing", "new"}
    del wider[0]["cell"]["network"]
    assert len(gate.groups(figure(wider)["cells"])) == 2


def test_one_seed_has_no_spread_to_gate_by(repeats):
    alone = gate.make(figure(repeats[:1]), [], "one seed")
    worse = changed(repeats[:1], "scores", "train", "mean", by=9.0)
    assert statuses(alone, worse)["mean L2"] == "not gated"
    assert statuses(alone, changed(worse, "attack", "work", "flops_per_step", by=2))["FLOPs a step"] == "worse"
    others = [r["cell"] | {"seed": i + 1} for i, r in enumerate(repeats[:EACH])]
    extra = [r | {"cell": c} for r, c in zip(repeats[1 : 1 + EACH], others)]
    measured = gate.make(figure(repeats[:1]), json.loads(json_bytes(extra)), "five seeds")
    assert statuses(measured, worse)["mean L2"] == "worse"
    (group,) = measured.groups.values()
    metric = group.metrics["mean L2"]
    assert metric.value == pytest.approx(repeats[0]["scores"]["train"]["mean"])
    every = [r["scores"]["train"]["mean"] for r in repeats[: 1 + EACH]]
    source = metric.tolerance.source
    assert (source.kind, source.n, source.sd) == ("seeds", 1 + EACH, pytest.approx(np.std(every, ddof=1)))
    # t(0.99, 4 degrees of freedom) = 3.747, from a printed table.
    assert metric.tolerance.value == pytest.approx(3.747 * np.sqrt(2) * np.std(every, ddof=1), rel=1e-3)


def test_seeds_that_a_setting_lacks():
    cells = [dataclasses.replace(CELL, seed=s) for s in (0, 1)] + [dataclasses.replace(CELL, n_train=8, seed=100)]
    assert gate.seeds_wanted([c.settings() for c in cells], 3) == [(0, 101), (2, 101), (2, 102)]
    assert gate.seeds_wanted([c.settings() for c in cells], 1) == []


def test_seeds_of_every_kind_of_cell_are_one_group():
    cells = [PruningCell(dataclasses.replace(CELL, seed=s), Linearised()) for s in (0, 1)]
    assert len({group_name(c.settings()) for c in cells}) == 1
    assert cells[0].with_seed(1) == cells[1]
    assert gate.seeds_wanted([c.settings() for c in cells], 3) == [(0, 2)]


def test_steps_that_a_clock_decided_are_no_metric(repeats):
    timed = json.loads(json_bytes(repeats[:1]))
    timed[0]["attack"]["why"] = "time budget"
    (group,) = gate.groups(figure(timed)["cells"]).values()
    assert "attack steps" not in group.values


def test_a_baseline_is_stored_with_its_reasons(baseline, repeats, tmp_path):
    file = gate.path(tmp_path, "fig", "tiny", "samples")
    assert gate.read(file) is None
    gate.write(file, baseline)
    assert gate.read(file) == baseline
    gate.write(file, gate.make(figure(repeats[:2]), [], " faster "))
    assert [r.why for r in gate.read(file).reasons] == ["faster", "the first one"]
    with pytest.raises(ReconError, match="--why"):
        gate.make(figure(repeats[:2]), [], "  ")
    file.write_text('{"figure": 1}')
    with pytest.raises(ReconError, match="no baseline"):
        gate.read(file)


def test_tables_name_what_failed(baseline, repeats):
    rows = gate.compare(
        baseline, gate.groups(figure(changed(repeats[:EACH], "scores", "train", "mean", by=9))["cells"])
    )
    text = gate.markdown("fig", rows)
    first = text.split("<details>")[0]
    assert "1 regressions" in first
    assert "mean L2" in first
    assert "FLOPs a step" not in first
    assert "FLOPs a step" in text
    assert len(gate.plain(rows)) == len(rows)
    json_bytes(gate.plain(rows))


def timed_kernel(seconds=1e-3, flops=1e6):
    """A file as `make benchmark-kernels` writes it, of one kernel; the reference takes a millisecond."""
    extra = {"flops": flops, "bytes_accessed": 1e5, "temporary_bytes": 1e4, "reference_seconds": 1e-3}
    return {
        "benchmarks": [{"name": "test_kernel[20]", "extra_info": extra, "stats": {"median": seconds}}],
        "provenance": provenance(),
    }


def test_kernels_go_through_the_same_gate(command, tmp_path):
    def record(**changes):
        (tmp_path / "kernels.json").write_bytes(json_bytes(timed_kernel(**changes)))
        return gate.kernels_record(tmp_path / "kernels.json")

    def worse(**changes):
        rows = gate.compare(baseline, gate.groups(record(**changes)["cells"]))
        return {r.metric for r in rows if r.failed}

    baseline = gate.make(record(), [], "the first one")
    assert worse() == set()
    assert worse(seconds=1.9e-3) == set()  # clocks are noisy
    assert worse(seconds=2.5e-3) == {"kernel time / reference"}  # what transposing the weights cost
    assert worse(flops=1.1e6) == {"kernel FLOPs"}
    (tmp_path / "other.json").write_text('{"benchmarks": [{}]}')
    with pytest.raises(ReconError, match="make benchmark-kernels"):
        gate.kernels_record(tmp_path / "other.json")
    # The command: exit code 2 without a baseline, 0 with one, 1 on a regression.
    (tmp_path / "benchmarks").mkdir()

    def run(*words):
        return command(*words, "--kernels", "kernels.json", cwd=tmp_path)

    record()
    lacking = run("check")
    assert lacking.returncode == 2
    assert "recon baseline update kernels --kernels FILE" in lacking.stderr
    assert run("baseline", "update", "kernels", "--why", "first").returncode == 0
    assert run("check").returncode == 0
    record(seconds=2.5e-3)
    assert run("check").returncode == 1
