"""Which record `recon plot`, `cite` and `export` are about."""

import json

import pytest

from recon import ReconError
from recon.cli.choice import candidates


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
