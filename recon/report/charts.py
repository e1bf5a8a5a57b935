"""Interactive charts, as Plotly's JSON; the page's script adds the colours of text and grid, light or dark."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from recon.plots import COLOURS, LABELS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure, Scatter

# Okabe and Ito's, lightened or darkened nowhere: they show on white and on near-black.
SOLVERS = {"ntk-fast": "#0072B2", "ntk": "#CC79A7", "exact": "#009E73", "hybrid": "#E69F00"}
OTHERS = "#D55E00"
SYMBOLS = {"ntk-fast": "circle", "ntk": "star", "exact": "square", "hybrid": "diamond"}


def explorer(panels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the explorer and the sliders show of each network; see `benchmarks/explorer_images.py` for the panels."""
    return [_network(p) for p in panels]


def _network(p: Mapping[str, Any]) -> dict[str, Any]:
    attacks = [
        {
            "name": a["attack"],
            "colour": colour(a["attack"]),
            "steps": a["steps"],
            "seconds": a["seconds"],
            "certified": a["certified"],
            "order": np.argsort(a["distance"], kind="stable").tolist(),
            **{k: a[k] for k in ("distance", "start", "nearest_held_out")},
            "found": address(a["found"]),
            "nearest": address(a["nearest"]),
            "frames": [
                {k: f[k] for k in ("step", "seconds", "mean", "distance")} | {"pictures": address(f["pictures"])}
                for f in a["frames"]
            ],
        }
        for a in p["attacks"]
    ]
    return {
        "name": f"{p['title']}, {p['dynamics']} dynamics, N = {p['n']}, W = {p['width']} ({p['source']})",
        "recognisable": p["recognisable"],
        "kept": p["kept"],
        "shown": p["shown"],
        "label": p["label"],
        "dual_norm": p["dual_norm"],
        "train": address(p["train"]),
        "attacks": attacks,
        "curve": plain(curve(p)),
        "scatter": plain(scatter(p)),
        "way": plain(way(p)),
    }


def curve(p: Mapping[str, Any]) -> "Figure":
    """The reconstruction curve of each attack, and its controls, which the script shows for the chosen one alone."""
    from plotly.graph_objects import Figure, Scatter

    x, drawn = list(range(1, p["n"] + 1)), Figure()
    if p["recognisable"] is not None:
        drawn.add_trace(_level(x, p["recognisable"], "recognisable below", "dash"))
    for control in ("start", "held_out"):
        for k, a in enumerate(p["attacks"]):
            line = {"color": COLOURS[control], "width": 1.5, "dash": "dot" if control == "start" else "solid"}
            drawn.add_trace(
                Scatter(
                    x=x,
                    y=np.sort(a[control]).tolist(),
                    mode="lines",
                    line=line,
                    name=LABELS[control],
                    visible=k == 0,
                    hoverinfo="skip",
                    meta={"control": k},
                )
            )
    for k, a in enumerate(p["attacks"]):
        order = np.argsort(a["distance"], kind="stable")
        drawn.add_trace(
            Scatter(
                x=x,
                y=np.asarray(a["distance"])[order].tolist(),
                customdata=order.tolist(),
                mode="lines+markers",
                line={"color": colour(a["attack"])},
                marker={"size": 6, "symbol": SYMBOLS.get(a["attack"], "circle")},
                name=a["attack"],
                hovertemplate="%{y:.3g}<extra>" + a["attack"] + ", rank %{x}</extra>",
                meta={"attack": k},
            )
        )
    _selected(drawn)
    return _laid_out(drawn, "training images, best first", "L2 distance")


def scatter(p: Mapping[str, Any]) -> "Figure":
    """Distance over |α|, a point for each training image and attack."""
    from plotly.graph_objects import Figure, Scatter

    drawn = Figure()
    for k, a in enumerate(p["attacks"]):
        drawn.add_trace(
            Scatter(
                x=p["dual_norm"],
                y=a["distance"],
                customdata=list(range(p["n"])),
                mode="markers",
                marker={"size": 7, "color": colour(a["attack"]), "symbol": SYMBOLS.get(a["attack"], "circle")},
                name=a["attack"],
                visible=k == 0,
                hovertemplate="|α| %{x:.3g}, L2 %{y:.3g}<extra>" + a["attack"] + "</extra>",
                meta={"attack": k, "control": k},
            )
        )
    _selected(drawn)
    return _laid_out(drawn, "|α|", "L2 distance").update_layout(showlegend=False)


def _selected(drawn: "Figure") -> None:
    """A ring that the script moves to the chosen image."""
    from plotly.graph_objects import Scatter

    ring = {"size": 15, "symbol": "circle-open", "line": {"width": 3}, "color": OTHERS}
    drawn.add_trace(
        Scatter(x=[], y=[], mode="markers", marker=ring, hoverinfo="skip", showlegend=False, meta={"ring": True})
    )


def way(p: Mapping[str, Any]) -> "Figure":
    """Mean error over seconds at the stored moments of each attack."""
    from plotly.graph_objects import Figure, Scatter

    drawn = Figure()
    for a in p["attacks"]:
        drawn.add_trace(
            Scatter(
                x=[f["seconds"] for f in a["frames"]],
                y=[f["mean"] for f in a["frames"]],
                customdata=[f["step"] for f in a["frames"]],
                mode="lines+markers",
                line={"color": colour(a["attack"])},
                marker={"size": 7, "symbol": SYMBOLS.get(a["attack"], "circle")},
                selected={"marker": {"size": 15}},
                unselected={"marker": {"opacity": 1}},
                selectedpoints=[len(a["frames"]) - 1],
                name=a["attack"],
                hovertemplate="step %{customdata:,}: mean L2 %{y:.3g} after %{x:.3g} s<extra>"
                + a["attack"]
                + "</extra>",
            )
        )
    return _laid_out(drawn, "seconds in the solver", "mean L2 distance", log_y=True)


def anytime(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Error against time and against work, a chart for each network that the solvers were compared on.

    Args:
      rows: the summary's rows of `benchmarks/solvers_comparison.py`.
    """
    networks: dict[str, list[Mapping[str, Any]]] = {}
    for r in rows:
        if len(r["anytime"]) > 1:
            networks.setdefault(f"{r['title']}, {r['dynamics']}, N = {r['n']}, W = {r['width']}", []).append(r)
    named = []
    for name, mine in networks.items():
        # One solver alone compares nothing.
        if len({r["attack"] for r in mine}) > 1:
            for column, axis in ((1, "seconds in the solver"), (2, "FLOPs")):
                named.append({"name": f"{name}: {axis}", "chart": plain(_anytime(mine, column, axis))})
    return named


def _anytime(rows: Sequence[Mapping[str, Any]], column: int, axis: str) -> "Figure":
    from plotly.graph_objects import Figure, Scatter

    drawn, seen = Figure(), set[str]()
    for r in rows:
        attack = r["attack"]
        drawn.add_trace(
            Scatter(
                x=[a[column] for a in r["anytime"]],
                y=[a[3] for a in r["anytime"]],
                customdata=[a[0] for a in r["anytime"]],
                mode="lines+markers",
                line={"color": colour(attack)},
                marker={"size": 5, "symbol": SYMBOLS.get(attack, "circle")},
                name=attack,
                legendgroup=attack,
                showlegend=attack not in seen,
                hovertemplate="step %{customdata:,}: mean L2 %{y:.3g}<extra>" + f"{attack}, seed {r['seed']}</extra>",
            )
        )
        seen.add(attack)
    ends = [end(a[column] for r in rows for a in r["anytime"]) for end in (min, max)]
    drawn.add_trace(_level(ends, float(np.mean([r["held_out"] for r in rows])), LABELS["held_out"], "solid"))
    return _laid_out(drawn, axis, "mean L2 distance", log_x=True, log_y=True)


def _level(x: Sequence[float | int], y: float | int, name: str, dash: str) -> "Scatter":
    """A horizontal line. A trace, not a shape: its label in the legend stays where it is on either kind of axis."""
    from plotly.graph_objects import Scatter

    line = {"color": COLOURS["held_out"], "width": 1, "dash": dash}
    return Scatter(x=[x[0], x[-1]], y=[y, y], mode="lines", line=line, name=name, hoverinfo="skip")


def colour(attack: str) -> str:
    """A solver's colour on the page."""
    return SOLVERS.get(attack, OTHERS)


def _laid_out(drawn: "Figure", x: str, y: str, *, log_x: bool = False, log_y: bool = False) -> "Figure":
    drawn.update_layout(
        template="none",
        margin={"l": 55, "r": 12, "t": 12, "b": 45},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    drawn.update_xaxes(
        title=x,
        tickfont_size=12,
        title_font_size=13,
        type="log" if log_x else "linear",
        zeroline=False,
        automargin=True,
    )
    drawn.update_yaxes(
        title=y,
        tickfont_size=12,
        title_font_size=13,
        type="log" if log_y else "linear",
        zeroline=False,
        automargin=True,
        exponentformat="power",
    )
    return drawn


def plain(drawn: "Figure") -> Any:
    """A chart as JSON-able values."""
    return msgspec.json.decode(drawn.to_json())


def address(strip: Mapping[str, Any]) -> str:
    """A stored strip of pictures as an address that needs no file."""
    kind = "png" if "png" in strip else "webp"
    return f"data:image/{kind};base64,{strip[kind]}"
