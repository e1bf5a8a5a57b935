"""Figure 1: training images beside what the attack recovers from the weights alone.

The paper shows grids of reconstructions for binary MNIST and CIFAR-10 networks under linearised and standard training
dynamics, and the authors' example notebook the reconstruction curves (N = 200, W = 2048, standard dynamics).

    make reproduce-fig1                 quick: minutes, offline
    make reproduce-fig1 PRESET=full     the authors' example size, on the fast schedule: hours on two cores
    make reproduce-fig1 PRESET=paper    published settings step for step: a GPU's work

Pictures and curves are of the first draw of images, scores and claims of all. Pictures are ranked by the distance of
the published attack's reconstruction from its training image; the controls are the same distances to equally many
held-out images, and from the attack's start. The row and the curves of the exact solver go beyond the paper.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recon import statistics
from recon.benchmark import Claim, Summary, Verdict
from recon.cells import AttackCell
from recon.dynamics import Descent, Dynamics, GradientFlow, Linearised
from recon.networks import MLP
from recon.plots import COLOURS, LABELS, strips
from recon.plots import figure as new_figure
from recon.records import Stored, attack_row, mean_and_spread
from recon.statistics import TENTH, Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TASKS = ("mnist_odd_even", "cifar10_animal_vehicle")
EACH = 5  # pictures from each end and from the middle of the ranking
SCORES = ("mean L2", "recognisable", "certified", "held-out L2", "start L2")  # columns

# Width, attack, training rule for standard dynamics, seeds, and N by task.
PRESETS: dict[str, dict[str, Any]] = {
    # CIFAR-10 at the size that the 20 package pictures allow: ten trained on, ten held out.
    "quick": {"n": (40, 10), "width": 512, "attack": "ntk-fast", "standard": GradientFlow(), "seeds": (0, 1, 2)},
    "full": {"n": (200, 200), "width": 2048, "attack": "ntk-fast", "standard": GradientFlow(), "seeds": (0,)},
    "paper": {
        "n": (200, 200),
        "width": 2048,
        "attack": "ntk",
        "standard": Descent(learning_rate=4e-5, momentum=0.9),
        "seeds": (0,),
    },
}


def cells(preset: dict[str, Any]) -> list[AttackCell]:
    """Each task under both dynamics, attacked as published and by the exact solver."""
    dynamics: tuple[Dynamics, Dynamics] = (Linearised(), preset["standard"])
    network = MLP((preset["width"],) * 2)
    return [
        AttackCell(task, n, network, rule, attack, seed=seed)
        for seed in preset["seeds"]
        for task, n in zip(TASKS, preset["n"], strict=True)
        for rule in dynamics
        for attack in (preset["attack"], "exact")
    ]


def summarise(results: Sequence[Stored]) -> Summary:
    """A panel for each task and rule: its attacks with pictures and curves of the first draw, and scores of every one.

    The published attack comes first.
    """
    panels: dict[tuple[str, str], dict[str, Any]] = {}
    for stored in results:
        r, row = stored.record, attack_row(stored.record)
        distance = np.array(r["images"]["distance"])
        mean = np.array(r["data"]["mean"], np.float32)
        key = row["task"], row["dynamics"]
        if key not in panels:
            shown = strips.choose(distance, EACH)
            panels[key] = {
                **{k: row[k] for k in ("task", "title", "source", "recognisable", "dynamics", "n", "width", "seed")},
                "shown": shown,
                "thirds": len(shown) == 3 * EACH < len(distance),
                "train": strips.encode(stored.arrays["train"][shown] + mean),
                "attacks": {},
            }
        panel = panels[key]
        if row["seed"] == panel["seed"]:
            panel["attacks"][row["attack"]] = {
                "attack": row["attack"],
                "steps": row["steps"],
                "curves": {
                    "train": np.sort(distance),
                    "held_out": np.sort(r["images"]["held_out"]),
                    "start": np.sort(r["images"]["start"]),
                },
                # The same training images in every row, ranked by the paper's attack.
                "found": strips.encode(stored.arrays["found"][panel["shown"]] + mean),
                "draws": [],
            }
        panel["attacks"][row["attack"]]["draws"].append(
            {
                **{k: row[k] for k in ("seed", "draw", "seconds", "kernel_distance")},
                "certified": r["attack"]["certified"],
                "scores": r["scores"],
            }
        )
    return {"panels": [panel | {"attacks": list(panel["attacks"].values())} for panel in panels.values()]}


def plot(summary: Summary) -> "Figure":
    """Rows of pictures above, reconstruction curves below."""
    panels = summary["panels"]
    tasks = list(dict.fromkeys(p["task"] for p in panels))
    heights = [0.35 + 0.36 * (1 + len(p["attacks"])) for p in panels]
    figure = new_figure(7.5, sum(heights) + 2.8)
    pictures, curves = np.asarray(figure.subfigures(2, 1, height_ratios=[sum(heights), 2.8]))
    rows = pictures.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, p in zip(rows, panels, strict=True):
        gaps = (EACH, 2 * EACH) if p["thirds"] else ()
        names = ["training", *(a["attack"] for a in p["attacks"])]
        strips.draw(axes, [p["train"], *(a["found"] for a in p["attacks"])], names, gaps)
        axes.set_title(f"{p['title']}, {p['dynamics']} dynamics, N = {p['n']}, W = {p['width']}", loc="left", pad=11)
    for axes, task in zip(curves.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        mine = [p for p in panels if p["task"] == task]
        for p in mine:
            x = np.arange(1, p["n"] + 1)
            paper, *beyond = p["attacks"]
            thin = {"linewidth": 1, "linestyle": "-" if p is mine[0] else "--"}
            axes.plot(x, paper["curves"]["start"], color=COLOURS["start"], linewidth=1, linestyle=":")
            axes.plot(x, paper["curves"]["held_out"], color=COLOURS["held_out"], **thin)
            colour, label = COLOURS[p["dynamics"]], f"{paper['attack']}, {LABELS[p['dynamics']]}"
            axes.plot(x, paper["curves"]["train"], color=colour, linewidth=1.8, label=label)
            for a in beyond:
                label = f"{a['attack']} (beyond the paper), {p['dynamics']}"
                axes.plot(x, a["curves"]["train"], color=colour, linestyle=(0, (1, 1)), linewidth=1.8, label=label)
        axes.plot([], [], color=COLOURS["held_out"], linewidth=1, label=LABELS["held_out"])
        axes.plot([], [], color=COLOURS["start"], linestyle=":", linewidth=1, label=LABELS["start"])
        if mine[0]["recognisable"] is not None:
            axes.axhline(mine[0]["recognisable"], color="#444444", linewidth=0.6)
            axes.text(1, mine[0]["recognisable"], " recognisable", fontsize=6, va="bottom", color="#444444")
        axes.set(xlabel="training images, best first", ylabel="L2 distance", title=mine[0]["title"])
        axes.set_ylim(-0.02 * axes.get_ylim()[1], None)  # exact curves lie on zero
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def score_columns(attack: dict[str, Any], n: int) -> list[str]:
    """Mean L2, images under each limit, certified ones, and the controls of an attack, over all its draws of n."""
    draws = attack["draws"]
    scores = [d["scores"] for d in draws]
    of = n * len(draws)
    below = {limit: sum(s["train"]["below"][limit] for s in scores) for limit in scores[0]["train"]["below"]}
    certified = [d["certified"] for d in draws]
    return [
        mean_and_spread([s["train"]["mean"] for s in scores]),
        ", ".join(f"{count} of {of} (L2 < {limit})" for limit, count in below.items()) or "no threshold",
        "–" if None in certified else f"{sum(certified)} of {of}",
        *(f"{np.mean([s[k]['mean'] for s in scores]):.1f}" for k in ("held_out", "start")),
    ]


def table(summary: Summary) -> tuple[str, list[str], list[list[str]]]:
    """Scores and controls over all draws, a row for each network and attack."""
    columns = ["task", "dynamics", "N", "W", "draws", "attack", *SCORES, "median", "dB", "SSIM", "s"]
    rows = []
    for p in summary["panels"]:
        for a in p["attacks"]:
            own = [d["scores"]["train"] for d in a["draws"]]
            numbers = [
                f"{np.mean([s['median'] for s in own]):.2g}",
                f"{np.mean([s['psnr_db_mean'] for s in own]):.0f}",
                f"{np.mean([s['ssim_mean'] for s in own]):.2f}",
                f"{np.mean([d['seconds'] for d in a['draws']]):.0f}",
            ]
            sizes = [str(p["n"]), str(p["width"]), str(len(a["draws"]))]
            rows.append([p["title"], p["dynamics"], *sizes, a["attack"], *score_columns(a, p["n"]), *numbers])
    sources = "; ".join(dict.fromkeys(p["source"] for p in summary["panels"]))
    return f"Reconstruction error, with controls ({sources})", columns, rows


def _draws(panel: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The published attack's draws by seed."""
    return {d["seed"]: d for d in panel["attacks"][0]["draws"]}


def _fold(estimate: Estimate) -> str:
    return statistics.text(estimate, ".2f", np.exp2)


def _linearised_is_easier(summary: Summary) -> tuple[Verdict, str]:
    by_task: dict[str, dict[str, dict[str, Any]]] = {}
    for p in summary["panels"]:
        by_task.setdefault(p["task"], {})[p["dynamics"]] = p
    verdicts, parts = [], []
    for rules in by_task.values():
        if len(rules) < 2:
            continue
        linear, standard = _draws(rules["linearised"]), _draws(rules["standard"])
        shared = sorted(linear.keys() & standard.keys())
        worse, better = (np.array([of[k]["scores"]["train"]["mean"] for k in shared]) for of in (standard, linear))
        groups = np.array([linear[k]["draw"] for k in shared])
        ratio = statistics.paired(np.log2(worse), np.log2(better), groups)
        verdicts.append(statistics.verdict(ratio, TENTH))
        title = rules["standard"]["title"]
        parts.append(f"{title}: mean L2 {better.mean():.2f} against {worse.mean():.2f}, {_fold(ratio)}")
    if not verdicts:
        return "inconclusive", "Only one of the two dynamics was run."
    return statistics.combined(verdicts), f"Standard dynamics' error over linearised's: {'; '.join(parts)}."


def _beats_controls(summary: Summary) -> tuple[Verdict, str]:
    verdicts, parts = [], []
    for p in summary["panels"]:
        # Medians: a few images that no reconstruction came near say nothing about the others.
        draws = _draws(p).values()
        own, control = (np.array([d["scores"][k]["median"] for d in draws]) for k in ("train", "held_out"))
        ratio = statistics.paired(np.log2(control), np.log2(own), np.array([d["draw"] for d in draws]))
        verdicts.append(statistics.verdict(ratio, 1.0))  # log₂ of two
        parts.append(f"{p['title']} {p['dynamics']}: {own.mean():.2f} against {control.mean():.2f}, {_fold(ratio)}")
    return statistics.combined(verdicts), f"Median L2, and held-out images' over it: {'; '.join(parts)}."


CLAIMS = (
    Claim(
        "linearised-easier",
        "Linearised dynamics are attacked better than standard dynamics (by a tenth or more).",
        _linearised_is_easier,
    ),
    Claim(
        "training-images-come-back",
        "What comes back are training images: their median distance is under half of held-out images'.",
        _beats_controls,
    ),
)
