"""`recon doctor` and what it stands on: what is said of files is what is in them."""

import io

import numpy as np
import pytest

from recon import ReconError, save_weights
from recon.weights import compare, doctor, examine
from tests.weights import written


def pair(rng, steps=3, images=7, bias=True):
    """A network before and after steps of descent on a few inputs, by hand: one hidden layer, squared loss."""
    (first, b), (last, c) = written.relu_network(rng, (30, 40, 1))
    x, y = rng.normal(size=(images, 30)), rng.normal(size=(images, 1))
    start = [a.astype(np.float64) for a in (first / 5, b, last / 6, c)]
    now = [a.copy() for a in start]
    for _ in range(steps):
        z = x @ now[0] + now[1]
        residual = np.maximum(z, 0) @ now[2] + now[3] - y
        back = residual @ now[2].T * (z > 0)
        grads = (x.T @ back, back.sum(0), np.maximum(z, 0).T @ residual, residual.sum(0))
        now = [a - 1e-2 * g for a, g in zip(now, grads, strict=True)]
    layers = [[(a[0].astype("f"), a[1].astype("f")), (a[2].astype("f"), a[3].astype("f"))] for a in (start, now)]
    return layers if bias else [[(kernel, None) for kernel, _ in own] for own in layers]


def test_what_a_file_holds(tmp_path, rng):
    layers = written.relu_network(rng)
    moments = [a for layer in layers for a in layer for _ in range(2)]
    written.keras(tmp_path / "net.keras", layers, optimiser="adam", moments=moments)
    found = examine(tmp_path / "net.keras")
    assert (found.format, found.sizes, found.activation, found.problem) == ("Keras", (6, 9, 9, 2), "relu", None)
    assert set(found.left_out) == {"an optimiser's state"}
    assert len(found.left_out["an optimiser's state"]) == len(moments) + 2


def test_why_arrays_are_left_out(tmp_path, rng):
    layers = written.relu_network(rng, (6, 9, 2))
    arrays = {f"module.fc{i}.{word}": np.ascontiguousarray(a.T) for i, own in enumerate(layers)
              for word, a in zip(("weight", "bias"), own, strict=True)}  # fmt: skip
    more = {f"ema.fc{i}.weight": arrays[f"module.fc{i}.weight"] for i in range(2)}
    more |= {"epoch": np.array(3), "labels": np.arange(4), "buffer.mean": np.ones(6, "f")}
    more |= {"bn.weight": np.ones(9, "f"), "bn.bias": np.zeros(9, "f"), "bn.running_mean": np.zeros(9, "f")}
    more["bn.running_var"] = np.ones(9, "f")
    np.savez(tmp_path / "net.npz", **arrays, **more)
    found = examine(tmp_path / "net.npz", layers="fc0,fc1")
    told = {name: reason for reason, names in found.left_out.items() for name in names}
    assert set(told) == set(more)
    assert "copies" in told["ema.fc0.weight"]
    assert "single" in told["epoch"]
    assert "floating" in told["labels"]
    assert "normalisation" in told["bn.running_var"]
    assert told["buffer.mean"] == "of no layer"
    assert found.normalised == ("bn",)
    assert found.layout.names == ("fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias")
    assert found.sizes == (6, 9, 2)


@pytest.mark.parametrize("bias", [True, False])
def test_two_files_together(bias, tmp_path, rng):
    before, after = pair(rng, images=7, bias=bias)
    written.onnx(tmp_path / "init.onnx", before)
    written.onnx(tmp_path / "final.onnx", after)
    first, last = examine(tmp_path / "init.onnx"), examine(tmp_path / "final.onnx")
    found = compare(first, last)
    assert found.rank == 7
    change = [np.subtract(b, a, dtype=float) for a, b in zip(before[0], after[0], strict=True) if a is not None]
    size = np.sqrt(sum(np.sum(np.square(a, dtype=float)) for a in before[0] if a is not None))
    np.testing.assert_allclose(found.moved, np.sqrt(sum(np.sum(d**2) for d in change)) / size, rtol=1e-6)
    with pytest.raises(ReconError, match="no change to attack"):
        compare(first, first)
    written.onnx(tmp_path / "other.onnx", written.relu_network(rng, (30, 41, 1), bias))
    with pytest.raises(ReconError, match="different sizes: give two files of one network"):
        compare(first, examine(tmp_path / "other.onnx"))
    noisy = [(k + rng.normal(size=k.shape).astype("f") * 1e-3, b) for k, b in after]
    written.onnx(tmp_path / "noisy.onnx", noisy)
    assert compare(first, examine(tmp_path / "noisy.onnx")).rank is None


def test_large_layers_are_not_decomposed(tmp_path, rng, monkeypatch):
    before, after = pair(rng)
    monkeypatch.setattr(doctor, "LARGEST", 20)
    for name, layers in (("init", before), ("final", after)):
        save_weights(tmp_path / f"{name}.npz", tree(layers))
    found = compare(examine(tmp_path / "init.npz"), examine(tmp_path / "final.npz"))
    assert (found.rank, found.gap) == (None, None)


def tree(layers):
    return {f"Dense_{i}": {"kernel": kernel, "bias": bias} for i, (kernel, bias) in enumerate(layers)}


def test_on_the_command_line(tmp_path, rng, command):
    before, after = pair(rng)
    names = tmp_path / "init.skops", tmp_path / "final.npz"
    written.skops(names[0], before)
    save_weights(
        names[1], {layer: {k: a.astype(np.float16) for k, a in own.items()} for layer, own in tree(after).items()}
    )
    done = command("doctor", *names)
    assert done.returncode == 0
    for words in (
        "skops, 4 arrays", "30-40-1, kernels stored (in, out)", "coefs_/0 (30, 40) float32", "activation    relu",
        "to 11 significant bits, as of float16", "moved by", "the file does not tell",
    ):  # fmt: skip
        assert words in done.stdout
    (tmp_path / "torn.npz").write_bytes(names[1].read_bytes()[:100])
    np.savez(tmp_path / "chain.npz", a=np.ones((3, 4)), b=np.ones((5, 6)))
    done = command("doctor", tmp_path / "torn.npz", names[0], tmp_path / "chain.npz")
    assert done.returncode == 1
    for words in ("holds no weights", "30-40-1", "a (3, 4) float64", "the shapes do not chain"):
        assert words in done.stdout
    done = command("doctor", names[0], names[0])
    assert done.returncode == 1
    assert "no change to attack" in done.stdout


def test_names_in_files_do_not_steer_the_terminal(tmp_path, command):
    out = io.BytesIO()
    np.savez(out, **{"[red]a/kernel": np.ones((3, 4), "f"), "[red]b/kernel": np.ones((4, 2), "f")})
    (tmp_path / "net.npz").write_bytes(out.getvalue())
    assert "[red]a/kernel (3, 4)" in command("doctor", tmp_path / "net.npz").stdout
