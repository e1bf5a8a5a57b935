"""Claims: what a figure measures, and the one place that turns it into a verdict.

A module says what it claims and how its summary measures it; it never writes a verdict or a number into a sentence. The
verdict follows from the estimates, the claim's kind and its margin alone, so that it can be checked again from the
numbers of a stored record.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recon import statistics
from recon.records import ClaimRecord
from recon.statistics import TENTH as TENTH
from recon.statistics import Estimate, Kind, Verdict

Summary = dict[str, Any]

# Margins that several figures share, with their reasons: `TENTH` is of the log₂ of a ratio of errors, `SMALL` of rho.
EYE = "a tenth of an error (0.8 dB) is the least that an eye would notice in the pictures"
SMALL, COHEN_SMALL = 0.1, "0.1 is Cohen's small correlation, the least worth a name"


@dataclass(frozen=True)
class Part:
    """An estimate, and how it is written: "LABEL: 1.31 [1.12, 1.53] UNIT".

    Attributes:
      label: what was measured, in words.
      estimate: in the units of the claim's margin; a ratio as its log₂.
      spec: format of each number.
      of: applied to each number before it is written, such as `np.exp2`; increasing.
      suffix: written after the numbers.
      scale: what the stored numbers are: "log2 ratio", "share", "correlation", "dB".
      decides: False for what stands beside the effect for information alone.
    """

    label: str
    estimate: Estimate
    spec: str = "+.2f"
    of: Callable[[float], float] = float
    suffix: str = ""
    scale: str = ""
    decides: bool = True


Effect = Sequence[Part]


def ratio(label: str, estimate: Estimate, decides: bool = True) -> Part:
    """A part whose estimate is log₂ of a ratio, written as the ratio."""
    return Part(label, estimate, ".2f", np.exp2, scale="log2 ratio", decides=decides)


def correlation(label: str, estimate: Estimate, decides: bool = True) -> Part:
    """A part whose estimate is a correlation."""
    return Part(label, estimate, scale="correlation", decides=decides)


def share(label: str, estimate: Estimate, decides: bool = True) -> Part:
    """A part whose estimate is a share, written in per cent."""
    return Part(label, estimate, ".0f", _hundredfold, " %", "share", decides)


def points(label: str, estimate: Estimate, decides: bool = True) -> Part:
    """A part whose estimate is a difference of shares, written in percentage points."""
    return Part(label, estimate, "+.1f", _hundredfold, " points", "share", decides)


def _hundredfold(value: float) -> float:
    return 100 * value


@dataclass(frozen=True)
class Claim:
    """What a figure claims, of the paper's or its own.

    Attributes:
      name: short.
      statement: the claim in our words, margin included.
      measure: summary → its parts; of several that decide, a verdict is what all of them say.
      margin: the least effect that would matter, in the estimates' units.
      reason: why this margin.
      kind: on which side of the margin the effect is claimed to lie; see `recon.statistics.verdict`.
    """

    name: str
    statement: str
    measure: Callable[[Summary], Effect]
    margin: float
    reason: str
    kind: Kind = "above"


def judge(claim: Claim, summary: Summary) -> ClaimRecord:
    """A claim's record: its verdict on a summary, the effect in words, and the estimates that decided as numbers."""
    parts = claim.measure(summary)
    estimates = [{"label": p.label, "scale": p.scale, **p.estimate} for p in parts if p.decides]
    return {
        "name": claim.name,
        "statement": claim.statement,
        "kind": claim.kind,
        "margin": float(claim.margin),
        "reason": claim.reason,
        "verdict": verdict([p.estimate for p in parts if p.decides], claim.margin, claim.kind),
        "effect": "; ".join(_written(p, claim.kind) for p in parts) + "." if parts else "Nothing was measured.",
        "estimates": estimates,  # type: ignore[typeddict-item]  # a literal of mixed values
    }


def verdict(estimates: Sequence[Estimate | Mapping[str, Any]], margin: float, kind: Kind) -> Verdict:
    """The verdict of a claim on its estimates, or on those of a stored record."""
    return statistics.combined([statistics.verdict(e, margin, kind) for e in estimates])


def _written(part: Part, kind: Kind) -> str:
    estimate = part.estimate
    if kind == "exact" and part.decides and estimate["value"] is not None:
        numbers = f"{part.of(estimate['value']):{part.spec}}"
    else:
        numbers = statistics.text(estimate, part.spec, part.of, part.suffix)
    return f"{part.label}: {numbers}"
