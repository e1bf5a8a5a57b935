"""Numbers in prose come from stored records, and the files that a user is sent to exist."""

import re
import shutil
import subprocess
import sys

import jax
import numpy as np

from recon import MLP, GradientFlow, audit, load_task, train
from recon.benchmark import benchmarks
from recon.metrics import distances
from recon.report.paper import PAPER
from tests.conftest import ROOT

PAGES = [sys.executable, ROOT / "scripts" / "pages.py"]


def test_pages_are_those_of_the_records():
    done = subprocess.run([*PAGES, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_index_of_results_is_that_of_the_records(tmp_path):
    text = (ROOT / "results" / "README.md").read_text()
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert (ROOT / "results" / target).exists(), target
    assert {p.parent.name for p in (ROOT / "results").glob("*/*.png")} <= set(re.findall(r"\]\(([\w-]+)/", text))
    # A record that changes makes the pages wrong, and writing them puts them right.
    shutil.copytree(ROOT / "results" / "fig1", tmp_path / "results" / "fig1")
    here = [*PAGES, "index", "--root", tmp_path]
    subprocess.run(here, check=True)
    assert subprocess.run([*here, "--check"]).returncode == 0
    record = next((tmp_path / "results").glob("fig1/*.json"))
    record.write_text(record.read_text().replace('"effect":"', '"effect":"Perhaps '))
    assert "make pages" in subprocess.run([*here, "--check"], capture_output=True, text=True).stderr
    subprocess.run(here, check=True)
    assert subprocess.run([*here, "--check"]).returncode == 0
    assert "Perhaps " in (tmp_path / "results" / "README.md").read_text()


def test_every_claim_of_the_paper_has_claims_of_figures():
    known = {name: [c.name for c in b.module().CLAIMS] for name, b in benchmarks(ROOT).items()}
    for claim in PAPER:
        assert len(claim.short.split()) <= 13
        for figure, beginnings in claim.figures.items():
            for beginning in beginnings:
                assert any(name.startswith(beginning) for name in known[figure]), (figure, beginning)
    # Of figures in the paper no claim is left out, but those that go beyond it.
    listed = {figure: names for claim in PAPER for figure, names in claim.figures.items()}
    for figure, names in listed.items():
        missing = [name for name in known[figure] if not name.startswith(names)]
        beyond = {c.name for c in benchmarks(ROOT)[figure].module().CLAIMS if "eyond the paper" in c.statement}
        assert set(missing) <= beyond, (figure, missing)


def test_links_and_targets_exist():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert (ROOT / target.partition("#")[0]).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.findall(r"^([a-z-]+):", makefile, re.M)) | {f"reproduce-{n}" for n in benchmarks(ROOT)}
    assert set(re.findall(r"(?:^    |`)make ([a-z][\w-]+)", text, re.M)) <= known


def test_example_runs(capsys):
    text = (ROOT / "README.md").read_text()
    block = re.search(r"(?:    .*\n|\n)*    import jax, numpy.*\n(?:    .*\n|\n)*", text).group()
    code = re.sub(r"^    ", "", block, flags=re.M)
    small = code.replace('"mnist_odd_even", 20', '"mnist_odd_even", 6').replace("(512, 512)", "(64, 64)")
    assert small.count("64, 64") == 1
    names = {}
    exec(small.replace('attack="exact"', 'attack="exact", progress=False'), names)
    found = names["found"]
    assert found.images.shape[1:] == (28, 28, 1)
    assert found.certified.any()
    assert f"{found.certified.sum()} of 20 training images are certified" in capsys.readouterr().out
    near = distances(found.images[found.certified], names["data"].train.x).min(axis=1)
    assert near.max() < 0.1


def test_the_front_page_is_short():
    text = (ROOT / "README.md").read_bytes()
    assert len(text) <= 6_000
    assert text.count(b"\n") <= 100


def test_the_front_page_quotes_what_an_audit_says():
    text = (ROOT / "README.md").read_text()
    quoted = " ".join(line.removeprefix("> ") for line in text.split("\n") if line.startswith("> "))
    data, network = load_task("mnist_odd_even", 20, seed=0, n_test=1), MLP((256, 256))
    before = jax.tree.map(np.asarray, network.init(jax.random.key(0), 784))
    after = train(network, before, data.train.x, data.train.y, GradientFlow()).final.params
    assert audit(before, after, progress=False).verdict.startswith(quoted)
