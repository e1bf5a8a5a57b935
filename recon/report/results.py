"""The stored records as the report needs them: each figure's, beside its baseline and its pictures."""

import ast
import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recon import regression
from recon.records import code_words, described, read_json, record_state
from recon.regression.tables import number

FIGURE = {"figure", "title", "preset", "source", "seconds", "provenance"}
SOURCES = {
    "tfds": "prepared data sets",
    "samples": "package pictures",
    "mixed": "pictures of several sources",
    "folder": "a folder of pictures",
}
PRESETS = ("quick", "full", "paper")
Found = Mapping[str, Sequence[tuple[Path, Any]]]  # records by figure, with their paths
PAPER_NAMES = ("fig", "table", "theorem")  # how the names of its figures begin


@dataclass(frozen=True)
class Result:
    """One record of a figure.

    Attributes:
      path: the record.
      made: its content.
      rows: its metrics against the stored baseline; None: there is none.
      why: why that baseline was stored.
    """

    path: Path
    made: Mapping[str, Any]
    rows: Sequence[regression.Row] | None
    why: str = ""

    @property
    def name(self) -> str:
        """Names the record within the page: figure, preset, source."""
        return f"{self.made['figure']}-{self.path.stem}"

    @property
    def heading(self) -> str:
        """What run it is, such as "Quick run on package pictures"."""
        preset, source = str(self.made["preset"]), str(self.made["source"])
        run = f"{preset} run" if preset in PRESETS else preset
        return f"{run[0].upper()}{run[1:]} on {SOURCES.get(source, source)}"

    @property
    def command(self) -> str:
        """The command that makes the record."""
        samples = " ARGS='--source samples'" if self.made["source"] == "samples" else ""
        again = f"make reproduce-{self.made['figure']} PRESET={self.made['preset']}{samples}"
        return str(self.made.get("command", again))

    @property
    def computed(self) -> float | None:
        """Seconds that its cells took; None where some do not say: the run may have found those stored."""
        return seconds(self.made) if all("seconds" in c for c in self.made["cells"]) else None

    @property
    def drawn(self) -> list[Path]:
        """The figure's pages as pictures, drawn from the record and stored beside it."""
        stem = self.path.stem
        more = [p for p in self.path.parent.glob(f"{stem}-*.png") if p.stem.removeprefix(f"{stem}-").isdigit()]
        first = self.path.with_suffix(".png")
        return [p for p in (first, *sorted(more, key=lambda p: (len(p.name), p.name))) if p.exists()]

    @cached_property
    def table(self) -> list[list[str]]:
        """The figure's table, stored beside the record, column names first; without one, its cells' scores."""
        file = self.path.with_suffix(".csv")
        if file.exists():
            with file.open(encoding="utf-8", newline="") as lines:
                return list(csv.reader(lines))
        rows = [
            [described(c["cell"]), *(number(c["scores"][k]["mean"]) for k in ("train", "held_out", "start"))]
            for c in self.made.get("cells", [])
            if "scores" in c
        ]
        return [["cell", "mean L2", "held-out", "start"], *rows] if rows else []

    @property
    def claims(self) -> Sequence[Mapping[str, Any]]:
        """The claims with their verdicts."""
        found: Sequence[Mapping[str, Any]] = self.made.get("claims", [])
        return found

    @property
    def verdicts(self) -> Counter[str]:
        """How many claims have each verdict."""
        return Counter(c["verdict"] for c in self.claims)

    def metrics(self, *kinds: str) -> list[regression.Row]:
        """Rows against the baseline of the given kinds (quality, cost, time), what got worse first."""
        mine = [r for r in self.rows or () if regression.KINDS.get(r.metric) in kinds]
        return sorted(mine, key=lambda r: not r.failed)

    @property
    def failed(self) -> bool:
        """Whether a metric fails against the baseline."""
        return any(r.failed for r in self.rows or ())

    @property
    def status(self) -> str:
        """The comparison with the baseline in a few words."""
        if self.rows is None:
            return "no baseline"
        found = Counter[str](r.status for r in self.rows)
        if found.keys() <= {"missing", "new"}:
            return "baseline of other settings"
        said = ", ".join(f"{found[s]} {s}" for s in regression.FAILS if found[s])
        return said or "none worse"

    @property
    def costs(self) -> list[tuple[str, ...]]:
        """Costs and times, a row each: metric, number of settings, medians of baseline and run, ratio, status."""
        rows: list[tuple[str, ...]] = []
        for metric in dict.fromkeys(r.metric for r in self.metrics("cost", "time")):
            mine = [r for r in self.metrics("cost", "time") if r.metric == metric]
            both = [(r.before, r.now) for r in mine if r.before is not None and r.now is not None]
            if not both:
                continue
            before, now = (float(np.median(column)) for column in zip(*both, strict=True))
            ratios = sorted(b / a for a, b in both if a)
            spread = f"{np.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if ratios else "–"
            rows.append((metric, str(len(both)), number(before), number(now), spread, regression.counted(mine)))
        return rows

    @property
    def code(self) -> str:
        """Whether the code that made it is the code as it is: current, stale or unknown."""
        return record_state(self.made)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What made the record, name and value."""
        made, cells = self.made["provenance"], self.made.get("cells", [])
        commits = Counter(str(c["provenance"].get("commit"))[:12] for c in cells)
        prints = {c["data"]["fingerprints"]["train"] for c in cells if "fingerprints" in c.get("data", {})}
        device, machine = made["device"], made["machine"]
        return [
            ("command", self.command),
            ("record", f"results/{self.path.parent.name}/{self.path.name}"),
            ("commit", f"{made['commit'] or 'unknown'}{' with changes' if made['dirty'] else ''}"),
            ("cells", f"{len(cells)}, computed by {', '.join(f'{k} ({n})' for k, n in commits.items())}"),
            ("pictures", "; ".join(dict.fromkeys(c["data"]["source"] for c in cells if "data" in c))),
            ("fingerprints of training sets", ", ".join(sorted(prints))),
            ("code", code_words(self.made)),
            ("code version", made["code_version"]),
            ("versions", ", ".join(f"{k} {v}" for k, v in made["versions"].items())),
            ("device", f"{device['count']} × {device['kind']} ({device['platform']})"),
            ("machine", f"{machine['system']} {machine['architecture']}, cores: {machine['cpus']}"),
            ("time", made["made_at"]),
        ]


@dataclass(frozen=True)
class Figure:
    """A figure: what it is, and its records."""

    name: str
    title: str
    about: str
    results: Sequence[Result]


def records(results: Path) -> dict[str, list[tuple[Path, Any]]]:
    """The records of whole figures by figure, with their paths; a folder's other files are no figure's."""
    found: dict[str, list[tuple[Path, Any]]] = {}
    for path in sorted(results.glob("*/*.json")):
        made = read_json(path)
        if isinstance(made, dict) and made.keys() >= FIGURE:
            found.setdefault(path.parent.name, []).append((path, made))
    return found


def seconds(made: Mapping[str, Any]) -> float:
    """Time that the cells took to compute, also where the run that wrote the record found them stored."""
    times = [c.get("seconds") for c in made.get("cells", [])]
    return float(sum(times) if times and None not in times else made["seconds"])


def figures(found: Found, results: Path, modules: Mapping[str, Path]) -> Iterator[Figure]:
    """Every figure that has a record: the paper's in the order of the modules, then the others.

    Records of one folder that have titles of their own are figures of their own.

    Args:
      found: the records, as `records` finds them.
      results: their folder; baselines lie in its folder `baselines`.
      modules: the figures' modules, by figure.
    """
    order = {name: i for i, name in enumerate(modules)}
    for name in sorted(found, key=lambda n: (not n.startswith(PAPER_NAMES), order.get(n, len(order)))):
        text = about(modules[name]) if name in modules else ""
        # Prepared data sets before package pictures, and the largest run, whose verdicts count, before smaller ones.
        mine = sorted(found[name], key=lambda run: (run[1]["source"] == "samples", run[1]["preset"] == "quick"))
        for i, title in enumerate(dict.fromkeys(made["title"] for _, made in mine), 1):
            runs = [compared(path, made, results) for path, made in mine if made["title"] == title]
            yield Figure(name if i == 1 else f"{name}-{i}", title, text, runs)


def compared(path: Path, made: Mapping[str, Any], results: Path) -> Result:
    """A record beside its baseline.

    Raises:
      ReconError: the baseline is damaged.
    """
    file = regression.path(results / "baselines", made["figure"], made["preset"], made["source"])
    baseline = regression.read(file)
    if baseline is None:
        return Result(path, made, None)
    rows = regression.compare(baseline, regression.groups(made["cells"]))
    return Result(path, made, rows, baseline.reasons[0].why)


def about(module: Path) -> str:
    """A module's docstring below its first line, read without importing it."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[2].strip()
