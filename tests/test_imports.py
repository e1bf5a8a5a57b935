"""Every package is importable by itself, and nothing heavy comes along uncalled for."""

import subprocess
import sys
from importlib.metadata import version

import pytest

PACKAGES = (
    "data",
    "tasks",
    "networks",
    "kernels",
    "dynamics",
    "attacks",
    "distillation",
    "metrics",
    "records",
    "plots",
    "cli",
    "benchmark",
    "regression",
    "report",
    "workers",
    "ray_workers",
)


@pytest.mark.parametrize("name", PACKAGES)
def test_alone(name):
    script = f"import sys, recon.{name}; print([m for m in ('tensorflow', 'neural_tangents') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name",
    ["data", "tasks", "metrics", "errors", "benchmark", "regression", "report", "workers", "ray_workers", "cli"],
)
def test_without_jax(name):
    script = f"import sys, recon.{name}; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_api_is_shown_before_anything_heavy_is_loaded():
    import recon

    script = "import sys, recon; print(*dir(recon)); print(recon.__version__, 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    shown, last = done.stdout.splitlines()
    assert shown.split() == sorted([*recon.__all__, "__version__"])
    assert last == f"{version('recon')} False"
    assert all(hasattr(recon, name) for name in shown.split())
