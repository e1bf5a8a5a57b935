"""Figures timed in a store of their own leave their cells, record and pictures where they belong."""

import json
import subprocess
import sys

from recon.benchmark import cell_store
from recon.records import read_json
from tests.conftest import ROOT


def test_a_figure_is_timed_twice_and_its_results_are_kept(tiny, tmp_path):
    command = [sys.executable, "-m", "tests.resilience.figure_times", "tiny", "--source", "samples"]
    command += ["--root", tiny, "--results", tmp_path / "results"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    times = json.loads((tmp_path / "results" / "figure-times.json").read_text())
    row = times["quick-samples"]["tiny"]
    assert row["cells"] == 3
    assert row["seconds_again"] < row["seconds_empty"]
    assert len(list(cell_store(tiny).root.glob("*/record.json"))) == 3
    made = read_json(tmp_path / "results" / "tiny" / "quick-samples.json")
    assert len(made["cells"]) == 3
    assert (tmp_path / "results" / "tiny" / "quick-samples.png").exists()
