"""Places to write to, looked at before there is anything to write."""

from pathlib import Path

import pytest

from recon import ReconError
from recon.records.places import file_to_write, folder_to_write


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
