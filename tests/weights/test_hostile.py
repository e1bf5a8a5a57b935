"""Files that mean harm: refused in one sentence, soon, and without the memory that they claim."""

import io
import json
import signal
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from recon import ReconError
from recon.memory import peak_memory
from recon.weights import examine, read_arrays, told_activation
from recon.weights.formats import hdf5, onnx, protobuf
from tests.conftest import processor_time
from tests.weights import written

HUGE = 1 << 60
ZEROS = 260 << 20  # bytes, which a hundred times less holds


def npy(shape, held=b""):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return header.getvalue() + held


def zipped(path, members, link=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            told = zipfile.ZipInfo(name)
            told.compress_type = zipfile.ZIP_DEFLATED
            told.external_attr = (0o120777 if name in link else 0o100644) << 16
            with archive.open(told, "w") as file:
                for _ in range(ZEROS >> 22 if content is None else 0):
                    file.write(bytes(1 << 22))
                file.write(content or b"")


def bomb_in_hdf5(path):
    with h5py.File(path, "w") as held:
        data = held.create_dataset("W1", (ZEROS >> 3,), "f8", chunks=(1 << 20,), compression="gzip", compression_opts=1)
        data[: 1 << 20] = 0.0


def claim_in_hdf5(path):
    with h5py.File(path, "w") as held:
        held.create_dataset("W1", (1 << 30, 1 << 29), "f8", chunks=(8, 8))


def linked_hdf5(path):
    with h5py.File(path, "w") as held:
        held.create_dataset("W1", (10,), "f8", external=[("/etc/passwd", 0, 80)])


def keras_around(path, make):
    make(path.with_name("inner"))
    zipped(path, {"config.json": b"{}", "model.weights.h5": path.with_name("inner").read_bytes()})
    path.with_name("inner").unlink()


def skops_of(path, array, name="1.npy", link=()):
    node = {"__class__": "ndarray", "type": "numpy", "file": name}
    kernels = {"content": [node]}
    schema = {"content": {"coefs_": kernels, "intercepts_": kernels}}
    zipped(path, {name: array, "schema.json": json.dumps(schema).encode()}, link)


def onnx_of(path, **changes):
    made = written.field(2, 1) + written.field(8, "w")
    shape, outside = changes.get("shape", (4,)), changes.get("outside")
    packed = changes.get("packed")
    made += b"".join(written.field(1, size) for size in shape) if packed is None else written.field(1, packed)
    if outside:
        entries = b"".join(
            written.field(13, written.field(1, key) + written.field(2, value)) for key, value in outside.items()
        )
        made += entries + written.field(14, 1)
    else:
        made += written.field(9, bytes(16))
    path.write_bytes(written.onnx_model(written.field(5, made)))


def many_members(path):
    """A table of contents of 8,000 long names without anything in them."""
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(8_000):
            archive.writestr(zipfile.ZipInfo(f"{i:0100}.npy"), b"")


HOSTILE = {
    "many.npz": many_members,
    "bomb.npz": lambda path: zipped(path, {"W1.npy": None}),
    "bomb.keras": lambda path: zipped(path, {"config.json": b"{}", "model.weights.h5": None}),
    "bomb.skops": lambda path: skops_of(path, None),
    "bomb.h5": bomb_in_hdf5,
    "inner.keras": lambda path: keras_around(path, bomb_in_hdf5),
    "claim.npz": lambda path: zipped(path, {"W1.npy": npy((HUGE,))}),
    "claim.npy": lambda path: path.write_bytes(npy((HUGE,))),
    "claim.skops": lambda path: skops_of(path, npy((HUGE,))),
    "claim.h5": claim_in_hdf5,
    "claim.onnx": lambda path: onnx_of(path, shape=(HUGE, HUGE)),
    "length.onnx": lambda path: path.write_bytes(written.varint(7 << 3 | 2) + written.varint(HUGE)),
    "axes.onnx": lambda path: onnx_of(path, shape=(1,) * 99),
    "packed-axes.onnx": lambda path: onnx_of(path, packed=b"\1" * (8 << 20)),
    "claim.safetensors": lambda path: path.write_bytes(struct.pack("<Q", HUGE) + b"{}"),
    "claim.msgpack": lambda path: path.write_bytes(b"\xdf\xff\xff\xff\xff"),
    "absolute.npz": lambda path: zipped(path, {"/etc/W1.npy": npy((1,), bytes(8))}),
    "parent.npz": lambda path: zipped(path, {"../../W1.npy": npy((1,), bytes(8))}),
    "parent.keras": lambda path: zipped(path, {"model.weights.h5": b"", "../evil": b""}),
    "link.skops": lambda path: skops_of(path, b"/etc/passwd", link=("1.npy",)),
    "absent.skops": lambda path: skops_of(path, b"", name="/etc/passwd"),
    "other-file.h5": linked_hdf5,
    "outside.onnx": lambda path: onnx_of(path, outside={"location": "/etc/passwd"}),
    "parent.onnx": lambda path: onnx_of(path, outside={"location": "../secret"}),
    "folder.onnx": lambda path: onnx_of(path, outside={"location": ".."}),
    "itself.onnx": lambda path: onnx_of(path, outside={"location": "itself.onnx", "length": str(HUGE)}),
    "offset.onnx": lambda path: onnx_of(path, outside={"location": "offset.onnx", "offset": "-9"}),
    "deep.skops": lambda path: zipped(path, {"schema.json": b'{"content":[' * 50_000}),
    "deep.keras": lambda path: zipped(path, {"model.weights.h5": b"", "config.json": b"[" * 50_000}),
    "empty.keras": lambda path: path.write_bytes(b""),
    "empty.onnx": lambda path: path.write_bytes(b""),
    "zeros.h5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000)),
}


WORDS = {"bomb": "as no weights do", "many": "table of contents", "absolute": "leads out of it", "link": "is a link",
         "parent.npz": "leads out of it", "parent.onnx": "not beside it", "outside": "not beside it",
         "other-file": "another file", "inner": "as no weights do"}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_in_one_sentence_without_memory(name, tmp_path):
    HOSTILE[name](tmp_path / name)
    with processor_time() as spent, peak_memory() as peak, pytest.raises(ReconError) as caught:
        read_arrays(tmp_path / name)
    assert spent.seconds < 2
    assert peak.bytes is None or peak.bytes < 100 << 20
    words = str(caught.value)
    assert words.isprintable()
    assert words.endswith(".")
    assert all(told in words for begins, told in WORDS.items() if name.startswith(begins))
    assert str(tmp_path / name) in words
    with pytest.raises(ReconError):
        examine(tmp_path / name)


@pytest.mark.parametrize("name", ["net.keras", "net.weights.h5", "net.h5", "net.skops", "net.onnx"])
def test_truncated_and_damaged(name, tmp_path, rng):
    layers = written.relu_network(rng)
    path = tmp_path / name
    write = {
        "net.keras": written.keras,
        "net.weights.h5": written.keras_weights,
        "net.h5": lambda p, own: written.keras_legacy(p, own, ("a", "b", "c")),
        "net.skops": written.skops,
        "net.onnx": written.onnx,
    }
    write[name](path, layers)
    whole = path.read_bytes()
    assert read_arrays(path)
    slow = "h5" in name or "keras" in name  # a process for each
    cuts = [whole[: int(share * len(whole))] for share in ((0.5, 0.99) if slow else (0.02, 0.3, 0.5, 0.9, 0.99))]
    places = rng.integers(0, len(whole), 3 if slow else 100)
    flips = [bytes([*whole[:at], whole[at] ^ 255, *whole[at + 1 :]]) for at in places]
    refused = []
    for content in (*cuts, *flips):
        path.write_bytes(content)
        for read in (read_arrays, told_activation)[: 1 if slow else 2]:
            try:
                read(path)
            except ReconError as error:
                refused.append(str(error))
    assert len(refused) >= len(cuts)
    assert all(words.isprintable() for words in refused)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system ends no process by its processor time")
def test_a_library_that_never_returns_is_ended(tmp_path, rng):
    """HDF5 2.0.0 goes through a heap by its objects' sizes for ever, where one is -16."""
    path = tmp_path / "net.h5"
    written.keras_legacy(path, written.relu_network(rng), ("a", "b", "c"))
    content = bytearray(path.read_bytes())
    size = content.index(b"GCOL") + 24
    content[size : size + 8] = struct.pack("<q", -16)
    path.write_bytes(content)
    with processor_time() as spent, pytest.raises(ReconError, match=r"net\.h5 holds no weights \(HDF5's library"):
        read_arrays(path)
    assert spent.seconds < 3


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's threads")
def test_the_process_that_reads_hdf5_has_no_threads_but_one(tmp_path, monkeypatch):
    """On a machine of many cores they would take the address space that it is bound to."""
    told = "sys.exit(next(line for line in open('/proc/self/status') if line.startswith('Threads')))"
    (tmp_path / "reader.py").write_text(f"import sys\n\nimport numpy\n\n{told}\n")
    monkeypatch.setattr(hdf5.hdf5_process, "__file__", str(tmp_path / "reader.py"))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    with pytest.raises(ValueError, match=r"Threads:\s+1$"):
        hdf5.held(tmp_path / "net.h5")


def test_fields_without_end_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(protobuf, "MOST", 1000)
    (tmp_path / "many.onnx").write_bytes(written.field(1, 1) * 1001)
    with pytest.raises(ReconError, match="more than 1000 fields"):
        read_arrays(tmp_path / "many.onnx")


def narrow_beside(path, count):
    """Initialisers that all name the same 64 KiB beside the file, of bfloat16, which take 128 KiB each."""
    path.with_name("data").write_bytes(bytes(64 << 10))
    array, place = np.zeros(32 << 10), ("data", 0, 64 << 10)
    tensors = b"".join(written.tensor(f"a{i}", array, 16, place) for i in range(count))
    path.write_bytes(written.onnx_model(tensors))


def normalised(path, count):
    """BatchNormalizations of one variance of 128 KiB, each with an epsilon of its own, which is added to it."""
    inputs = [[f"x{i}", "a", "a", "a", "v"] for i in range(count)]
    nodes = b"".join(written.operator("BatchNormalization", own, f"x{i}", epsilon=1e-3 * i) for i, own in
                     enumerate(inputs, 1))  # fmt: skip
    path.write_bytes(written.onnx_model(nodes + written.tensor("v", np.ones(32 << 10, "f"))))


@pytest.mark.parametrize("write", [narrow_beside, normalised])
def test_few_bytes_do_not_become_many(write, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "LIMIT", 1 << 20)
    write(tmp_path / "net.onnx", 4)
    assert read_arrays(tmp_path / "net.onnx")
    write(tmp_path / "net.onnx", 20)
    with pytest.raises(ReconError, match=r"net\.onnx .*its arrays take more than 1 MiB besides its own"):
        read_arrays(tmp_path / "net.onnx")


def test_files_beside_count_together(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "LIMIT", 1 << 20)
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(600 << 10))
    tensors = b"".join(written.tensor(name, np.zeros(150 << 10), 1, (name, 0, 600 << 10)) for name in "ab")
    (tmp_path / "net.onnx").write_bytes(written.onnx_model(tensors))
    with pytest.raises(ReconError, match=r"net\.onnx .*its arrays take more than 1 MiB besides"):
        read_arrays(tmp_path / "net.onnx")
