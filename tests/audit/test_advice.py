"""What the report says of defences in general, against the stored records."""

import numpy as np

from recon.auditing import advice
from recon.records import read_json
from tests.conftest import ROOT


def rows(finding):
    return read_json(ROOT / "results" / f"{finding.record}.json")["summary"]["rows"]


def test_noise():
    mine = [r for r in rows(advice.NOISE) if not r["released"]]
    assert {r["n"] for r in mine} == {20}
    assert {r["attack"] for r in mine} == {"exact", "ntk-fast"}
    noised = {r["epsilon"] for r in mine} - {None}
    stopped = max(e for e in noised if all(r["recovered"] == 0 for r in mine if r["epsilon"] and r["epsilon"] <= e))
    assert f"with ε up to {stopped:,.0f} neither" in advice.NOISE.words
    weak = max(noised)
    share = np.mean([r["recovered"] for r in mine if (r["attack"], r["epsilon"]) == ("ntk-fast", weak)])
    assert f"with ε of {weak:,.0f} ntk-fast brought back {100 * share:.0f} %" in advice.NOISE.words
    clipped = [r for r in mine if r["attack"] == "exact" and r["epsilon"] is None and r["clip"] is not None]
    assert clipped
    assert all(r["recovered"] == 1 for r in clipped)


def test_width():
    mine = [r for r in rows(advice.WIDTH) if (r["activation"], r["rule"], r["search"]) == ("relu", "standard", "all")]
    assert {r["n"] for r in mine} == {50, 100}
    whole = {q: [r["certified"] == r["n"] for r in mine if r["ratio"] == q] for q in {r["ratio"] for r in mine}}
    none, some, most = sorted(whole)
    assert not any(r["found"] for r in mine if r["ratio"] == none)
    counts = {q: f"{sum(whole[q])} of {len(whole[q])} at {q:g}" for q in (some, most)}
    words = f"nothing came back of {len(whole[none])} networks of {none:g} units an image, everything of"
    assert f"{words} {counts[some]}, and everything of {counts[most]}." in advice.WIDTH.words


def test_noise_on_one_gradient():
    back = {r["name"]: [run["inside_within"] for run in r["runs"]] for r in rows(advice.FAINT)}
    strengths = {name: counts for name, counts in back.items() if name.startswith("noise multiplier")}
    weak, strong = sorted(strengths, key=lambda name: float(name.split()[2].rstrip(":")))
    assert (set(strengths[weak]), set(strengths[strong])) == ({64}, {0})
    at = [f"{float(name.split()[2].rstrip(':')):f}".rstrip("0") for name in (weak, strong)]
    assert f"with a noise multiplier of {at[0]}, none with {at[1]}" in advice.FAINT.words


def test_stopping_early():
    exact = [r for r in rows(advice.EARLY) if r["attack"] == "exact"]
    assert {"one step", 0.0} <= {r["stop"] for r in exact}
    assert {(r["n"], r["certified"]) for r in exact} == {(10, 10)}
    assert "all 10 digits" in advice.EARLY.words


def test_averages():
    mine = [r for r in rows(advice.AVERAGE) if "average" in r["name"]]
    assert {(r["n"], r["certified"]) for r in mine} == {(60, 60)}
    assert f"of {len(mine)} rounds of federated averaging the average gave back all 60" in advice.AVERAGE.words


def test_every_finding_is_tested():
    assert set(advice.FINDINGS) == {advice.NOISE, advice.WIDTH, advice.FAINT, advice.EARLY, advice.AVERAGE}
