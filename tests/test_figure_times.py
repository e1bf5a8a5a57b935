"""Figures are timed in a store of their own, and leave nothing behind."""

import re
import subprocess
import sys

from recon.benchmark import cell_store
from tests.conftest import ROOT


def test_a_figure_is_timed_twice(tiny):
    command = [sys.executable, "-m", "tests.resilience.figure_times", "tiny", "--source", "samples", "--root", tiny]
    command += ["--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    empty, again, cells = map(float, re.findall(r"([\d.]+) (?:s from|s again|cells)", done.stdout))
    assert cells == 3
    assert again < empty
    assert not cell_store(tiny).root.exists()
