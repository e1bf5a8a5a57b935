"""Ctrl-C, wherever it comes, ends in one line and exit code 130."""

import os
import subprocess
import sys

import pytest

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
    return subprocess.run(command, cwd=checkout, env=os.environ | env, capture_output=True, text=True, timeout=60)


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
