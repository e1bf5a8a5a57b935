"""What the paper claims, which claims of figures check it, and how it stands in the stored records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.records import record_state
from recon.report.published import NONE, SAID, WIDTH, N
from recon.report.results import Found

# The largest run of a figure counts, and of equal ones that on prepared data sets.
ORDER = [(preset, source) for preset in ("paper", "full", "quick") for source in ("tfds", "mixed", "samples")]


# What this suite adds to the paper, most telling first.
ADDED = ("recovery", "pool", "certificate", "foreign", "dynamics", "procedures", "solvers")


@dataclass(frozen=True)
class PaperClaim:
    """A claim or report of the paper.

    Attributes:
      statement: in this suite's words.
      short: the same in at most a dozen words.
      figures: figure → beginnings of the names of its claims that check it.
    """

    statement: str
    short: str
    figures: Mapping[str, tuple[str, ...]]


PAPER = (
    PaperClaim(
        "Linearised dynamics are attacked almost perfectly; standard dynamics less, and better as W grows",
        "linearised dynamics leak most, standard ones more with width",
        {
            "fig1": ("linearised-easier", "training-images-come-back"),
            "fig2": ("linearised-beats-standard", "width-helps"),
        },
    ),
    PaperClaim(
        "Mean reconstruction error rises with N at fixed W, and tracks kernel distance closely",
        "the error rises with N and follows kernel distance",
        {"fig3": ("rises-with-n", "tracks-kernel-distance", "kernel-distance-beyond-size")},
    ),
    PaperClaim(
        "Multi-class networks leak more than binary ones at equal N and W",
        "ten-way networks leak more than binary ones",
        {"fig4": ("multiclass-leaks-more",)},
    ),
    PaperClaim(
        "Easily reconstructed images have large |α|; they look unusual; they are not simply far in pixel L2",
        "images of large dual weight come back first: outliers",
        {
            "fig5": ("large-duals-leak", "alpha-over-pixels", "alpha-over-loss"),
            "fig7": ("large-sets-leak", "only-outliers"),
            "figs25-40": ("large-duals-first", "more-than-chance"),
        },
    ),
    PaperClaim(
        "Pruning the easily reconstructed images costs no more accuracy than random pruning",
        "they are not needed for accuracy",
        {"fig6": ("easy-ones-not-needed",)},
    ),
    PaperClaim(
        "Attack quality improves as training goes on, but early stopping is no defence",
        "early stopping is no defence",
        {"figG1": ("improves-as-training-goes-on", "early-stopping-is-no-defence", "one-step-is-gradient-inversion")},
    ),
    PaperClaim(
        "Cross-entropy networks are attackable too",
        "cross-entropy networks leak too",
        {"figG2": ("logistic-is", "softmax-is", "exponential-is")},
    ),
    PaperClaim(
        "Using both kernels is at least as good as the better single one when the kernel moved",
        "both kernels are at least as good as either",
        {"figI": ("both-at-least-as-good", "both-over-published", "gain-grows")},
    ),
    PaperClaim(
        "RKIP sets train well at infinite and finite width; KIP is best at infinite width; RKIP-finite images look "
        "like training images",
        "RKIP's distilled sets train well at any width, KIP's at infinite",
        {"table1": ("rkip-trains-well", "kip-best", "kip-held-out-best", "kip-loses-more"), "fig8": ("rkip-finite",)},
    ),
    PaperClaim(
        "Higher input dimension (64 × 64 × 3) lowers quality, but recognisable images still come back",
        "at 64 × 64 × 3 quality is lower, images still come back",
        {
            "figJ2": ("lower-quality", "pictures-still-come-back"),
            "dim": ("dimension-hurts", "still-recognisable"),
        },
    ),
    PaperClaim(
        "Convolutional networks can be attacked (appendix J.1)",
        "convolutional networks leak too",
        {"figJ1": ("convolutional",)},
    ),
    PaperClaim(
        "Theorem 1: at infinite width the loss's zero is the training set",
        "theorem 1: the loss's zero is the training set",
        {"theorem1": ("error-falls-with-loss", "all-come-back", "finite-approaches-infinite")},
    ),
    PaperClaim(
        "Theorem 2: the loss is KIP's residual in another norm, plus λ ≥ 0",
        "theorem 2: the loss is KIP's in another norm, plus λ ≥ 0",
        {"theorem2": ("identity-holds", "surplus-not-negative")},
    ),
)


@dataclass(frozen=True)
class Standing:
    """What a figure's largest run says of a claim of the paper, or beyond the paper.

    Attributes:
      path, made: the record, or None if none is stored.
      claims: the record's claims on it.
    """

    figure: str
    path: Path | None = None
    made: Mapping[str, Any] | None = None
    claims: Sequence[Mapping[str, Any]] = ()

    @property
    def run(self) -> str:
        """Names the record within the report, as `recon.report.results.Result.name` does; empty: none is stored."""
        return "" if self.path is None or self.made is None else f"{self.made['figure']}-{self.path.stem}"

    @property
    def state(self) -> str:
        """Whether the code that made the record is the code as it is."""
        return "unknown" if self.made is None else record_state(self.made)

    @property
    def size(self) -> str:
        """Training images and widths of the run, such as "N 10–40, W 512"."""
        cells = [] if self.made is None else [c["cell"] for c in self.made["cells"]]
        images = {c["n_train"] for c in cells if "n_train" in c}
        widths = {w for c in cells for w in _widths(c)}
        return ", ".join(f"{name} {span(values)}" for name, values in (("N", images), ("W", widths)) if values)

    @property
    def published_size(self) -> str:
        """The same of the paper's run, as far as it is known."""
        settings = SAID[self.figure].settings if self.figure in SAID else {}
        return ", ".join(f"{n} {settings[s]}" for n, s in (("N", N), ("W", WIDTH)) if s in settings) or NONE


def _widths(cell: Mapping[str, Any]) -> Sequence[int]:
    """Widths of a cell's network, wherever its kind of cell holds them."""
    network = cell.get("network") or cell.get("setting") or cell
    return network.get("widths") or [w for w in [network.get("width")] if w]


def span(values: set[int]) -> str:
    """The least and the greatest of some numbers."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def standings(claim: PaperClaim, found: Found) -> list[Standing]:
    """How a claim of the paper stands, figure by figure."""
    return [_standing(figure, found, names) for figure, names in claim.figures.items()]


def beyond(found: Found) -> list[Standing]:
    """How the claims stand that are no claims of the paper, figure by figure.

    First those of `ADDED`, last those in figures that check the paper's. With the claims of `PAPER` they are all claims
    of the largest runs, each once.
    """
    papers: dict[str, tuple[str, ...]] = {}
    for claim in PAPER:
        for figure, names in claim.figures.items():
            papers[figure] = papers.get(figure, ()) + names
    others = [*(f for f in ADDED if f in found), *(f for f in found if f not in ADDED)]
    others.sort(key=papers.__contains__)
    made = (_standing(figure, found, papers.get(figure, ()), wanted=False) for figure in others)
    return [stand for stand in made if stand.claims]


def _standing(figure: str, found: Found, names: tuple[str, ...], wanted: bool = True) -> Standing:
    """A figure's largest run with the claims whose names begin so, or with all others."""
    runs = [(p, m) for p, m in found.get(figure, []) if (m["preset"], m["source"]) in ORDER]
    if not runs:
        return Standing(figure)
    path, made = min(runs, key=lambda run: ORDER.index((run[1]["preset"], run[1]["source"])))
    return Standing(figure, path, made, [c for c in made.get("claims", []) if c["name"].startswith(names) is wanted])


def counted(stands: Sequence[Standing]) -> Counter[str]:
    """How many claims have each verdict."""
    return Counter(c["verdict"] for stand in stands for c in stand.claims)
