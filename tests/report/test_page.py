import json
import re
import shutil
from collections import Counter
from itertools import pairwise

import msgspec
import pytest

from recon.errors import ReconError
from recon.records import record_state
from recon.report import MOST_BYTES, build, page, write
from recon.report.paper import ADDED, ORDER, PAPER, SAID, beyond, counted, standings
from recon.report.published import beside
from recon.report.results import PAPER_NAMES, compared, records
from recon.report.text import blocks, coded, criterion
from tests.conftest import ROOT
from tests.report.conftest import MODULES, Page

STORED = records(ROOT / "results")
RECORDS = [pair for mine in STORED.values() for pair in mine]
PAPERS = {name for name, said in SAID.items() if said.settings} | {name for c in PAPER for name in c.figures}
LOADING = {"src", "srcset", "poster", "background", "data", "action", "formaction", "ping"}


def squeezed(text):
    return " ".join(text.split())


def test_every_record_is_there_with_its_claims_and_verdicts(page):
    for path, made in RECORDS:
        assert f"{made['figure']}-{path.stem}" in page.ids
        assert squeezed(made["title"]) in page.texts["h2"]
        assert (made["provenance"]["commit"] or "unknown")[:12] in page.text
        for claim in made.get("claims", []):
            assert squeezed(claim["statement"]) in page.text
            assert f"{squeezed(claim['effect'])} Margin: " in page.within[f"{made['figure']}-{path.stem}"]
            assert f"({squeezed(claim['reason'])})" in page.text
    assert len(RECORDS) > 20
    shown = [t for t in page.texts["span"] if re.fullmatch("[✓✗?] (not )?(reproduced|inconclusive)", t)]
    every = [c["verdict"] for _, made in RECORDS for c in made.get("claims", [])]
    assert sorted(t[2:] for t in shown) == sorted(every)


def chips(counts, zeros=False):
    """Counts of verdicts as the page words them."""
    return " ".join(f"{page.MARKS[v]} {counts[v]} {v}" for v in page.VERDICTS if zeros or counts[v])


def test_it_opens_with_the_paper_s_claims_and_goes_beyond_each_claim_counted_once(page):
    papers, others = counted([s for claim in PAPER for s in standings(claim, STORED)]), counted(beyond(STORED))
    largest = (
        min(mine, key=lambda run: ORDER.index((run[1]["preset"], run[1]["source"])))[1]
        for name, mine in STORED.items()
        if name != "reference"
    )
    assert papers + others == Counter(c["verdict"] for made in largest for c in made["claims"])
    assert page.texts["h2"][:2] == ["The paper's claims", "Beyond the paper"]
    assert page.within["claims"].startswith(f"The paper's claims {chips(papers, zeros=True)} The claims")
    assert page.within["beyond"].startswith(f"Beyond the paper {chips(others, zeros=True)} This")
    figures = [stand.figure for stand in beyond(STORED)]
    assert figures[: len(ADDED)] == list(ADDED)
    assert set(STORED) - {"reference"} == {f for claim in PAPER for f in claim.figures} | set(figures)


def test_a_claim_stands_with_its_words_verdicts_sizes_and_state(page):
    for number, claim in enumerate(PAPER, 1):
        stands = standings(claim, STORED)
        rows = [
            f"{titles(s).partition(':')[0]} {chips(counted([s]))} "
            f"{s.made['preset']}: {s.size} {s.published_size} {s.state}"
            for s in stands
        ]
        told = f"{number}. {claim.statement}. {chips(counted(stands))} {' '.join(rows)}"
        assert squeezed(told) in page.within["claims"]
    for s in beyond(STORED):
        told = f"{titles(s)} {chips(counted([s]))} {s.made['preset']}: {s.size} {s.state}"
        assert squeezed(told) in page.within["beyond"]
    links = Counter(link["href"] for link in page.named("a"))
    for s in (*beyond(STORED), *(s for claim in PAPER for s in standings(claim, STORED))):
        assert links[f"#{s.run}"] >= 2  # here and in the overview
        assert ("section", {"class": "result", "id": s.run}) in page.elements  # lies open


def titles(stand):
    return STORED[stand.figure][0][1]["title"]


def test_the_overview_has_titles_verdicts_and_a_way_to_what_got_worse(page):
    for path, made in RECORDS:
        result = compared(path, made, ROOT / "results")
        told = f"{result.heading} {chips(result.verdicts)} {result.status} {result.code}"
        assert squeezed(told) in page.within["overview"]
        assert squeezed(made["title"]) in page.within["overview"]
        assert ({"href": f"#{result.name}-metrics"} in page.named("a")) == result.failed
    assert "full data sets" not in page.text


def test_margins_are_in_the_words_of_their_estimates():
    def words(kind, margin, scale, effect="", groups=(5,)):
        estimates = [{"scale": scale, "groups": n} for n in groups]
        return criterion({"kind": kind, "margin": margin, "reason": "why", "effect": effect, "estimates": estimates})

    tenth = 0.1375035
    assert words("above", tenth, "log2 ratio") == "Margin: above a ratio of 1.1 (why); from 5 independent draws."
    assert words("below", -tenth, "log2 ratio").startswith("Margin: below a ratio of 0.909 (why)")
    assert words("alike", tenth, "log2 ratio").startswith("Margin: within a ratio of 1.1 (why)")
    assert words("above", 0.05, "share").startswith("Margin: above 5 % (why)")
    assert words("above", 0.05, "share", "It: +1.0 [+0.5, +2.0] points.").startswith("Margin: above 5 points (why)")
    assert words("above", 0.1, "correlation", groups=(7, 3, 5)).endswith(
        "0.1 correlation (why); from 3–7 independent draws."
    )
    assert words("exact", 1e-8, "", groups=(1,)) == "Margin: at most 1e-08 (why); from 1 independent draw."
    assert words("above", 1.0, "", groups=()) == "Margin: above 1 (why)."


def test_records_of_stale_code_are_marked_and_counted(page):
    states = Counter(record_state(made) for _, made in RECORDS)
    counts = ", ".join(f"{state} {states[state]}" for state in ("current", "stale", "unknown"))
    assert f"Code of the records: {counts}." in page.within["overview"]
    overview = Counter(page.within["overview"].split())
    assert Counter(text for text in page.texts["span"] if text in states) >= states
    assert all(overview[state] >= count for state, count in states.items())
    marks = Counter(text.split("code ")[1].split(",")[0] for text in page.texts["summary"] if "What made it" in text)
    assert marks == states


def test_every_picture_and_baseline_is_there(page):
    stored = list((ROOT / "results").glob("*/*.png"))
    assert len(page.named("img")) == len(stored) > 20
    assert all(image["alt"] and image["src"].startswith("data:image/webp;base64,") for image in page.named("img"))
    for path, made in RECORDS:
        baseline = ROOT / "results" / "baselines" / f"{made['figure']}-{path.stem}.json"
        if baseline.exists():
            assert squeezed(json.loads(baseline.read_text())["reasons"][0]["why"]) in page.text


def test_nothing_is_loaded_from_anywhere(file, page):
    for tag, attributes in page.elements:
        for name in LOADING & attributes.keys():
            assert attributes[name].startswith("data:"), (tag, name)
        if tag in ("a", "link"):
            assert attributes["href"].startswith(("#", "data:"))
        assert not any(name.startswith("on") for name in attributes)
    for style in page.texts["style"]:
        assert "url(" not in style
        assert "@import" not in style
    assert file.stat().st_size < MOST_BYTES


def test_it_can_be_found_one_s_way_in_without_a_mouse(page):
    assert len(page.ids) == len(set(page.ids))
    for link in page.named("a"):
        assert link["href"][1:] in page.ids
    assert page.named("html")[0]["lang"] == "en"
    labels = {label.get("for") for label in page.named("label")}
    for tag in ("input", "select"):
        for control in page.named(tag):
            assert (
                control.get("id") in labels or "id" not in control
            )  # sliders in the template get theirs with their id
    for attributes in page.named("div"):
        if "scrolled" in attributes.get("class", ""):
            assert (attributes["tabindex"], attributes["role"]) == ("0", "region")
            assert attributes["aria-label"]
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(headings) if a > 1)


def test_what_records_say_is_text_not_markup(tmp_path):
    path, made = RECORDS[0]
    made = {**made, "title": "A <b>title</b> & </script>", "claims": made["claims"]}
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / path.name).write_bytes(msgspec.json.encode(made))
    found = Page(build(tmp_path, {}))
    assert "A <b>title</b> & </script>" in found.texts["h2"]
    assert not found.named("b")
    # No claim of the paper has a record here.
    assert found.within["claims"].count("no stored record") == sum(len(claim.figures) for claim in PAPER)


def test_costs_and_status_against_the_baseline(tmp_path):
    """A run of twice the FLOPs a step has twice the ratio, and is worse in most settings."""
    shutil.copytree(ROOT / "results" / "baselines", tmp_path / "baselines")

    def flops(result):
        return next((row for row in result.costs if row[0] == "FLOPs a step"), None)

    stored = [(compared(path, made, tmp_path), path, made) for path, made in RECORDS]
    before, path, made = next(each for each in stored if flops(each[0]) and each[0].status == "none worse")
    slower = msgspec.json.decode(msgspec.json.encode(made))
    for cell in slower["cells"]:
        work = cell.get("attack", {}).get("work", {})
        if "flops_per_step" in work:
            work["flops_per_step"] *= 2
    after = compared(path, slower, tmp_path)
    one, two = flops(before), flops(after)
    assert float(two[4].split()[0]) == pytest.approx(2 * float(one[4].split()[0]), rel=0.02)
    # Where costs vary from draw to draw, twice as many can be within what they vary by.
    worse = int(after.status.removesuffix(" worse"))
    assert two[5].startswith(after.status)
    assert 0.5 * int(two[1]) < worse <= int(two[1])
    # The page leads from there to the metrics, those that got worse above the others.
    (tmp_path / made["figure"]).mkdir()
    (tmp_path / made["figure"] / path.name).write_bytes(msgspec.json.encode(slower))
    found = Page(build(tmp_path, {}))
    assert {"href": f"#{after.name}-metrics"} in found.named("a")
    assert f"{after.name}-metrics" in found.ids
    failed = [row.failed for row in after.metrics("cost", "time")]
    assert failed == sorted(failed, reverse=True)
    assert any(failed)
    assert compared(path, {**made, "preset": "full"}, tmp_path).status == "no baseline"
    for cell in slower["cells"]:
        cell["cell"]["unheard_of"] = True
    assert compared(path, slower, tmp_path).status == "baseline of other settings"


def example(**cell):
    """A record of figure 1 with one network, attacked once."""
    settings = {"task": "mnist_odd_even", "n_train": 4, "network": {"widths": [64, 64]}, "attack": "ntk-fast"}
    data = {"title": "MNIST odd/even", "recognisable": 2.5}
    one = {"cell": {**settings, "dynamics": {"rule": "GradientFlow"}, **cell}, "data": data, "attack": {"steps": 300}}
    claims = [
        {"name": "linearised-easier", "verdict": "reproduced"},
        {"name": "beyond-the-paper", "verdict": "inconclusive"},
    ]
    return {"figure": "fig1", "claims": claims, "cells": [one | {"images": {"distance": [4.0, 3.0, 1.0, 2.0]}}]}


def test_the_paper_and_the_run_stand_side_by_side():
    """Published points at their share of the curve, settings and the claim."""
    tasks = {"mnist_odd_even": {"points": [[0.005, 1], [0.5, 2], [1.0, 9]], "recognised": 0.725}}
    known = {"fig1": {"source": "Read by eye.", "dynamics": "standard", "tasks": tasks}}
    found = beside(known, example())
    assert found.source == "Read by eye."
    series = "ntk-fast, standard, N = 4, W = 64, 300 steps"
    assert found.lines == {
        "claim and settings": [
            (f"{PAPER[0].statement}.", "claimed", "1 reproduced"),
            ("training images N", "200", "4"),
            ("width W", "2,048", "64"),
            ("attack steps", "80,000", "300"),
        ],
        "MNIST odd/even": [
            (f"L2 of images 1, 2, 4 of 4, best first: {series}", "≈ 1, 2, 9 (N\u00a0=\u00a0200)", "1, 2, 4"),
            (f"recognisable (L2 < 2.5): {series}", "≈ 72.5 % of 200", "50.0 % of 4"),
        ],
    }
    # Numbers of standard dynamics are not set beside the exact recovery or linearised dynamics.
    for other in ({"attack": "exact"}, {"dynamics": {"rule": "Linearised"}}):
        assert list(beside(known, example(**other)).lines) == ["claim and settings"]
    assert not beside(known, {**example(), "figure": "dp"}).lines  # not in the paper


def test_every_figure_has_the_paper_beside_it_or_says_that_it_is_not_in_the_paper(page):
    assert page.texts["h4"].count("Beside the paper") == len(RECORDS)
    for name in PAPERS:
        assert name not in SAID or any(part.startswith(SAID[name].numbers) for part in page.texts["p"])
    for claim in PAPER:
        checked = sum(made["figure"] in claim.figures for _, made in RECORDS)
        assert page.texts["th"].count(f"{claim.statement}.") == checked
    assert {made["figure"] for _, made in RECORDS if made["figure"].startswith(PAPER_NAMES)} <= PAPERS & SAID.keys()
    regions = [a for a in page.named("div") if a.get("aria-label") == "The paper and this run"]
    assert len(regions) == sum(made["figure"] in PAPERS for _, made in RECORDS) > 20


def test_docstrings_become_paragraphs_code_and_items():
    text = "One\nline.\n\n    make a\n    make b\n\n* first\n  goes on\n* second\n\nEnd."
    assert blocks(text) == [
        ("p", ["One line."]),
        ("pre", ["make a\nmake b"]),
        ("li", ["first goes on", "second"]),
        ("p", ["End."]),
    ]


def test_backticks_become_code(page):
    assert coded("as in `recon.dynamics.dp`, ``a < b``") == (
        "as in <code>recon.dynamics.dp</code>, <code>a &lt; b</code>"
    )
    assert coded("one ` alone & <b>") == "one ` alone &amp; &lt;b&gt;"
    assert "recon.dynamics.dp" in page.texts["code"]
    assert not any("`" in part for tag in ("p", "li", "td", "span") for part in page.texts[tag])


def test_what_cannot_be_built_is_said(tmp_path, monkeypatch):
    with pytest.raises(ReconError, match="no record"):
        write(tmp_path / "out", tmp_path, MODULES)
    monkeypatch.setattr(page, "MOST_BYTES", 1000)
    (tmp_path / "fig1").mkdir()
    shutil.copy(ROOT / "results" / "fig1" / "quick-tfds.json", tmp_path / "fig1")
    with pytest.raises(ReconError, match="MB"):
        write(tmp_path / "out", tmp_path, MODULES)
    (tmp_path / "fig1" / "quick-tfds.json").write_text('{"figure":')
    with pytest.raises(ReconError, match=r"quick-tfds\.json is damaged .*: remove it and run again"):
        write(tmp_path / "out", tmp_path, MODULES)
    assert not (tmp_path / "out").exists()
