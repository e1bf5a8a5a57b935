"""What made a result: commit, versions, device, time. No host names, no user names."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recon.records.code_version import code_version, library_versions

LIBRARIES = ("recon", "jax", "jaxlib", "numpy", "scipy", "optax", "scikit-image")
ROOT = Path(__file__).resolve().parent.parent.parent


def _git(*args: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> tuple[str | None, bool | None]:
    """(commit, whether tracked source files differ from it), or (None, None) outside a checkout."""
    head = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=normal", "--", "recon", "benchmarks", "pyproject.toml")
    return head, None if head is None or status is None else bool(status)


def provenance(modules: tuple[str, ...] = ()) -> dict[str, Any]:
    """Facts to store with a result made now by the given modules (default: by any of the package)."""
    import jax

    head, dirty = commit()
    device = jax.devices()[0]
    return {
        "commit": head,
        "dirty": dirty,
        "code_version": code_version(modules),
        "modules": list(modules),
        "versions": {name: version(name) for name in LIBRARIES}
        | library_versions(modules)
        | {"python": platform.python_version()},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "machine": {"system": platform.system(), "architecture": platform.machine(), "cpus": cores()},
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
