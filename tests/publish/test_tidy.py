import csv
import json
import sys

import duckdb
import pytest

from recon import ReconError
from recon.publish.tidy import export, tidy
from tests.conftest import ROOT

MADE = {
    "figure": "fig0",
    "preset": "quick",
    "source": "tfds",
    "summary": {"rows": [{"error": 0.1, "name": "a"}, {"error": 2, "name": "b"}], "strip": {"n": 2, "png": "AAAA"}},
    "claims": [
        {
            "name": "c",
            "statement": 'says "x",\ny',
            "verdict": "inconclusive",
            "effect": "0.1",
            "estimates": [{"label": "a", "value": 0.1, "low": None, "high": None, "n": 2, "groups": 1}],
        }
    ],
    "cells": [
        {
            "seconds": 0.1 + 0.2,
            "cell": {"kind": "attack", "n_train": 2, "m_ratio": 2, "network": {"widths": [8, 8], "bias": True}},
            "attack": {
                "certified": 1,
                "why": "",
                "trace": [[0, 1.5], [3, 1e-300]],
                "anytime": [{"step": 3, "near": 1}],
            },
            "images": {"certified": [True, False], "distance": [0.25, 7.0], "held_out": [8, 9.5], "label": [3, 4]},
        },
        {
            "seconds": 1.0,
            "cell": {"kind": "distillation", "n_train": 2, "m_ratio": 0.5, "networks": [{"name": "flow", "width": 8}]},
            "matched": {"train": [1.0, 2.0], "held_out": [3.0, 4.0], "start": [5.0, 6.0]},
        },
        {"seconds": 2.0, "cell": {"kind": "distillation"}, "matched": None},
    ],
}
CONVERSIONS = {"truth": {"true": True, "false": False}.__getitem__, "integer": int, "number": float, "text": str}


def read_csv(path, kinds):
    with open(path, newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    return names, [[None if v == "" else CONVERSIONS[kinds[n]](v) for n, v in zip(names, row)] for row in rows]


def read_back(folder, stem):
    """Every exported table as a list of rows by column, from CSV; that Parquet holds the same is checked on the way."""
    _, rows = read_csv(folder / f"{stem}-columns.csv", dict.fromkeys(("table", "column", "kind", "meaning"), "text"))
    assert all(meaning for *_, meaning in rows)
    tables = {}
    for name in dict.fromkeys(row[0] for row in rows):
        kinds = {column: kind for table, column, kind, _ in rows if table == name}
        names, values = read_csv(folder / f"{stem}-{name}.csv", kinds)
        assert names == list(kinds)
        with duckdb.connect() as connection:
            parquet = connection.read_parquet(str(folder / f"{stem}-{name}.parquet"))
            assert parquet.columns == names
            assert [list(row) for row in parquet.fetchall()] == values
        tables[name] = [dict(zip(names, row)) for row in values]
    return tables


def test_tables_read_back_as_the_record(tmp_path):
    export(MADE, tmp_path, ["csv", "parquet"])
    tables = read_back(tmp_path / "fig0", "quick-tfds")
    assert set(tables) == {"cells", "images", "traces", "anytime", "summary", "claims", "estimates"}
    cells = tables["cells"]
    assert [c["cell"] for c in cells] == [0, 1, 2]
    assert [c["seconds"] for c in cells] == [0.1 + 0.2, 1.0, 2.0]
    assert [c["cell.m_ratio"] for c in cells] == [2.0, 0.5, None]
    assert [c["cell.network.widths"] for c in cells] == ["[8,8]", None, None]
    assert [c["cell.network.bias"] for c in cells] == [True, None, None]
    assert [c["cell.networks.flow.width"] for c in cells] == [None, 8, None]
    assert [c["attack.why"] for c in cells] == [None] * 3
    images = [(i["cell"], i["image"], i["certified"], i["distance"], i["held_out"]) for i in tables["images"]]
    assert images == [(0, 0, True, 0.25, 8.0), (0, 1, False, 7.0, 9.5), (1, 0, None, 1.0, 3.0), (1, 1, None, 2.0, 4.0)]
    assert [i["start"] for i in tables["images"]] == [None, None, 5.0, 6.0]
    assert [(t["trace"], t["step"], t["loss"]) for t in tables["traces"]] == [
        ("attack.trace", 0, 1.5),
        ("attack.trace", 3, 1e-300),
    ]
    assert [(s["step"], s["near"]) for s in tables["anytime"]] == [(3, 1)]
    assert [(s["quantity"], s["position"], s["number"], s["text"]) for s in tables["summary"]] == [
        ("rows[].error", "0", 0.1, None),
        ("rows[].name", "0", None, "a"),
        ("rows[].error", "1", 2.0, None),
        ("rows[].name", "1", None, "b"),
        ("strip.n", None, 2.0, None),
    ]
    assert tables["claims"][0]["statement"] == 'says "x",\ny'
    assert [(e["claim"], e["value"], e["low"], e["groups"]) for e in tables["estimates"]] == [("c", 0.1, None, 1)]
    assert all((row["figure"], row["preset"], row["source"]) == ("fig0", "quick", "tfds") for row in cells)


def test_only_what_is_asked_for_is_written(tmp_path):
    written = export(MADE, tmp_path, ["parquet"])
    assert sorted(written) == sorted((tmp_path / "fig0").iterdir())
    assert {p.suffix for p in written if "columns" not in p.name} == {".parquet"}


def test_parquet_without_duckdb_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    export(MADE, tmp_path, ["csv"])
    with pytest.raises(ReconError, match="extra `parquet`"):
        export(MADE, tmp_path, ["parquet"])


def leaves(value):
    """Numbers, truth values and words of a JSON value that are no picture."""
    if isinstance(value, dict):
        return [x for k, part in value.items() if k not in ("png", "webp") for x in leaves(part)]
    if isinstance(value, list):
        return [x for part in value for x in leaves(part)]
    return [value] if value is not None and value != "" else []


@pytest.mark.parametrize("path", sorted(ROOT.glob("results/*/quick-tfds.json")), ids=lambda p: p.parent.name)
def test_no_number_of_a_stored_record_is_lost(path):
    made = json.loads(path.read_bytes())
    tables = {
        name: [dict(zip([c.name for c in table.columns], row)) for row in table.rows]
        for name, table in tidy(made).items()
    }
    assert len(tables["cells"]) == len(made["cells"])
    shown = [row["text"] if row["number"] is None else row["number"] for row in tables["summary"]]
    assert shown == leaves(made["summary"])
    for name, table in tables.items():
        assert len({tuple(map(str, row.values())) for row in table}) == len(table), name
    kept = {"figure", "preset", "source", "cell", "image", "trace"}
    for number, cell in enumerate(made["cells"]):
        mine = [row for table in tables.values() for row in table if row.get("cell") == number]
        numbers = sorted(
            float(v) for row in mine for k, v in row.items() if k not in kept and isinstance(v, int | float)
        )
        lists = [x for row in mine for v in row.values() if str(v).startswith("[") for x in leaves(json.loads(v))]
        expected = sorted(float(x) for x in leaves(cell) if isinstance(x, int | float))
        assert sorted(numbers + [float(x) for x in lists if isinstance(x, int | float)]) == expected
