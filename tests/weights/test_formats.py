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
from recon.weights import read_arrays
from recon.weights.formats import npz


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
    with pytest.raises(ReconError, match="_METADATA"):
        load_weights(tmp_path)
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
    messages = {"object.npz": "plain numbers", "member.npz": "plain numbers"}
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
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "half.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ReconError, match="BF16: save them as float32"):
        read_arrays(tmp_path / "half.safetensors")
    np.savez(tmp_path / "words.npz", w=np.array(["a", "b"]))
    with pytest.raises(ReconError, match="plain numbers"):
        read_arrays(tmp_path / "words.npz")
    (tmp_path / "chunks.msgpack").write_bytes(msgspec.msgpack.encode({"w": {"__msgpack_chunked_array__": True}}))
    with pytest.raises(ReconError, match=r"save its arrays as \.safetensors"):
        read_arrays(tmp_path / "chunks.msgpack")
    with pytest.raises(ReconError, match="cannot be read"):
        read_arrays(tmp_path / "absent.npz")
