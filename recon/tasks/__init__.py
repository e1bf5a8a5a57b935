"""Tasks by name. A new task is one file in this package that defines `TASK`."""

import os

from recon.errors import unknown
from recon.registry import defined
from recon.tasks.base import Split, Task, TaskData, load, targets

__all__ = ["Split", "Task", "TaskData", "load_task", "targets", "tasks"]


def tasks() -> dict[str, Task]:
    """Every task of the package, by name."""
    return defined(__name__, "TASK")


def load_task(
    name: str,
    n_train: int,
    *,
    seed: int = 0,
    n_test: int | None = None,
    source: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> TaskData:
    """Draw the task called `name`; see `recon.tasks.base.load`.

    Raises:
      ReconError: unknown task, or as `recon.tasks.base.load`.
    """
    if name not in tasks():
        raise unknown("task", name, sorted(tasks()))
    return load(tasks()[name], n_train, seed=seed, n_test=n_test, source=source, data_dir=data_dir, images=images)
