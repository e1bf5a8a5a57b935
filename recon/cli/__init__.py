"""The command line. Nothing heavy is imported before a command needs it."""

import sys

from recon.errors import ReconError


def main() -> None:
    """Entry point of `recon`. Exit codes: 0 done, 1 a stated error, 2 wrong usage, 130 interrupted."""
    from rich.console import Console
    from rich.markup import escape

    from recon.cli.commands import app

    try:
        app()
    except ReconError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
