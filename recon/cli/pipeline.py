"""How audits end a pipeline: files that it shows, and an exit code of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recon.cli.console import err, say, shown
from recon.errors import ReconError, printable

if TYPE_CHECKING:
    from recon.auditing.pipeline import Checked

FOUND = 3  # exit code of what --fail-on names; 1 is an error, 2 wrong usage

FailOn = Annotated[
    Literal["certified", "leak", "member"] | None,
    typer.Option(
        help=f"For pipelines: end with exit code {FOUND} if training images are certified, if any come back at all, "
        "or if images of --data were trained on; write report.sarif and junit.xml."
    ),
]


def require_answerable(fail_on: str | None, data: Path | None, held_out: Path | None) -> None:
    """Refuse a question that nothing would answer, which a pipeline would take for a no.

    Raises:
      ReconError: there are no images to test, or no control.
    """
    if fail_on == "member" and (data is None or held_out is None):
        raise ReconError("--fail-on member tests the images of --data against those of --heldout: give both.")


def exit_code(checked: "Sequence[Checked]", fail_on: str | None, folder: Path) -> int:
    """Write what the pipeline shows into a folder, and return its exit code: 0 nothing, 1 no answer, or `FOUND`."""
    refused = any(one.refused for one in checked)
    if fail_on is None:
        return int(refused)
    from recon.auditing.pipeline import JUNIT, SARIF, save_for_pipeline

    save_for_pipeline(checked, fail_on, folder)
    for one in checked:
        if one.refused:
            say(printable(f"--fail-on {fail_on} has no answer for {shown(one.path)}: {one.refused}"), err)
    say(f"For the pipeline: {shown(folder / SARIF)}, {shown(folder / JUNIT)}")
    return FOUND if any(fail_on in one.findings for one in checked) else int(refused)
