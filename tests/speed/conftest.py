"""Timing of compiled kernels with trace, compile and run apart, each round beside a reference computation."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recon.records import provenance
from recon.reference import reference_seconds

ROUNDS = 15


class Staged:
    """Runs a kernel under pytest-benchmark: what does not belong to a run is timed apart, into `extra_info`."""

    def __init__(self, benchmark):
        self.benchmark = benchmark

    def compiled(self, function, *args):
        """Trace, compile, then time a JAX function; returns its value."""
        clock = time.perf_counter()
        lowered = jax.jit(function).lower(*args)
        traced = time.perf_counter()
        program = lowered.compile()
        done = time.perf_counter()
        costs = program.cost_analysis() or {}
        self.benchmark.extra_info |= {
            "trace_seconds": traced - clock,
            "compile_seconds": done - traced,
            "flops": float(costs.get("flops", np.nan)),
            "bytes_accessed": float(costs.get("bytes accessed", np.nan)),
            "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
        }
        args = jax.tree.map(jnp.asarray, args)
        return self.timed(lambda: jax.block_until_ready(program(*args)))

    def timed(self, call):
        """Time a call, the reference before each round of it; returns its value."""
        references = []

        def before():
            references.append(reference_seconds())

        value = self.benchmark.pedantic(call, setup=before, rounds=ROUNDS, warmup_rounds=1)
        if self.benchmark.stats is not None:  # None when benchmarks are disabled
            reference = float(np.median(references))
            self.benchmark.extra_info |= {
                "reference_seconds": reference,
                "ratio_to_reference": self.benchmark.stats.stats.median / reference,
            }
        return value


@pytest.fixture
def staged(benchmark, optimised):
    return Staged(benchmark)


def pytest_benchmark_update_json(output_json):
    """Keep what a reader needs: no host name, no raw rounds; provenance as in every other record."""
    for part in ("machine_info", "commit_info", "datetime", "version"):
        output_json.pop(part, None)
    for entry in output_json["benchmarks"]:
        stats = entry["stats"]
        entry["stats"] = {k: stats[k] for k in ("min", "median", "mean", "stddev", "iqr", "rounds")}
        for part in ("fullname", "options", "group", "params", "param"):
            entry.pop(part, None)
    output_json["provenance"] = provenance()
