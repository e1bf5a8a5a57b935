"""The command line. Nothing heavy is imported before a command needs it."""

import sys

from recon.errors import ReconError

STOPPED = 130  # as shells have it of Ctrl-C
STORING = ("reproduce", "check", "attack", "baseline")  # commands that store each cell once it is finished


def main() -> None:
    """Entry point of `recon`. Exit codes: 0 done, 1 a stated error, 2 wrong usage, 130 interrupted."""
    try:
        from recon.cli.interrupts import heed_interrupts

        heed_interrupts()

        from recon.cli.commands import app

        app()
    except ReconError as error:
        from rich.console import Console
        from rich.markup import escape

        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer makes a silent exit of the interrupt; one that comes while it is imported arrives as itself.
        if isinstance(end, SystemExit) and end.code != STOPPED:
            raise
        kept = ": finished cells are stored, the same command goes on from there"
        print(f"Interrupted{kept if {*sys.argv[1:2]} & {*STORING} else ''}.", file=sys.stderr)
        sys.exit(STOPPED)
