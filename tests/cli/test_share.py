"""`recon cite` and `recon export` on stored records, as a user meets them, and which record they take."""

import json
import sys
from importlib.machinery import PathFinder

import pytest
from pybtex.database import parse_string

from recon import ReconError
from recon.cli.share import candidates
from tests.conftest import ROOT

STORED = ROOT / "results"


@pytest.fixture
def recon(command):
    """Runs `recon` on the stored records, whatever was run here."""
    return lambda *words: command(*words, "--records", "results", cwd=ROOT)


def test_cite_prints_three_entries_and_says_which_record_it_took(recon):
    done = recon("cite", "fig1")
    assert done.returncode == 0, done.stderr
    assert {"loo2024", "recon", "recon-fig1-quick-tfds"} == set(parse_string(done.stdout, "bibtex").entries)
    assert "Record: results/fig1/quick-tfds.json (for others: --preset quick --source samples)" in done.stderr
    other = recon("cite", "fig1", "--source", "samples")
    assert "recon-fig1-quick-samples" in other.stdout
    assert other.stderr == "Record: results/fig1/quick-samples.json\n"
    wrong = recon("cite", "fig1", "--preset", "huge")
    assert wrong.returncode == 1
    assert "fig1 has no record of huge: choose one of" in wrong.stderr


def test_export_writes_both_formats_and_says_where(recon, tmp_path):
    done = recon("export", "fig6", "--source", "tfds", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    files = {p.name for p in (tmp_path / "fig6").iterdir()}
    assert {f"quick-tfds-{t}.{f}" for t in ("cells", "images", "pruning") for f in ("csv", "parquet")} < files
    assert set(done.stdout.split()) == {str(tmp_path / "fig6" / name) for name in files}
    images = (tmp_path / "fig6" / "quick-tfds-images.csv").read_text().splitlines()
    cells = json.loads((STORED / "fig6" / "quick-tfds.json").read_bytes())["cells"]
    assert len(images) == 1 + sum(c["cell"]["n_train"] for c in cells)
    csv_only = recon("export", "fig6", "--source", "tfds", "--format", "csv", "--out", str(tmp_path / "csv"))
    assert csv_only.returncode == 0
    assert {p.suffix for p in (tmp_path / "csv" / "fig6").iterdir()} == {".csv"}


@pytest.fixture
def without_duckdb(monkeypatch):
    """Nothing called duckdb is found."""
    found = PathFinder.find_spec
    monkeypatch.delitem(sys.modules, "duckdb", raising=False)
    hidden = staticmethod(lambda name, *rest: None if name == "duckdb" else found(name, *rest))
    monkeypatch.setattr(PathFinder, "find_spec", hidden)


def test_export_without_duckdb_names_the_extra(recon, tmp_path, without_duckdb):
    asked = recon("export", "fig7", "--format", "parquet", "--out", str(tmp_path / "a"))
    assert asked.returncode == 1
    assert "extra `parquet`" in asked.stderr
    assert "Traceback" not in asked.stderr
    assert not (tmp_path / "a").exists()
    unasked = recon("export", "fig7", "--out", str(tmp_path / "b"))
    assert unasked.returncode == 0
    assert "No Parquet" in unasked.stderr
    assert {p.suffix for p in (tmp_path / "b" / "fig7").iterdir()} == {".csv"}


@pytest.fixture
def put(tiny, monkeypatch):
    """Puts a record into a folder of the checkout."""
    monkeypatch.chdir(tiny)

    def record(folder, preset, source, hour):
        facts = {"made_at": f"2026-01-02T{hour:02}:00:00+00:00"}
        path = tiny / folder / "tiny" / f"{preset}-{source}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"preset": preset, "source": source, "cells": [], "provenance": facts}))

    return record


def test_the_last_run_that_fits_comes_before_the_fullest_stored_record(put, tiny):
    def found(preset=None, source=None, records=None):
        mine = candidates("tiny", preset, source, records)
        return [str(path.relative_to(tiny).with_suffix("")) for path, _ in mine]

    for preset, source in (("quick", "samples"), ("quick", "tfds"), ("full", "tfds")):
        put("results", preset, source, 9)
    stored = ["results/tiny/full-tfds", "results/tiny/quick-tfds", "results/tiny/quick-samples"]
    assert found() == stored
    put(".recon/results", "quick", "tfds", 1)
    put(".recon/results", "quick", "samples", 2)
    assert found() == [".recon/results/tiny/quick-samples", ".recon/results/tiny/quick-tfds"]
    assert found(source="tfds") == [".recon/results/tiny/quick-tfds"]
    assert found(preset="full") == stored[:1]
    assert found(records=tiny / "results") == stored
    with pytest.raises(ReconError, match="no record of paper"):
        found(preset="paper")
