"""What the paper says on a figure, beside the stored baseline and a record."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from recon.records import read_json
from recon.regression import Row
from recon.regression.measures import group_name
from recon.regression.tables import number

NONE, CLAIM = "–", "claim and settings"
FILE = Path("reference") / "published-curves.json"
# Records whose curves stand beside figure 1's: the published attack step for step, and networks of the notebook's size.
SCHEDULE, SOLVERS = "reference", "solvers"
Line = tuple[str, str, str, str]  # what, the paper's, the baseline's, the record's

SCORES = ("mean L2", "accuracy, infinite width", "accuracy, linearised", "accuracy, standard")
METHODS = {"kip": "KIP", "rkip": "RKIP", "rkip-finite": "RKIP-finite", "all": "all images", "random": "random images"}
PLACES = {0: "θ₀", 1: "θ_f"}  # on the straight path between the weights
TOLD = {"start": "from {}", "side": "{} pixels wide", "stop": "stopped at {:g}", "n_public": "{} public images"}
BEYOND = ("beyond the paper", "not in the paper")  # how a claim says that it is not the paper's

PICTURE = "The paper shows this as a picture, without numbers."
UNKNOWN = "No number that the paper gives on this is known here."
TABLE = "The paper gives accuracies in a table; they could not be checked, so none is repeated here."
THEOREM = "The paper proves this; it gives no number."
ASKED = "Not in the paper: asked for by its reviewers."
ABSENT = "Not in the paper."


@dataclass(frozen=True)
class Said:
    """What the paper says on a figure.

    Attributes:
      numbers: what there is of numbers, in a line.
      claim: the paper's, in this suite's words; empty: the figure is not the paper's.
      settings: the paper's as its authors' code has them, by name; "(recalled)" where they could not be checked.
    """

    numbers: str
    claim: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


N, WIDTH, STEPS, SET = "training images N", "width W", "attack steps", "images in a distilled set"
_ATTACK = {STEPS: "80,000"}
_SETS = {N: "500", WIDTH: "4096", SET: "20", "distillation steps": "50,000"}
_NOTEBOOK = {N: "200", WIDTH: "2048", **_ATTACK}

SAID = {
    "fig1": Said(PICTURE, "Linearised dynamics are attacked almost perfectly, standard dynamics less well.", _NOTEBOOK),
    "fig2": Said(
        PICTURE,
        "Standard dynamics are attacked better the wider the network is.",
        {WIDTH: "1024, 2048, 4096 (recalled)", **_ATTACK},
    ),
    "fig3": Said(
        PICTURE,
        "The error rises with N at fixed width, and follows the kernel distance closely.",
        {N: "20 to 500 (recalled)", **_ATTACK},
    ),
    "fig4": Said(PICTURE, "Ten-way networks leak more than binary ones at equal N and W (recalled).", _ATTACK),
    "fig5": Said(PICTURE, "Images with large |α| are reconstructed easily.", _ATTACK),
    "fig6": Said(PICTURE, "Dropping easily reconstructed images costs no more accuracy than random ones.", _ATTACK),
    "fig7": Said(PICTURE, "Of large training sets only outliers come back.", _ATTACK),
    "fig8": Said(PICTURE, "RKIP-finite's images look like training images.", _SETS),
    "figs25-40": Said(PICTURE, "Sorted by ease of reconstruction, outliers with large |α| come first.", _ATTACK),
    "figG1": Said(UNKNOWN, "The attack improves as training goes on; stopping early is no defence.", _ATTACK),
    "figG2": Said(UNKNOWN, "Networks trained with cross-entropy can be attacked too.", _ATTACK),
    "figI": Said(
        UNKNOWN, "Where the kernel moved, both kernels are at least as good as the better single one.", _ATTACK
    ),
    "figJ1": Said(UNKNOWN, "Convolutional networks can be attacked too.", _ATTACK),
    "figJ2": Said(PICTURE, "At 64 × 64 × 3 quality is lower, but recognisable images still come back.", _ATTACK),
    "table1": Said(TABLE, "RKIP's sets train well at infinite and finite width; KIP is best at infinite width.", _SETS),
    "theorem1": Said(THEOREM, "As the width grows, a vanishing loss means that the whole training set is recovered."),
    "theorem2": Said(THEOREM, "The loss is KIP's in another norm, and a surplus that is never negative."),
    SCHEDULE: Said("The published schedule on a smaller network.", "", _NOTEBOOK),
    SOLVERS: Said(f"{ABSENT} Curves of the notebook's networks stand beside its own.", "", _NOTEBOOK),
    **dict.fromkeys(("dim", "dp", "init"), Said(ASKED)),
}


@dataclass(frozen=True)
class Beside:
    """A table of the paper, the baseline and a record.

    Attributes:
      said: what the paper says; without claim and settings there is no column of the paper's.
      source: of the published numbers; empty where there is none.
      lines: by what they are on: settings, then each data set.
    """

    said: Said
    source: str
    lines: Mapping[str, Sequence[Line]]

    @property
    def papers(self) -> bool:
        """Whether the paper has anything to stand in its column."""
        return bool(self.said.claim or self.said.settings)

    @property
    def shown(self) -> Mapping[str, Sequence[Line]]:
        """The lines in which something stands beside the record's: the paper's, or a baseline's other number."""
        kept = {t: [x for x in lines if t == CLAIM or x[1] != NONE or not self.same] for t, lines in self.lines.items()}
        return {title: lines for title, lines in kept.items() if lines}

    @property
    def same(self) -> bool:
        """Whether the baseline has no number but the record's: a column of it would say nothing."""
        return all(before in (NONE, now) for lines in self.lines.values() for _, _, before, now in lines)


def published(results: Path) -> Mapping[str, Any]:
    """What is known of published curves, by figure; empty where the file is absent."""
    file = results / FILE
    found: Mapping[str, Any] = read_json(file) if file.exists() else {}
    return found


def beside(known: Mapping[str, Any], made: Mapping[str, Any], rows: Sequence[Row]) -> Beside:
    """The paper, the baseline and a record side by side.

    Args:
      known: see `published`.
      made: the record.
      rows: its metrics and the baseline's.
    """
    said = SAID.get(made["figure"], Said(ABSENT))
    curves = known.get("fig1" if made["figure"] in (SCHEDULE, SOLVERS) else made["figure"])
    lines: dict[str, list[Line]] = {}
    if said.claim or said.settings:
        lines[CLAIM] = [*_claim(said, made.get("claims", [])), *_settings(said, made["cells"], rows)]
    sized = [c for c in made["cells"] if made["figure"] != SOLVERS or _notebooks(c["cell"])]
    for title, line in _curves(curves, sized, said.settings.get(N, NONE)) if curves else ():
        lines.setdefault(title, []).append(line)
    scores = SCORES if SET in said.settings else SCORES[:1]  # accuracies are those of distilled sets
    for title, line in _scores(made["cells"], [r for r in rows if r.metric in scores]):
        lines.setdefault(title, []).append(line)
    return Beside(said, curves["source"] if curves else "", lines)


def _claim(said: Said, claims: Sequence[Mapping[str, str]]) -> Iterator[Line]:
    """The paper's claim, beside how many of the record's claims on it have each verdict."""
    mine = [c for c in claims if not any(words in c["statement"].lower() for words in BEYOND)]
    if said.claim:
        verdicts = Counter(c["verdict"] for c in mine).most_common()
        yield said.claim, "claimed", NONE, ", ".join(f"{n} {verdict}" for verdict, n in verdicts) or NONE


def _settings(said: Said, cells: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> Iterator[Line]:
    """The paper's settings beside the record's; a baseline that can be compared has the record's."""
    compared = any(r.before is not None and r.now is not None for r in rows)
    found: dict[str, set[int]] = {name: set() for name in (N, WIDTH, STEPS, *said.settings)}
    for record in cells:
        cell = record["cell"]
        found[N].add(cell["n_train"])
        networks = [cell.get("network"), *(n["network"] for n in cell.get("networks", []))]
        found[WIDTH] |= {n["widths"][0] for n in networks if n and n.get("architecture") != "CNN"}
        if cell.get("attack", "").startswith("ntk"):
            found[STEPS].add(record["attack"]["steps"])
        if "n_per_class" in cell and cell["method"] in ("kip", "rkip"):
            found.setdefault("distillation steps", set()).add(record["set"]["steps"])
            found.setdefault(SET, set()).add(record["set"]["n"])
    for name, values in found.items():
        theirs, ours = said.settings.get(name, NONE), _listed(values)
        if ours != NONE or theirs != NONE:
            yield name, theirs, ours if compared else NONE, ours


def _listed(values: set[int]) -> str:
    """Up to four numbers, or from where to where they go."""
    mine = [f"{v:,}" if v >= 10_000 else str(v) for v in sorted(values)]
    return NONE if not mine else ", ".join(mine) if len(mine) <= 4 else f"{mine[0]} to {mine[-1]}"


def _scores(cells: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> Iterator[tuple[str, Line]]:
    """Mean scores of each series of cells, by data set."""
    series = {group_name(c["cell"]): (c["data"].get("title", c["cell"]["task"]), _series(c["cell"])) for c in cells}
    found: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        if row.now is not None and row.group in series:
            found.setdefault(series[row.group], {}).setdefault(row.metric, []).append(row)
    for (title, name), metrics in found.items():
        means = {metric: _means(mine) for metric, mine in metrics.items()}
        count = max(n for _, _, n in means.values())
        over = f"{name}, mean of {count} settings" if count > 1 else name
        if error := means.pop("mean L2", None):
            yield title, (f"mean L2: {over}", NONE, number(error[0]), number(error[1]))
        if means:
            where = ", ".join(metric.removeprefix("accuracy, ") for metric in means)
            before, now = (_percents([mean[i] for mean in means.values()]) for i in (0, 1))
            yield title, (f"test accuracy ({where}): {over}", NONE, before, now)


def _curves(known: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], size: str) -> Iterator[tuple[str, Line]]:
    """Published points of reconstruction curves beside those of the attacks that descend on the paper's objective.

    Args:
      known: "dynamics", and by task "points" ([share of the images, distance] along the curve) and "recognised", the
        share under the task's threshold.
      size: the paper's number of training images.
    """
    for record in cells:
        cell = record["cell"]
        if cell.get("task") not in known["tasks"] or _rule(cell) != known["dynamics"] or cell["attack"] == "exact":
            continue
        curve, paper = sorted(record["images"]["distance"]), known["tasks"][cell["task"]]
        n, limit, title = len(curve), record["data"]["recognisable"], record["data"]["title"]
        places = [max(1, ceil(share * n)) for share, _ in paper["points"]]
        theirs = ", ".join(f"{value:g}" for _, value in paper["points"])
        ours = ", ".join(f"{curve[place - 1]:.2g}" for place in places)
        which, name = ", ".join(map(str, places)), f"{_series(cell)}, {record['attack']['steps']:,} steps"
        yield (
            title,
            (f"L2 of images {which} of {n}, best first: {name}", f"≈ {theirs} (N\u00a0=\u00a0{size})", NONE, ours),
        )
        if limit is not None:
            under = sum(d < limit for d in curve) / n
            theirs = f"≈ {100 * paper['recognised']:g} % of {size}"
            yield title, (f"recognisable (L2 < {limit:g}): {name}", theirs, NONE, f"{_percents([under])} of {n}")


def _notebooks(cell: Mapping[str, Any]) -> bool:
    """Whether a network has the size of the notebook's."""
    return [str(cell["n_train"]), str(cell["network"]["widths"][0])] == [_NOTEBOOK[name] for name in (N, WIDTH)]


def _rule(cell: Mapping[str, Any]) -> str:
    rule = cell.get("dynamics", {}).get("rule", "")
    return "linearised" if "Linearised" in rule else "standard" if rule else ""


def _series(cell: Mapping[str, Any]) -> str:
    """What tells a figure's series apart."""
    options, dynamics = cell.get("options", {}), cell.get("dynamics", {})
    if "method" in cell:
        name = METHODS.get(cell["method"], cell["method"])
        return f"{name}, held-out" if options.get("select") == "held_out" else name
    parts = [cell.get("attack", cell.get("kind", "")), _rule(cell), dynamics.get("objective", "")]
    if "points" in options:
        parts.append("gradients at " + ", ".join(PLACES.get(p, f"{p:.2g}") for p in options["points"]))
    parts += [text.format(cell[key]) for key, text in TOLD.items() if cell.get(key) is not None]
    noise = dynamics.get("noise_multiplier", cell.get("noise_multiplier"))
    if noise is not None:
        parts.append(f"noise {noise:g}")
    network = cell.get("network") or cell.get("setting")
    if network and "widths" in network:
        widths = "W" if len(set(network["widths"])) == 1 else "widths"
        parts += [f"N = {cell['n_train']}", f"{widths} = {', '.join(map(str, dict.fromkeys(network['widths'])))}"]
    elif network:  # made otherwise than by this suite's networks and rules: what it says of itself
        parts += [f"N = {cell['n_train']}", *(str(v) if k == "by" else f"{k} {v}" for k, v in network.items())]
    return ", ".join(p for p in parts if p)


def _means(rows: Sequence[Row]) -> tuple[float | None, float | None, int]:
    """Means of the baseline and of the run, and of how many settings: those that both have, if there are any."""
    used = [r for r in rows if r.before is not None] or rows
    before, now = (
        [v for v in column if v is not None] for column in zip(*((r.before, r.now) for r in used), strict=True)
    )
    return sum(before) / len(before) if before else None, sum(now) / len(now) if now else None, len(used)


def _percents(shares: Sequence[float | None]) -> str:
    known = [f"{100 * share:.1f}" for share in shares if share is not None]
    return f"{', '.join(known)} %" if known else NONE
