"""Files in the layouts of other programs' libraries, as those wrote them when they were looked at.

Keras 3.15.1 (JAX), skops 0.16.0 with scikit-learn 1.9.1, ONNX as PyTorch 2.13 and skl2onnx 1.20 write it.
"""

import io
import json
import struct
import zipfile
from itertools import count, pairwise

import h5py
import numpy as np


def relu_network(rng, sizes=(6, 9, 9, 2), bias=True):
    """Kernels (in, out) and biases of a network's layers."""
    draw = [(rng.normal(size=s).astype(np.float32), rng.normal(size=s[1]).astype(np.float32)) for s in pairwise(sizes)]
    return [(kernel, b if bias else None) for kernel, b in draw]


# Keras


def keras_config(layers, activation="relu", names=None):
    """`config.json` of a Sequential model of dense layers, the last one linear."""
    dense = [
        {
            "module": "keras.layers",
            "class_name": "Dense",
            "config": {
                "name": names[i] if names else f"dense_{i}",
                "units": kernel.shape[1],
                "activation": activation if i < len(layers) - 1 else "linear",
                "use_bias": bias is not None,
            },
        }
        for i, (kernel, bias) in enumerate(layers)
    ]
    first = {"class_name": "InputLayer", "config": {"batch_shape": [None, len(layers[0][0])]}}
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": [first, *dense]}}


def keras_weights(file, layers, optimiser=None, moments=()):
    """`model.save_weights("….weights.h5")`; `moments` are two (Adam) or one (SGD) for each variable, in turns."""
    with h5py.File(file, "w") as held:
        for i, layer in enumerate(layers):
            group = held.create_group(f"layers/dense{f'_{i}' if i else ''}/vars")
            group.attrs["name"] = f"dense_{i + 7}"
            for j, array in enumerate(a for a in layer if a is not None):
                narrow = array.dtype.name == "bfloat16"
                data = group.create_dataset(str(j), data=array.view("V2") if narrow else array)
                if narrow:
                    data.attrs["dtype"] = "bfloat16"
        if optimiser is not None:
            group = held.create_group("optimizer/vars")
            group.attrs["name"] = optimiser
            for i, array in enumerate([np.int32(3), np.float32(0.1), *moments]):
                group[str(i)] = array


def keras(path, layers, config=None, **options):
    """`model.save("….keras")`."""
    out = io.BytesIO()
    keras_weights(out, layers, **options)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(config or keras_config(layers)))
        archive.writestr("model.weights.h5", out.getvalue())


def keras_legacy(path, layers, names, activation="relu", end=""):
    """`model.save("….h5")`, of layers with names of their own, after training by SGD with momentum.

    Args:
      end: of variables' names; ":0" in Keras 2.
    """
    with h5py.File(path, "w") as held:
        held.attrs["model_config"] = json.dumps(keras_config(layers, activation, names))
        top = held.create_group("model_weights")
        top.attrs["layer_names"] = ["input_layer", *names]
        top.create_group("input_layer").attrs["weight_names"] = np.zeros(0)
        slots = ["sgd/iteration", "sgd/learning_rate"]
        held["optimizer_weights/sgd/iteration"] = np.int32(1)
        held["optimizer_weights/sgd/learning_rate"] = np.float32(0.1)
        for name, (kernel, bias) in zip(names, layers, strict=True):
            group = top.create_group(name)
            group.attrs["weight_names"] = [f"{name}/kernel{end}", f"{name}/bias{end}"]
            group[f"{name}/kernel{end}"], group[f"{name}/bias{end}"] = kernel, bias
            for word, array in (("kernel", kernel), ("bias", bias)):
                slots.append(f"sgd/{name}_{word}_momentum{end}")
                held[f"optimizer_weights/{slots[-1]}"] = 2 * array
        held["optimizer_weights"].attrs["weight_names"] = slots


# scikit-learn by skops


def skops(path, layers, activation="relu", pipeline=False, moments=None):
    """`skops.io.dump(model, path)`: an MLPRegressor, alone or behind a StandardScaler in a pipeline."""
    number, members = count(140_290_904_000_000), {}

    def node(kind, loader, content, home="builtins"):
        return {"__class__": kind, "__module__": home, "__loader__": loader, "content": content, "__id__": next(number)}

    def array(value):
        file = f"{next(number)}.npy"
        out = io.BytesIO()
        np.save(out, value)
        members[file] = out.getvalue()
        return {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy",
                "file": file, "__id__": next(number)}  # fmt: skip

    def several(values):
        return node("list", "ListNode", [array(value) for value in values])

    def thing(kind, home, **attributes):
        return node(kind, "ObjectNode", node("dict", "DictNode", attributes), home)

    def word(text):
        return node("str", "JsonNode", json.dumps(text)) | {"is_json": True}

    kernels, biases = zip(*layers, strict=True)
    own = {"activation": word(activation), "coefs_": several(kernels), "intercepts_": several(biases)}
    own |= {"_best_coefs": word(None), "tol": word(float("nan"))}
    if moments is not None:
        optimiser = {"t": word(3), "ms": several(moments), "vs": several([m**2 for m in moments])}
        own["_optimizer"] = thing("AdamOptimizer", "sklearn.neural_network._stochastic_optimizers", **optimiser)
    tree = thing("MLPRegressor", "sklearn.neural_network._multilayer_perceptron", **own)
    if pipeline:
        scaler = thing("StandardScaler", "sklearn.preprocessing._data", mean_=array(np.ones(len(kernels[0]))),
                       scale_=array(np.ones(len(kernels[0]))))  # fmt: skip
        steps = [node("tuple", "TupleNode", [word(name), one]) for name, one in (("scale", scaler), ("net", tree))]
        tree = thing("Pipeline", "sklearn.pipeline", steps=node("list", "ListNode", steps))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("schema.json", json.dumps(tree | {"protocol": 2, "_skops_version": "0.16.0"}))


# ONNX, as protocol buffers


def varint(value):
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def field(number, value):
    """A field of a message: an integer, a float or bytes."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, array, kind=1, outside=None):
    """An initialiser; `outside` is the name, the offset and the length of its bytes in another file."""
    dims = b"".join(field(1, int(size)) for size in array.shape)
    made = dims + field(2, kind) + field(8, name)
    if outside is None:
        return field(5, made + field(9, array.tobytes()))
    entries = zip(("location", "offset", "length"), map(str, outside), strict=True)
    return field(5, made + b"".join(field(13, field(1, k) + field(2, v)) for k, v in entries) + field(14, 1))


def operator(kind, inputs, output, **options):
    """A node."""
    made = b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, kind)
    for name, value in options.items():
        where = {float: 2, int: 3, str: 4}[type(value)]
        made += field(5, field(1, name) + field(where, value))
    return field(1, made)


def onnx_model(graph):
    """A model's bytes."""
    return field(1, 8) + field(2, "pytorch") + field(7, graph)


def onnx(path, layers, gemm=True, activation=(("Relu", {}),), names=None, outside=False):
    """`torch.onnx.export` (Gemm, kernels (out, in)), or `skl2onnx` (MatMul and Add, kernels (in, out)).

    Args:
      activation: operators between the layers, with their options.
      outside: kernels lie in a file beside it, as where PyTorch's newer exporter writes.
    """
    nodes, tensors, data, at = b"", b"", b"", "x"
    for i, (kernel, bias) in enumerate(layers):
        weight, offset = names[i] if names else f"fc{i}.weight", f"fc{i}.bias"
        stored = np.ascontiguousarray(kernel.T if gemm else kernel)
        if outside:
            tensors += tensor(weight, stored, outside=(f"{path.name}.data", len(data), stored.nbytes))
            data += stored.tobytes()
        else:
            tensors += tensor(weight, stored)
        if bias is not None:
            tensors += tensor(offset, bias if gemm else bias[None])
        if gemm:
            inputs = [at, weight, *([] if bias is None else [offset])]
            nodes += operator("Gemm", inputs, f"z{i}", alpha=1.0, beta=1.0, transB=1)
        else:
            nodes += operator("MatMul", [at, weight], f"m{i}")
            nodes += operator("Add", [f"m{i}", offset], f"z{i}") if bias is not None else b""
        at = f"z{i}" if gemm or bias is not None else f"m{i}"
        for j, (kind, options) in enumerate(activation if i < len(layers) - 1 else ()):
            nodes += operator(kind, [at], f"h{i}.{j}", **options)
            at = f"h{i}.{j}"
    path.write_bytes(onnx_model(nodes + tensors))
    if outside:
        path.with_name(f"{path.name}.data").write_bytes(data)
