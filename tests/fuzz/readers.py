"""What `tests/fuzz/run.py` feeds: every file that the suite reads, real small ones, and how each is read.

An input is a folder's files by name. A reader takes the folder; it may return or raise a `ReconError`, nothing else.
"""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tests.fuzz import mutations as damage

ROOT = Path(__file__).resolve().parent.parent.parent
Files = dict[str, bytes]
BY_SUFFIX: dict[str, damage.Damage] = {
    ".json": damage.in_json,
    ".npz": damage.in_zip,
    ".skops": damage.in_zip,
    ".keras": damage.in_zip,
    ".safetensors": damage.in_safetensors,
    ".png": damage.in_png,
    ".jpg": damage.in_jpeg,
    ".gz": damage.in_gzip,
    ".zip": partial(damage.in_zip, member=damage.in_jpeg),
}


def damaged(rng: random.Random, files: Files) -> Files:
    """One or two of the files changed, now and then one left out or emptied."""
    made = dict(files)
    for _ in range(rng.choice((1, 1, 1, 2))):
        name = rng.choice(sorted(files))
        if len(files) > 1 and rng.random() < 0.03:
            made.pop(name, None)
        elif rng.random() < 0.01:
            made[name] = b""
        else:
            change, content = BY_SUFFIX.get(Path(name).suffix, damage.raw), made.get(name, b"")
            try:
                made[name] = (change if rng.random() < 0.7 else damage.raw)(rng, content)
            except Exception:  # damaged before, too far for its format's structure
                made[name] = damage.raw(rng, content)
    return made


@dataclasses.dataclass(frozen=True)
class Reader:
    """A file that the suite reads.

    Attributes:
      name: of what is read.
      make: writes a real one into an empty folder; several, for several starts.
      read: reads it.
      guides: modules whose branches guide the search; none where other languages do the work.
      change: damages an input.
    """

    name: str
    make: tuple[Callable[[Path], None], ...]
    read: Callable[[Path], Any]
    guides: tuple[str, ...] = ()
    change: Callable[[random.Random, Files], Files] = damaged


def files_of(folder: Path) -> Files:
    """A folder's files by their names below it."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def laid(files: Files, folder: Path) -> None:
    """Put files into a folder, in the place of all that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def nowhere() -> Any:
    """A console that nobody sees."""
    from rich.console import Console

    return Console(file=io.StringIO(), width=120)


# Figures' records


def make_figure(folder: Path, figure: str = "fig1", record: str = "quick-samples") -> None:
    """A stored record with its first cells."""
    from recon.records import json_bytes, read_json

    made = read_json(ROOT / "results" / figure / f"{record}.json")
    (folder / "quick-samples.json").write_bytes(json_bytes(made | {"cells": made["cells"][:2]}))


def read_figure(folder: Path) -> None:
    """`recon plot`, all but the drawing of a finished figure, and `recon check --records`."""
    from recon import benchmark, plots, regression
    from recon.cli import baseline, console

    figure = benchmark.find(ROOT, "fig1")
    with patch.object(plots, "save", lambda *_: []), patch.object(console, "out", nowhere()):
        benchmark.draw(figure, folder / "quick-samples.json")
        console.show(figure, folder / "quick-samples.json")
    (folder / "fig1").mkdir()
    shutil.move(folder / "quick-samples.json", folder / "fig1")
    for made in baseline.stored_records(folder, "fig1", "quick"):
        regression.groups(made["cells"])


def make_baseline(folder: Path) -> None:
    shutil.copy(ROOT / "results" / "baselines" / "fig7-quick-tfds.json", folder / "baseline.json")


def read_baseline(folder: Path) -> None:
    from recon import regression

    regression.read(folder / "baseline.json")


def make_kernels(folder: Path) -> None:
    from recon.records import json_bytes, provenance

    extra = {"trace_seconds": 0.08, "flops": 4e7, "bytes_accessed": 5e6, "temporary_bytes": 168640}
    stats = {"min": 0.002, "median": 0.0024, "mean": 0.0024, "stddev": 0.0002, "iqr": 0.0003, "rounds": 15}
    timed = [
        {"name": f"test_{kernel}", "extra_info": extra | {"reference_seconds": 0.012}, "stats": stats}
        for kernel in ("ntk_block[20/512-ntk]", "relu_kernels")
    ]
    (folder / "kernels.json").write_bytes(json_bytes({"benchmarks": timed, "provenance": provenance()}))


def read_kernels(folder: Path) -> None:
    from recon import regression

    regression.groups(regression.kernels_record(folder / "kernels.json")["cells"])


# Cells


def make_cell(folder: Path) -> None:
    from recon.records import Store, Stored, code_version

    modules = ("recon.metrics",)
    record = {
        "cell": {"kind": "attack", "n_train": 6, "network": {"widths": [32, 16]}, "dynamics": {"rule": "Linearised"}},
        "provenance": {"code_version": code_version(modules), "modules": list(modules)},
    }
    arrays = {"train": np.ones((3, 2, 2, 1), np.float32), "distance": np.arange(3.0)}
    Store(folder).save("key", Stored(record, arrays))


def change_cell(rng: random.Random, files: Files) -> Files:
    """Half of the time with the checksums of what it now holds."""
    import msgspec

    from recon.records import json_bytes

    made = damaged(rng, files)
    if rng.random() < 0.5 and len(made) == 2:
        try:
            envelope = msgspec.json.decode(made["key/record.json"])
            contents = {"record": json_bytes(envelope["record"]), "arrays": made["key/arrays.npz"]}
            envelope["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
            made["key/record.json"] = json_bytes(envelope)
        except Exception:
            return made
    return made


def read_cell(folder: Path) -> None:
    """A run that finds it, and `recon cache ls` and `verify`."""
    from recon.cli import cache
    from recon.records import Store, entries, prunable

    store = Store(folder)
    with patch.object(cache, "out", nowhere()):
        cache.show(entries(store))
    if (folder / "key").is_dir():
        store.verified("key")
        prunable(entries(store), 0.0)


# Weights


def weights() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    sizes = ((6, 4), (4, 1))
    return {
        f"Dense_{i}": {"kernel": rng.normal(size=s).astype(np.float32), "bias": np.zeros(s[1], np.float32)}
        for i, s in enumerate(sizes)
    }


def make_weights(folder: Path, suffix: str) -> None:
    from recon.weights import save_weights

    save_weights(folder / f"weights{suffix}", weights())


def make_msgpack(folder: Path) -> None:
    """As `flax.serialization.to_bytes` writes it."""
    import msgspec

    def packed(array: np.ndarray) -> msgspec.msgpack.Ext:
        return msgspec.msgpack.Ext(1, msgspec.msgpack.encode((array.shape, array.dtype.name, array.tobytes())))

    tree = {"params": {layer: {n: packed(a) for n, a in parts.items()} for layer, parts in weights().items()}}
    (folder / "weights.msgpack").write_bytes(msgspec.msgpack.encode(tree))


def make_halves(folder: Path) -> None:
    """Of bfloat16, which the library's NumPy half does not write."""
    import json
    import struct

    header = {"w.weight": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]}}
    packed = json.dumps(header | {"b.weight": {"dtype": "F16", "shape": [1, 3], "data_offsets": [24, 30]}}).encode()
    (folder / "weights.safetensors").write_bytes(struct.pack("<Q", len(packed)) + packed + bytes(range(30)))


def make_parts(folder: Path) -> None:
    """A folder of two files and their index."""
    import json

    from recon.weights import save_weights

    names = {layer: f"model-{i}-of-2.safetensors" for i, layer in enumerate(weights())}
    for layer, arrays in weights().items():
        save_weights(folder / "model" / names[layer], {layer: arrays})
    index = {f"{layer}/{name}": names[layer] for layer, arrays in weights().items() for name in arrays}
    (folder / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def make_npy(folder: Path) -> None:
    np.save(folder / "x.npy", np.arange(6.0).reshape(2, 3))


def read_each(folder: Path) -> None:
    from recon.weights import read_arrays

    for path in sorted(folder.iterdir()):
        read_arrays(path)


def make_orbax(folder: Path) -> None:
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as writer:
        writer.save((folder / "checkpoint").absolute(), weights())


def make_program(folder: Path, name: str) -> None:
    """A network's file as another program writes it."""
    from tests.weights import written

    layers = written.relu_network(np.random.default_rng(0), (3, 4, 2))
    write = {".keras": written.keras, ".h5": written.keras_weights, ".skops": written.skops, ".onnx": written.onnx}
    write[Path(name).suffix](folder / name, layers)


def read_told(folder: Path) -> None:
    """As `recon doctor` reads files."""
    from recon.weights import examine

    for path in sorted(folder.iterdir()):
        examine(path)


def read_weights(folder: Path) -> None:
    from recon.weights import load_weights

    for path in sorted(folder.iterdir()):
        load_weights(path)


# Distilled sets


def make_set(folder: Path) -> None:
    from recon import DistilledSet

    images = np.ones((4, 3, 3, 1), np.float32)
    DistilledSet(
        method="kip", images=images, labels=np.float32([[-1], [-1], [1], [1]]), start=images, loss=0.25, step=3,
        trace=np.array([[0, 1.0], [3, 0.25]]), steps=4, why="schedule done", settings={"kernel": {"depth": 2}},
        mean=np.float32([0.3]), classes=("even", "odd"),
    ).save(folder / "set.npz")  # fmt: skip


def read_set(folder: Path) -> None:
    from recon.distillation import DistilledSet

    found = DistilledSet.load(folder / "set.npz")
    assert len(found.groups) == len(found.pixels())


# Pictures


def picture(seed: int, kind: str, mode: str = "RGB", side: int = 6) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((side, side)).convert(mode).save(out, format=kind)
    return out.getvalue()


def make_folder(folder: Path, kind: str, mode: str) -> None:
    for i in range(4):
        place = folder / ("cats", "dogs")[i % 2]
        place.mkdir(exist_ok=True)
        suffix = {"jpeg": "jpg"}.get(kind, kind)
        (place / f"{i}.{suffix}").write_bytes(picture(i, kind, mode))


def read_folder(folder: Path) -> None:
    from recon.data import load_images

    load_images(None, images=folder)


CLASSES = ("n01443537", "n01629819", "n01641577", "n01644900", "n01698640")


def make_archive(folder: Path) -> None:
    """Tiny-ImageNet's layout with a picture a class, one of them grey, and few classes for speed."""
    from recon.data.tiny_imagenet import ANNOTATIONS, WNIDS
    from recon.data.tiny_imagenet import ROOT as TOP

    one, grey = picture(0, "jpeg", side=64), picture(1, "jpeg", "L", side=64)
    members = [(WNIDS, "\n".join(CLASSES).encode())]
    members += [(f"{TOP}/train/{c}/images/{c}_0.JPEG", grey if i == 3 else one) for i, c in enumerate(CLASSES)]
    members += [
        (f"{TOP}/val/images/val_0.JPEG", one),
        (ANNOTATIONS, f"val_0.JPEG\t{CLASSES[0]}\t0\t0\t62\t62\n".encode()),
    ]
    (folder / "tiny-imagenet-200.zip").write_bytes(damage.zipped(members))


def read_archive(folder: Path) -> None:
    """What preparing it reads; writing the data set is TFDS's."""
    from recon.data import tiny_imagenet

    archive = folder / "tiny-imagenet-200.zip"
    with patch.object(tiny_imagenet, "CLASSES", CLASSES):
        for labelled in tiny_imagenet.contents(archive).values():
            for _ in tiny_imagenet.examples(archive, labelled):
                pass


def make_prepared(folder: Path) -> None:
    """Eight digits for training and four for testing, as TFDS prepares them."""
    import tensorflow_datasets as tfds

    class Digits(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(shape=(6, 6, 1)), "label": tfds.features.ClassLabel(num_classes=2)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _: Any) -> Any:
            return {"train": self._generate_examples(8), "test": self._generate_examples(4)}

        def _generate_examples(self, n: int = 0) -> Any:
            for i in range(n):
                yield str(i), {"image": picture(i, "png", "L"), "label": i % 2}

    with contextlib.redirect_stderr(io.StringIO()):
        Digits(data_dir=str(folder), file_format="array_record").download_and_prepare()


def read_prepared(folder: Path) -> None:
    from recon.data import load_images

    with patch.dict(os.environ, RECON_CACHE_DIR="/dev/null/none"):
        load_images("digits", "train", data_dir=folder)


def remembered(folder: Path) -> None:
    from recon.data.cache import decoded

    with patch.dict(os.environ, RECON_CACHE_DIR=str(folder)):
        decoded([Path(__file__)], "fuzz", lambda: (np.zeros((3, 6, 6, 1), np.uint8), np.arange(3)))


def make_samples(folder: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (5, 785))
    rows[:, -1] %= 10
    (folder / "mnist_5k.csv.gz").write_bytes(gzip.compress("\n".join(",".join(map(str, r)) for r in rows).encode()))
    (folder / "cifar10_0_3.png").write_bytes(picture(0, "png", side=32))
    (folder / "imagenet_0_22.jpg").write_bytes(picture(0, "jpeg", side=64))


def read_samples(folder: Path) -> None:
    from recon.data import samples

    here = patch.object(samples, "_files", lambda _, pattern: sorted(folder.glob(Path(pattern).name)))
    with here, patch.dict(os.environ, RECON_CACHE_DIR="/dev/null/none"):
        for name in ("mnist", "cifar10", "tiny_imagenet"):
            samples.load(name, "train")


KINDS = (
    *(("png", mode) for mode in ("RGB", "L", "P")),
    ("jpeg", "RGB"),
    ("gif", "P"),
    ("bmp", "RGB"),
    ("tiff", "RGB"),
    ("webp", "RGB"),
)
FIGURES = (make_figure, partial(make_figure, record="quick-tfds"))
FOLDERS = tuple(partial(make_folder, kind=kind, mode=mode) for kind, mode in KINDS)
SETS = tuple(partial(make_weights, suffix=suffix) for suffix in (".npz", ".safetensors"))
PROGRAMS = tuple(partial(make_program, name=f"net{suffix}") for suffix in (".keras", ".h5", ".skops", ".onnx"))
READERS = {
    reader.name: reader
    for reader in (
        Reader("baseline", (make_baseline,), read_baseline, ("recon",)),
        Reader("kernels", (make_kernels,), read_kernels, ("recon",)),
        Reader("cell", (make_cell,), read_cell, ("recon", "zipfile"), change_cell),
        Reader("pool-cache", (remembered,), remembered, ("recon", "zipfile")),
        Reader("weights-npz", SETS[:1], read_weights, ("recon", "zipfile")),
        Reader("weights-safetensors", (*SETS[1:], make_halves), read_weights, ("recon",)),
        Reader("weights-parts", (make_parts,), read_weights, ("recon",)),
        Reader("weights-npy", (make_npy,), read_each, ("recon",)),
        Reader("weights-msgpack", (make_msgpack,), read_weights, ("recon",)),
        Reader("distilled-set", (make_set,), read_set, ("recon", "zipfile")),
        Reader("picture-folder", FOLDERS, read_folder, ("recon", "PIL")),
        Reader("package-pictures", (make_samples,), read_samples),
        Reader("figure", FIGURES, read_figure),
        Reader("tiny-imagenet", (make_archive,), read_archive),
        Reader("prepared", (make_prepared,), read_prepared),
        Reader("weights-keras", PROGRAMS[:2], read_told),
        Reader("weights-skops", PROGRAMS[2:3], read_told, ("recon", "zipfile")),
        Reader("weights-onnx", PROGRAMS[3:], read_told, ("recon",)),
        Reader("weights-orbax", (make_orbax,), read_weights),
    )
}
