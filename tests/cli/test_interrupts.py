"""Ctrl-C, wherever it comes, ends in one line and exit code 130."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import processor_time

KILL = "os.kill(os.getpid(), signal.SIGINT)"
SLEEP = "time.sleep(90)"
COMES = {
    "in a command": f"def cells(preset): {KILL}; {SLEEP}",
    "in an import that catches it": f"try: {KILL}; time.sleep(0)\nexcept BaseException: pass\n"
    f"def cells(preset): {SLEEP}",
    "in a long import": f"{KILL}; time.sleep(1)\ndef cells(preset): {SLEEP}",
}


def interrupted(checkout, **env):
    command = [sys.executable, "-m", "recon", "reproduce", "tiny"]
    return subprocess.run(command, cwd=checkout, env=os.environ | env, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("figure", COMES.values(), ids=COMES)
def test_an_interrupt_says_what_is_kept(tiny, figure):
    (file,) = (tiny / "benchmarks").iterdir()
    file.write_text(f'"""Tiny."""\nimport os, signal, time\nPRESETS = {{"quick": {{}}}}\n{figure}\n')
    done = interrupted(tiny)
    assert done.returncode == 130
    assert done.stderr == "Interrupted: finished cells are stored, the same command goes on from there.\n"


def test_an_early_interrupt_too(tiny):
    (tiny / "early").mkdir()
    (tiny / "early" / "typer.py").write_text("raise KeyboardInterrupt")
    done = interrupted(tiny, PYTHONPATH=f"{tiny / 'early'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert done.returncode == 130
    assert done.stderr == "Interrupted: finished cells are stored, the same command goes on from there.\n"


def test_commands_that_store_nothing_do_not_promise_it(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-m", "recon", "audit", "--init", "a.npz", "--final", "b.npz"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def test_audit_out_of_time_ends_without_the_rest_of_a_step(tmp_path, rng):
    sizes = ((20, 16), (16, 120))
    for file, size in (("init", 1.0), ("final", 1.01)):
        kernels = {f"Dense_{i}/kernel": size * rng.normal(size=s).astype(np.float32) for i, s in enumerate(sizes)}
        biases = {f"Dense_{i}/bias": rng.normal(size=s[1]).astype(np.float32) for i, s in enumerate(sizes)}
        np.savez(tmp_path / f"{file}.npz", **kernels, **biases)
    command = [sys.executable, "-m", "recon", "audit", "--init", tmp_path / "init.npz", "--final"]
    command += [tmp_path / "final.npz", "--attack", "ntk-fast", "-m", "40", "--seconds", "0.1", "--out", tmp_path / "o"]
    with processor_time() as spent:
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert spent.seconds < 25  # a step takes half a minute
    assert "Stopped after 0.1 seconds" in (tmp_path / "o" / "report.md").read_text()
