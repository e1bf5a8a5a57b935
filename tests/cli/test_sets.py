"""`recon distill` and `recon train` as a user meets them, and the files they leave."""

import json
import os
from functools import partial

import numpy as np
import pytest
import typer

import recon
from recon.cli.commands import app
from recon.cli.sets import network_of
from recon.networks import MLP

SMALL = ["--source", "samples", "--n", "10"]


@pytest.fixture
def run(command, tmp_path, monkeypatch):
    """Runs `recon` in an empty folder."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    return partial(command, cwd=tmp_path)


@pytest.fixture
def small(tmp_path):
    """A saved set of two images of four, on the scale of digits."""
    x = np.random.default_rng(0).normal(size=(4, 28, 28, 1)).astype(np.float32)
    y = np.float32([[-1], [-1], [1], [1]])
    made = recon.distill((x, y), 1, method="kip", steps=2, progress=False)
    path = tmp_path / "small.npz"
    made.save(path)
    return path


def test_a_set_is_made_trained_on_and_its_weights_attacked(run, tmp_path):
    done = run("distill", *SMALL, "--per-class", "2", "--steps", "20", "--pngs", "set")
    assert done.returncode == 0, done.stderr
    # Nothing lies about where it was called.
    assert {p.name for p in tmp_path.iterdir()} == {".recon", "set"}
    assert "10 images to 4 by rkip" in done.stdout
    made = recon.DistilledSet.load(tmp_path / ".recon" / "distilled.npz")
    assert len(made) == 4
    assert len(list((tmp_path / "set").rglob("*.png"))) == 4

    options = ["--source", "samples", "--widths", "48,32", "--dynamics", "linearised", "--out", "net"]
    done = run("train", "--data", ".recon/distilled.npz", *options)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "net" / "train.json").read_text())
    assert facts["images"] == 4
    assert facts["loss"] < 1e-8
    assert facts["train_accuracy"] == 1.0
    before, after = (recon.load_weights(tmp_path / "net" / f"{name}.npz") for name in ("initial", "final"))
    assert [after[f"Dense_{i}"]["kernel"].shape[1] for i in range(3)] == [48, 32, 1]

    # What the command says of its weights follows from them: the linearised network's loss and test accuracy.
    data = recon.load_task("mnist_odd_even", 2, source="samples")
    network = MLP((48, 32))

    def f(x):
        import jax

        change = jax.tree.map(lambda a, b: b - a, before, after)
        value, moved = jax.jvp(lambda p: network.apply(p, x), (before,), (change,))
        return np.asarray(value + moved)

    assert 0.5 * np.mean((f(made.images) - made.labels) ** 2) < 1e-8
    if facts["test_images"]:
        right = np.sign(f(data.test.x + data.mean - made.mean)) == data.test.y
        assert facts["test_accuracy"] == pytest.approx(right.mean(), abs=2 / len(right))
    found = recon.reconstruct(
        before, after, attack="exact", image_shape=(28, 28, 1), linearised=True, m=8, progress=False
    )
    apart = np.linalg.norm((found.images[:, None] - made.images).reshape(len(found.images), 4, -1), axis=2)
    assert (apart.min(0) < 0.1).all()


def test_a_task_is_trained_on(run, tmp_path):
    done = run("train", *SMALL, "--widths", "32", "--loss", "0.1", "--out", "net", "--format", "safetensors")
    assert done.returncode == 0, done.stderr
    after = recon.load_weights(tmp_path / "net" / "final.safetensors")
    assert [layer["kernel"].shape for layer in after.values()] == [(784, 32), (32, 1)]
    facts = json.loads((tmp_path / "net" / "train.json").read_text())
    assert 0 < facts["loss"] <= 0.1
    assert facts["images"] == 10
    assert "Train loss" in done.stdout


def test_a_network_of_another_activation_is_trained_and_its_weights_attacked(run, tmp_path):
    done = run("train", *SMALL, "--widths", "64", "--activation", "tanh", "--dynamics", "linearised", "--out", "net")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "net" / "train.json").read_text())
    assert facts["network"]["activation"] == "tanh"
    assert facts["loss"] < 1e-8
    before, after = (recon.load_weights(tmp_path / "net" / f"{name}.npz") for name in ("initial", "final"))
    # The layout is that of every plain MLP; which activation it has, the weights do not tell.
    data = recon.load_task("mnist_odd_even", 10, source="samples")
    call = {"linearised": True, "start": data.train.x.reshape(10, -1), "steps": 1, "progress": False}
    size = sum(float(np.sum((after[k][p] - before[k][p]) ** 2)) for k in after for p in after[k])
    right, wrong = (
        recon.reconstruct(before, after, network=network, **call).trace[0, 1] / size
        for network in (MLP((64,), activation="tanh"), MLP((64,)))
    )
    assert right < 1e-3 < 1e-1 < wrong
    done = run("train", *SMALL, "--activation", "swish")
    assert done.returncode == 1
    assert "Unknown activation 'swish': choose one of relu" in done.stderr


def test_bad_input_is_refused_in_one_sentence(run, tmp_path, small):
    content = small.read_bytes()
    with np.load(small) as file:
        parts = dict(file)

    def damaged(name, **changes):
        np.savez(tmp_path / name, **{k: v for k, v in {**parts, **changes}.items() if v is not None})

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "unpickled"),)

    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    damaged("keys.npz", images=None)
    damaged("nan.npz", images=np.full_like(parts["images"], np.nan))
    damaged("pickle.npz", images=np.array([Evil()], dtype=object))
    damaged("shape.npz", images=parts["images"][:, :5], start=parts["start"][:, :5])
    expected = {
        "cut.npz": "is no distilled set",
        "keys.npz": "is no distilled set",
        "nan.npz": "not finite",
        "pickle.npz": "is no distilled set",
        "shape.npz": "name its own --task",
        "absent.npz": "cannot be read",
    }
    for name, message in expected.items():
        done = run("train", "--data", name, "--source", "samples")
        assert done.returncode == 1, name
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "unpickled").exists()
    assert not (tmp_path / ".recon").exists()


def test_what_is_not_told_where_to_write_writes_where_git_ignores():
    commands = typer.main.get_command(app).commands
    for name in ("audit", "distill", "train"):
        (place,) = (p.default for p in commands[name].params if "--out" in p.opts)
        assert place.parts[0] == ".recon"


@pytest.mark.parametrize("widths", ["", "12,", "0", "a,b", "-3", "²"])
def test_widths_that_are_none_are_refused(widths):
    with pytest.raises(recon.ReconError, match="no widths"):
        network_of(widths)
    assert network_of("12, 7") == MLP((12, 7))
    assert network_of("12", "gelu") == MLP((12,), activation="gelu")


def test_weights_that_are_none_are_refused(tmp_path):
    good = {"Dense_0": {"kernel": np.ones((3, 2), np.float32)}}
    recon.save_weights(tmp_path / "good.npz", good)
    np.testing.assert_array_equal(recon.load_weights(tmp_path / "good.npz")["Dense_0"]["kernel"], np.ones((3, 2)))
    cases = {
        "nan": {"Dense_0/kernel": np.array([np.nan])},
        "name": {"kernel": np.ones(2)},
        "empty": {},
        "pickle": {"Dense_0/kernel": np.array([{}], dtype=object)},
        "words": {"Dense_0/kernel": np.array(["a"])},
    }
    for name, arrays in cases.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(recon.ReconError, match=r"holds no weights|is of no plain MLP"):
            recon.load_weights(tmp_path / f"{name}.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:60])
    with pytest.raises(recon.ReconError, match="holds no weights"):
        recon.load_weights(tmp_path / "cut.npz")
    with pytest.raises(recon.ReconError, match="cannot be read"):
        recon.load_weights(tmp_path / "absent.npz")
