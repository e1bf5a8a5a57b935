"""Claims: the verdict follows from estimates, kind and margin, and from nothing that a module writes."""

import json
import re

import numpy as np
import pytest

from recon.benchmark import find, judged
from recon.claims import Claim, Part, judge, ratio, verdict
from recon.records import figure_bytes, read_figure, read_json
from recon.statistics import Estimate, mean
from tests.conftest import ROOT


def of(low, high, groups=3, value=None):
    return Estimate(value=value, low=low, high=high, n=9, groups=groups)


def claim(*parts, margin=0.1, kind="above"):
    return Claim("name", "Statement.", lambda summary: parts, margin, "a reason", kind)


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected"),
    [
        ("above", 0.2, 0.5, "reproduced"),
        ("above", -0.5, 0.05, "not reproduced"),
        ("above", 0.05, 0.5, "inconclusive"),
        ("below", 0.2, 0.5, "not reproduced"),
        ("below", -0.5, 0.05, "reproduced"),
        ("below", 0.05, 0.5, "inconclusive"),
        ("alike", -0.05, 0.05, "reproduced"),
        ("alike", 0.2, 0.5, "not reproduced"),
        ("alike", -0.5, -0.2, "not reproduced"),
        ("alike", 0.05, 0.5, "inconclusive"),
    ],
)
def test_the_verdict_is_the_side_of_the_margin_on_which_the_interval_lies(kind, low, high, expected):
    made = judge(claim(Part("a", of(low, high, value=(low + high) / 2)), kind=kind), {})
    assert made["verdict"] == expected
    # Two groups tell nothing, however narrow their interval; neither does any number of them without one.
    for nothing in (of(low, high, groups=2), of(None, None), of(low, None)):
        assert verdict([nothing], 0.1, kind) == "inconclusive"


def test_an_identity_alone_is_judged_by_its_value():
    assert [verdict([of(None, None, 1, v)], 1e-8, "exact") for v in (1e-9, 2e-8, None)] == [
        "reproduced",
        "not reproduced",
        "inconclusive",
    ]


def test_several_parts_have_to_say_the_same_and_what_stands_beside_them_has_no_say():
    yes, no, beside = Part("a", of(1, 2)), Part("b", of(-2, -1)), Part("c", of(-2, -1), decides=False)
    assert judge(claim(yes, yes, beside), {})["verdict"] == "reproduced"
    assert judge(claim(yes, no), {})["verdict"] == "inconclusive"
    assert judge(claim(beside), {})["verdict"] == judge(claim(), {})["verdict"] == "inconclusive"
    assert [e["label"] for e in judge(claim(yes, no, beside), {})["estimates"]] == ["a", "b"]


def test_a_record_holds_numbers_and_a_sentence():
    found = mean(np.log2([2.0, 2.0, 4.0, 4.0]), np.arange(4))
    made = judge(claim(ratio("One over the other", found), Part("others", of(None, None), decides=False)), {})
    assert made["effect"] == "One over the other: 2.83 [1.50, 5.35]; others: undefined."
    assert made["estimates"] == [{"label": "One over the other", "scale": "log2 ratio", **found}]
    assert (made["kind"], made["margin"], made["reason"]) == ("above", 0.1, "a reason")
    exact = judge(claim(Part("Gap", of(None, None, 1, 3e-9), ".0e"), kind="exact"), {})
    assert exact["effect"] == "Gap: 3e-09."


RECORDS = [p for p in sorted((ROOT / "results").glob("*/*.json")) if "claims" in read_json(p)]


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_stored_verdict_is_what_the_engine_says_of_the_stored_numbers(path):
    made = read_figure(path)
    assert made["claims"]
    for c in made["claims"]:
        assert c["verdict"] == verdict(c["estimates"], c["margin"], c["kind"]), c["name"]
        assert all(0 <= e["groups"] <= e["n"] for e in c["estimates"]), c["name"]
        assert c["reason"], c["name"]
        if c["verdict"] == "inconclusive":
            continue
        assert c["estimates"], c["name"]
        for e in c["estimates"]:
            assert e["value"] is not None, c["name"]
            if c["kind"] != "exact":
                assert e["groups"] >= 3, c["name"]
                assert e["low"] < e["high"], c["name"]
                assert e["low"] <= e["value"] <= e["high"], c["name"]
                assert {"correlation": -1, "share": -1}.get(e["scale"], e["low"]) <= e["low"], c["name"]
                assert {"correlation": 1, "share": 1}.get(e["scale"], e["high"]) >= e["high"], c["name"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_stored_claims_are_those_of_the_figures_modules(path):
    """Of the stored summary, today. If not: `recon.benchmark.judged` says what they are."""
    made = read_figure(path)
    again = json.loads(figure_bytes({"claims": judged(find(ROOT, made["figure"]), made["summary"])}))
    assert again["claims"] == made["claims"]


def test_no_module_writes_a_verdict():
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert not re.search(r"reproduced\"|inconclusive\"|\bverdict\(", path.read_text(encoding="utf-8")), path.name
