"""Housekeeping of the store: every kind of folder is told apart, and only what nobody asks for goes."""

import os
import time

import numpy as np
import pytest

from recon.records import Store, Stored, code_version, described, entries, library_versions, prunable, remove
from recon.records.cache import WRITING_SECONDS

MODULES = ("recon.metrics",)
SETTINGS = {"kind": "attack", "n_train": 6, "network": {"widths": [32, 16]}, "dynamics": {"rule": "Linearised"}}


def cell(code, modules=MODULES, **versions):
    made = {"code_version": code, "versions": library_versions(MODULES) | versions}
    made |= {} if modules is None else {"modules": list(modules)}
    return Stored({"cell": SETTINGS, "provenance": made}, {"x": np.zeros(3)})


@pytest.fixture
def store(tmp_path):
    """A store with one folder of each kind, the leftovers of a writer of today and of one killed yesterday."""
    store = Store(tmp_path / "cells")
    store.save("current", cell(code_version(MODULES)))
    store.save("stale", cell("0" * 12))
    store.save("upgraded", cell(code_version(MODULES), numpy="1.0"))
    store.save("gone", cell(code_version(MODULES), modules=("recon.attacks.that-was-removed",)))
    store.save("unknown", cell("0" * 12, modules=None))
    store.save("bad", cell("0" * 12))
    (store.root / "bad" / "arrays.npz").write_bytes(b"")
    assert store.verified("bad")[0] is None
    store.save("cut", cell("0" * 12))
    (store.root / "cut" / "record.json").write_text("{")
    (store.root / ".new-abc").mkdir()
    (store.root / ".old-abc").mkdir()
    (store.root / ".old-abc" / "arrays.npz").write_bytes(b"123")
    yesterday = time.time() - 86400
    os.utime(store.root / ".old-abc", (yesterday, yesterday))
    return store


def test_folders_are_told_apart(store):
    states = {e.key.split("-")[0]: e.state for e in entries(store)}
    assert states == {
        "current": "current",
        "stale": "stale",
        "upgraded": "stale",
        "gone": "stale",
        "unknown": "unknown",
        "damaged": "damaged",
        "cut": "unreadable",
        ".new": "leftover",
        ".old": "leftover",
    }
    by_name = {e.key: e for e in entries(store)}
    assert by_name["current"].what == "attack n_train=6 W=32x16 Linearised"
    assert by_name[".old-abc"].bytes == 3
    assert entries(Store(store.root / "nowhere")) == []


def test_a_folder_that_vanishes_while_it_is_looked_at_is_left_out(store, monkeypatch):
    names = {e.key for e in entries(store)}
    from recon.records import cache

    def moved(folder, now):
        if folder.name == ".new-abc":
            folder.rename(folder.with_name("done"))  # as its writer does
        return real(folder, now)

    real = cache._entry
    monkeypatch.setattr(cache, "_entry", moved)
    assert {e.key for e in entries(store)} == names - {".new-abc"}


def test_pruning_leaves_current_cells_and_writers_at_work(store):
    going = prunable(entries(store))
    assert {e.key.split("-")[0] for e in going} == {"stale", "upgraded", "gone", "damaged", "cut", ".old"}
    for entry in going:
        remove(entry)
    assert sorted(p.name for p in store.root.iterdir()) == [".new-abc", "current", "unknown"]
    assert store.load("current") is not None
    assert prunable(entries(store)) == []


def test_pruning_by_age_takes_cells_only(store):
    later = time.time() + WRITING_SECONDS / 2
    going = {e.key for e in prunable(entries(store, now=later), older_than=WRITING_SECONDS / 4)}
    assert {"current", "unknown"} <= going
    assert ".new-abc" not in going


def test_settings_in_a_line():
    full = {"kind": "attack", "task": "mnist", "n": 2, "options": {"steps": 30}, "none": None, "seeds": [1]}
    assert described(full) == "attack mnist n=2 steps=30"
