"""Files of Keras, scikit-learn and ONNX: the network that is read is the one that was written."""

import json
import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest

from recon import ReconError
from recon.networks.activations import named
from recon.weights import arranged, momentum, read_arrays, stored_bits, told_activation
from recon.weights.formats import hdf5
from tests.weights import written


def same_layers(path, layers, **options):
    """The layers that are found in a file are these; all its arrays."""
    arrays = read_arrays(path)
    tree = arranged(arrays, **options).tree(arrays)
    assert len(tree) == len(layers)
    for found, (kernel, bias) in zip(tree.values(), layers, strict=True):
        np.testing.assert_array_equal(found["kernel"], kernel)
        np.testing.assert_array_equal(found.get("bias", 0), 0 if bias is None else bias)
    return arrays


SQUARE = (5, 5, 5, 5)  # where shapes tell neither the order nor how kernels are stored


@pytest.mark.parametrize(("sizes", "bias"), [((6, 9, 9, 2), True), (SQUARE, False), ((5,) * 13, True)])
def test_keras_3(sizes, bias, tmp_path, rng):
    layers = written.relu_network(rng, sizes, bias)
    variables = [a for layer in layers for a in layer if a is not None]
    moments = [m for a in variables for m in (3 * a, a**2)]
    written.keras(tmp_path / "net.keras", layers, optimiser="adam", moments=moments)
    written.keras_weights(tmp_path / "net.weights.h5", layers, optimiser="adamw_1", moments=moments)
    for name in ("net.keras", "net.weights.h5"):
        arrays = same_layers(tmp_path / name, layers)
        state = momentum(arrays, arranged(arrays), arrays)
        for layer, (kernel, _) in zip(state.values(), layers, strict=True):
            np.testing.assert_array_equal(layer["kernel"], 3 * kernel)
    assert told_activation(tmp_path / "net.keras") == "relu"
    assert told_activation(tmp_path / "net.weights.h5") is None


@pytest.mark.parametrize(("sizes", "end"), [((6, 9, 9, 2), ""), (SQUARE, ""), (SQUARE, ":0")])
def test_keras_older_layout_has_the_order_in_a_list(sizes, end, tmp_path, rng):
    layers = written.relu_network(rng, sizes)
    written.keras_legacy(tmp_path / "net.h5", layers, ("zz", "mm", "aa"), "tanh", end)
    arrays = same_layers(tmp_path / "net.h5", layers)
    assert arranged(arrays, layers="zz,mm,aa") == arranged(arrays)
    state = momentum(arrays, arranged(arrays), arrays)
    np.testing.assert_array_equal(state["Dense_1"]["kernel"], 2 * layers[1][0])
    assert told_activation(tmp_path / "net.h5") == "tanh"


def test_keras_in_bfloat16_and_hdf5_by_any_names(tmp_path, rng):
    layers = [tuple(a.astype(ml_dtypes.bfloat16) for a in layer) for layer in written.relu_network(rng, (9, 9, 9))]
    written.keras(tmp_path / "net.keras", layers)
    wide = [tuple(a.astype(np.float32) for a in layer) for layer in layers]
    assert stored_bits(same_layers(tmp_path / "net.keras", wide).values()) == 8
    with h5py.File(tmp_path / "plain", "w") as held:
        held["W1"] = np.eye(3)
        held.create_dataset("net/W2", data=np.ones((40, 40), np.float16), compression="gzip", shuffle=True)
        held["words"] = ["a", "b"]
    found = read_arrays(tmp_path / "plain")
    assert {name: array.dtype for name, array in found.items()} == {"W1": np.float64, "net/W2": np.float16}
    np.testing.assert_array_equal(found["net/W2"], 1)


def test_keras_normalisations_and_recurrent_layers_are_told_by_their_variables(tmp_path):
    with h5py.File(tmp_path / "net.weights.h5", "w") as held:
        for i in range(4):
            held[f"layers/batch_normalization/vars/{i}"] = np.full(3, float(i))
        for name, arrays in {
            "embedding": [np.ones((9, 4))],
            "p_re_lu": [np.ones(3)],
            "normalization": [np.ones(4), np.ones(4), np.int32(3)],
            "lstm/cell": [np.ones((2, 12)), np.ones((3, 12)), np.ones(12)],
        }.items():
            for i, array in enumerate(arrays):
                held[f"layers/{name}/vars/{i}"] = array
    found = read_arrays(tmp_path / "net.weights.h5")
    assert found["layers/batch_normalization/moving_variance"][0] == 3
    assert {"layers/embedding/embeddings", "layers/p_re_lu/alpha", "layers/lstm/cell/recurrent_kernel"} <= set(found)
    assert found["layers/normalization/count"] == 3
    with pytest.raises(ReconError, match="recurrent"):
        arranged({name: a for name, a in found.items() if "lstm" in name})


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("gelu", "gelu"),
        ("swish", "silu"),
        ("leaky_relu", "leaky_relu:0.2"),
        ({"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}}, "leaky_relu:0.1"),
        ({"class_name": "function", "config": "softplus"}, "softplus"),
        ("linear", "linear"),
        ("selu", "selu"),
    ],
)
def test_activations_that_keras_tells(activation, expected, tmp_path, rng):
    layers = written.relu_network(rng)
    written.keras(tmp_path / "net.keras", layers, written.keras_config(layers, activation))
    assert told_activation(tmp_path / "net.keras") == expected


def test_activation_layers_between_count_and_those_behind_the_last_do_not(tmp_path, rng):
    layers = written.relu_network(rng)
    config = written.keras_config(layers, "linear")
    one, two, three = config["config"]["layers"][1:]
    leaky = {"class_name": "LeakyReLU", "config": {"negative_slope": 0.3}}
    word = {"class_name": "Activation", "config": {"activation": "relu"}}
    inner = {"class_name": "Sequential", "config": {"layers": [one, leaky]}}
    for between, expected in (([leaky], "leaky_relu:0.3"), ([word], "leaky_relu:0.3 and relu"), ([], None)):
        made = [inner, two, *between, three, {"class_name": "Softmax", "config": {}}]
        written.keras(tmp_path / "net.keras", layers, {"class_name": "Sequential", "config": {"layers": made}})
        assert told_activation(tmp_path / "net.keras") == (expected or "leaky_relu:0.3 and linear")
    added = {"class_name": "Functional", "config": {"layers": [inner, {"class_name": "Add", "config": {}}, three]}}
    written.keras(tmp_path / "net.keras", layers, added)
    assert told_activation(tmp_path / "net.keras") == "leaky_relu:0.3 then Add"
    written.keras(tmp_path / "net.keras", layers, {"class_name": "Net", "config": {}})
    assert told_activation(tmp_path / "net.keras") is None


@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize(("word", "expected"), [("relu", "relu"), ("logistic", "sigmoid"), ("identity", "linear")])
def test_scikit_learn_by_skops(word, expected, pipeline, tmp_path, rng):
    layers = written.relu_network(rng, SQUARE)
    moments = [2 * a for side in zip(*layers, strict=True) for a in side]
    written.skops(tmp_path / "net.skops", layers, word, pipeline, moments)
    same_layers(tmp_path / "net.skops", layers)
    assert told_activation(tmp_path / "net.skops") == expected
    arrays = read_arrays(tmp_path / "net.skops")
    state = momentum(arrays, arranged(arrays), arrays)
    np.testing.assert_array_equal(state["Dense_2"]["bias"], 2 * layers[2][1])


def test_skops_without_a_network(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps({"__class__": "os.system", "content": {"__class__": "dict"}}))
    with pytest.raises(ReconError, match="holds no trained network: save an MLPClassifier"):
        read_arrays(tmp_path / "net.skops")


GELU = [("Div", {}), ("Erf", {}), ("Add", {}), ("Mul", {}), ("Mul", {})]


@pytest.mark.parametrize("sizes", [(6, 9, 9, 2), SQUARE])
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize(("gemm", "bias"), [(True, True), (True, False), (False, True), (False, False)])
def test_onnx(sizes, gemm, bias, outside, tmp_path, rng):
    layers = written.relu_network(rng, sizes, bias)
    names = ("onnx::MatMul_13", "fc1.weight", "0.weight")  # as both exporters mix them
    written.onnx(tmp_path / "net.onnx", layers, gemm, names=names, outside=outside)
    same_layers(tmp_path / "net.onnx", layers)
    assert told_activation(tmp_path / "net.onnx") == "relu"
    if outside:
        (tmp_path / "net.onnx.data").unlink()
        with pytest.raises(ReconError, match=r"lacks net\.onnx\.data, where its weights are: copy both"):
            read_arrays(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        ([("Gelu", {"approximate": "none"})], "gelu"),
        (GELU, "gelu"),
        ([("Gelu", {"approximate": "tanh"})], "gelu by tanh"),
        ([("Sigmoid", {}), ("Mul", {})], "silu"),
        ([("LeakyRelu", {"alpha": 0.25})], "leaky_relu:0.25"),
        ([("LeakyRelu", {})], "leaky_relu:0.01"),
        ([("Elu", {"alpha": 1.0})], "elu"),
        ([("Flatten", {"axis": 1}), ("Tanh", {}), ("Dropout", {})], "tanh"),
        ([], "linear"),
        ([("HardSwish", {}), ("Add", {})], "HardSwish then Add"),
    ],
)
def test_activations_that_onnx_tells(operators, expected, tmp_path, rng):
    layers = written.relu_network(rng, (6, 9, 9, 2))
    written.onnx(tmp_path / "net.onnx", layers, activation=operators)
    assert told_activation(tmp_path / "net.onnx") == expected
    same_layers(tmp_path / "net.onnx", layers)
    if expected in ("gelu", "silu", "elu", "tanh") or ":" in expected:
        assert named(expected)


def test_onnx_normalisations_and_factors(tmp_path, rng):
    layers = written.relu_network(rng, (6, 9, 2))
    (first, bias), (last, _) = layers
    nodes = written.operator("Identity", ["scale"], "same")
    nodes += written.operator("Gemm", ["x", "a.weight", "a.bias"], "z", transB=1)
    nodes += written.operator("BatchNormalization", ["z", "scale", "shift", "same", "var"], "n", epsilon=1e-3)
    nodes += written.operator("MatMul", ["n", "b.weight"], "y")
    arrays = {"a.weight": np.ascontiguousarray(first.T), "a.bias": bias, "b.weight": last}
    arrays |= {name: np.full(9, value, np.float32) for name, value in (("scale", 2), ("shift", 0), ("var", 1))}
    tensors = b"".join(written.tensor(name, array) for name, array in arrays.items())
    (tmp_path / "net.onnx").write_bytes(written.onnx_model(nodes + tensors))
    found = read_arrays(tmp_path / "net.onnx")
    np.testing.assert_array_equal(found["layer_1/norm/moving_mean"], 2)  # handed on by Identity
    fold = arranged(found).folds[0]
    assert (fold.layer, fold.inside, fold.epsilon) == (1, False, 1e-5)  # its means are 2
    np.testing.assert_allclose(fold.affine(found)[0], 2 / np.sqrt(1 + 1e-3), rtol=1e-6)
    nodes = nodes.replace(written.field(1, "transB"), written.field(1, "alphaB"))
    scaled = written.operator("Gemm", ["x", "a.weight"], "z", alpha=0.5, transB=1)
    (tmp_path / "net.onnx").write_bytes(written.onnx_model(scaled + tensors))
    with pytest.raises(ReconError, match="a layer has a factor of its own"):
        read_arrays(tmp_path / "net.onnx")


def test_h5py_is_named_where_it_is_not_there(tmp_path, rng, monkeypatch):
    written.keras(tmp_path / "net.keras", written.relu_network(rng))
    monkeypatch.setattr(hdf5.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ReconError, match=r"net\.keras needs h5py: \.venv/bin/python -m pip install h5py\."):
        read_arrays(tmp_path / "net.keras")


def test_numbers_of_eight_bits(tmp_path, rng):
    """Written as the libraries of PyTorch lay them out, read as `ml_dtypes` rounds."""
    import struct

    for kind, own, bits in (("F8_E4M3", ml_dtypes.float8_e4m3fn, 4), ("F8_E5M2", ml_dtypes.float8_e5m2, 3)):
        layers = [[a.astype(own) for a in layer] for layer in written.relu_network(rng, (9, 9, 9))]
        header, data = {}, b""
        for i, layer in enumerate(layers):
            for word, array in zip(("kernel", "bias"), layer, strict=True):
                header[f"{i}.{word}"] = {"dtype": kind, "shape": array.shape,
                                         "data_offsets": [len(data), len(data) + array.nbytes]}  # fmt: skip
                data += array.tobytes()
        packed = json.dumps(header).encode()
        (tmp_path / "net.safetensors").write_bytes(struct.pack("<Q", len(packed)) + packed + data)
        same_layers(tmp_path / "net.safetensors", [[a.astype(np.float32) for a in layer] for layer in layers])
        arrays = read_arrays(tmp_path / "net.safetensors")
        assert stored_bits(arrays.values()) == bits
        with pytest.raises(ReconError, match=r"their scale \(0\.kernel_scale\): multiply them"):
            arranged({**arrays, "0.kernel_scale": np.ones(())})


def test_a_folder_tells_its_activation(tmp_path, rng):
    from recon import save_weights

    params = {f"Dense_{i}": {"kernel": k, "bias": b} for i, (k, b) in enumerate(written.relu_network(rng))}
    save_weights(tmp_path / "model.safetensors", params)
    assert told_activation(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"hidden_act": "gelu"}))
    assert told_activation(tmp_path) == "gelu"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ReconError, match=r"description .* cannot be read"):
        told_activation(tmp_path)
