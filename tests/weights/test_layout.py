"""Foreign names and transposed kernels: the network found computes what the foreign one did."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon import ReconError
from recon.weights import arranged, flat, momentum, widths_of

SIZES = (6, 9, 9, 9, 2)


def layers(rng, sizes=SIZES):
    return [(rng.normal(size=s).astype(np.float32), rng.normal(size=s[1]).astype(np.float32)) for s in pairwise(sizes)]


def outputs(pairs, x):
    for i, (kernel, bias) in enumerate(pairs):
        x = x @ kernel + (0 if bias is None else bias)
        x = np.maximum(x, 0) if i < len(pairs) - 1 else x
    return x


def same_function(tree, pairs, rng):
    x = rng.normal(size=(3, len(pairs[0][0])))
    found = [(tree[f"Dense_{i}"]["kernel"], tree[f"Dense_{i}"].get("bias")) for i in range(len(tree))]
    np.testing.assert_allclose(outputs(found, x), outputs(pairs, x), rtol=1e-5, atol=1e-6)


FOREIGN = {
    "PyTorch Sequential": lambda i: (f"{2 * i}.weight", f"{2 * i}.bias", True),
    "PyTorch module": lambda i: (f"net.fc{i + 8}.weight", f"net.fc{i + 8}.bias", True),  # fc10 after fc9
    "PyTorch, named": lambda i: (f"{n(i)}.weight", f"{n(i)}.bias", True),
    "Flax": lambda i: (f"params/Dense_{i}/kernel", f"params/Dense_{i}/bias", False),
    "Flax NNX": lambda i: (f"layers/{i}/kernel/value", f"layers/{i}/bias/value", False),
    "scikit-learn": lambda i: (f"coefs_/{i}", f"intercepts_/{i}", False),
    "plain arrays": lambda i: (f"arr_{i}", f"arr_{i + 4}", False),
    "W and b": lambda i: (f"W{i + 1}", f"b{i + 1}", False),
}


def n(i):
    return ("input", "hidden_a", "hidden_b", "output")[i]


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("bias", [True, False])
def test_names_of_other_programs(kind, bias, rng):
    pairs = [(kernel, b if bias else None) for kernel, b in layers(rng)]
    arrays = {"step": np.array(3)}
    for i, (kernel, b) in enumerate(pairs):
        k_name, b_name, transposed = FOREIGN[kind](i)
        arrays[k_name] = kernel.T if transposed else kernel
        if bias:
            arrays[b_name] = b
    shuffled = {name: arrays[name] for name in rng.permutation([*arrays])}
    same_function(arranged(shuffled).tree(shuffled), pairs, rng)


@given(st.lists(st.integers(1, 6), min_size=3, max_size=6), st.booleans(), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_any_sizes_in_the_order_of_the_names(sizes, transposed, seed):
    rng = np.random.default_rng(seed)
    pairs = layers(rng, sizes)
    word = "weight" if transposed else "kernel"
    arrays = {f"layer_{i}.{word}": kernel.T if transposed else kernel for i, (kernel, _) in enumerate(pairs)}
    arrays |= {f"layer_{i}.bias": bias for i, (_, bias) in enumerate(pairs)}
    same_function(arranged(arrays).tree(arrays), pairs, rng)
    # Told how kernels are stored, names need not tell it.
    dumb = {name.replace(word, "a").replace("bias", "b"): array for name, array in arrays.items()}
    same_function(arranged(dumb, kernels="out-in" if transposed else "in-out").tree(dumb), pairs, rng)


def test_squares_without_a_convention_are_refused_and_an_option_settles_it(rng):
    pairs = layers(rng, (5, 5, 5))
    arrays = {f"{w}{i}": a for i, pair in enumerate(pairs) for w, a in zip("wb", pair)}
    with pytest.raises(ReconError, match="say --kernels in-out or out-in"):
        arranged(arrays)
    same_function(arranged(arrays, kernels="in-out").tree(arrays), pairs, rng)
    swapped = [(kernel.T, bias) for kernel, bias in pairs]
    same_function(arranged(arrays, kernels="out-in").tree(arrays), swapped, rng)
    # Shapes overrule names.
    odd = layers(rng, (4, 5, 5))
    arrays = {f"{i}.{w}": a for i, pair in enumerate(odd) for w, a in zip(("weight", "bias"), pair)}
    same_function(arranged(arrays).tree(arrays), odd, rng)


def test_order_that_shapes_do_not_tell_is_refused_and_names_settle_it(rng):
    # a: 4→4, c: 4→6, b: 6→4, then the output: a may come first, or after b.
    a, c, b, out = (rng.normal(size=s).astype(np.float32) for s in ((4, 4), (4, 6), (6, 4), (4, 3)))
    arrays = {"a.kernel": a, "z.kernel": c, "b.kernel": b, "out.kernel": out}
    with pytest.raises(ReconError, match="name them from the input on by --layers"):
        arranged(arrays)
    for order in (("a", "z", "b", "out"), ("z", "b", "a", "out")):
        pairs = [(arrays[f"{name}.kernel"], None) for name in order]
        same_function(arranged(arrays, layers=order).tree(arrays), pairs, rng)
    assert arranged(arrays, layers="z, b,a,out") == arranged(arrays, layers=("z", "b", "a", "out"))
    # Layers that are not named are left out.
    assert arranged(arrays, layers=("z", "b", "out")).names == ("z.kernel", "b.kernel", "out.kernel")
    assert arranged(arrays, layers=("z", "b"), widths=(6,)).names == ("z.kernel", "b.kernel")
    with pytest.raises(ReconError, match=r"no layer 'fc'.* a\.kernel"):
        arranged(arrays, layers=("fc", "out"))
    with pytest.raises(ReconError, match="do not chain"):
        arranged(arrays, layers=("out", "z"))


def test_told_widths_choose_and_refuse(rng):
    arrays = {f"{i}.kernel": kernel for i, (kernel, _) in enumerate(layers(rng))}
    assert arranged(arrays, widths=(9, 9, 9)).names == tuple(arrays)
    for widths in ((9, 9), (8, 9, 9), (9, 9, 9, 2)):
        with pytest.raises(ReconError, match="no plain MLP with hidden layers of"):
            arranged(arrays, widths=widths)
    assert widths_of("mlp:1024x12") == (1024, 12)
    for wrong in ("cnn:32", "mlp", "mlp:", "mlp:3x", "mlp:0", "mlp:²"):
        with pytest.raises(ReconError, match=r"mlp:1024x1024\.$"):
            widths_of(wrong)
    assert widths_of([np.int64(3), 4]) == (3, 4)
    for wrong in (256, [256.0, 3], ["a"], (0,), {"a": 1}):
        with pytest.raises(ReconError, match=r"is no network: give 'mlp:1024x1024', widths as in \(1024, 1024\)"):
            widths_of(wrong)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"conv.weight": np.ones((3, 3, 3, 3))}, r"conv\.weight has 4 axes.* --features"),
        ({"norm.weight": np.ones(9), "norm.bias": np.ones(9)}, "normalisation layers cannot be audited"),
        ({"embed.weight": np.ones((50, 8))}, "do not chain"),
        ({"9.weight": np.ones((5, 5)), "9.bias": np.ones(5)}, "do not chain"),
        ({"0.bias": np.ones(3)}, "do not chain"),
    ],
)
def test_networks_that_are_none(extra, message, rng):
    arrays = {f"{i}.weight": kernel.T for i, (kernel, _) in enumerate(layers(rng))}
    arrays |= {f"{i}.bias": bias for i, (_, bias) in enumerate(layers(rng))}
    with pytest.raises(ReconError, match=message):
        arranged(arrays | extra)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "not finite"), (np.inf, "not finite"), (None, "of int64: weights are")]
)
def test_values_that_are_none(value, message, rng):
    arrays = {f"{i}.kernel": kernel.copy() for i, (kernel, _) in enumerate(layers(rng))}
    if value is None:
        arrays["1.kernel"] = arrays["1.kernel"].astype(np.int64)
    else:
        arrays["1.kernel"][3, 4] = value
    with pytest.raises(ReconError, match=message):
        arranged(arrays).tree(arrays)


def test_many_layers_of_a_hostile_file_are_refused_soon(rng):
    # Names in a wrong order, sizes that dead-end late: the search has an end.
    sizes = rng.integers(1, 4, (300, 2))
    arrays = {f"{i}.kernel": np.ones(s, np.float32) for i, s in enumerate(sizes)}
    with pytest.raises(ReconError, match=r"do not chain|--layers"):
        arranged(arrays)


def test_optimisers_state_under_its_programs_names(rng):
    pairs, moments = layers(rng), layers(rng)
    weights = {f"{i}.{w}": a for i, (k, b) in enumerate(pairs) for w, a in (("weight", k.T), ("bias", b))}
    layout = arranged(weights)
    flax = {"params": {f"Dense_{i}": {"kernel": k, "bias": b} for i, (k, b) in enumerate(pairs)}}
    mine = flat(flax)
    mu = {"params": {f"Dense_{i}": {"kernel": k, "bias": b} for i, (k, b) in enumerate(moments)}}
    other = {"params": {f"Dense_{i}": {"kernel": k**2, "bias": b**2} for i, (k, b) in enumerate(moments)}}
    indexed = {f"{2 * i + j}.exp_avg": a for i, (k, b) in enumerate(moments) for j, a in enumerate((k.T, b))}
    squares = {name.replace("avg", "avg_sq"): a**2 for name, a in indexed.items()}
    optax = flat({"opt_state": [{"mu": mu, "nu": other, "count": np.array(3)}]})
    lists = flat({"velocities": [*(k for k, _ in moments), *(b for _, b in moments)]})
    sk = flat({"coefs_": [k for k, _ in pairs], "intercepts_": [b for _, b in pairs]})
    for state, own, weights_layout in (
        ({**indexed, **squares}, weights, layout),
        ({f"momentum_buffer.{name}": a for name, a in zip(weights, indexed.values())}, weights, layout),
        ({**optax, **mine}, mine, arranged(mine)),
        (lists, sk, arranged(sk)),
        (flat(mu), mine, arranged(mine)),
    ):
        same_function(momentum(state, weights_layout, own), moments, rng)
    with pytest.raises(ReconError, match="an array like each of the weights"):
        momentum({"0.exp_avg": moments[0][0]}, layout, weights)
    with pytest.raises(ReconError, match="is the weights themselves"):
        momentum(mine, arranged(mine), mine)


@pytest.mark.parametrize(
    "names",
    [
        ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"),
        ("cell.weight_ih", "cell.weight_hh", "cell.bias_ih", "cell.bias_hh"),
        ("rnn/kernel", "rnn/recurrent_kernel", "rnn/bias"),
    ],
)
def test_recurrent_layers_are_no_plain_mlp(names, rng):
    shapes = ((9, 6), (9, 9), (9,), (9,)) if len(names) == 4 else ((6, 9), (9, 9), (9,))
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in zip(names, shapes, strict=True)}
    arrays |= {"fc.weight": np.ones((2, 9), np.float32), "fc.bias": np.ones(2, np.float32)}
    with pytest.raises(ReconError, match=rf"{names[1]} is a recurrent layer's"):
        arranged(arrays)
    assert arranged(arrays, layers=("fc",), kernels="out-in").names == ("fc.weight", "fc.bias")


def test_flat_refuses_what_is_no_array():
    assert [*flat({"a": [np.ones(2), {"b": 3.0}]})] == ["a/0", "a/1/b"]
    with pytest.raises(ReconError, match="a is no array"):
        flat({"a": "words"})
