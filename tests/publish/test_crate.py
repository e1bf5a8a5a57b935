"""The MUST rules of RO-Crate 1.2 that concern a folder of files, checked on the stored description itself."""

import hashlib
import json
import re
from datetime import datetime
from urllib.parse import unquote

import pytest

from recon.publish.citation import read_cff
from recon.publish.crate import crate
from tests.conftest import ROOT

RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def document():
    return json.loads((RESULTS / "ro-crate-metadata.json").read_bytes())


@pytest.fixture(scope="module")
def entities(document):
    return {e["@id"]: e for e in document["@graph"]}


def types(entity):
    return {entity["@type"]} if isinstance(entity["@type"], str) else set(entity["@type"])


def references(value):
    if isinstance(value, dict):
        return [value["@id"]] if set(value) == {"@id"} else [x for v in value.values() for x in references(v)]
    return [x for v in value for x in references(v)] if isinstance(value, list) else []


def test_descriptor_and_root(document, entities):
    assert document["@context"] == "https://w3id.org/ro/crate/1.2/context"
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    assert descriptor["about"] == {"@id": "./"}
    assert "Dataset" in types(root)
    assert root["name"]
    assert root["description"]
    datetime.fromisoformat(root["datePublished"])
    assert entities[root["license"]["@id"]]["name"] == "Apache-2.0"
    assert entities[root["citation"]["@id"]]["name"].startswith("Understanding Reconstruction Attacks")


def test_entities_are_flat_typed_unique_and_linked(document, entities):
    assert len(entities) == len(document["@graph"])
    for entity in document["@graph"]:
        assert types(entity)
        assert entity["@id"] == "ro-crate-metadata.json" or entity["name"]
        for value in entity.values():  # no entity within another, only references
            inner = value if isinstance(value, list) else [value]
            assert all(not isinstance(v, dict) or set(v) == {"@id"} for v in inner)
        for target in references({k: v for k, v in entity.items() if k != "@id"}):
            assert target in entities or target.startswith("https://w3id.org/ro/crate/"), target
    assert len(re.findall(r"made_at", json.dumps(document))) == 0


def test_files_are_those_of_the_folder_and_reached_from_the_root(entities):
    reached, todo = set(), ["./"]
    while todo:
        part = todo.pop()
        reached.add(part)
        todo += references(entities[part].get("hasPart", []))
    data = {i for i, e in entities.items() if types(e) & {"File", "Dataset"}}
    assert reached == data
    for identity in data - {"./"}:
        path = RESULTS / unquote(identity)
        assert path.is_dir() if "Dataset" in types(entities[identity]) else path.is_file(), identity
    records = {p.relative_to(RESULTS).as_posix() for p in RESULTS.glob("*/*.json")}
    pictures = {p.relative_to(RESULTS).as_posix() for p in RESULTS.glob("*/*.png")}
    assert records | pictures <= data
    assert all(pictures & {p} and references(entities[p]["isBasedOn"]) for p in pictures)


def test_records_carry_their_hash_and_what_made_them(entities):
    actions = [e for e in entities.values() if e["@type"] == "CreateAction"]
    assert {a["@id"] for a in actions} == set(references(entities["./"]["mentions"]))
    for action in actions:
        (identity,) = references(action["result"])
        content = (RESULTS / identity).read_bytes()
        record, facts = entities[identity], json.loads(content)["provenance"]
        assert record["sha256"] == hashlib.sha256(content).hexdigest()
        assert int(record["contentSize"]) == len(content)
        assert action["endTime"] == facts["made_at"]
        software = entities[action["instrument"]["@id"]]
        assert software["version"].removeprefix("commit ").removesuffix(" with changes") == facts["commit"]
        assert software["url"] == f"swh:1:rev:{facts['commit']}"
    hashed = {i for i, e in entities.items() if "sha256" in e}
    assert hashed == {i for a in actions for i in references(a["result"])}


def test_names_that_need_it_are_escaped_and_others_belong_to_nothing(tmp_path):
    facts = {
        "commit": None,
        "dirty": None,
        "made_at": "2026-01-02T03:04:05+00:00",
        "versions": {"recon": "0", "python": "3"},
    }
    made = {"figure": "fig0", "title": "Zero.", "preset": "p q", "source": "tfds", "provenance": facts}
    (tmp_path / "fig0").mkdir()
    for name in ("p q-tfds.json", "p q-tfds.png", "p q-tfds-2.png", "other.csv", ".hidden.json", "run.log"):
        (tmp_path / "fig0" / name).write_text("{}")
    found = {e["@id"]: e for e in crate(tmp_path, {tmp_path / "fig0" / "p q-tfds.json": made}, read_cff())["@graph"]}
    files = {i: e.get("isBasedOn", {}).get("@id") for i, e in found.items() if e["@type"] == "File"}
    record = "fig0/p%20q-tfds.json"
    assert files == {
        record: None,
        "fig0/p%20q-tfds.png": record,
        "fig0/p%20q-tfds-2.png": record,
        "fig0/other.csv": None,
    }
    assert found["./"]["datePublished"] == "2026-01-02"
