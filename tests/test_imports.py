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


WITHOUT_JAX = {
    "data",
    "tasks",
    "metrics",
    "errors",
    "benchmark",
    "regression",
    "report",
    "workers",
    "ray_workers",
    "cli",
}
HEAVY = ("tensorflow", "neural_tangents", "jax")


@pytest.mark.parametrize("name", sorted({*PACKAGES, *WITHOUT_JAX}))
def test_alone(name):
    script = f"import sys, recon.{name}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= (set() if name in WITHOUT_JAX else {"jax"})


def test_the_api_is_shown_before_anything_heavy_is_loaded():
    import recon

    script = "import sys, recon; print(*dir(recon)); print(recon.__version__, 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    shown, last = done.stdout.splitlines()
    assert shown.split() == sorted([*recon.__all__, "__version__"])
    assert last == f"{version('recon')} False"
    assert all(hasattr(recon, name) for name in shown.split())
