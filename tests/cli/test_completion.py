"""What TAB offers, in a real bash with the completion that the command installs, and what it is read from."""

import os
import shutil
import subprocess
import sys

import pytest

from recon import ReconError
from recon.attacks import attacks
from recon.benchmark import benchmarks
from recon.cli import completion
from recon.cli.sets import dynamics_of
from recon.data import SOURCES
from recon.distillation import methods
from recon.tasks import tasks
from tests.conftest import ROOT


def test_names_read_from_files_are_those_of_the_modules():
    assert sorted(completion.tasks()) == sorted(tasks())
    assert sorted(completion.attacks()) == sorted(attacks())
    assert sorted(completion.methods()) == sorted(methods())
    assert tuple(completion.sources()) == SOURCES
    for name in completion.dynamics():
        dynamics_of(name)
    presets = [set(benchmark.module().PRESETS) for benchmark in benchmarks(ROOT).values()]
    assert set(completion.presets()) == set.union(*presets)
    assert set.intersection(*presets) >= {"quick", "full"}


def test_figures_are_the_checkouts(tiny, monkeypatch):
    monkeypatch.chdir(tiny)
    assert completion.figures() == ["tiny"]

    def nowhere():
        raise ReconError("no checkout")

    monkeypatch.setattr("recon.benchmark.project_root", nowhere)
    assert completion.figures() == []


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs words of a command line through bash's completion, as a new shell has it after --install-completion."""
    home, bin_folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("bin")
    (bin_folder / "recon").write_text(f"#!{sys.executable}\nfrom recon.cli import main\n\nmain()\n")
    (bin_folder / "recon").chmod(0o755)
    env = os.environ | {
        "HOME": str(home),
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }

    def bash(script):
        command = ["bash", "--norc", "-c", f"{script}; exit $?"]
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=600
        ).stdout

    bash("recon --install-completion")

    def complete(line):
        words = line.split(" ")
        quoted = " ".join(f"'{w}'" for w in words)
        offered = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _recon_completion recon; "
        return bash(f'. "$HOME/.bashrc"; {offered} printf "%s\\n" "${{COMPREPLY[@]}}"').split()

    return complete


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("recon rep", ["report", "reproduce"]),
        ("recon reproduce figJ", ["figJ1", "figJ2"]),
        ("recon check fig1 theo", ["theorem1", "theorem2"]),
        ("recon cite fig1 --preset f", ["full"]),
        ("recon reproduce fig1 --executor r", ["ray"]),
        ("recon baseline update figJ", ["figJ1", "figJ2"]),
        ("recon attack --attack ntk-m", ["ntk-minibatch"]),
        ("recon attack --dynamics m", ["momentum"]),
        ("recon audit --attack a", ["auto"]),
        ("recon train --task mnist_o", ["mnist_odd_even"]),
        ("recon distill --method rk", ["rkip", "rkip-finite"]),
        ("recon data prepare t", ["tiny_imagenet"]),
        ("recon export fig1 --format p", ["parquet"]),
    ],
)
def test_bash_offers(shell, line, offers):
    assert sorted(shell(line)) == offers
