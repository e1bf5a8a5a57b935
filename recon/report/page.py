"""The page: templates filled from stored records, everything that it needs inside."""

from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from recon.errors import ReconError
from recon.progress import Report, silent
from recon.publish.pages import style, templates
from recon.records import write_bytes
from recon.regression import cells_of
from recon.report import charts
from recon.report.paper import PAPER, beyond, counted, standings
from recon.report.published import beside, published
from recon.report.results import Figure, figures, records
from recon.report.text import blocks, coded, criterion, duration, embedded, packed

OWN = "recon.report"  # the templates' package
EXPLORER, SOLVERS = "explorer", "solvers"  # the figures that the interactive parts are made of
MOST_BYTES = 15_000_000  # a page that a phone opens
VERDICTS = ("reproduced", "not reproduced", "inconclusive")
MARKS = {"reproduced": "✓", "not reproduced": "✗", "inconclusive": "?"}


def write(out: Path, results: Path, modules: Mapping[str, Path], report: Report = silent) -> Path:
    """Build the page into `out/index.html`; returns the file.

    Raises:
      ReconError: there is no record, one is damaged, or the page is too large to send to a phone.
    """
    content = build(results, modules, report).encode()
    if len(content) > MOST_BYTES:
        raise ReconError(
            f"The page would have {len(content) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}: "
            "leave records out of the folder, or lower QUALITY in recon/report/text.py."
        )
    file = out / "index.html"
    write_bytes(file, content)
    return file


def build(results: Path, modules: Mapping[str, Path], report: Report = silent) -> str:
    """The page as HTML.

    Args:
      results: folder of records.
      modules: the figures' modules, by figure.
      report: called as each figure is done.

    Raises:
      ReconError: there is no record, or a baseline is damaged.
    """
    from plotly.offline import get_plotlyjs

    stored = records(results)
    found = list(figures(stored, results, modules))
    if not found:
        raise ReconError(f"There is no record in {results}: make one with `recon reproduce fig1`.")
    pictures: dict[Path, tuple[str, int, int]] = {}
    known = published(results)
    for i, figure in enumerate(found):
        pictures |= {page: embedded(page) for result in figure.results for page in result.drawn}
        report((i + 1) / (len(found) + 1), figure.name)
    networks = [n for summary in _summaries(found, EXPLORER) for n in charts.explorer(summary["panels"])]
    anytime = [c for summary in _summaries(found, SOLVERS) for c in charts.anytime(summary["rows"])]
    environment = templates(OWN)
    environment.filters |= {
        "blocks": blocks,
        "cells": cells_of,
        "coded": coded,
        "counted": counted,
        "criterion": criterion,
        "duration": duration,
        "marked": MARKS.__getitem__,
    }
    page = environment.get_template("page.html.j2").render(
        figures=found,
        verdicts=VERDICTS,
        claims=[(claim, standings(claim, stored)) for claim in PAPER],
        beyond=beyond(stored),
        titles={f.name: f.title for f in found},
        codes=Counter(r.code for f in found for r in f.results),
        newest=max((r.made["provenance"] for f in found for r in f.results), key=lambda facts: facts["made_at"]),
        picture=pictures.__getitem__,
        paper=lambda result: beside(known, result.made),
        networks=networks,
        anytime=anytime,
        data=_in_script({"networks": networks, "anytime": anytime}),
        style=style(OWN),
        script=(files(OWN) / "templates" / "script.js").read_text(encoding="utf-8"),
        plotly=packed(get_plotlyjs()),
    )
    report(1.0, "done")
    return str(page)


def _summaries(found: list[Figure], name: str) -> list[Any]:
    """The summaries of a figure's records."""
    return [r.made["summary"] for f in found if f.name == name for r in f.results]


def _in_script(value: Any) -> str:
    """JSON for a script element, which any "</script" inside it would end."""
    return msgspec.json.encode(value).decode().replace("<", "\\u003c")
