import hashlib
import json
import re
from importlib.metadata import distribution

import jsonschema
import pytest
import yaml
from pybtex.database import parse_string

from recon import ReconError
from recon.publish.citation import bibliography, read_cff
from tests.conftest import ROOT


def made(preset="quick", source="tfds", **fields):
    facts = {"commit": "c0ffee", "dirty": False, "made_at": "2026-01-02T03:04:05+00:00"}
    words = {"figure": "fig0", "title": "Figure 0: |α| & 5 % of x_0 — ‖θ‖ ≥ ε", "preset": preset, "source": source}
    return words | {"cells": [], "provenance": facts} | fields


def test_citation_file_follows_the_official_schema():
    place = "check_jsonschema/builtin_schemas/vendor/citation-file-format.json"
    schema = json.loads(distribution("check-jsonschema").locate_file(place).read_text(encoding="utf-8"))
    # The schema is of JSON, which has no dates.
    cff = json.loads(json.dumps(yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")), default=str))
    check = jsonschema.validators.validator_for(schema)(schema)
    assert [e.message for e in check.iter_errors(cff)] == []
    assert list(check.iter_errors({k: v for k, v in cff.items() if k != "authors"}))
    assert f'version = "{cff["version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_bibtex_reads_back_with_the_paper_the_suite_and_the_record(tmp_path):
    path = tmp_path / "fig0" / "quick-tfds.json"
    path.parent.mkdir()
    path.write_text(json.dumps(made()))
    text = bibliography(path, made(), read_cff(), tmp_path)
    assert text.isascii()
    entries = parse_string(text, "bibtex").entries
    paper, suite, record = (entries[key] for key in ("loo2024", "recon", "recon-fig0-quick-tfds"))
    assert len(entries) == 3
    assert [str(p.last_names[0]) for p in paper.persons["author"]] == ["Loo", "Hasani", "Lechner", "Amini", "Rus"]
    assert paper.fields["year"] == "2024"
    assert "Version 0.1.0" in suite.fields["note"]
    assert re.search(r"commit [0-9a-f]{40}|of no commit", suite.fields["note"])
    assert "fig0/quick-tfds.json" in record.fields["howpublished"]
    assert str(tmp_path) not in text
    for fact in (
        hashlib.sha256(path.read_bytes()).hexdigest(),
        "c0ffee",
        "2026-01-02",
        "Preset quick",
        "pictures tfds",
    ):
        assert fact in record.fields["note"]
    for sign in (r"\alpha", r"\&", r"5 \%", r"x\_0", r"\geq", r"\Vert"):
        assert sign in record.fields["title"]


def test_outside_a_checkout_it_says_so(tmp_path):
    with pytest.raises(ReconError, match="checkout"):
        read_cff(tmp_path / "CITATION.cff")
