"""Networks with normalisations that were frozen: folded exactly, or refused."""

import h5py
import jax
import numpy as np
import pytest

import recon
from recon.weights import arranged
from tests.audit.descent import N, W, applied, descended, digits, gradients, linear

PYTORCH = ("weight", "bias", "running_mean", "running_var")
KERAS = ("gamma", "beta", "moving_mean", "moving_variance")


@pytest.fixture(scope="module")
def data():
    return digits()


def normalised(params, name, x, words=PYTORCH, epsilon=1e-5):
    """A normalisation in evaluation mode."""
    scale, shift, mean, variance = (params[f"{name}.{word}"] for word in words)
    return (x - mean) / (variance + epsilon) ** 0.5 * scale + shift


def measured(name, x, rng, words=PYTORCH):
    """A normalisation that has seen x, with some scales below zero."""
    size = x.shape[1]
    scale = rng.uniform(0.5, 1.5, size) * np.where(rng.random(size) < 0.2, -1, 1)
    values = scale, rng.normal(0, 0.2, size), x.mean(0), x.var(0) + 0.01
    return {f"{name}.{word}": value.astype(np.float32) for word, value in zip(words, values, strict=True)}


def relu(z):
    return jax.nn.relu(z)


def before_units(params, x):
    return applied(params, "fc2", relu(normalised(params, "bn1", applied(params, "fc1", x))))


def behind_units(params, x):
    return applied(params, "3", normalised(params, "2", relu(applied(params, "0", x))))


def of_inputs(params, x):
    return applied(params, "3", relu(applied(params, "1", normalised(params, "0", x))))


def twice(params, x):
    h = relu(normalised(params, "1", applied(params, "0", x)))
    return applied(params, "6", relu(normalised(params, "4", applied(params, "3", h))))


def on_both_sides(params, x):
    h = relu(normalised(params, "1", applied(params, "0", x)))
    return applied(params, "4", normalised(params, "3", h))


def made(kind, x, rng):
    """A network and its weights: where normalisations stand, as PyTorch names it."""
    seen = digits(100, 3)[0]
    if kind == "before units":
        params = linear("fc1", 784, W, rng) | linear("fc2", W, 1, rng)
        return before_units, params | measured("bn1", applied(params, "fc1", seen), rng)
    if kind == "behind units":
        params = linear("0", 784, W, rng) | linear("3", W, 1, rng)
        return behind_units, params | measured("2", np.asarray(relu(applied(params, "0", seen))), rng)
    if kind == "of inputs":
        params = linear("1", 784, W, rng) | linear("3", W, 1, rng) | measured("0", seen, rng)
        return of_inputs, params
    if kind == "on both sides":
        params = linear("0", 784, W, rng) | linear("4", W, 1, rng)
        first = applied(params, "0", seen)
        params |= measured("1", first, rng)
        return on_both_sides, params | measured("3", np.asarray(relu(normalised(params, "1", first))), rng)
    params = linear("0", 784, W, rng, bias=False) | linear("3", W, W, rng, bias=False) | linear("6", W, 1, rng)
    first = applied(params, "0", seen)
    params |= measured("1", first, rng)
    second = applied(params, "3", np.asarray(relu(normalised(params, "1", first))))
    return twice, params | measured("4", second, rng)


KINDS = ("before units", "behind units", "of inputs", "on both sides", "twice, with trained shifts")


def fixed(params, kind):
    """Arrays that are not trained."""
    norms = [name.rsplit(".", 1)[0] for name in params if name.endswith("running_mean")]
    shifts = () if kind.startswith("twice") else ("bias",)
    return [f"{norm}.{word}" for norm in norms for word in ("weight", *shifts, "running_mean", "running_var")]


@pytest.mark.parametrize("kind", KINDS)
def test_folding_does_not_change_what_a_network_computes(kind, data, rng):
    model, params = made(kind, data[0], rng)
    layout = arranged(params)
    tree, x = jax.tree.map(np.float32, layout.tree(params)), data[0]
    if layout.inputs is not None:
        gain, offset = layout.inputs.affine(params)
        x = x * gain + offset
    np.testing.assert_allclose(recon.networks.from_params(tree).apply(tree, x), model(params, data[0]), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_is_brought_to_the_weights_without_normalisations(kind, data, rng):
    x, y, *_ = data
    model, params = made(kind, x, rng)
    layout = arranged(params)
    tree = jax.tree.map(np.float32, layout.tree(params))
    seen = x
    if layout.inputs is not None:
        gain, offset = layout.inputs.affine(params)
        seen = np.float32(x * gain + offset)
    network = recon.networks.from_params(tree)
    own = jax.grad(lambda p: 2 * ((network.apply(p, seen) - y) ** 2).mean())(tree)
    found = layout.sums(params, gradients(model, x, y)(params))
    for layer, parts in own.items():
        for part, value in parts.items():
            np.testing.assert_allclose(found[layer][part], value, atol=1e-3 * np.abs(value).max(), err_msg=layer + part)


@pytest.mark.parametrize("bias", ["none", "frozen"])
def test_the_layer_behind_an_offset_needs_a_trained_bias(bias, data, rng):
    x, y, *_ = data
    _, params = made("behind units", x, rng)
    kept = params if bias == "frozen" else {name: a for name, a in params.items() if name != "3.bias"}
    frozen = [*fixed(params, "behind units"), "2.bias", "3.bias"]
    after, _ = descended(behind_units, kept, x, y, frozen=frozen, steps=2)
    with pytest.raises(recon.ReconError, match=r"2\.weight is of a normalisation behind units, before a layer without"):
        recon.audit(kept, after, progress=False)


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"on both sides"}))
def test_images_come_back_as_they_were_before_the_first_layer(kind, data, rng):
    x, y, others, mean = data
    model, params = made(kind, x, rng)
    after, _ = descended(model, params, x, y, frozen=fixed(params, kind), eta=2e-4 if kind == "of inputs" else 1e-3)
    found = recon.audit(params, after, data=x, held_out=others, mean=mean, progress=False)
    assert found.n == found.certified == found.train.within == N
    assert found.held_out.within == 0
    assert "was taken as in evaluation mode, with an epsilon of 1e-05, and " in found.verdict
    # A shift is so large that its rounding may hide how large an image was.
    assert set(found.membership.answers) <= {"member", "multiple" if kind.startswith("twice") else "member"}


def test_means_tell_on_which_side_of_its_units_a_normalisation_stands(data, rng):
    for kind, inside in (("before units", True), ("behind units", False)):
        _, params = made(kind, data[0], rng)
        names = {"0": "fc1", "2": "bn1", "3": "fc2"}
        named = {".".join((names.get(top, top), word)): a for n, a in params.items() for top, word in [n.split(".")]}
        assert [(fold.layer, fold.inside) for fold in arranged(named).folds] == [(1, inside)]


def test_inputs_at_another_rate_of_the_biases_are_not_vouched_for(data, rng):
    x, y, *_ = data
    model, params = made("of inputs", x, rng)
    after, _ = descended(model, params, x, y, frozen=fixed(params, "of inputs"), eta=2e-4, rates={"1.bias": 2.0})
    found = recon.audit(params, after, data=x, seconds=5.0, progress=False)
    assert (found.certified, found.vouched) == (0, 0)
    assert "not" not in found.membership.answers


def test_epsilon_is_that_of_the_program_whose_names_these_are(data, rng):
    _, params = made("before units", data[0], rng)
    roles = dict(zip(PYTORCH, KERAS, strict=True))
    renamed = {name if "fc" in name else f"bn1.{roles[name[4:]]}": a for name, a in params.items()}
    assert [fold.epsilon for fold in arranged(renamed).folds] == [1e-3]
    assert [fold.epsilon for fold in arranged(params).folds] == [1e-5]


def test_inputs_are_divided_as_by_kerass_normalization(tmp_path, rng):
    seen = digits(100, 3)[0]
    mean, variance = seen.mean(0), np.maximum(seen.var(0), 0) * (np.ptp(seen, axis=0) > 0)
    assert not variance.all()  # pixels that are never lit
    with h5py.File(tmp_path / "net.weights.h5", "w") as held:
        held["layers/normalization/vars/0"], held["layers/normalization/vars/1"] = mean, variance
        held["layers/normalization/vars/2"] = np.int32(100)
        for layer, size in (("dense", (784, W)), ("dense_1", (W, 1))):
            held[f"layers/{layer}/vars/0"] = rng.normal(size=size).astype(np.float32)
            held[f"layers/{layer}/vars/1"] = np.zeros(size[1], np.float32)
    arrays = recon.weights.read_arrays(tmp_path / "net.weights.h5")
    gain, offset = arranged(arrays).inputs.affine(arrays)
    own = (np.float64(seen) - mean) / np.maximum(np.sqrt(np.float64(variance)), 1e-7)  # Keras 3.15's call
    np.testing.assert_allclose(seen * gain + offset, own, rtol=1e-6, atol=1e-6)


def test_only_units_with_a_kink_at_zero_let_a_scale_through(data, rng):
    _, params = made("before units", data[0], rng)
    moved = params | {"fc1.weight": params["fc1.weight"] * np.float32(1.01)}
    with pytest.raises(recon.ReconError, match=r"bn1\.weight is of a normalisation before units of gelu"):
        recon.audit(params, moved, network=recon.MLP((W,), activation="gelu"), progress=False)


def test_normalisations_whose_place_is_not_told_are_refused(rng):
    params = linear("a", 784, W, rng) | linear("b", W, W, rng) | linear("c", W, 1, rng)
    norm = measured("norm", rng.normal(size=(9, W)), rng)
    with pytest.raises(recon.ReconError, match=r"which layers norm\.weight, \.\.\. stands: fold this"):
        arranged(params | norm, layers="a,b,c")
    params = linear("fc1", W, W, rng) | linear("fc2", W, 1, rng)  # of the inputs, or of the hidden layer?
    with pytest.raises(recon.ReconError, match=r"which layers norm\.weight, \.\.\. stands: fold this"):
        arranged(params | norm)
    numbered = linear("0", 784, W, rng) | linear("4", W, 1, rng)
    two = {f"{number}.{name[5:]}": a for number in (2, 3) for name, a in norm.items()}
    with pytest.raises(recon.ReconError, match=r"3\.weight is of a second normalisation in one place"):
        arranged(numbered | two)
    off = {**measured("bn1", rng.normal(size=(9, W)), rng), "bn1.weight": np.zeros(W, np.float32)}
    params = linear("fc1", 784, W, rng) | linear("fc2", W, 1, rng)
    with pytest.raises(recon.ReconError, match=r"bn1\.weight is of a normalisation that turns units off"):
        arranged(params | off).tree(params | off)


def test_rounding_of_shifts_does_not_blur_the_rank_that_the_doctor_sees(data, rng, tmp_path):
    x, y, *_ = data
    kind = "twice, with trained shifts"
    model, params = made(kind, x, rng)
    params["1.weight"] = np.sqrt(params["1.running_var"])  # gains of one
    params["1.bias"] = rng.normal(0, 3, W).astype(np.float32)  # far larger than a kernel's entries
    after, _ = descended(model, params, x, y, frozen=fixed(params, kind), eta=3e-4)
    for name, arrays in (("init", params), ("final", after)):
        np.savez(tmp_path / f"{name}.npz", **arrays)
    found = recon.weights.compare(*(recon.weights.examine(tmp_path / f"{name}.npz") for name in ("init", "final")))
    assert found.rank == N
    assert found.gap > 1e3  # below 150, of three seeds, where rounding counts
