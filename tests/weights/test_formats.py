"""Files of weights as other programs write them, and damaged, foreign and hostile ones."""

import io
import json
import pickle
import re
import struct
import warnings
import zipfile

import jax
import msgspec
import numpy as np
import pytest

from recon import ReconError, load_weights, reading, save_weights
from recon.weights import flat, read_arrays, stored_bits
from recon.weights.formats import base, npz


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def params(rng):
    sizes = ((5, 7), (7, 7), (7, 2))
    return {
        f"Dense_{i}": {
            "kernel": rng.normal(size=s).astype(np.float32),
            "bias": rng.normal(size=s[1]).astype(np.float32),
        }
        for i, s in enumerate(sizes)
    }


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert jax.tree.structure(a) == jax.tree.structure(b)


def layers_module():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Flax, on import
        from flax import linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for width in (7, 7):
                x = nn.relu(nn.Dense(width)(x))
            return nn.Dense(2)(x)

    net = Net()
    return net, net.init(jax.random.key(0), np.zeros((1, 5)))


def test_flax_writes_msgpack_that_is_read(tmp_path):
    net, variables = layers_module()
    from flax import serialization

    path = tmp_path / "state.msgpack"
    path.write_bytes(serialization.to_bytes({**variables, "step": np.float32(3), "epoch": 4, "none": None}))
    found = load_weights(path)
    same(found, jax.tree.map(np.asarray, variables["params"]))
    # The network that they are the weights of puts out the same.
    x, h = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32), None
    for i in range(3):
        z = (x if h is None else h) @ found[f"Dense_{i}"]["kernel"] + found[f"Dense_{i}"]["bias"]
        h = np.maximum(z, 0) if i < 2 else z
    np.testing.assert_allclose(h, net.apply(variables, x), atol=1e-6)


def test_orbax_writes_a_checkpoint_that_is_read(tmp_path):
    import optax
    import orbax.checkpoint as ocp

    _, variables = layers_module()
    state = {"params": variables["params"], "opt_state": optax.adam(1e-3).init(variables["params"]), "step": 3}
    with ocp.PyTreeCheckpointer() as writer:
        writer.save(tmp_path / "checkpoint", state)
    arrays = read_arrays(tmp_path / "checkpoint")
    assert "opt_state/0/mu/Dense_0/kernel" in arrays
    same(load_weights(tmp_path / "checkpoint"), jax.tree.map(np.asarray, variables["params"]))
    # A step of a CheckpointManager is a folder around it; around several, one has to be chosen.
    same(load_weights(tmp_path), jax.tree.map(np.asarray, variables["params"]))
    (tmp_path / "steps").mkdir()
    for step in ("1", "2"):
        (tmp_path / "steps" / step / "default").mkdir(parents=True)
        (tmp_path / "steps" / step / "default" / "_METADATA").write_text("{}")
    with pytest.raises(ReconError, match=r"checkpoints in folders \(1, 2\): give one"):
        load_weights(tmp_path / "steps")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReconError, match="_METADATA"):
        load_weights(tmp_path / "empty")
    (tmp_path / "checkpoint" / "manifest.ocdbt").write_bytes(b"nothing")
    with pytest.raises(ReconError, match="holds no weights"):
        load_weights(tmp_path / "checkpoint")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_round_trip_of_memory_that_is_not_contiguous(tmp_path, params, suffix):
    strided = jax.tree.map(lambda a: np.repeat(a, 2, axis=-1)[..., ::2], params)
    assert not strided["Dense_0"]["kernel"].flags.c_contiguous
    path = tmp_path / f"weights{suffix}"
    save_weights(path, strided)
    same(load_weights(path), params)


def test_safetensors_of_a_state_dict_is_transposed(tmp_path, params):
    from safetensors.numpy import save_file

    # As torch.nn.Linear stores them: y = x Wᵀ + b.
    state = {}
    for i, layer in enumerate(params.values()):
        state |= {f"{2 * i}.weight": np.ascontiguousarray(layer["kernel"].T), f"{2 * i}.bias": layer["bias"]}
    save_file(state, tmp_path / "net.safetensors")
    same(load_weights(tmp_path / "net.safetensors"), params)


def npy(array, **changes):
    out = io.BytesIO()
    np.save(out, array)
    header = np.lib.format.header_data_from_array_1_0(array) | changes
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, header)
    return start.getvalue() + array.tobytes()


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return path


def test_pickles_are_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"
    content = pickle.dumps(Trap(ran))
    np.savez(tmp_path / "object.npz", w=np.array([Trap(ran), 1], object))
    zipped(tmp_path / "torch.npz", data__pkl=content)  # as torch.save does
    (tmp_path / "weights.pt").write_bytes(content)
    (tmp_path / "weights.npz").write_bytes(content)
    (tmp_path / "weights.safetensors").write_bytes(content)
    zipped(tmp_path / "member.npz", w__npy=npy(np.ones(2), descr="|O"))
    np.save(tmp_path / "object.npy", np.array({"w": Trap(ran)}, object))
    messages = dict.fromkeys(("object.npz", "member.npz", "object.npy"), "save each array under a name of its own")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ReconError, match=messages.get(path.name, "is a pickle")) as caught:
            read_arrays(path)
        assert "\n" not in str(caught.value)
    assert not ran.exists()


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_safetensors_whose_header_begins_like_a_pickle(tmp_path, length):
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode().ljust(length)
    content = struct.pack("<Q", length) + header + np.float32([1, 2]).tobytes()
    assert re.match(rb"\x80[\x02-\x05]", content)
    (tmp_path / "weights.safetensors").write_bytes(content)
    np.testing.assert_array_equal(read_arrays(tmp_path / "weights.safetensors")["w"], [1, 2])
    for protocol in range(2, 6):
        (tmp_path / "weights.safetensors").write_bytes(pickle.dumps({"w": 1}, protocol))
        with pytest.raises(ReconError, match="is a pickle"):
            read_arrays(tmp_path / "weights.safetensors")


def test_headers_that_lie_cost_no_memory(tmp_path):
    from recon.memory import peak_memory

    zipped(tmp_path / "huge.npz", w__npy=npy(np.ones(2), shape=(1 << 40,)))
    zipped(tmp_path / "negative.npz", w__npy=npy(np.ones(2), shape=(-1, -2)))
    zipped(tmp_path / "short.npz", w__npy=npy(np.ones(9))[:-8])
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "huge.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    (tmp_path / "header.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with peak_memory() as peak:
        for path in sorted(tmp_path.iterdir()):
            with pytest.raises(ReconError, match="holds no weights"):
                read_arrays(path)
    assert peak.bytes is None or peak.bytes < 64 << 20


def test_what_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", w=np.zeros(1 << 20))
    assert (tmp_path / "bomb.npz").stat().st_size < 1 << 16
    monkeypatch.setattr(npz, "LIMIT", 1 << 20)
    with pytest.raises(ReconError, match="unpacks to more than"):
        read_arrays(tmp_path / "bomb.npz")
    assert reading.LIMIT == 4 << 30


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".msgpack"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_truncated(tmp_path, params, suffix, share):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".msgpack":
        layers_module()
        from flax import serialization

        path.write_bytes(serialization.to_bytes(params))
    else:
        save_weights(path, params)
    same(load_weights(path), params)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ReconError, match=r"holds no weights|of no format"):
        load_weights(path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".msgpack"])
def test_any_damaged_byte_is_one_stated_error_or_none(tmp_path, params, suffix):
    path, rng = tmp_path / f"weights{suffix}", np.random.default_rng(0)
    if suffix == ".msgpack":
        layers_module()
        from flax import serialization

        path.write_bytes(serialization.to_bytes(params))
    else:
        save_weights(path, params)
    content = bytearray(path.read_bytes())
    messages = []
    for place in rng.integers(0, len(content), 200):
        damaged = content.copy()
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            found = load_weights(path)
            if suffix == ".npz":  # which has checksums
                for name, layer in found.items():
                    same(layer, {part: params[name][part] for part in layer})
        except ReconError as error:
            messages.append(str(error))
    assert len(messages) > 5
    assert not any("\n" in message for message in messages)


def test_foreign_files(tmp_path):
    (tmp_path / "words.txt").write_text("weights")
    with pytest.raises(ReconError, match=r"no format that holds weights here \(.*\.safetensors"):
        read_arrays(tmp_path / "words.txt")
    header = json.dumps({"w": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "eight.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ReconError, match="F8_E8M0: save them as float32"):
        read_arrays(tmp_path / "eight.safetensors")
    np.savez(tmp_path / "words.npz", w=np.array(["a", "b"]))
    with pytest.raises(ReconError, match="plain numbers"):
        read_arrays(tmp_path / "words.npz")
    (tmp_path / "chunks.msgpack").write_bytes(msgspec.msgpack.encode({"w": {"__msgpack_chunked_array__": True}}))
    with pytest.raises(ReconError, match=r"save its arrays as \.safetensors"):
        read_arrays(tmp_path / "chunks.msgpack")
    with pytest.raises(ReconError, match="cannot be read"):
        read_arrays(tmp_path / "absent.npz")


@pytest.mark.parametrize(("half", "wide", "kind"), [("bfloat16", "float32", "BF16"), ("float16", "float16", "F16")])
def test_half_precision_is_read(half, wide, kind, tmp_path, params):
    import ml_dtypes  # noqa: F401  gives NumPy bfloat16
    import orbax.checkpoint as ocp
    from flax import serialization

    halves = jax.tree.map(lambda a: a.astype(half), params)
    expected = jax.tree.map(lambda a: a.astype(wide), halves)
    header, data = {}, b""
    for name, array in ((f"{layer}/{name}", a) for layer, own in halves.items() for name, a in own.items()):
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": offsets}
        data += array.tobytes()
    packed = json.dumps(header).encode()
    (tmp_path / "half.safetensors").write_bytes(struct.pack("<Q", len(packed)) + packed + data)
    (tmp_path / "half.msgpack").write_bytes(serialization.to_bytes(halves))
    with ocp.PyTreeCheckpointer() as writer:
        writer.save(tmp_path / "half", halves)
    for name in ("half.safetensors", "half.msgpack", "half"):
        found = load_weights(tmp_path / name)
        same(found, expected)
        assert stored_bits([a for layer in found.values() for a in layer.values()]) == (8 if kind == "BF16" else 11)
    arrays = flat(halves)
    assert {a.dtype.name for a in arrays.values()} == {wide}


def shards(folder, params):
    """As Hugging Face's libraries split a model."""
    from safetensors.numpy import save_file

    folder.mkdir()
    where = {}
    for i, (layer, own) in enumerate(params.items()):
        name = f"model-{i + 1:05}-of-{len(params):05}.safetensors"
        save_file({f"{layer}/{part}": np.ascontiguousarray(a) for part, a in own.items()}, folder / name)
        where |= {f"{layer}/{part}": name for part in own}
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_folders_of_safetensors_are_read(tmp_path, params):
    save_weights(tmp_path / "one" / "model.safetensors", params)
    (tmp_path / "one" / "config.json").write_text("{}")
    same(load_weights(tmp_path / "one"), params)
    index = shards(tmp_path / "many", params)
    same(load_weights(tmp_path / "many"), params)
    same(load_weights(tmp_path / "many" / "model.safetensors.index.json"), params)
    for name, message in (
        ("../one/model.safetensors", "other files"),
        ("absent.safetensors", "lacks absent.safetensors, which its index names"),
    ):
        wrong = index | {"weight_map": index["weight_map"] | {"Dense_0/bias": name}}
        (tmp_path / "many" / "model.safetensors.index.json").write_text(json.dumps(wrong))
        with pytest.raises(ReconError, match=message):
            load_weights(tmp_path / "many")
    swapped = dict(zip(index["weight_map"], [*index["weight_map"].values()][::-1]))
    (tmp_path / "many" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": swapped}))
    with pytest.raises(ReconError, match="not in the file that its index tells"):
        load_weights(tmp_path / "many")
    (tmp_path / "many" / "model.safetensors.index.json").unlink()
    with pytest.raises(ReconError, match=r"several sets of weights .*: give one of these files"):
        load_weights(tmp_path / "many")


def test_a_step_of_a_checkpoint_manager_is_read(tmp_path, params):
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(tmp_path / "run") as manager:
        manager.save(3, args=ocp.args.StandardSave(params))
        manager.wait_until_finished()
    assert (tmp_path / "run" / "3" / "default").is_dir()
    same(load_weights(tmp_path / "run" / "3"), params)
    with pytest.raises(ReconError, match=r"checkpoints in folders \(3\): give one of these"):
        load_weights(tmp_path / "run")


def test_content_counts_and_not_a_name_that_pickles_have(tmp_path, params):
    save_weights(tmp_path / "weights.safetensors", params)
    (tmp_path / "weights.safetensors").rename(tmp_path / "pytorch_model.bin")
    same(load_weights(tmp_path / "pytorch_model.bin"), params)
    (tmp_path / "legacy.bin").write_bytes(b"\x02\x00\x00")
    with pytest.raises(ReconError, match="is a pickle"):
        load_weights(tmp_path / "legacy.bin")


@pytest.mark.parametrize(
    ("name", "content", "fix"),
    [
        ("saved/saved_model.pb", b"", 'model.save("model.keras")'),
        ("saved/model.ckpt-3.data-00000-of-00001", b"", "tf.train.load_checkpoint"),
        ("model.ckpt.index", b"", "tf.train.load_checkpoint"),
        ("model.tflite", b"\x1c\0\0\0TFL3", 'model.save("model.keras")'),
        ("net.mat", b"MATLAB 5.0 MAT-file", "scipy.io.loadmat"),
        ("model.gguf", b"GGUF", ".safetensors"),
    ],
)
def test_other_programs_files_are_refused_with_what_saves_them(name, content, fix, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    for path in {tmp_path / name, tmp_path / name.split("/")[0]}:
        with pytest.raises(ReconError, match=re.escape(fix)) as caught:
            read_arrays(path)
        assert "\n" not in str(caught.value)


def test_an_array_alone_is_read(tmp_path, rng):
    images = rng.normal(size=(3, 4, 4)).astype(">f4")
    np.save(tmp_path / "images.npy", images)
    np.testing.assert_array_equal(read_arrays(tmp_path / "images.npy")["x"], images)
    content = (tmp_path / "images.npy").read_bytes()
    (tmp_path / "images.npy").write_bytes(content[:-1])
    with pytest.raises(ReconError, match="cut short"):
        read_arrays(tmp_path / "images.npy")


def test_what_unpacks_as_no_weights_do_is_refused_unread(tmp_path, monkeypatch):
    from recon.memory import peak_memory

    np.savez_compressed(tmp_path / "bomb.npz", w=np.zeros(1 << 22))
    monkeypatch.setattr(base, "SMALL", 1 << 22)
    with peak_memory() as peak, pytest.raises(ReconError, match="unpacks from 0 to 32 MiB, as no weights do"):
        read_arrays(tmp_path / "bomb.npz")
    assert peak.bytes is None or peak.bytes < 16 << 20
    monkeypatch.undo()
    assert read_arrays(tmp_path / "bomb.npz")["w"].size == 1 << 22
