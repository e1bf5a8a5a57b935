"""A run that is killed again and again ends with the records of one that was not."""

import json
import subprocess
import sys

import numpy as np
import pytest

from recon.records import Stored, cells_differ
from tests.conftest import ROOT


def test_killed_and_resumed_is_bit_for_bit_the_same(tiny, tmp_path):
    command = [sys.executable, "-m", "tests.resilience.kill", "tiny", "--source", "samples", "--jobs", "1"]
    command += ["--kills", "2", "--root", tiny, "--out", tmp_path / "kill-test.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((tmp_path / "kill-test.json").read_text())
    assert made["verdict"] == "identical"
    assert made["cells"] == 3
    assert len(made["kills"]) == 2
    assert not (tiny / "made").exists()


CELL = {"scores": {"mean": 0.1, "list": [1, 2.0]}, "seconds": {"run": 1.0}, "attack": {"trace": [1], "steps": 3}}
MADE = Stored(CELL, {"x": np.arange(3.0, dtype=np.float32)})


def test_the_same_is_the_same_whenever_it_was_made():
    later = CELL | {"seconds": {"run": 2.0}, "attack": {"trace": [1, 2], "steps": 3}}
    assert cells_differ(MADE, Stored(later, {"x": MADE.arrays["x"].copy()})) == []


@pytest.mark.parametrize(
    ("record", "arrays"),
    [
        ({"scores": {"mean": np.nextafter(0.1, 1), "list": [1, 2.0]}}, {}),
        ({"scores": {"mean": 0.1, "list": [1, 2]}}, {}),
        ({"scores": {"mean": 0.1, "list": [1]}}, {}),
        ({"more": 1}, {}),
        ({"attack": {"trace": [1], "steps": 4}}, {}),
        ({}, {"x": np.array([0, 1, np.nextafter(np.float32(2), 3)], np.float32)}),
        ({}, {"x": np.array([-0.0, 1, 2], np.float32)}),
        ({}, {"x": np.arange(3.0)}),
        ({}, {"y": np.zeros(1)}),
    ],
)
def test_one_bit_is_a_difference(record, arrays):
    assert len(cells_differ(MADE, Stored(CELL | record, MADE.arrays | arrays))) == 1
