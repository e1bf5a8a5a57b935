"""What the paper says on a figure, beside a record."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from recon.records import read_json
from recon.report import paper
from recon.report.paper import EPOCHS, NONE, SET, STEPS, WIDTH, N

CLAIM = "claim and settings"
FILE = Path("reference") / "published-curves.json"
Line = tuple[str, str, str]  # what, the paper's, the record's


class Beside(NamedTuple):
    """The paper and a record.

    Attributes:
      source: of the published numbers; empty where there is none.
      lines: by what they are on: settings, then each data set; none where the figure is not the paper's.
    """

    said: paper.Said
    source: str
    lines: Mapping[str, Sequence[Line]]


def published(results: Path) -> Mapping[str, Any]:
    """What is known of published curves, by figure; empty where the file is absent."""
    file = results / FILE
    found: Mapping[str, Any] = read_json(file) if file.exists() else {}
    return found


def beside(known: Mapping[str, Any], made: Mapping[str, Any]) -> Beside:
    """The paper and a record side by side; `known` as from `published`."""
    figure, said = made["figure"], paper.SAID.get(made["figure"], paper.Said(paper.ABSENT))
    curves = known.get("fig1" if figure in (paper.SCHEDULE, paper.SOLVERS) else figure)
    lines: dict[str, list[Line]] = {}
    claims = list(_claims(made))
    if claims or said.settings:
        lines[CLAIM] = [*claims, *_settings(said, made["cells"])]
    sized = [c for c in made["cells"] if figure != paper.SOLVERS or _as_in_the_example(c["cell"])]
    for title, line in _curves(curves, sized, said.settings.get(N, NONE)) if curves else ():
        lines.setdefault(title, []).append(line)
    return Beside(said, curves["source"] if curves else "", lines)


def _claims(made: Mapping[str, Any]) -> Iterator[Line]:
    """The paper's claims on the figure, beside how many of the record's claims on each have which verdict."""
    for claim in paper.PAPER:
        if made["figure"] in claim.figures:
            mine = paper.of_claim(made, claim.figures[made["figure"]])
            verdicts = Counter(c["verdict"] for c in mine).most_common()
            yield f"{claim.statement}.", "claimed", ", ".join(f"{n} {verdict}" for verdict, n in verdicts) or NONE


def _settings(said: paper.Said, cells: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """The paper's settings beside the record's."""
    found: dict[str, set[int]] = {name: set() for name in (N, WIDTH, STEPS, *said.settings)}
    for record in cells:
        cell = record["cell"]
        found[N].add(cell["n_train"])
        found[WIDTH].update(paper.widths_of(cell))
        if cell.get("attack", "").startswith("ntk"):
            found[STEPS].add(record["attack"]["steps"])
        if cell.get("method") in ("kip", "rkip"):
            found.setdefault(EPOCHS, set()).add(record["set"]["steps"])
            found.setdefault(SET, set()).add(record["set"]["n"])
    for name, values in found.items():
        theirs, ours = said.settings.get(name, NONE), _listed(values)
        if (theirs, ours) != (NONE, NONE):
            yield name, theirs, ours


def _listed(values: set[int]) -> str:
    """Up to four numbers, or from where to where they go."""
    mine = [f"{v:,}" for v in sorted(values)]
    return NONE if not mine else ", ".join(mine) if len(mine) <= 4 else f"{mine[0]} to {mine[-1]}"


def _curves(known: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], size: str) -> Iterator[tuple[str, Line]]:
    """Published points of reconstruction curves beside those of the attacks that descend on the paper's objective.

    Args:
      known: "dynamics", and by task "points" ([share of the images, distance] along the curve) and "recognised", the
        share under the task's threshold.
      size: the paper's number of training images.
    """
    for record in cells:
        cell = record["cell"]
        rule = "linearised" if "Linearised" in cell["dynamics"]["rule"] else "standard"
        if cell["task"] not in known["tasks"] or rule != known["dynamics"] or cell["attack"] == "exact":
            continue
        curve, theirs = sorted(record["images"]["distance"]), known["tasks"][cell["task"]]
        n, limit, title = len(curve), record["data"]["recognisable"], record["data"]["title"]
        places = [max(1, ceil(share * n)) for share, _ in theirs["points"]]
        read = ", ".join(f"{value:g}" for _, value in theirs["points"])
        ours = ", ".join(f"{curve[place - 1]:.2g}" for place in places)
        width, steps = cell["network"]["widths"][0], record["attack"]["steps"]
        name = f"{cell['attack']}, {rule}, N = {n}, W = {width:,}, {steps:,} steps"
        which = ", ".join(map(str, places))
        yield title, (f"L2 of images {which} of {n}, best first: {name}", f"≈ {read} (N\u00a0=\u00a0{size})", ours)
        if limit is not None:
            under = f"{100 * sum(d < limit for d in curve) / n:.1f} % of {n}"
            share = f"≈ {100 * theirs['recognised']:g} % of {size}"
            yield title, (f"recognisable (L2 < {limit:g}): {name}", share, under)


def _as_in_the_example(cell: Mapping[str, Any]) -> bool:
    """Whether a network has the size of that in the authors' example."""
    sizes = paper.SAID[paper.SOLVERS].settings
    return [f"{cell['n_train']:,}", f"{cell['network']['widths'][0]:,}"] == [sizes[name] for name in (N, WIDTH)]
