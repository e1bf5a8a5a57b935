import jax
import numpy as np
import pytest

from recon.errors import ReconError
from recon.networks.conv_dense import ConvDense, folded

NETWORKS = [
    (ConvDense((5, 4), 2, (7, 6)), (9, 8, 3)),
    (ConvDense((3, 2, 4, 3), 1, (5,), down="max", every=2), (9, 8, 2)),
    (ConvDense((4, 3), 1, (6,), size=5, down="average", valid=(1,), activation="tanh"), (14, 12, 1)),
]


def weights(network, shape, rng):
    """Random weights and biases of the network's shapes, float64."""
    shapes = jax.eval_shape(lambda key: network.init(key, shape), jax.random.key(0))
    return jax.tree.map(lambda a: rng.normal(size=a.shape) / np.sqrt(a.size), shapes)


def convolved(x, kernel, bias, stride, padded):
    """One image by loops; what "SAME" pads is more at the end where it is odd."""
    side = len(kernel)
    if padded:
        spare = [max(0, (-(-n // stride) - 1) * stride + side - n) for n in x.shape[:2]]
        x = np.pad(x, [(s // 2, s - s // 2) for s in spare] + [(0, 0)])
    rows, columns = ((n - side) // stride + 1 for n in x.shape[:2])
    out = np.zeros((rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            part = x[i * stride : i * stride + side, j * stride : j * stride + side]
            out[i, j] = np.tensordot(part, kernel, 3) + bias
    return out


def by_loops(network, params, x):
    """Features of one image, from the definition."""
    value = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}[network.activation]
    for i in range(len(network.widths)):
        last = (i + 1) % network.every == 0
        stride = network.stride if last and network.down == "stride" else 1
        kernel, bias = params[f"Conv_{i}"]["kernel"], params[f"Conv_{i}"]["bias"]
        x = value(convolved(x, kernel, bias, stride, padded=i not in network.valid))
        if last and network.down != "stride":
            s, best = network.stride, {"average": np.mean, "max": np.max}[network.down]
            squares = [[x[i : i + s, j : j + s] for j in range(0, x.shape[1] - s + 1, s)]
                       for i in range(0, x.shape[0] - s + 1, s)]  # fmt: skip
            x = np.array([[best(square, axis=(0, 1)) for square in row] for row in squares])
    return x.ravel()


@pytest.mark.parametrize(("network", "shape"), NETWORKS)
def test_features_and_outputs_equal_those_by_loops(x64, rng, network, shape):
    params, x = weights(network, shape, rng), rng.normal(size=(3, *shape))
    features = np.array([by_loops(network, params, image) for image in x])
    np.testing.assert_allclose(network.features(params, x), features, rtol=1e-12, atol=1e-12)
    value, h = network.units.value, features
    for i in range(len(network.dense)):
        h = np.asarray(value(h @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"]))
    last = params[f"Dense_{len(network.dense)}"]
    np.testing.assert_allclose(network.apply(params, x), h @ last["kernel"] + last["bias"], rtol=1e-12, atol=1e-12)


def test_lenet_5_has_its_numbers_of_weights():
    network = ConvDense((6, 16), 10, (120, 84), size=5, down="average", valid=(1,))
    params = jax.eval_shape(lambda key: network.init(key, (28, 28, 1)), jax.random.key(0))
    counts = {name: sum(a.size for a in layer.values()) for name, layer in params.items()}
    assert counts == {"Conv_0": 156, "Conv_1": 2416, "Dense_0": 48120, "Dense_1": 10164, "Dense_2": 850}


def test_batch_norm_folds_into_the_weights(rng):
    """Against each convolution's outputs normalised by hand, the second without a batch norm."""
    network, shape = ConvDense((4, 3), 1, (5,)), (6, 6, 2)
    params, x = weights(network, shape, rng), rng.normal(size=shape)
    norm = {"scale": rng.normal(size=4), "bias": rng.normal(size=4), "mean": rng.normal(size=4)}
    norm["var"] = rng.uniform(0.5, 2, size=4)
    z = convolved(x, params["Conv_0"]["kernel"], params["Conv_0"]["bias"], 2, padded=True)
    z = (z - norm["mean"]) / np.sqrt(norm["var"] + 1e-3) * norm["scale"] + norm["bias"]
    h = convolved(np.maximum(z, 0), params["Conv_1"]["kernel"], params["Conv_1"]["bias"], 2, padded=True)
    made = folded(params, {"Conv_0": norm}, epsilon=1e-3)
    np.testing.assert_allclose(by_loops(network, made, x), np.maximum(h, 0).ravel(), rtol=1e-12, atol=1e-12)
    with pytest.raises(ReconError, match="no convolution Conv_7"):
        folded(params, {"Conv_7": norm})


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (ConvDense((4,), 1, ()), (8, 8, 1), "at least 1"),
        (ConvDense((4,), size=0), (8, 8, 1), "at least 1"),
        (ConvDense((4,)), 64, "images of a shape"),
        (ConvDense((4, 4), down="max"), (3, 3, 1), "too small"),
    ],
)
def test_what_makes_no_network_is_refused(network, shape, words):
    with pytest.raises(ReconError, match=words):
        network.init(jax.random.key(0), shape)
