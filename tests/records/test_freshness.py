"""Records of stale code are told from those of the code as it is."""

from recon.records import code_state, code_version, code_words, record_state

MODULES = ["recon.metrics"]
CURRENT = {"modules": MODULES, "code_version": code_version(tuple(MODULES))}
STALE = CURRENT | {"code_version": "0123456789ab"}
UNKNOWN = {"code_version": CURRENT["code_version"]}
GONE = CURRENT | {"modules": ["recon.gone"]}


def record(*facts):
    return {"cells": [{"provenance": f} for f in facts]}


def test_a_cell_is_current_stale_or_unknown():
    assert [code_state(facts) for facts in (CURRENT, STALE, UNKNOWN, GONE)] == ["current", "stale", "unknown", "stale"]


def test_a_record_is_as_its_worst_cell():
    cases = {
        "current": (CURRENT, CURRENT),
        "1 of 2 cells stale": (CURRENT, STALE),
        "2 of 3 cells unknown": (CURRENT, UNKNOWN, UNKNOWN),
        "1 of 3 cells stale, 1 of 3 cells unknown": (CURRENT, STALE, UNKNOWN),
        "unknown": (),
    }
    for words, facts in cases.items():
        assert code_words(record(*facts)) == words
    assert [record_state(record(*facts)) for facts in cases.values()] == [
        "current", "stale", "unknown", "stale", "unknown",
    ]  # fmt: skip
