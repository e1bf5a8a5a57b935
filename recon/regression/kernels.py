"""Timings of the kernels by pytest-benchmark, in the shape of a figure's record, so that one gate serves both."""

from pathlib import Path
from typing import Any

from recon.errors import ReconError
from recon.records import read_json


def kernels_record(file: Path) -> dict[str, Any]:
    """The record of what `make benchmark-kernels` wrote: a cell for each kernel.

    Raises:
      ReconError: the file is absent, damaged or another.
    """
    made = read_json(file)
    try:
        cells = [_cell(entry, made["provenance"]) for entry in made["benchmarks"]]
    except (KeyError, TypeError) as error:
        raise ReconError(f"{file} is not from `make benchmark-kernels`: make it with that.") from error
    return {
        "figure": "kernels",
        "preset": "run",
        "source": "samples",
        "provenance": made["provenance"],
        "cells": cells,
    }


def _cell(entry: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    extra = entry["extra_info"]
    return {
        "cell": {"kind": "kernel", "kernel": entry["name"].removeprefix("test_")},
        "data": {"fingerprints": {}},  # the sizes are in the name
        "kernel": {**extra, "seconds": entry["stats"]["median"]},
        "reference_seconds": extra["reference_seconds"],
        "provenance": facts,
    }
