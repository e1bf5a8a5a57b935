"""Tables and claims in files."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate

# Signs in tables that LaTeX's default fonts do not have in text.
IN_LATEX: dict[str, str | int | None] = {
    "±": r"$\pm$", "–": "--", "∞": r"$\infty$", "‖": r"$\Vert$", "²": r"\textsuperscript{2}", "α": r"$\alpha$",
    "λ": r"$\lambda$", "₀": r"\textsubscript{0}", "₂": r"\textsubscript{2}", "≥": r"$\geq$", "≤": r"$\leq$",
    "×": r"$\times$", "−": r"$-$",
}  # fmt: skip


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in GitHub's Markdown; numbers stay as they are written."""
    shown = [[text.replace("|", "\\|") for text in row] for row in (columns, *rows)]
    return tabulate(shown[1:], shown[0], tablefmt="github", disable_numparse=True)


def markdown_claims(claims: Iterable[Mapping[str, str]]) -> str:
    """A figure's claims as a list in Markdown: verdict, statement, effect."""
    return "".join(f"- **{c['verdict'].capitalize()}**: {c['statement']} {c['effect']}\n" for c in claims)


def latex_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for LaTeX with the package booktabs; numbers stay as they are written."""
    made = tabulate([list(row) for row in rows], list(columns), tablefmt="latex_booktabs", disable_numparse=True)
    return made.translate(str.maketrans(IN_LATEX)) + "\n"


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as comma-separated values (RFC 4180, but for its line ends)."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([columns, *rows])
    return out.getvalue()
