"""Audits of convolutions with hidden dense layers: arrays as PyTorch and Flax have them, geometry told or asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recon
from recon import memory
from recon.auditing import premises
from recon.auditing.convolutional import convolutions_changed
from recon.auditing.report import record
from recon.auditing.sections import sections
from recon.weights.convolutional import convolved, parsed

SHAPE, N = (8, 8, 1), 6
TOLD = {"network": "conv:down=stride,valid=none", "image_shape": SHAPE, "mean": 0.5, "std": 1.0, "progress": False}
NAMES = "The weights", "The gradient"
# Channels, kernel size, stride and padding of each convolution; how it pools; hidden units; and how that is told.
KINDS = {
    "stride": ((24, 64), 3, 2, (1, 1), None, "conv:24,64:size=3,down=stride,valid=none:dense=96"),
    "average": ((6, 16), 3, 1, (1, 0), "average", "conv:down=average,valid=1"),
    "max": ((6, 16), 3, 1, (1, 1), "max", "conv:down=max,stride=2,valid=none"),
    "single pixels": ((24, 64), 1, 2, (0, 0), None, "conv:down=stride,stride=2,every=1,valid=none"),
    "first unpadded": ((24, 64), 3, 2, (0, 1), None, "conv:down=stride,stride=2,every=1,valid=0"),
}
# Windows of PyTorch's that stand at other pixels than `ConvDense`'s, whichever way the images are.
ELSEWHERE = {
    "thirds": ((24, 64), 3, 3, (1, 1), None, "conv:down=stride,stride=3,every=1,valid=none"),
    "quarters": ((24, 64), 3, 4, (1, 1), None, "conv:down=stride,stride=4,every=1,valid=none"),
    "last unpadded": ((24, 64), 3, 2, (1, 0), None, "conv:down=stride,stride=2,every=1,valid=1"),
}
ALL = KINDS | ELSEWHERE
# A batch normalisation's scale, shift, mean and variance.
PYTORCH, KERAS = (
    ("weight", "bias", "running_mean", "running_var"), ("gamma", "beta", "moving_mean", "moving_variance"),
)  # fmt: skip


def drawn(kind, seed=0):
    """Weights as PyTorch's Sequential names and stores them, for 8 × 8 pixels and three outputs."""
    widths, size, stride, padding, pooling, _ = ALL[kind]
    rng, made, last, side = np.random.default_rng(seed), {}, 1, SHAPE[0]
    for i, (width, pad) in enumerate(zip(widths, padding, strict=True)):
        made[f"{i}.weight"] = rng.normal(size=(width, last, size, size)) / np.sqrt(last * size**2)
        made[f"{i}.bias"] = rng.normal(size=width) / 10
        last, side = width, ((side + 2 * pad - size) // stride + 1) // (2 if pooling else 1)
    for name, (a, b) in {"7": (last * side**2, 96), "9": (96, 3)}.items():
        made[f"{name}.weight"], made[f"{name}.bias"] = rng.normal(size=(b, a)) / np.sqrt(a), rng.normal(size=b) / 10
    return {name: a.astype(np.float32) for name, a in made.items()}


def outputs(weights, x, kind):
    """Of the network for images (n, c, h, w), by XLA's own convolutions and windows."""
    _, _, stride, padding, pooling, _ = ALL[kind]
    h = x
    for i, pad in enumerate(padding):
        kernel, bias = weights[f"{i}.weight"], weights[f"{i}.bias"]
        h = lax.conv_general_dilated(h, kernel, (stride, stride), [(pad, pad)] * 2) + bias[:, None, None]
        h = jnp.maximum(h, 0)
        if pooling == "max":
            h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        elif pooling:
            h = lax.reduce_window(h, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4
    h = jnp.maximum(h.reshape(len(h), -1) @ weights["7.weight"].T + weights["7.bias"], 0)
    return h @ weights["9.weight"].T + weights["9.bias"]


@pytest.fixture(scope="module")
def images():
    x = np.clip(np.random.default_rng(0).uniform(-1, 1, size=(N, *SHAPE)), -0.5, 0.5)
    return x.astype(np.float32)


def gradient_of(weights, x, kind):
    """Of softmax with cross-entropy."""
    y = jnp.arange(N) % 3
    first = x.transpose(0, 3, 1, 2)
    made = jax.grad(lambda w: -jax.nn.log_softmax(outputs(w, first, kind))[jnp.arange(N), y].mean())(weights)
    return jax.tree.map(np.asarray, made)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_read_computes_what_the_other_program_does(kind, images):
    weights = drawn(kind)
    made = convolved(weights, weights, KINDS[kind][-1], SHAPE, "relu", where=NAMES)
    x = images[:, ::-1, ::-1] if made.mirrored else images
    assert made.mirrored is (kind == "stride")
    theirs = outputs(weights, images.transpose(0, 3, 1, 2), kind)
    np.testing.assert_allclose(made.network.apply(made.params0, x), theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_paddings_of_pytorch_that_no_network_here_has_are_refused_and_those_of_flax_read(kind):
    weights = drawn(kind)
    with pytest.raises(recon.ReconError, match="pad images of 8 × 8 pixels as no network here does"):
        convolved(weights, weights, ALL[kind][-1], SHAPE, "relu", where=NAMES)
    made = convolved(flax_like(weights), flax_like(weights), ALL[kind][-1], SHAPE, "relu", where=NAMES)
    assert not made.mirrored


def onnx_like(weights):
    """The same arrays as ONNX's graph has them: dense kernels (in, out), under the numbers of their layers."""
    dense = {"7": "layer_0/fc1", "9": "layer_1/fc2"}
    made = {}
    for name, a in weights.items():
        module, word = name.split(".")
        word = {"weight": "kernel"}.get(word, word)
        made[f"{dense[module]}/{word}" if module in dense else name] = a.T if module in dense else a
    return made


def test_graphs_are_read_where_either_program_pads_alike_and_say_the_order_of_features(images):
    weights = drawn("max")
    made = convolved(onnx_like(weights), onnx_like(weights), KINDS["max"][-1], SHAPE, "relu", where=NAMES)
    theirs = outputs(weights, images.transpose(0, 3, 1, 2), "max")
    np.testing.assert_allclose(made.network.apply(made.params0, images), theirs, atol=1e-5)
    assert "channels first, as PyTorch exports them" in made.notes[0]
    strided = onnx_like(drawn("stride"))
    with pytest.raises(recon.ReconError, match="as in ONNX, do not tell how their strides are padded"):
        convolved(strided, strided, KINDS["stride"][-1], SHAPE, "relu", where=NAMES)


def flax_like(weights):
    """The same arrays, kernels as (h, w, in, out) and (in, out), features in the order (h, w, c)."""
    made = {}
    for name, a in weights.items():
        module, word = name.split(".")
        layer = {"0": "Conv_0", "1": "Conv_1", "7": "Dense_0", "9": "Dense_1"}[module]
        if a.ndim == 4:
            a = a.transpose(2, 3, 1, 0)
        elif module == "7" and word == "weight":
            side = int(np.sqrt(a.shape[1] // weights["1.bias"].size))
            a = a.reshape(len(a), -1, side, side).transpose(2, 3, 1, 0).reshape(a.shape[1], -1)
        elif a.ndim == 2:
            a = a.T
        made[f"params/{layer}/{'bias' if word == 'bias' else 'kernel'}"] = np.ascontiguousarray(a)
    return made


def test_flax_arrays_are_read_as_well(images):
    weights = drawn("max")
    made = convolved(flax_like(weights), flax_like(weights), KINDS["max"][-1], SHAPE, "relu", where=NAMES)
    theirs = outputs(weights, images.transpose(0, 3, 1, 2), "max")
    np.testing.assert_allclose(made.network.apply(made.params0, images), theirs, atol=1e-5)


def normalised(kind, mean=None, words=PYTORCH, epsilon=1e-5):
    """Weights with a batch normalisation before each convolution's units, and the same network's without."""
    weights, rng = drawn(kind), np.random.default_rng(5)
    plain = dict(weights)
    for i, width in enumerate(KINDS[kind][0]):
        gain, shift = rng.uniform(0.5, 2, width), rng.normal(size=width)
        own = rng.normal(size=width) if mean is None else mean(width)
        variance = rng.uniform(0.005, 0.02, width)
        values = gain * np.sqrt(variance + epsilon), shift, own, variance
        weights |= {f"bn{i}.{word}": a.astype(np.float32) for word, a in zip(words, values, strict=True)}
        plain[f"{i}.weight"] = (plain[f"{i}.weight"] * gain[:, None, None, None]).astype(np.float32)
        plain[f"{i}.bias"] = ((plain[f"{i}.bias"] - own) * gain + shift).astype(np.float32)
    return weights, plain


@pytest.mark.parametrize(("words", "epsilon"), [(PYTORCH, 1e-5), (KERAS, 1e-3)])
def test_frozen_batch_normalisations_are_folded_with_their_programs_epsilon_and_say_so(words, epsilon, images):
    weights, plain = normalised("max", words=words, epsilon=epsilon)
    made = convolved(weights, weights, KINDS["max"][-1], SHAPE, "relu", where=NAMES)
    theirs = outputs(plain, images.transpose(0, 3, 1, 2), "max")
    np.testing.assert_allclose(made.network.apply(made.params0, images), theirs, atol=1e-4)
    assert len(made.notes) == 2
    assert f"bn0.{words[0]}, before units" in made.notes[0]
    assert f"an epsilon of {epsilon:g}" in made.notes[0]


def test_frozen_convolutions_before_normalisations_stay_equal_in_files_of_two_types():
    weights, _ = normalised("max")
    after = {name: a.astype(np.float64) for name, a in weights.items()}
    made = convolved(weights, after, KINDS["max"][-1], SHAPE, "relu", where=NAMES)
    assert not convolutions_changed(made.params0, made.params1)


def test_batch_normalisations_behind_units_are_refused_as_their_means_or_numbers_tell(images):
    weights, plain = normalised("max", mean=lambda width: np.linspace(0, 2, width), words=KERAS, epsilon=1e-3)
    with pytest.raises(recon.ReconError, match=r"bn0\.gamma .* behind units \(none of its means is negative\)"):
        convolved(weights, weights, KINDS["max"][-1], SHAPE, "relu", where=NAMES)

    def in_places(norms):
        """The network as PyTorch's Sequential, its convolutions at 0 and 3."""
        moved = {"bn0": norms[0], "bn1": norms[1], "0": 0, "1": 3}
        split = {name: name.split(".") for name in weights}
        return {f"{moved.get(own[0], own[0])}.{own[1]}": weights[name] for name, own in split.items()}

    weights, plain = normalised("max", mean=lambda width: np.linspace(0, 2, width))
    at_once = in_places((1, 4))
    made = convolved(at_once, at_once, KINDS["max"][-1], SHAPE, "relu", where=NAMES)
    theirs = outputs(plain, images.transpose(0, 3, 1, 2), "max")
    np.testing.assert_allclose(made.network.apply(made.params0, images), theirs, atol=1e-4)
    weights, _ = normalised("max")
    for norms, name in (((1, 5), 5), ((1, 2), 2)):  # behind a unit, and twice behind one convolution
        placed = in_places(norms)
        with pytest.raises(recon.ReconError, match=rf"{name}\.weight .* behind units \(its number does not follow"):
            convolved(placed, placed, KINDS["max"][-1], SHAPE, "relu", where=NAMES)


def test_trained_batch_normalisations_are_refused():
    weights, _ = normalised("max")
    moved = weights | {"bn0.running_mean": weights["bn0.running_mean"] + 1}
    with pytest.raises(recon.ReconError, match="changed in training"):
        convolved(weights, moved, KINDS["max"][-1], SHAPE, "relu", where=NAMES)


def test_so_many_arrays_that_comparing_them_takes_minutes_are_refused_at_once():
    many = drawn("max") | {f"more{i}.weight": np.zeros((1, 1, 1, 1), np.float32) for i in range(3_000)}
    for both, name in (((many, drawn("max")), "The weights"), ((drawn("max"), many), "The gradient")):
        with pytest.raises(recon.ReconError, match=f"{name} holds 3008 arrays, too many"):
            convolved(*both, "conv", SHAPE, "relu", where=NAMES)


def test_one_gradient_of_a_strided_network_gives_its_images_back(images):
    weights = drawn("stride")
    gradient = gradient_of(weights, images, "stride")
    made = recon.audit(weights, gradient=gradient, data=images, **TOLD)
    assert made.from_gradient
    assert made.certified == made.train.within == N
    assert "gets all 6 training images" in made.verdict


@pytest.mark.parametrize("frozen", [("0.weight", "0.bias", "1.weight", "1.bias"), ("0.bias",)])
def test_a_gradient_without_arrays_of_convolutions_gives_its_images_back(frozen, images):
    weights = drawn("stride")
    gradient = {name: a for name, a in gradient_of(weights, images, "stride").items() if name not in frozen}
    made = recon.audit(weights, gradient=gradient, data=images, **TOLD)
    assert made.certified == made.train.within == N


def changed(weights, name, change):
    """The weights with one array changed, and without it where that gives None."""
    made = change(weights[name].copy())
    return {n: a for n, a in weights.items() if n != name} | ({} if made is None else {name: made})


def halved(a):
    a[np.abs(a) < np.median(np.abs(a))] = 0
    return a


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (None, ("0.bias", lambda a: None), "bias of 0.weight is in one of the two files only"),
        (("1.bias", lambda a: None), None, "bias of 1.weight is in one of the two files only"),
        (None, ("1.weight", lambda a: None), "has not the convolutions of"),
        (("7.weight", lambda a: 0 * a), None, "The initial weights of the first layer, 7.weight, are all zero"),
        (None, ("7.weight", halved), "50% of the final weights in 7.weight are zero"),
        (None, ("9.bias", lambda a: a + 1), "Training did not change the first dense layer, 7.weight"),
    ],
)
def test_weights_that_nothing_can_be_told_of_are_refused(before, after, message):
    weights = drawn("stride")
    ends = [weights if change is None else changed(weights, *change) for change in (before, after)]
    with pytest.raises(recon.ReconError, match=message):
        recon.audit(*ends, **TOLD)


def test_an_update_that_is_the_weights_is_refused():
    with pytest.raises(recon.ReconError, match="The update is the weights themselves"):
        recon.audit(drawn("stride"), update=drawn("stride"), **TOLD)


def test_dense_layers_that_memory_does_not_hold_are_refused(monkeypatch):
    weights = drawn("stride")
    monkeypatch.setattr(premises, "PLENTY", 1)
    monkeypatch.setattr(memory, "room", lambda: 400_000)
    with pytest.raises(memory.TooLarge, match="The audit of a first layer of 96 units and 256 inputs"):
        recon.audit(weights, gradient=weights, **TOLD)


def test_weights_after_more_than_a_step_say_that_features_moved(images):
    weights = drawn("stride")
    gradient = gradient_of(weights, images, "stride")
    after = {name: a - gradient[name] for name, a in weights.items()}
    told = {"network": "conv:down=stride,valid=none", "image_shape": SHAPE, "seconds": 0.1, "progress": False}
    made = recon.audit(weights, after, data=images, **told)
    assert made.membership is None
    assert made.vouched == 0
    assert "after one plain step say --linearised" in made.verdict
    assert made.verdict.count("the convolutions were trained") == 1


@pytest.mark.parametrize("kind", ["update", "final"])
def test_a_step_counts_as_precisely_as_it_is_given(kind, images):
    """At the weights' size float32 shows nothing of it."""
    weights = {name: a.astype(np.float64) for name, a in drawn("stride").items()}
    step = {name: -1e-9 * np.float64(a) for name, a in gradient_of(drawn("stride"), images, "stride").items()}
    given = {"update": step} if kind == "update" else {"final": {name: weights[name] + step[name] for name in step}}
    others = np.random.default_rng(1).uniform(-0.5, 0.5, size=(12, *SHAPE)).astype(np.float32)
    made = recon.audit(weights, **given, linearised=True, data=images, held_out=others, **TOLD)
    assert made.certified == made.train.within == N
    assert set(made.membership.answers) == {"member"}
    assert made.updates == (kind == "update")


def test_the_report_says_what_was_read_and_shows_the_dense_layers_spectrum(images):
    weights = drawn("stride")
    gradient = gradient_of(weights, images, "stride")
    after = {name: a - gradient[name] for name, a in weights.items()}
    after |= {f"ema.{name}": a for name, a in after.items() if name[0] in "79"}
    made = recon.audit(weights, after, linearised=True, **TOLD)
    left_out = {f"ema.{name}" for name in weights if name[0] in "79"}
    assert left_out == {*made.layout.left_out}
    assert "Averages of the weights are in the file, too (ema.7.bias, ...)" in made.verdict
    report = "".join(part.markdown() for section in sections(made, record(made)) for part in section.parts)
    assert "convolutions of 24 and 64 channels, then 96 hidden units, 3 outputs" in report
    assert f"Singular values of the first dense layer's change. {N} are above the largest gap" in report
    assert f"first dense layer has 96 units for {N} images, 16 for each" in report
    assert "--defences" not in report


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        ("conv", SHAPE, "do not tell how the resolution falls.*conv:down="),
        ("conv:down=max", None, "say --image-shape"),
        ("conv:down=max", (100, 100), "No geometry as told fits"),
        ("conv:down=max,size=5", SHAPE, "the weights have 3"),
        ("conv:down=max", (8, 8, 3), "images of 1 channels"),
        ("conv:sideways=2", SHAPE, "says nothing of a convolutional network"),
        ("conv:down=max,valid=7", SHAPE, "valid counts convolutions from 0"),
        (None, SHAPE, "say --network conv"),
    ],
)
def test_what_arrays_do_not_tell_is_asked_for(network, shape, message):
    weights = drawn("max")
    with pytest.raises(recon.ReconError, match=message):
        recon.audit(weights, gradient=weights, network=network, image_shape=shape, progress=False)


def test_the_geometry_as_it_is_written():
    assert parsed("conv") == {}
    assert parsed("conv:6,16:size=5,down=average,valid=1+2:dense=120x84") == {
        "widths": (6, 16), "size": 5, "down": "average", "valid": (1, 2), "dense": (120, 84),
    }  # fmt: skip
    assert parsed("conv:valid=all")["valid"] is None
