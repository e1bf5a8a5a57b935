"""What the paper says: claims, which claims of figures check them, how these stand, and settings of its runs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recon.records import record_state
from recon.report.results import Found

# The largest run of a figure counts, and of equal ones that on prepared data sets.
ORDER = [(preset, source) for preset in ("paper", "full", "quick") for source in ("tfds", "mixed", "samples")]
# What this suite adds to the paper, most telling first.
ADDED = ("recovery", "frontier", "pool", "certificate", "foreign", "dynamics", "procedures", "solvers")
NONE = "–"


@dataclass(frozen=True)
class Said:
    """What the paper says of a figure's numbers.

    Attributes:
      numbers: whether it gives any, in a sentence.
      settings: its settings as its authors' code has them, by name; "(recalled)" where they could not be checked.
    """

    numbers: str
    settings: Mapping[str, str] = field(default_factory=dict)


N, WIDTH, STEPS, SET, EPOCHS = "training images N", "width W", "attack steps", "distilled images", "distillation steps"
ATTACK = {STEPS: "80,000"}
SETS = {N: "500", WIDTH: "4,096", SET: "20", EPOCHS: "50,000"}
NOTEBOOK = {N: "200", WIDTH: "2,048", **ATTACK}  # of the authors' example
# Records whose curves stand beside figure 1's: the published attack step for step, and networks of the notebook's size.
SCHEDULE, SOLVERS = "reference", "solvers"

PICTURE = "The paper shows this as a picture, without numbers."
UNKNOWN = "No number that the paper gives on this is known here."
TABLE = "The paper gives accuracies in a table; they could not be checked, so none is repeated here."
THEOREM = "The paper proves this; it gives no number."
ASKED = "Not in the paper: its reviewers asked for it."
ABSENT = "Not in the paper."

SAID = {
    **{f"fig{i}": Said(PICTURE, ATTACK) for i in ("4", "5", "6", "7", "s25-40", "J2")},
    **{f"fig{i}": Said(UNKNOWN, ATTACK) for i in ("G1", "G2", "I", "J1")},
    "fig1": Said(PICTURE, NOTEBOOK),
    "fig2": Said(PICTURE, {WIDTH: "1,024, 2,048, 4,096 (recalled)", **ATTACK}),
    "fig3": Said(PICTURE, {N: "20 to 500 (recalled)", **ATTACK}),
    "fig8": Said(PICTURE, SETS),
    "table1": Said(TABLE, SETS),
    "theorem1": Said(THEOREM),
    "theorem2": Said(THEOREM),
    SCHEDULE: Said("The published schedule on a smaller network.", NOTEBOOK),
    SOLVERS: Said(f"{ABSENT} Networks of the size in its authors' example stand beside its curves.", NOTEBOOK),
    **dict.fromkeys(("dim", "dp", "init"), Said(ASKED)),
}


@dataclass(frozen=True)
class PaperClaim:
    """A claim or report of the paper.

    Attributes:
      statement: in this suite's words; "(recalled)" where it could not be checked.
      short: the same in at most a dozen words.
      figures: figure → beginnings of the names of its claims that check it.
    """

    statement: str
    short: str
    figures: Mapping[str, tuple[str, ...]]


PAPER = (
    PaperClaim(
        "Attacks on linearised dynamics are almost perfect; on standard dynamics worse, but better as W grows",
        "linearised training leaks most, standard training more with width",
        {
            "fig1": ("linearised-easier", "training-images-come-back"),
            "fig2": ("linearised-beats-standard", "width-helps"),
        },
    ),
    PaperClaim(
        "The mean reconstruction error rises with N at fixed W, and follows the kernel distance closely",
        "the error rises with N and with the kernel's movement",
        {"fig3": ("rises-with-n", "tracks-kernel-distance", "kernel-distance-beyond-size")},
    ),
    PaperClaim(
        "Multi-class networks leak more than binary ones at equal N and W (recalled)",
        "networks with ten classes leak more than with two",
        {"fig4": ("multiclass-leaks-more",)},
    ),
    PaperClaim(
        "Easily reconstructed images have large |α|; they look unusual, and are not merely far from others in pixels",
        "images with large dual weights, outliers, come back first",
        {
            "fig5": ("large-duals-leak", "alpha-over-pixels", "alpha-over-loss"),
            "fig7": ("large-sets-leak", "only-outliers"),
            "figs25-40": ("large-duals-first", "more-than-chance"),
        },
    ),
    PaperClaim(
        "Leaving out the easily reconstructed images costs no more accuracy than leaving out random ones",
        "leaving those out costs no more accuracy than random images",
        {"fig6": ("easy-ones-not-needed",)},
    ),
    PaperClaim(
        "Attacks improve as training goes on, but early stopping is no defence",
        "stopping training early is no defence",
        {"figG1": ("improves-as-training-goes-on", "early-stopping-is-no-defence", "one-step-is-gradient-inversion")},
    ),
    PaperClaim(
        "Networks trained with cross-entropy can be attacked too",
        "networks trained with cross-entropy leak too",
        {"figG2": ("logistic-is", "softmax-is", "exponential-is")},
    ),
    PaperClaim(
        "If the kernel moved, attacking with both kernels is at least as good as with the better one",
        "attacking with both kernels is at least as good as with one",
        {"figI": ("both-at-least-as-good", "both-over-published", "gain-grows")},
    ),
    PaperClaim(
        "RKIP's sets train well at infinite and finite width; KIP's are best at infinite width; RKIP-finite's images "
        "look like training images",
        "RKIP's distilled sets train well at any width, KIP's at infinite",
        {"table1": ("rkip-trains-well", "kip-best", "kip-held-out-best", "kip-loses-more"), "fig8": ("rkip-finite",)},
    ),
    PaperClaim(
        "At a higher input dimension (64 × 64 × 3) quality is lower, but recognisable images still come back",
        "at 64 × 64 × 3 images come back less well, but do",
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
        "Theorem 1: at infinite width the loss is zero only if the reconstructions are the training set",
        "theorem 1: the loss is zero only at the training set",
        {"theorem1": ("error-falls-with-loss", "all-come-back", "finite-approaches-infinite")},
    ),
    PaperClaim(
        "Theorem 2: the loss is KIP's loss in another norm, plus λ ≥ 0",
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
        widths = {w for c in cells for w in widths_of(c)}
        return ", ".join(f"{name} {span(values)}" for name, values in (("N", images), ("W", widths)) if values)

    @property
    def published_size(self) -> str:
        """The same of the paper's run, as far as it is known."""
        settings = SAID.get(self.figure, Said(ABSENT)).settings
        return ", ".join(f"{n} {settings[s]}" for n, s in (("N", N), ("W", WIDTH)) if s in settings) or NONE


def widths_of(cell: Mapping[str, Any]) -> Sequence[int]:
    """Widths of a cell's network, wherever its kind of cell holds them; of none, nothing."""
    network = cell.get("network") or cell.get("setting") or cell
    own = network.get("widths") or [w for w in [network.get("width")] if w]
    return own or [w for trained in cell.get("networks", []) for w in widths_of(trained)]


def span(values: set[int]) -> str:
    """The least and the greatest of some numbers."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def of_claim(made: Mapping[str, Any], names: tuple[str, ...], wanted: bool = True) -> list[Mapping[str, Any]]:
    """A record's claims whose names begin so, or all others."""
    return [c for c in made.get("claims", []) if c["name"].startswith(names) is wanted]


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
    """A figure's largest run with its claims as from `of_claim`."""
    runs = [(p, m) for p, m in found.get(figure, []) if (m["preset"], m["source"]) in ORDER]
    if not runs:
        return Standing(figure)
    path, made = min(runs, key=lambda run: ORDER.index((run[1]["preset"], run[1]["source"])))
    return Standing(figure, path, made, of_claim(made, names, wanted))


def counted(stands: Iterable[Standing]) -> Counter[str]:
    """How many claims have each verdict."""
    return Counter(c["verdict"] for stand in stands for c in stand.claims)
