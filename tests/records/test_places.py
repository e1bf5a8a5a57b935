"""Places to write to, looked at before there is anything to write, and the records in a folder."""

import json
from pathlib import Path

import pytest

from recon import ReconError
from recon.records.places import file_to_write, folder_to_write, records_of


def test_nothing_is_made(tmp_path):
    assert folder_to_write(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert file_to_write(tmp_path / "a" / "file") == tmp_path / "a" / "file"
    assert not list(tmp_path.iterdir())


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ReconError, match=rf"the file {tmp_path / 'file'} is in a folder's place"):
            folder_to_write(place)
    with pytest.raises(ReconError, match="name a file in it"):
        file_to_write(tmp_path)
    if Path("/proc/self").exists():  # where not even root can write
        with pytest.raises(ReconError, match="choose another place"):
            folder_to_write(Path("/proc/results"))


def test_the_fullest_record_of_the_original_data_comes_first(tmp_path):
    (tmp_path / "fig0").mkdir()
    for preset, source in (("quick", "samples"), ("quick", "tfds"), ("full", "samples")):
        made = {"preset": preset, "source": source, "cells": [], "provenance": {}}
        (tmp_path / "fig0" / f"{preset}-{source}.json").write_text(json.dumps(made))
    (tmp_path / "fig0" / "notes.json").write_text("{}")

    def found(**asked):
        return [path.stem for path, _ in records_of(tmp_path, "fig0", **asked)]

    assert found() == ["full-samples", "quick-tfds", "quick-samples"]
    assert found(source="tfds") == ["quick-tfds"]
    assert found(preset="quick") == ["quick-tfds", "quick-samples"]
    with pytest.raises(ReconError, match="no record of paper tfds: choose one of full samples, quick samples"):
        found(preset="paper", source="tfds")
    with pytest.raises(ReconError, match="recon reproduce fig9"):
        records_of(tmp_path, "fig9")
