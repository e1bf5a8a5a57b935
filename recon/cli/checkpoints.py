"""`recon audit --checkpoints`: the audit of each checkpoint of a training run."""

from pathlib import Path
from typing import Any

import typer

from recon.cli import STOPPED
from recon.cli.console import err, out, say, shown, table
from recon.cli.interrupts import leave
from recon.cli.pipeline import exit_code


def audit_over_training(init: Path, checkpoints: Path, folder: Path, fail_on: str | None, **options: Any) -> None:
    """Audit all checkpoints that are not audited yet, and show the table of all.

    Args:
      init: the initial weights.
      checkpoints: folder of the checkpoints.
      folder: for the reports.
      fail_on: see `recon.cli.pipeline`.
      options: of `recon.auditing.audit`.
    """
    from recon.auditing.checkpoints import COLUMNS, TABLE, audit_checkpoints, lines

    course = audit_checkpoints(init, checkpoints, folder, **options)
    drawn = table(*COLUMNS)
    for line in lines(course.rows):
        drawn.add_row(*line)
    out.print(drawn, markup=False)
    if course.kept:
        say(f"{course.kept} of these were audited before, with the same bytes, options and code.")
    if course.rows:
        say(f"Table and plot: {shown(folder / TABLE)}.{{md,csv,png,pdf,svg}}")
    code = exit_code(course.checked(checkpoints, fail_on), fail_on, folder)
    if course.interrupted:
        say("Interrupted: finished checkpoints are kept, the same command goes on from there.", err)
        leave(STOPPED)
    if code:
        raise typer.Exit(code)
