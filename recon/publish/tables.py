"""Tables and claims in files."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

# A document of tables that lie beside their records, for runs of LaTeX in the folder of results, in one of its folders
# or above it. Each has a page, on which it is made as small as it has to be.
DOCUMENT = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage{booktabs,graphicx}
\makeatletter\def\input@path{{../}{results/}}\makeatother
\newsavebox{\stored}
\newcommand{\fitted}[1]{%
  \sbox{\stored}{#1}%
  \ifdim\wd\stored>\textwidth\sbox{\stored}{\resizebox{\textwidth}{!}{\usebox{\stored}}}\fi
  \ifdim\dimexpr\ht\stored+\dp\stored>0.9\textheight
    \sbox{\stored}{\resizebox*{!}{0.9\textheight}{\usebox{\stored}}}\fi
  \usebox{\stored}}
\newcommand{\storedtable}[2]{%
  \begin{table}[p]\centering\caption{#2}\label{tab:#1}\medskip\fitted{\input{#1}}\end{table}\clearpage}
\begin{document}
TABLES\end{document}
"""
# Signs that pylatexenc would write with fonts beyond LaTeX's first ones, or at greater length.
IN_LATEX = {
    "±": r"$\pm$", "–": "--", "∞": r"$\infty$", "‖": r"$\Vert$", "²": r"\textsuperscript{2}", "α": r"$\alpha$",
    "λ": r"$\lambda$", "₀": r"\textsubscript{0}", "₂": r"\textsubscript{2}", "≥": r"$\geq$", "≤": r"$\leq$",
    "×": r"$\times$", "−": r"$-$", "¹": r"\textsuperscript{1}", "½": r"$\frac{1}{2}$", "·": r"$\cdot$",
    "→": r"$\rightarrow$", "√": r"$\surd$", "|": "$|$",
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
    # tabulate has escaped what is special to LaTeX in ASCII, but takes | for text.
    return _encoded(made.replace("|", IN_LATEX["|"]), non_ascii_only=True) + "\n"


def latex_document(tables: Mapping[str, str]) -> str:
    """A LaTeX document of stored tables: captions by path, relative to the folder of results and without ending."""
    shown = "".join(f"\\storedtable{{{path}}}{{{latex_text(text)}}}\n" for path, text in tables.items())
    return DOCUMENT.replace("TABLES", shown)


def latex_text(text: str) -> str:
    """Text in ASCII for LaTeX and BibTeX, special characters escaped; a sign without a command becomes a bold ?."""
    return _encoded(text, non_ascii_only=False)


def _encoded(text: str, non_ascii_only: bool) -> str:
    from pylatexenc.latexencode import RULE_DICT, UnicodeToLatexConversionRule, UnicodeToLatexEncoder

    ours = UnicodeToLatexConversionRule(RULE_DICT, {ord(sign): command for sign, command in IN_LATEX.items()})
    encoder = UnicodeToLatexEncoder(
        conversion_rules=[ours, "defaults"], non_ascii_only=non_ascii_only, unknown_char_policy="replace"
    )
    return str(encoder.unicode_to_latex(text))


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as comma-separated values (RFC 4180, but for its line ends)."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([columns, *rows])
    return out.getvalue()
