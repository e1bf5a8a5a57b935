import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon import loops, reconstruct
from recon.dynamics import GradientFlow, train
from recon.memory import TooLarge
from tests.conftest import small_problem


@pytest.fixture
def clock(monkeypatch):
    """A clock that only tests move."""
    now = [0.0]
    monkeypatch.setattr(loops.time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def walked(steps, seconds_a_step, wait, **options):
    found = []
    for first, last in loops.chunks(steps, **options):
        found.append((first, last))
        wait(seconds_a_step * (last - first))
    return found


@pytest.mark.parametrize("stops", [(), (7, 100, 900)])
def test_chunks_cover_every_step_once_and_end_at_every_stop(clock, stops):
    found = walked(1000, 1e-6, clock, stops=stops)
    assert [step for first, last in found for step in range(first, last)] == list(range(1000))
    assert set(stops) <= {last for _, last in found}


def test_chunks_grow_to_their_time_at_most_twofold_and_shrink_again(clock):
    sizes = [last - first for first, last in walked(4096, 1 / 128, clock, size=8)]
    assert sizes[:5] == [8, 16, 32, 64, 64]
    assert set(sizes[3:-1]) == {64}
    slow = loops.chunks(10**6, size=64)
    first, last = next(slow)
    clock(64 * 0.25)
    first, last = next(slow)
    assert last - first == 2  # half a second of steps that take a quarter


def doubled(how, x):
    return how * x


def test_one_program_for_each_kind_and_shape():
    loops._compiled.cache_clear()
    arguments = {"what": "A step", "fix": "none"}
    runs = [loops.compiled(doubled, 2, jnp.arange(3.0) + i, **arguments).run for i in range(3)]
    assert runs[0] is runs[2]
    np.testing.assert_array_equal(runs[0](jnp.ones(3)), 2 * np.ones(3))
    for how, x in ((3, jnp.ones(3)), (2, jnp.ones(4)), (2, jnp.arange(3))):
        np.testing.assert_array_equal(loops.compiled(doubled, how, x, **arguments).run(x), how * x)
    assert loops._compiled.cache_info().misses == 4


def test_a_program_that_is_kept_is_refused_too_where_memory_is_short(monkeypatch):
    def run():
        return loops.compiled(doubled, 2, jnp.ones(3), what="A step", fix="wait")

    run()
    monkeypatch.setattr("recon.memory.room", lambda: -1)
    with pytest.raises(TooLarge, match="A step takes"):
        run()


FEW = {
    "ntk": {"steps": 3},
    "ntk-fast": {"steps": 3, "snapshots": 2},
    "ntk-autodiff": {"steps": 3},
    "ntk-minibatch": {"steps": 5, "batch": 2, "resum": 2},
    "dlg": {"steps": 8},
    "simudy": {"steps": 2, "train_rate": 0.1, "train_steps": 2},
}


@pytest.mark.parametrize("attack", FEW)
def test_a_second_attack_compiles_nothing_and_finds_what_it_would_have(attack):
    pairs = []
    for seed in (0, 1):
        network, params0, x, y = small_problem(n=3, widths=(8, 8), seed=seed)
        pairs.append((params0, train(network, params0, x, y, GradientFlow(tol=1e-2)).final.params))

    def run(seed):
        return reconstruct(
            *pairs[seed], attack=attack, m=4, box=(-1 - seed, 1), key=seed, progress=False, **FEW[attack]
        )

    loops._compiled.cache_clear()
    alone = run(1)
    loops._compiled.cache_clear()
    run(0)
    after = run(1)
    assert loops._compiled.cache_info().misses == 1
    for a, b in zip(jax.tree.leaves((alone.images, alone.duals)), jax.tree.leaves((after.images, after.duals))):
        np.testing.assert_array_equal(a, b)
    assert after.steps == alone.steps == FEW[attack]["steps"]


def test_loops_take_their_steps_where_users_keep_compiled_programs_on_disk(tmp_path):
    script = "import recon.arrays, jax; print(jax.jit(lambda x, n: jax.lax.fori_loop(0, n, lambda _, x: x @ x, x))"
    script += "(2 * jax.numpy.eye(2), 3)[0, 0])"
    env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    env |= {f"JAX_PERSISTENT_CACHE_MIN_{name}": "0" for name in ("COMPILE_TIME_SECS", "ENTRY_SIZE_BYTES")}
    for _ in range(2):  # the second would read what the first wrote
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        assert float(done.stdout) == 256
