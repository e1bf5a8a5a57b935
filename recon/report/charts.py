"""Interactive charts, as Plotly's JSON; the page's script adds the colours of text and grid, light or dark."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recon.plots import COLOURS, LABELS

# Okabe and Ito's, lightened or darkened nowhere: they show on white and on near-black.
SOLVERS = {"ntk-fast": "#0072B2", "ntk": "#CC79A7", "exact": "#009E73", "hybrid": "#E69F00"}
OTHERS = "#D55E00"
SYMBOLS = {"ntk-fast": "circle", "ntk": "star", "exact": "square", "hybrid": "diamond"}
DISTANCE, MEAN = "L2 distance", "mean L2 distance"

Chart = dict[str, Any]  # {"data": traces, "layout": layout}


def explorer(panels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the explorer and the sliders show of each network; see `benchmarks/explorer_images.py` for the panels."""
    return [_network(p) for p in panels]


def _network(p: Mapping[str, Any]) -> dict[str, Any]:
    attacks = [
        {
            "name": a["attack"],
            "order": np.argsort(a["distance"], kind="stable").tolist(),
            **{k: a[k] for k in ("steps", "certified", "distance", "start", "nearest_held_out")},
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
        **{k: p[k] for k in ("kept", "shown", "label", "dual_norm")},
        "train": address(p["train"]),
        "attacks": attacks,
        "curve": curve(p),
        "scatter": scatter(p),
        "way": way(p),
    }


def curve(p: Mapping[str, Any]) -> Chart:
    """The reconstruction curve of each attack, and its controls, which the script shows for the chosen one alone."""
    x, traces = list(range(1, p["n"] + 1)), []
    if p["recognisable"] is not None:
        traces.append(_level(x, p["recognisable"], "recognisable below", "dash"))
    for control, dash in (("start", "dot"), ("held_out", "solid")):
        for k, a in enumerate(p["attacks"]):
            line = {"color": COLOURS[control], "width": 1.5, "dash": dash}
            more = {"visible": k == 0, "hoverinfo": "skip", "meta": {"control": k}}
            traces.append(_trace(x, sorted(a[control]), LABELS[control], "lines", line=line, **more))
    for k, a in enumerate(p["attacks"]):
        order = np.argsort(a["distance"], kind="stable").tolist()
        drawn = _solver(x, sorted(a["distance"]), a["attack"], f"%{{y:.3g}}<extra>{a['attack']}, rank %{{x}}</extra>")
        traces.append(drawn | {"customdata": order, "meta": {"attack": k}})
    return _laid_out([*traces, _ring()], "training images, best first", DISTANCE)


def scatter(p: Mapping[str, Any]) -> Chart:
    """Distance over |α|, a point for each training image and attack."""
    traces = []
    for k, a in enumerate(p["attacks"]):
        said = f"|α| %{{x:.3g}}, L2 %{{y:.3g}}<extra>{a['attack']}</extra>"
        more = {"mode": "markers", "customdata": list(range(p["n"])), "meta": {"attack": k, "control": k}}
        traces.append(_solver(p["dual_norm"], a["distance"], a["attack"], said, 7) | more | {"visible": k == 0})
    drawn = _laid_out([*traces, _ring()], "|α|", DISTANCE)
    return drawn | {"layout": drawn["layout"] | {"showlegend": False}}


def way(p: Mapping[str, Any]) -> Chart:
    """Mean error over seconds at the stored moments of each attack."""
    traces = []
    for a in p["attacks"]:
        x, y, steps = ([f[k] for f in a["frames"]] for k in ("seconds", "mean", "step"))
        said = f"step %{{customdata:,}}: mean L2 %{{y:.3g}} after %{{x:.3g}} s<extra>{a['attack']}</extra>"
        chosen = {"selected": {"marker": {"size": 15}}, "unselected": {"marker": {"opacity": 1}}}
        more = {"customdata": steps, "selectedpoints": [len(steps) - 1]}
        traces.append(_solver(x, y, a["attack"], said, 7) | chosen | more)
    return _laid_out(traces, "seconds in the solver", MEAN, log_y=True)


def anytime(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Error against time and against work, a chart for each network that the solvers were compared on.

    Args:
      rows: the summary's rows of `benchmarks/solvers_comparison.py`.
    """
    networks: dict[str, list[Mapping[str, Any]]] = {}
    for r in rows:
        if len(r["anytime"]) > 1:
            networks.setdefault(f"{r['title']}, {r['dynamics']}, N = {r['n']}, W = {r['width']}", []).append(r)
    return [
        {"name": f"{name}: {axis}", "chart": _anytime(mine, column, axis)}
        for name, mine in networks.items()
        if len({r["attack"] for r in mine}) > 1  # one solver alone compares nothing
        for column, axis in ((1, "seconds in the solver"), (2, "FLOPs"))
    ]


def _anytime(rows: Sequence[Mapping[str, Any]], column: int, axis: str) -> Chart:
    traces: list[dict[str, Any]] = []
    for r in rows:
        attack, seen = r["attack"], {t["name"] for t in traces}
        x, y, steps = ([a[i] for a in r["anytime"]] for i in (column, 3, 0))
        said = f"step %{{customdata:,}}: mean L2 %{{y:.3g}}<extra>{attack}, seed {r['seed']}</extra>"
        more = {"customdata": steps, "legendgroup": attack, "showlegend": attack not in seen}
        traces.append(_solver(x, y, attack, said, 5) | more)
    ends = [end(a[column] for r in rows for a in r["anytime"]) for end in (min, max)]
    traces.append(_level(ends, float(np.mean([r["held_out"] for r in rows])), LABELS["held_out"], "solid"))
    return _laid_out(traces, axis, MEAN, log_x=True, log_y=True)


def _trace(x: Sequence[float | int], y: Sequence[float], name: str, mode: str, **more: Any) -> dict[str, Any]:
    return {"type": "scatter", "x": x, "y": y, "name": name, "mode": mode, **more}


def _solver(x: Sequence[float | int], y: Sequence[float], attack: str, said: str, size: int = 6) -> dict[str, Any]:
    """A solver's curve in its colour and symbol; `said` at a point under the pointer."""
    tint = SOLVERS.get(attack, OTHERS)
    marker = {"size": size, "color": tint, "symbol": SYMBOLS.get(attack, "circle")}
    return _trace(x, y, attack, "lines+markers", line={"color": tint}, marker=marker, hovertemplate=said)


def _level(x: Sequence[float | int], y: float | int, name: str, dash: str) -> dict[str, Any]:
    """A horizontal line. A trace, not a shape: its label in the legend stays where it is on either kind of axis."""
    line = {"color": COLOURS["held_out"], "width": 1, "dash": dash}
    return _trace([x[0], x[-1]], [y, y], name, "lines", line=line, hoverinfo="skip")


def _ring() -> dict[str, Any]:
    """A ring that the script moves to the chosen image."""
    marker = {"size": 15, "symbol": "circle-open", "line": {"width": 3}, "color": OTHERS}
    return _trace([], [], "", "markers", marker=marker, hoverinfo="skip", showlegend=False, meta={"ring": True})


def _laid_out(traces: list[dict[str, Any]], x: str, y: str, *, log_x: bool = False, log_y: bool = False) -> Chart:
    def axis(title: str, log: bool) -> dict[str, Any]:
        named = {"text": title, "font": {"size": 13}}
        kind = {"type": "log" if log else "linear", "zeroline": False, "exponentformat": "power"}
        return {"title": named, "tickfont": {"size": 12}, "automargin": True, **kind}

    layout = {
        "margin": {"l": 55, "r": 12, "t": 12, "b": 45},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "dragmode": False,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": axis(x, log_x),
        "yaxis": axis(y, log_y),
    }
    return {"data": traces, "layout": layout}


def address(strip: Mapping[str, Any]) -> str:
    """A stored strip of pictures as an address that needs no file."""
    kind = "png" if "png" in strip else "webp"
    return f"data:image/{kind};base64,{strip[kind]}"
