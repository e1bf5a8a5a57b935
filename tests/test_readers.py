"""Every reader on damaged real files: a result or a sentence, never a traceback. `make fuzz` does it at length."""

import io
import os
import random
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from recon import ReconError, reading
from recon.data import load_images
from recon.data.pictures import PIXELS, opened
from recon.errors import reason
from recon.weights import read_arrays, save_weights
from tests.fuzz import mutations, readers

# Of those that take longer an input, fewer.
EXAMPLES = {"figure": 10, "tiny-imagenet": 5, "prepared": 10, "weights-orbax": 10, "weights-keras": 5}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Real files of a reader, made once."""
    made = {}

    def of(reader):
        if reader.name not in made:
            folders = [tmp_path_factory.mktemp(reader.name) for _ in reader.make]
            for make, folder in zip(reader.make, folders, strict=True):
                make(folder)
            made[reader.name] = [readers.files_of(folder) for folder in folders]
        return made[reader.name]

    return of


@pytest.mark.parametrize("name", readers.READERS)
@pytest.mark.filterwarnings("ignore")  # those of libraries about what they read
def test_damaged_files_are_read_or_refused_in_one_line(name, real, tmp_path):
    if name == "weights-orbax":
        pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed")
    reader = readers.READERS[name]
    for files in real(reader):
        readers.laid(files, tmp_path / "files")
        reader.read(tmp_path / "files")

    @settings(max_examples=EXAMPLES.get(name, 30), deadline=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**32), which=st.integers(0, len(reader.make) - 1))
    def damaged(seed, which):
        readers.laid(reader.change(random.Random(seed), real(reader)[which]), tmp_path / "files")
        refusal = None
        try:
            reader.read(tmp_path / "files")
        except ReconError as error:
            refusal = error
        assert refusal is None or str(refusal).isprintable()

    damaged()


def test_a_message_is_one_printable_line():
    assert reason(ValueError("two\n  lines\x1b[31m")) == "two lines?[31m"
    assert reason(KeyError("name")) == "KeyError: name"
    assert reason(MemoryError()) == "MemoryError"
    assert reason(FileNotFoundError(2, "No such file", "/a")) == "No such file"
    assert len(reason(ValueError("x" * 1000))) == 80


def npz(**arrays):
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.sampled_from(
            [
                np.arange(6.0).reshape(2, 3),
                np.asfortranarray(np.arange(6, dtype=">i4").reshape(3, 2)),
                np.float16(2.5),
                np.zeros((0, 4), np.float32),
                np.array([True, False]),
            ]
        ),
    )
)
def test_arrays_are_as_numpy_reads_them(arrays):
    found = reading.arrays(io.BytesIO(npz(**arrays)))
    with np.load(io.BytesIO(npz(**arrays))) as expected:
        assert set(found) == set(expected.files)
        for name in found:
            np.testing.assert_array_equal(found[name], expected[name])
            assert found[name].dtype == expected[name].dtype
            assert found[name].flags.writeable


def header(shape, descr="<f8"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


HOSTILE = {
    "promises much": mutations.zipped([("x.npy", header((1 << 40,)))]),
    "overflows": mutations.zipped([("x.npy", header((1 << 62, 4)))]),
    "negative": mutations.zipped([("x.npy", header((-1, -8)) + bytes(64))]),
    "pickle": npz(x=np.array([{}], dtype=object)),
    "bzip2": mutations.zipped([("x.npy", header((1 << 24,)) + bytes(8 << 24))], zipfile.ZIP_BZIP2),
    "within": mutations.zipped([("x.npy", mutations.zipped([("x.npy", bytes(1 << 20))]))]),
}


def lying(content, size):
    """An archive whose table of contents tells another size of its first member."""
    at = content.index(b"PK\x01\x02") + 24
    return content[:at] + size.to_bytes(4, "little") + content[at + 4 :]


HOSTILE["claims more than it can hold"] = lying(npz(x=np.zeros(10)), 1 << 31)
HOSTILE["unpacks to more than it says"] = lying(npz(x=np.zeros(8 << 20)), 200)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_cost_no_memory(name, tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    try:
        with pytest.raises(ReconError):
            read_arrays(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_limits(tmp_path):
    (tmp_path / "ten").write_bytes(bytes(10))
    assert reading.content(tmp_path / "ten", 10) == bytes(10)
    with pytest.raises(ValueError, match="holds more"):
        reading.content(tmp_path / "ten", 9)
    packed = npz(x=np.zeros(100))
    with pytest.raises(ValueError, match="unpacks to more"):
        reading.arrays(io.BytesIO(packed), 700)
    with reading.archive(io.BytesIO(packed)) as archive:
        assert len(reading.member(archive, "x.npy", 1000)) > 800
    with reading.archive(io.BytesIO(packed)) as archive, pytest.raises(ValueError, match="holds more"):
        reading.member(archive, "x.npy", 800)


def test_a_table_of_contents_without_end_is_not_read():
    many = b"PK\x01\x02" + bytes(43)
    table = many * (reading.CONTENTS_LIMIT // len(many) + 1)
    end = b"PK\x05\x06" + bytes(8) + len(table).to_bytes(4, "little") + bytes(6)
    with pytest.raises(ValueError, match="table of contents"), reading.archive(io.BytesIO(table + end)):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "weights.npz")
    for path in (tmp_path / "weights.npz", Path("/dev/zero")):
        with pytest.raises(ReconError):
            read_arrays(path)
        with pytest.raises(ValueError, match="no plain file"):
            reading.content(path)
        with pytest.raises(ValueError, match="no plain file"), reading.archive(path):
            pass
        with pytest.raises(ValueError, match="no plain file"), opened(path):
            pass


def test_pictures_of_other_formats_and_sizes_are_refused(tmp_path):
    out = io.BytesIO()
    Image.new("1", (PIXELS // 1000 + 1, 1000)).save(out, format="png")
    assert len(out.getvalue()) < 10_000
    for name, content in {
        "bomb": out.getvalue(),
        "program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }.items():
        for group in ("a", "b"):
            (tmp_path / name / group).mkdir(parents=True)
            (tmp_path / name / group / "0.png").write_bytes(content)
        with pytest.raises(ReconError, match="cannot be read as a picture"):
            load_images(None, images=tmp_path / name)


def test_names_of_arrays_are_words(tmp_path):
    for name in ("a\nb", "\x1b[2J", "x" * 1000):
        save_weights(tmp_path / "weights.npz", {"Dense_0": {name: np.zeros(2)}})
        with pytest.raises(ReconError, match="a name that is none"):
            read_arrays(tmp_path / "weights.npz")
