"""Pictures and axes that figures share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks._presets import RULES
from benchmarks._rows import Row, distinct, heading
from recon.plots import COLOURS, LABELS, Axes, Figure, new_figure, strips
from recon.records import Stored


def network(record: Mapping[str, Any]) -> Row:
    """What a panel says of an attacked network."""
    cell, data = record["cell"], record["data"]
    dynamics = "linearised" if cell["dynamics"]["rule"] == "Linearised" else "standard"
    sizes = {"n": cell["n_train"], "width": cell["network"]["widths"][0]}
    shown = {k: data[k] for k in ("title", "source", "recognisable")}
    return {"task": cell["task"], "dynamics": dynamics, **sizes, **shown}


def choose_pair(stored: Stored, each: int) -> dict[str, Any]:
    """Pictures of a cell for `show_pair`: `each` of the best, middle and worst, or all where there are no more."""
    distance = np.array(stored.record["images"]["distance"])
    index = strips.choose(distance, each)
    return {"thirds": in_thirds(index, each, len(distance)), **strips.pair(stored, index)}


def in_thirds(index: Sequence[int] | np.ndarray, each: int, n: int) -> bool:
    """Whether pictures chosen of n images are `each` of the best, middle and worst of more."""
    return len(index) == 3 * each < n


def show(axes: Axes, panel: Mapping[str, Any], rows: Mapping[str, Any], each: int, title: str, **style: Any) -> None:
    """Strips of a panel under each other by their names; with `thirds`, `each` of the best, middle and worst."""
    strips.draw(axes, list(rows.values()), list(rows), (each, 2 * each) if panel.get("thirds") else ())
    axes.set_title(title, loc="left", **{"pad": 11, **style})


def show_pair(
    axes: Axes, panel: Mapping[str, Any], each: int = 0, name: str = "training", title: str = "", **style: Any
) -> None:
    """A panel's training images above what its attack found."""
    rows = {name: panel["train"], panel.get("attack", "found"): panel["found"]}
    show(axes, panel, rows, each, title or heading(panel), **style)


def stack(figure: Any, panels: Sequence[Row], **sizes: Any) -> Iterator[tuple[Axes, Row]]:
    """Axes under each other, one for each panel."""
    return zip(figure.subplots(len(panels), 1, squeeze=False, **sizes)[:, 0], panels, strict=True)


def parts(figure: Any, *heights: float) -> Any:
    """Parts of a figure under each other."""
    return np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights))


def shares_and_seconds(
    rows: Sequence[Row], height: float, *, barred: str, found: str, share: Callable[[Row, Row], float]
) -> tuple[Figure, Axes, Axes]:
    """A line for each kind of attack, a point for each run: the share of the images that came back, and seconds.

    Filled where as many are certified, orange where the kind has a bar.

    Args:
      height: of the figure.
      barred: key of a row that has a value where there is a bar.
      found: key of a run's number of images that came back.
      share: of a row's run.
    """
    figure = new_figure(9.0, height)
    counts, times = figure.subplots(1, 2, sharey=True)
    for y, row in enumerate(rows):
        colour = COLOURS["standard"] if row[barred] else "#888888"
        for run in row["runs"]:
            sure = run[found] > 0 and (run["certified"] or 0) >= run[found]
            style = {"color": colour, "fillstyle": "full" if sure else "none", "markersize": 4}
            counts.plot(share(row, run), y, "o", **style)
            times.plot(run["seconds"], y, "o", **style)
    counts.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=6)
    counts.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.5, -0.5))
    times.set(xscale="log")
    return figure, counts, times


def draw_means(
    axes: Axes, rows: Sequence[Row], x: str, colour: str, fmt: str = "o-", y: str = "error", **style: Any
) -> None:
    """Means of y over x on a line, a small marker each."""
    at = sorted(distinct(rows, x))
    means = [np.mean([r[y] for r in rows if r[x] == v]) for v in at]
    axes.plot(at, means, fmt, color=colour, **{"markersize": 3, **style})


def draw_points(
    axes: Axes, rows: Sequence[Row], x: str, colour: str, fmt: str = ".", y: str = "error", **style: Any
) -> None:
    """A point for each row, faint if nothing else is said."""
    axes.plot([r[x] for r in rows], [r[y] for r in rows], fmt, color=colour, **{"alpha": 0.4, **style})


def draw_at(axes: Axes, place: float, rows: Sequence[Row], y: str, fmt: str, colour: str, **style: Any) -> None:
    """A mark for each row's y, all at one place of the x axis."""
    axes.plot([place] * len(rows), [r[y] for r in rows], fmt, color=colour, **style)


def draw_rules(axes: Axes, rows: Sequence[Row], x: str, y: str = "error", exact_points: bool = True) -> None:
    """Means over x of the paper's attack and of the exact recovery under either rule, and a point for each row."""
    for rule in RULES:
        for exact, style, label in ((False, "o-", LABELS[rule]), (True, "s:", f"exact (beyond the paper), {rule}")):
            mine = [r for r in rows if r["dynamics"] == rule and (r["attack"] == "exact") == exact]
            draw_means(axes, mine, x, COLOURS[rule], style, y, label=label)
            if exact_points or not exact:
                draw_points(axes, mine, x, COLOURS[rule], y=y)


def draw_controls(axes: Axes, rows: Sequence[Row]) -> None:
    """Lines at the rows' mean distances of held-out images and of the attack's start."""
    for control in ("held_out", "start"):
        level = float(np.mean([r[control] for r in rows]))
        axes.axhline(level, color=COLOURS[control], linewidth=1, label=LABELS[control])


def draw_control_means(axes: Axes, rows: Sequence[Row], x: str, fmt: str = "o-", **style: Any) -> None:
    """Means over x of the distances of held-out images and of the attack's start."""
    for control in ("held_out", "start"):
        draw_means(axes, rows, x, COLOURS[control], fmt, control, label=LABELS[control], **style)


def width_axis(axes: Axes, widths: Iterable[int]) -> None:
    """A logarithmic axis labelled at the widths."""
    ticks = sorted(set(widths))
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(w) for w in ticks])
    axes.set_xlabel("width W")
