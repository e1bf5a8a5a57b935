"""Tables in files."""

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in GitHub's Markdown; numbers stay as they are written."""
    shown = [[text.replace("|", "\\|") for text in row] for row in (columns, *rows)]
    return tabulate(shown[1:], shown[0], tablefmt="github", disable_numparse=True)
