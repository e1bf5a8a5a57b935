"""Shared fixtures: small networks and data, and the prepared data directory where there is one."""

import os

# One thread a process, before any library reads it: every processor has a worker, and workers start processes of their
# own. XLA takes NPROC for the number of processors. `pytest -n` starts its workers after this, in this environment.
os.environ.update(dict.fromkeys(("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
# Most programs of the tests run for less time than XLA takes to optimise them; without, they compile in a third of it.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
import resource
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import jax
import numpy as np
import pytest

import tests.typed  # noqa: F401  first: it decorates what recon defines
from recon import loops
from recon.arrays import enable_x64
from recon.cli import main
from recon.data import prepared
from recon.memory import peak_memory
from recon.networks import MLP
from tests.probes import Probes

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory):
    """A folder that all workers of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def decoded_images_in_a_folder_of_their_own(shared_dir):
    os.environ["RECON_CACHE_DIR"] = str(shared_dir / "cache")


LEAN = 2.5e9  # bytes that a worker may hold from one module to the next: programs and data sets pile up


@pytest.fixture(scope="module", autouse=True)
def memory_that_is_given_back():
    yield
    with suppress(OSError):  # no /proc here
        if int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() > LEAN:
            for cache in (loops._compiled, loops._costs, prepared._load):
                cache.cache_clear()
            jax.clear_caches()
            with peak_memory():  # first gives back what nobody uses
                pass


class Spent:
    """Filled in when the work is done: processor seconds of this process and of those it waited for."""

    seconds: float


@contextmanager
def processor_time():
    """Measure work by what it takes of the processors, which does not depend on who else wants them."""

    def now():
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in used)

    spent, began = Spent(), now()
    yield spent
    spent.seconds = now() - began


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs `recon` as a process of its own would, in this one: what it takes two seconds to import is here already.

    Takes its words and the folder to work in; returns what `subprocess.run` would.
    """
    monkeypatch.setattr("recon.cli.interrupts.heed_interrupts", lambda: None)  # Ctrl-C stays pytest's
    monkeypatch.setattr("recon.cli.audit.leave", lambda code=0: None)

    def run(*words, cwd=None):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["recon", *map(str, words)])
            patch.chdir(cwd or Path.cwd())
            with pytest.raises(SystemExit) as end:
                main()
        return subprocess.CompletedProcess(words, end.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def optimised():
    """For what runs longer than it takes to be optimised."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def tfds_dir():
    """A prepared TFDS directory with MNIST and CIFAR-10; tests that need one skip where there is none."""
    if prepared.find("mnist") is None or prepared.find("cifar10") is None:
        pytest.skip("no prepared TFDS directory with MNIST and CIFAR-10: set TFDS_DATA_DIR to run this test")
    return prepared.data_root()


TINY = '''"""Tiny: a figure of three cells that take a blink each."""

from recon.cells import AttackCell
from recon.dynamics import Linearised
from recon.memory import peak_memory
from recon.networks import MLP
from recon.plots import new_figure

PRESETS = {"quick": {"steps": 200}}
CLAIMS = ()


def cells(preset):
    fast = (("steps", preset["steps"]),)
    one = [AttackCell("mnist_odd_even", 6, MLP((32,)), Linearised(), "ntk-fast", fast, seed=s) for s in (0, 1)]
    return [*one, AttackCell("mnist_odd_even", 6, MLP((32,)), Linearised(), "exact")]


def summarise(results):
    return {"means": [r.record["scores"]["train"]["mean"] for r in results]}


def plot(summary):
    made = new_figure(2.0, 2.0)
    made.subplots().plot(summary["means"])
    return made


def table(summary):
    return "Means", ["mean"], [[str(m)] for m in summary["means"]]
'''


@pytest.fixture
def tiny(tmp_path):
    """A checkout whose only figure is `tiny`."""
    (tmp_path / "checkout" / "benchmarks").mkdir(parents=True)
    (tmp_path / "checkout" / "benchmarks" / "tiny_figure.py").write_text(TINY)
    sys.modules.pop("benchmarks.tiny_figure", None)  # another test's
    return tmp_path / "checkout"


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """Makes cells that do as they are told."""
    monkeypatch.syspath_prepend(ROOT)  # workers are told the path: another package may have a `tests` of its own
    (tmp_path / "log").mkdir()
    return Probes(tmp_path / "log")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x64():
    with enable_x64():
        yield


def small_problem(n=6, dim=12, widths=(24, 24), outputs=1, seed=0, **options):
    """(network, float32 initial weights, images (n, dim), targets) of a problem that trains in a blink."""
    network = MLP(widths, outputs=outputs, **options)
    params = jax.tree.map(np.asarray, network.init(jax.random.key(seed), dim))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim)).astype(np.float32)
    y = rng.choice([-1.0, 1.0], size=(n, outputs)).astype(np.float32)
    return network, params, x, y


def flat(tree):
    """A parameter tree as one float64 vector."""
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])
