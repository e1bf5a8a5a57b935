"""Timings of the kernels by pytest-benchmark, in the shape of a figure's record, so that one gate serves both."""

from pathlib import Path
from typing import Any, TypedDict

from recon.reading import json, refused
from recon.regression.measures import groups


class Entry(TypedDict):
    """A benchmark, as far as it counts here."""

    name: str
    stats: dict[str, float]
    extra_info: dict[str, float]


class Timings(TypedDict):
    """A file of pytest-benchmark."""

    benchmarks: list[Entry]
    provenance: dict[str, Any]


def kernels_record(file: Path) -> dict[str, Any]:
    """The record of what `make benchmark-kernels` wrote: a cell for each kernel.

    Raises:
      ReconError: the file is absent, damaged or another.
    """
    with refused(f"{file} is not from `make benchmark-kernels`", "make it with that"):
        made = json(file, Timings)
        cells = [_cell(entry, made["provenance"]) for entry in made["benchmarks"]]
        groups(cells)  # whether they can be compared
    return {
        "figure": "kernels",
        "preset": "run",
        "source": "samples",
        "provenance": made["provenance"],
        "cells": cells,
    }


def _cell(entry: Entry, facts: dict[str, Any]) -> dict[str, Any]:
    extra = entry["extra_info"]
    return {
        "cell": {"kind": "kernel", "kernel": entry["name"].removeprefix("test_")},
        "data": {"fingerprints": {}},  # the sizes are in the name
        "kernel": {**extra, "seconds": entry["stats"]["median"]},
        "reference_seconds": extra["reference_seconds"],
        "provenance": facts,
    }
