"""Benchmarks: modules in `benchmarks/` that turn cells into a figure. Found by file name, run, stored and redrawn here.

A module `benchmarks/NAME_topic.py` defines

    PRESETS              settings by preset name: "quick", "full", "paper"
    cells(preset)        → the cells to compute
    summarise(results)   → everything the figure and the table show, JSON-able and small
    plot(summary)        → a matplotlib figure, or several: the pages of one
    table(summary)       → a title, column names and rows of strings, for the terminal
    CLAIMS               what it claims: `recon.claims.Claim`, each with a measure of the summary; it writes no verdict

Adding a figure is adding a file.
"""

import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from recon.claims import Summary, judge
from recon.errors import ReconError, unknown
from recon.publish import csv_table, latex_table, markdown_claims, markdown_table
from recon.reading import refused
from recon.records import (
    ClaimRecord,
    Store,
    Stored,
    as_read,
    cell_key,
    code_version,
    cores,
    figure_bytes,
    library_versions,
    outline,
    provenance,
    read_figure,
    write_bytes,
)
from recon.workers import Job, Pool, Processes, compute, compute_all

if TYPE_CHECKING:
    from recon.cells import Cell
    from recon.ray_workers import Resources

LIKE = 0.8  # of a name's letters are another's: fig0 is as much like fig1 as like any other (0.75)


@dataclass(frozen=True)
class Benchmark:
    """A module of `benchmarks/`."""

    name: str
    path: Path

    @property
    def title(self) -> str:
        """First line of the module's docstring, read without importing it."""
        first = self.path.read_text(encoding="utf-8").split("\n", 1)[0]
        return first.removeprefix('"""').removesuffix('"""').strip()

    def module(self) -> Any:
        """The imported module."""
        name = f"benchmarks.{self.path.stem}"
        if name not in sys.modules:
            # The folder as a package, whatever the current folder is: modules import what they share from there.
            package = sys.modules.setdefault("benchmarks", ModuleType("benchmarks"))
            package.__path__ = list(dict.fromkeys([*getattr(package, "__path__", ()), str(self.path.parent)]))
            spec = importlib.util.spec_from_file_location(name, self.path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
        return sys.modules[name]

    def cells(self, preset: str) -> Sequence["Cell"]:
        """The cells of a preset.

        Raises:
          ReconError: unknown preset.
        """
        presets = self.module().PRESETS
        if preset not in presets:
            raise unknown(f"preset of {self.name}", preset, presets)
        cells: Sequence[Cell] = self.module().cells(presets[preset])
        return cells


def project_root() -> Path:
    """The checkout: the current folder if it holds `benchmarks/`, else the one this package lies in.

    Raises:
      ReconError: neither does.
    """
    for root in (Path.cwd(), Path(__file__).resolve().parent.parent):
        if (root / "benchmarks").is_dir():
            return root
    raise ReconError("There is no benchmarks/ folder here: run recon in a checkout of the project.")


def cell_store(root: Path) -> Store:
    """The computed cells of a checkout."""
    return Store(root / ".recon" / "cells")


def benchmarks(root: Path) -> dict[str, Benchmark]:
    """Every benchmark, by name: the file name up to its first underscore."""
    files = sorted((root / "benchmarks").glob("[a-z]*_*.py"), key=_natural)
    return {f.stem.split("_", 1)[0]: Benchmark(f.stem.split("_", 1)[0], f) for f in files}


def find(root: Path, name: str) -> Benchmark:
    """The benchmark called `name`.

    Raises:
      ReconError: there is none.
    """
    known = benchmarks(root)
    if name not in known:
        like = meant(name, known)
        fix = f"choose one of {', '.join(known)}." if like is None else f"did you mean {like}?"
        raise ReconError(f"Unknown figure {name!r}: {fix}")
    return known[name]


def meant(name: str, known: Iterable[str]) -> str | None:
    """The figure that somebody means by Fig1, "figure 1", J.1, 1 or solver; None if no name is like it."""

    def plain(words: str) -> str:
        return "".join(filter(str.isalnum, words.lower())).replace("figure", "fig")

    names, asked = {plain(each): each for each in known}, plain(name)
    forms = asked, f"fig{asked}"
    like = [form for form in forms if form in names]
    like += [close for form in forms for close in get_close_matches(form, names, 1, LIKE)]
    return names[like[0]] if like else None


@dataclass(frozen=True)
class Planned:
    """A cell, its data and its place in the store."""

    cell: "Cell"
    data: Any
    key: str


def plan(cells: Sequence["Cell"], where: dict[str, Any]) -> list[Planned]:
    """Check every cell and load its data: what is wrong or missing is said before anything is computed."""
    from recon.cells import fingerprints

    for cell in cells:
        cell.check()
    draws: dict[tuple[Any, ...], Any] = {}  # many cells share their images
    planned = []
    for cell in cells:
        if cell.draw not in draws:
            draws[cell.draw] = cell.load(**where)
        data = draws[cell.draw]
        code, libraries = code_version(cell.modules), library_versions(cell.modules)
        planned.append(Planned(cell, data, cell_key(cell.settings(), fingerprints(data), code, libraries)))
    return planned


def run_cells(
    planned: Sequence[Planned],
    store: Store,
    force: bool,
    report: Callable[[int, float, str], None],
    jobs: int | None = None,
    ray: "Resources | None" = None,
) -> list[Stored]:
    """Compute what the store does not hold, each cell once however often it is listed; it is stored when it is done.

    Args:
      force: compute even what is stored; the new result takes the old one's place.
      report: called with the cell's number, the fraction of it that is done, and a text.
      jobs: worker processes (None: one for each core); with one, cells are computed in order in this process.
      ray: compute on a Ray cluster instead, with so much for each cell.
    """
    jobs = cores() if jobs is None else jobs
    places: dict[str, list[int]] = {}
    for i, p in enumerate(planned):
        places.setdefault(p.key, []).append(i)

    def told(key: str, fraction: float, text: str) -> None:
        for i in places[key]:
            report(i, fraction, text)

    def job(key: str) -> Job:
        first = planned[places[key][0]]
        return key, first.cell, first.data

    results = {key: None if force else store.load(key) for key in places}
    missing = [key for key, stored in results.items() if stored is None]
    for key in results.keys() - missing:
        told(key, 1.0, "done")
    if jobs > 1 or ray is not None:
        _compute([job(key) for key in missing], store, force, jobs, ray, told)
    else:
        for key in missing:
            compute(job(key), store, force, partial(told, key))
            told(key, 1.0, "done")
    results |= {key: store.load(key) for key in missing}
    if lost := [planned[places[key][0]].cell.title for key, stored in results.items() if stored is None]:
        raise ReconError(f"{', '.join(lost)}: gone from the store while others were computed: run again.")
    report(len(planned) - 1, 1.0, "done")
    return [stored for p in planned if (stored := results[p.key]) is not None]


def _compute(
    todo: Sequence[Job],
    store: Store,
    force: bool,
    jobs: int,
    ray: "Resources | None",
    report: Callable[[str, float, str], None],
) -> None:
    """Compute cells in worker processes or on a cluster: side by side, and then those that are timed, one at a time."""
    together = [j for j in todo if not getattr(j[1], "alone", False)]
    timed = [j for j in todo if getattr(j[1], "alone", False)]
    errors = []
    # One worker takes the timed cells in turn; a cluster would begin them all at once.
    for batch, many in ((together, jobs), *([(timed, 1)] if ray is None else [([j], 1) for j in timed])):
        try:
            if batch:
                with _pool(store, force, min(many, len(batch)), ray) as pool:
                    compute_all(batch, pool, report)
        except ReconError as error:  # all other cells are computed all the same
            errors.append(str(error))
    if errors:
        raise ReconError(" ".join(errors))


def _pool(store: Store, force: bool, jobs: int, ray: "Resources | None") -> AbstractContextManager[Pool]:
    if ray is None:
        return Processes(jobs, store, force)
    from recon import ray_workers

    return ray_workers.tasks(store, force, ray)


def record(benchmark: Benchmark, label: str, results: Sequence[Stored], seconds: float) -> dict[str, Any]:
    """The figure's record: summary, claims, and every cell's own record."""
    module = benchmark.module()
    summary = module.summarise(results)
    return {
        "figure": benchmark.name,
        "title": benchmark.title,
        "preset": label,
        "source": source_name(results),
        "summary": summary,
        # Of the summary as it is stored, so that anyone can judge it again.
        "claims": judged(benchmark, json.loads(figure_bytes(summary))),
        "seconds": seconds,
        "provenance": provenance(),
        "cells": [outline(as_read(r).record) for r in results],
    }


def judged(benchmark: Benchmark, summary: Summary) -> list[ClaimRecord]:
    """The records of a figure's claims on a summary, one just made or a stored one."""
    return [judge(claim, summary) for claim in benchmark.module().CLAIMS]


def source_name(results: Sequence[Stored]) -> str:
    """One word for where the pictures came from: tfds, samples, folder or mixed."""
    words = set()
    for r in results:
        source = r.record["data"]["source"]
        words.add("tfds" if source.startswith("TFDS") else "folder" if source.startswith("folder") else "samples")
    return words.pop() if len(words) == 1 else "mixed"


def save(made: dict[str, Any], out: Path) -> Path:
    """Write a figure's record to `out/FIGURE/PRESET-SOURCE.json`; returns the path."""
    path: Path = out / made["figure"] / f"{made['preset']}-{made['source']}.json"
    write_bytes(path, figure_bytes(made))
    return path


def draw(benchmark: Benchmark, path: Path) -> list[Path]:
    """Draw a figure and write its table, from its stored record alone and beside it; returns the files.

    The table comes as Markdown with the claims below it, as CSV, and for LaTeX with booktabs.

    Raises:
      ReconError: the record is absent, damaged, or of an older shape than the figure's module.
    """
    made = read_figure(path)
    with _fitting(benchmark, path):
        return _drawn(benchmark, made, path)


def _drawn(benchmark: Benchmark, made: Mapping[str, Any], path: Path) -> list[Path]:
    from recon.plots import save as save_figure

    drawn = benchmark.module().plot(made["summary"])
    written = _tables(benchmark, made, path)
    for place, content in written.items():
        write_bytes(place, content)
    return [*save_figure(drawn, path.with_suffix("")), *written]


def tables(benchmark: Benchmark, path: Path) -> dict[Path, bytes]:
    """The files that hold a figure's table, from its stored record alone: Markdown with the claims, CSV, LaTeX.

    Raises:
      ReconError: as `draw`.
    """
    made = read_figure(path)
    with _fitting(benchmark, path):
        return _tables(benchmark, made, path)


def _tables(benchmark: Benchmark, made: Mapping[str, Any], path: Path) -> dict[Path, bytes]:
    title, columns, rows = benchmark.module().table(made["summary"])
    table = markdown_table(columns, rows)
    page = f"# {made['title']}\n\n{title}:\n\n{table}\n\n{markdown_claims(made['claims'])}"
    written = {".md": page, ".csv": csv_table(columns, rows), ".tex": latex_table(columns, rows)}
    return {path.with_suffix(suffix): text.encode() for suffix, text in written.items()}


def _fitting(benchmark: Benchmark, path: Path) -> AbstractContextManager[None]:
    """Say how to mend a stored record that does not fit its figure's module."""
    again = f"older code wrote it, or it is damaged, make it again with `recon reproduce {benchmark.name}`"
    return refused(f"{path} does not fit its figure", again)


def measure(
    benchmark: Benchmark,
    cells: Sequence["Cell"],
    label: str,
    *,
    root: Path,
    where: dict[str, Any],
    force: bool,
    report: Callable[[Sequence[Planned]], Callable[[int, float, str], None]],
    jobs: int | None = None,
    ray: "Resources | None" = None,
) -> dict[str, Any]:
    """Compute cells, or find them stored; returns the figure's record.

    Args:
      label: the preset's name, or any other for cells of one's own.
      report: called with the plan, gives the function that progress is reported to.
      jobs, ray: see `run_cells`.

    Raises:
      ReconError: missing data, or a failing cell.
    """
    began = time.perf_counter()
    planned = plan(cells, where)
    results = run_cells(planned, cell_store(root), force, report(planned), jobs, ray)
    return record(benchmark, label, results, time.perf_counter() - began)


def reproduce(benchmark: Benchmark, cells: Sequence["Cell"], label: str, *, out: Path, **options: Any) -> Path:
    """Measure a figure, store its record in `out`, and draw it; returns the record's path. Options as in `measure`."""
    made = measure(benchmark, cells, label, **options)
    path = save(made, out)
    _drawn(benchmark, read_figure(path), path)
    return path


def _natural(path: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)]
