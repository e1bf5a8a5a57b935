"""What the paper claims, which claims of figures check it, and how it stands in the stored records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.records import record_state
from recon.report.published import NONE, SAID, WIDTH, N

Found = Mapping[str, Sequence[tuple[Path, Any]]]
"""Records by figure, with their paths: as `recon.report.results.records` finds them."""

# The largest run of a figure counts, and of equal ones that on prepared data sets.
ORDER = [(preset, source) for preset in ("paper", "full", "quick") for source in ("tfds", "mixed", "samples")]


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
    """What a figure's largest run says of a claim of the paper.

    Attributes:
      path, made: the record, or None if none is stored.
      claims: the record's claims that check it.
    """

    figure: str
    path: Path | None = None
    made: Mapping[str, Any] | None = None
    claims: Sequence[Mapping[str, Any]] = ()

    @property
    def state(self) -> str:
        """Whether the code that made the record is the code as it is."""
        return "unknown" if self.made is None else record_state(self.made)

    @property
    def size(self) -> str:
        """Training images and widths of the run, such as "N 10–40, W 512"."""
        cells = [] if self.made is None else [c["cell"] for c in self.made["cells"]]
        images = {c["n_train"] for c in cells if "n_train" in c}
        widths = {w for c in cells for w in (c.get("network") or {}).get("widths", ())}
        return ", ".join(f"{name} {span(values)}" for name, values in (("N", images), ("W", widths)) if values)

    @property
    def published_size(self) -> str:
        """The same of the paper's run, as far as it is known."""
        settings = SAID[self.figure].settings if self.figure in SAID else {}
        return ", ".join(f"{n} {settings[s]}" for n, s in (("N", N), ("W", WIDTH)) if s in settings) or NONE


def span(values: set[int]) -> str:
    """The least and the greatest of some numbers."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def standings(claim: PaperClaim, found: Found) -> list[Standing]:
    """How a claim of the paper stands, figure by figure."""
    made = []
    for figure, names in claim.figures.items():
        mine = [(p, m) for p, m in found.get(figure, []) if (m["preset"], m["source"]) in ORDER]
        if not mine:
            made.append(Standing(figure))
            continue
        path, record = min(mine, key=lambda pm: ORDER.index((pm[1]["preset"], pm[1]["source"])))
        made.append(Standing(figure, path, record, [c for c in record["claims"] if c["name"].startswith(names)]))
    return made


def counted(stands: Sequence[Standing]) -> Counter[str]:
    """How many of the claims that check it have each verdict."""
    return Counter(c["verdict"] for stand in stands for c in stand.claims)
