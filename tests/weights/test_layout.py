"""Foreign names and transposed kernels: the network found computes what the foreign one did."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon import ReconError
from recon.weights import arranged, arranged_both, bare, flat, momentum, widths_of
from tests.conftest import processor_time

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
    "Haiku": lambda i: (f"mlp/~/linear{f'_{i}' if i else ''}/w", f"mlp/~/linear{f'_{i}' if i else ''}/b", False),
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
    # Told widths overrule the numbers in names.
    swapped = {f"fc{i}/weights": a for i, (a, _) in zip((1, 0), layers(rng, (5, 9, 5)), strict=True)}
    assert arranged(swapped, widths=(9,), kernels="in-out").names == ("fc1/weights", "fc0/weights")
    assert widths_of("mlp:1024x12") == (1024, 12)
    for wrong in ("cnn:32", "mlp", "mlp:", "mlp:3x", "mlp:0", "mlp:²"):
        with pytest.raises(ReconError, match=r"mlp:1024x1024[,.]"):
            widths_of(wrong)
    assert widths_of([np.int64(3), 4]) == (3, 4)
    for wrong in (256, [256.0, 3], ["a"], (0,), {"a": 1}):
        with pytest.raises(ReconError, match=r"is no network: give 'mlp:1024x1024', widths as in \(1024, 1024\)"):
            widths_of(wrong)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"conv.weight": np.ones((3, 3, 3, 3))}, r"conv\.weight has 4 axes.* --features"),
        ({"norm.weight": np.ones(9), "norm.bias": np.ones(9)}, "norm.weight is of a normalisation without a mean"),
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


def named(rng, names, sizes, bias=True, out_in=True):
    """PyTorch's arrays of these layers; with biases, or with those of some."""
    made = {}
    for name, (kernel, b) in zip(names, layers(rng, sizes), strict=True):
        made[f"{name}.weight"] = kernel.T if out_in else kernel
        if bias is True or name in (bias or ()):
            made[f"{name}.bias"] = b
    return made


@pytest.mark.parametrize("squares", ["Flax NNX", "Haiku", "TF-slim"])
def test_words_tell_how_squares_are_stored(squares, rng):
    kernel, bias = {
        "Flax NNX": ("layers/{}/kernel/value", "layers/{}/bias/value"),
        "Haiku": ("mlp/~/linear_{}/w", "mlp/~/linear_{}/b"),
        "TF-slim": ("fc{}/weights", "fc{}/biases"),
    }[squares]
    pairs = layers(rng, (5, 5, 5, 5))
    arrays = {name.format(i): a for i, pair in enumerate(pairs) for name, a in zip((kernel, bias), pair)}
    same_function(arranged(arrays).tree(arrays), pairs, rng)


def test_trees_of_stax(rng):
    pairs = layers(rng, (5, 5, 5, 1))
    tree = [part for kernel, bias in pairs for part in ((kernel, bias[None]), ())][:-1]
    same_function(arranged(flat(tree)).tree(flat(tree)), pairs, rng)
    without = [(kernel, None) for kernel, _ in pairs]
    same_function(arranged(flat(without)).tree(flat(without)), without, rng)


@pytest.mark.parametrize("some", [("fc1",), ("fc2",), ("out",), ("fc1", "fc2"), ("fc2", "out")])
def test_biases_in_some_layers_count_as_zero_in_the_others(some, rng):
    names = ("fc1", "fc2", "out")
    arrays = named(rng, names, (6, 9, 9, 2), some)
    layout = arranged(arrays)
    assert layout.filled == tuple(f"{name}.weight" for name in names if name not in some)
    pairs = [(arrays[f"{name}.weight"].T, arrays.get(f"{name}.bias")) for name in names]
    same_function(layout.tree(arrays), pairs, rng)
    assert all("bias" in layer for layer in layout.tree(arrays).values())
    flats = {"W1": pairs[0][0], "W2": pairs[1][0], "W3": pairs[2][0], "b2": np.ones(9, np.float32)}
    assert arranged(flats, kernels="in-out").layers == (("W1", None), ("W2", "b2"), ("W3", None))
    with pytest.raises(ReconError, match=r"The bias of fc1.weight is in one of the two files only"):
        arranged_both(named(rng, names, (6, 9, 9, 2), ("out",)), named(rng, names, (6, 9, 9, 2), ("fc1", "out")))


@pytest.mark.parametrize("kind", ["PyTorch module", "Flax", "scikit-learn", "W and b", "Haiku"])
def test_a_layers_bias_comes_with_its_kernel(kind, rng):
    pairs = layers(rng)
    arrays = {name: a for i, pair in enumerate(pairs) for name, a in zip(FOREIGN[kind](i)[:2], pair)}
    if FOREIGN[kind](0)[2]:
        arrays = {name: a.T for name, a in arrays.items()}
    copy = {f"ema.{name}": a for name, a in arrays.items()}
    named_ = arranged(arrays | copy, layers=[FOREIGN[kind](i)[0] for i in range(4)])
    assert named_.layers == tuple(FOREIGN[kind](i)[:2] for i in range(4))
    same_function(named_.tree(arrays), pairs, rng)


ADAPTERS = (
    "fc1.lora_A.weight",
    "base_model.model.fc1.lora_B.default.weight",
    "fc1.lora_A",
    "fc1.lora_embedding_A.default",
    "fc1.lora_magnitude_vector",
    "lora_unet_fc1.lora_down.weight",
    "fc1.hada_w1_a",
    "fc1.lokr_w2",
    "fc1.adapter_down.weight",
    "fc1/adapters/0/kernel",
)


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_are_refused_alone_and_beside_their_base(name, rng):
    base = named(rng, ("fc1", "fc2"), (784, 32, 1))
    change = {name: rng.normal(size=(8, 784)).astype(np.float32)}
    pair = {**change, name.replace("_A", "_B"): rng.normal(size=(32, 8)).astype(np.float32)}
    message = "merge the adapter into the base model and audit the base before and after"
    for arrays in (change, pair, base | change):
        with pytest.raises(ReconError, match=message):
            arranged(arrays)
    with pytest.raises(ReconError, match=message):
        arranged_both(base, base | change, layers="fc1,fc2")


WORDS = ("velocity", "momentum", "trace", "count", "step", "mu", "nu", "optimizer", "exp_avg")


@pytest.mark.parametrize("called", WORDS)
def test_layers_called_like_an_optimisers_state(called, rng):
    for names in ((called, "fc2", "out"), ("fc1", called, "out"), ("fc1", "fc2", called)):
        arrays = named(rng, names, (6, 9, 9, 2))
        layout = arranged(arrays)
        assert set(layout.names) == set(arrays)
        assert layout.layers[0][0] == f"{names[0]}.weight"
        assert layout.left_out == ()
        # Beside the state of an optimiser that has its arrays under the layers' names, or numbers them.
        for mark, state in (
            ("momentum_buffer", {f"momentum_buffer.{name}": array for name, array in arrays.items()}),
            ("exp_avg", {f"optimizer.state.{i}.exp_avg": array for i, array in enumerate(arrays.values())}),
        ):
            both = arranged(arrays | state | {"optimizer.state.0.step": np.ones(1, np.float32)})
            assert both.layers == layout.layers
            assert set(both.left_out) == {*state, "optimizer.state.0.step"}
            if called != mark:
                moments = {name: 2 * array + 1 for name, array in state.items()}
                found = momentum(moments | arrays, layout, arrays)
                np.testing.assert_array_equal(found["Dense_0"]["kernel"], 2 * arrays[layout.names[0]].T + 1)


def test_states_are_what_mirrors_the_weights(rng):
    arrays = {f"params/{k}": a for k, a in flat(named_tree(rng, (6, 9, 2))).items()}
    names = ("params/Dense_0/kernel", "params/Dense_0/bias", "params/Dense_1/kernel", "params/Dense_1/bias")
    state = {name.replace("params", top): a for top in ("mu", "nu") for name, a in arrays.items()}
    assert arranged(arrays | state).names == names
    assert arranged(arrays | {"mu/Dense_1/kernel": arrays[names[2]]}).names == names
    kept = arranged(arrays | {f"optimizer/vars/{i}": a for i, a in enumerate(2 * [*arrays.values()])})
    assert kept.names == names
    # Of an autoencoder the state chains behind the weights: only a word that no layer has tells them apart.
    arrays = {f"params/{k}": a for k, a in flat(named_tree(rng, (9, 6, 9))).items()}
    state = {name.replace("params", "opt_state/0/mu"): a for name, a in arrays.items()}
    assert arranged(arrays | state).names == names
    state = {name.replace("params", "mu"): a for name, a in arrays.items()}
    with pytest.raises(ReconError, match="--layers params or --layers mu,params or --layers params,mu"):
        arranged(arrays | state)
    assert arranged(arrays | state, layers="params").names == names
    assert len(arranged(arrays | state, layers="mu,params").layers) == 4


def named_tree(rng, sizes):
    return {f"Dense_{i}": {"kernel": k, "bias": b} for i, (k, b) in enumerate(layers(rng, sizes))}


def bn(scale=1.0, shift=0.0, mean=0.0, var=1.0, width=9):
    values = {"weight": scale, "bias": shift, "running_mean": mean, "running_var": var}
    return {f"bn.{name}": np.full(width, value, np.float32) for name, value in values.items()}


@pytest.mark.parametrize("options", [{}, {"layers": "fc1,fc2"}, {"trained": True}])
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (bn(), bn(), None),
        (bn(), bn(scale=1.1), "bn.weight was trained: .* multiplicative change"),
        (bn(mean=-0.2, scale=2), bn(mean=-0.2, scale=2), "folded"),
        (bn(mean=-0.2, var=2), bn(mean=-0.2, var=2, shift=0.1), "folded"),
        (bn(), bn(mean=0.1), "bn.running_mean changed in training"),
        ({}, bn(), "bn.weight, of a normalisation, is in one of the two files|do not hold the same arrays"),
        ({"ln.weight": np.ones(9), "ln.bias": np.zeros(9)}, None, "ln.weight is of a normalisation without a mean"),
        ({"ln.weight": np.ones(9)}, None, "ln.weight is of a normalisation without a mean"),
        ({"act.weight": np.full(1, 0.25)}, {"act.weight": np.full(1, 0.3)}, "act.weight is the slope of a PReLU: only"),
        ({"act.weight": np.full(9, 0.25)}, {"act.weight": np.full(9, 0.3)}, "act.weight is the slope of a PReLU"),
        ({"PReLU_0/negative_slope": np.array(0.01)}, None, "is the slope of a PReLU"),
    ],
)
def test_normalisations_among_the_layers(options, before, after, message, rng):
    first, last = (named(rng, ("fc1", "fc2"), (6, 9, 2)) for _ in range(2))
    pair = first | before, last | (before if after is None else after)
    if message is None:
        assert arranged_both(*pair, **options)[0].names == tuple(first)
        assert arranged_both(*pair, **options)[0].left_out[: len(before)] == tuple(sorted(before))
        return
    if message == "folded":
        for layout in arranged_both(*pair, **options):
            assert [(fold.layer, fold.inside) for fold in layout.folds] == [(1, True)]
            assert layout.left_out == ()
        return
    with pytest.raises(ReconError, match=message):
        arranged_both(*pair, **options)


def test_normalisations_of_an_extractor_do_not_count(rng):
    head = named(rng, ("fc1", "fc2"), (9, 9, 2))
    extractor = {"block.conv.weight": np.ones((9, 3, 3, 3)), **{f"block.{n}": a for n, a in bn(2.0, 1.0).items()}}
    with pytest.raises(ReconError, match="what can be audited is --layers fc1,fc2"):
        arranged(extractor | head)
    assert arranged_both(extractor | head, extractor | head, layers="fc1,fc2")[0].names == tuple(head)
    # Flax keeps one layer's arrays in two collections.
    flax = flat({"params": named_tree(rng, (6, 9, 2))})
    frozen = {
        "params/BatchNorm_0/scale": np.ones(9),
        "params/BatchNorm_0/bias": np.zeros(9),
        "batch_stats/BatchNorm_0/mean": np.ones(9),
        "batch_stats/BatchNorm_0/var": np.ones(9),
    }
    assert [fold.layer for fold in arranged(flax | frozen).folds] == [1]
    assert arranged(flax | frozen | {"batch_stats/BatchNorm_0/mean": np.zeros(9)}).names == (
        "params/Dense_0/kernel", "params/Dense_0/bias", "params/Dense_1/kernel", "params/Dense_1/bias",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (("weight_g", "weight_v"), "remove_weight_norm"),
        (("parametrizations.weight.original0", "parametrizations.weight.original1"), "remove_parametrizations"),
        (("weight_orig", "weight_u", "weight_v"), "remove_spectral_norm"),
        (("weight_orig", "weight_mask"), "prune.remove"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"kernels": "in-out"}, {"layers": "0,2"}])
def test_reparametrised_kernels_are_refused(words, fix, options, rng):
    shapes = {"weight_g": (9, 1), "parametrizations.weight.original0": (9, 1), "weight_u": (9,)}
    arrays = {f"{i}.{word}": rng.normal(size=shapes.get(word, (9, 9))) for i in (0, 2) for word in words}
    with pytest.raises(ReconError, match=f"{fix}.*before you save"):
        arranged(arrays, **options)


def offers(message):
    """The values of --layers that a message names."""
    return [words.split()[0] for words in message.rstrip(".").split("--layers ")[1:] if words[:1] not in "., "]


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({"head_b.weight": np.ones((3, 9))}, ["trunk.0,trunk.2,head_a", "trunk.0,trunk.2,head_b"]),
        ("copy", ["trunk.0,trunk.2,head_a", "twin.trunk.0,twin.trunk.2,twin.head_a"]),
        ({"criterion.weight": np.ones(2)}, ["trunk.0,trunk.2,head_a"]),
        ({"pos_weight": np.ones(1)}, ["trunk.0,trunk.2,head_a"]),
        ({"mean": np.ones(6), "std": np.ones(6)}, ["trunk.0,trunk.2,head_a"]),
        ({"confusion": np.ones((2, 2))}, ["trunk.0,trunk.2,head_a"]),
        ({"embed.embedding": np.ones((50, 8))}, ["trunk.0,trunk.2,head_a"]),
    ],
)  # fmt: skip
def test_messages_name_layers_that_work(extra, found, rng):
    arrays = named(rng, ("trunk.0", "trunk.2", "head_a"), (6, 9, 9, 2))
    mine = {f"twin.{name}": a for name, a in arrays.items()} if extra == "copy" else extra
    with pytest.raises(ReconError, match="what can be audited is --layers") as caught:
        arranged(arrays | mine)
    named_ = offers(str(caught.value))
    assert len(named_) == len(found)
    for value, layers in zip(named_, found, strict=True):
        layout = arranged(arrays | mine, layers=value)
        assert layout.layers == arranged(arrays | mine, layers=layers).layers
        assert len(layout.layers) == 3


@pytest.mark.parametrize(
    ("others", "found"),
    [
        (("critic.0", "critic.2", "critic.4"), ["actor.0,actor.2,actor.4", "critic.0,critic.2,critic.4"]),
        (("value_net.0", "value_net.2", "value_head"), ["actor.0,actor.2,actor.4"]),
    ],
)  # fmt: skip
def test_layers_of_two_networks_are_not_offered_as_one(others, found, rng):
    """As of Stable-Baselines3 and RSL-RL, whose networks stand side by side."""
    arrays = named(rng, ("actor.0", "actor.2", "actor.4"), (6, 9, 9, 2)) | named(rng, others, (6, 9, 9, 1))
    with pytest.raises(ReconError, match="what can be audited is --layers") as caught:
        arranged(arrays)
    values = offers(str(caught.value))
    assert [arranged(arrays, layers=v).layers for v in values] == [arranged(arrays, layers=v).layers for v in found]


def test_copies_that_chain_are_not_taken_for_one_network(rng):
    arrays = named(rng, ("0", "2"), (9, 6, 9))
    both = {f"{top}.{name}": a for top in ("model", "twin") for name, a in arrays.items()}
    with pytest.raises(ReconError, match=r"--layers model or --layers twin\.$"):
        arranged(both | {"n_averaged": np.array(3)})
    assert arranged(both, layers="model").names == tuple(f"model.{name}" for name in arrays)


def test_integers_and_single_numbers_do_not_get_in_the_way(rng):
    arrays = named(rng, ("fc1", "fc2"), (6, 9, 2))
    more = {"confusion": np.ones((2, 2), int), "seen": np.ones(7, int), "bn.num_batches_tracked": np.array(3),
            "temperature": np.float32(2)}  # fmt: skip
    assert arranged(arrays | more).names == tuple(arrays)
    assert arranged(arrays | more).left_out == ("confusion", "seen")
    # A rounded layer is one all the same, as is a bias.
    whole = arrays | {"fc1.bias": np.ones(9, int)}
    with pytest.raises(ReconError, match=r"fc1\.bias is of int64"):
        arranged(whole).tree(whole)
    packed = {name: a.astype(np.int8) if name == "fc1.weight" else a for name, a in arrays.items()}
    with pytest.raises(ReconError, match=r"fc1.weight is of int8"):
        arranged(packed).tree(packed)


def test_first_layers_that_only_their_names_tell_are_asked_for(rng):
    arrays = named(rng, ("encoder.0", "encoder.2", "decoder.0", "decoder.2"), (9, 6, 3, 6, 9))
    with pytest.raises(ReconError, match=r"which is the first.*--layers decoder,encoder or --layers encoder,decoder"):
        arranged(arrays)
    assert arranged(arrays, layers="encoder,decoder").layers[0][0] == "encoder.0.weight"
    with pytest.raises(ReconError, match="which is the first"):
        arranged(named(rng, ("velocity", "out"), (5, 5, 5)))


def test_wrappers_of_modules_are_no_names(rng):
    arrays = named(rng, ("fc1", "fc2"), (6, 9, 2))
    for wrapped in ("module.{}", "_orig_mod.{}", "_module.{}", "_orig_mod.module.{}", "net._module.{}"):
        other = {wrapped.format(name): a + 1 for name, a in arrays.items()}
        assert [*bare(other)] == [name.replace("fc", "net.fc") if "net" in wrapped else name for name in arrays]
        # A frozen extractor's arrays fall away.
        frozen = {"conv.weight": np.ones((2, 2, 2, 2))}
        layouts = arranged_both(
            bare(arrays | frozen), bare(other | {wrapped.format("conv.weight"): frozen["conv.weight"]}), trained=True
        )
        assert [len(layout.layers) for layout in layouts] == [2, 2]
    twice = {**arrays, **{f"module.{name}": a for name, a in arrays.items()}}
    assert bare(twice) == twice
    assert arranged(bare({f"module.{n}": a for n, a in arrays.items()}), layers="module.fc1,fc2").names == tuple(arrays)


def test_layers_that_training_changed_keep_their_biases(rng):
    before = {"extractor.weight": np.ones((6, 6)), **named(rng, ("fc1", "fc2"), (6, 9, 2))}
    after = before | {name: a + 1 for name, a in before.items() if name in ("fc1.weight", "fc2.weight")}
    layout, _ = arranged_both(before, after, trained=True)
    assert layout.names == ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    # A frozen layer between trained ones is one of the network, though the others chain without it.
    before = {**named(rng, ("net.0", "net.2", "net.4", "net.6"), (6, 9, 9, 9, 2))}
    after = before | {name: a + 1 for name, a in before.items() if name in ("net.2.weight", "net.6.weight")}
    layout, _ = arranged_both(before, after, trained=True)
    assert layout.names[::2] == ("net.2.weight", "net.4.weight", "net.6.weight")
    with pytest.raises(ReconError, match="are equal"):
        arranged_both(before, before, trained=True)


def test_states_that_are_no_first_moment(rng):
    arrays = named(rng, ("fc1", "fc2"), (6, 9, 2))
    layout = arranged(arrays)
    for squares in (
        {f"{i}.exp_avg_sq": a**2 for i, a in enumerate(arrays.values())},
        {f"nu/{name}": a for name, a in arrays.items()},
        {name: a**2 for name, a in arrays.items()},
    ):
        with pytest.raises(ReconError, match="second moment"):
            momentum(squares, layout, arrays)
    with pytest.raises(ReconError, match="all zero"):
        momentum({f"mu.{name}": 0 * a for name, a in arrays.items()}, layout, arrays)


def test_what_the_final_weights_hold_besides(rng):
    before = named(rng, ("fc1", "fc3"), (9, 9, 2))
    average = {f"ema.{name}": a for name, a in before.items()}
    assert arranged_both(before, before | average)[1].layers == arranged(before).layers
    deeper = before | named(rng, ("fc2",), (9, 9))
    first, last = arranged_both(before, deeper)
    assert [len(layout.layers) for layout in (first, last)] == [2, 3]


@pytest.mark.parametrize(
    "name", ["mu/{0}/nu/{0}/kernel", "mu/{0}/nu/kernel", "{0}.weight", "{1}{0}", "velocity.{0}.weight"]
)
def test_many_arrays_are_refused_soon(name, rng):
    arrays = {name.format(i, "a" * (i % 150)): np.ones(rng.integers(1, 3, 2), np.float32) for i in range(2_000)}
    with processor_time() as spent:
        with pytest.raises(ReconError):
            arranged(arrays)
        with pytest.raises(ReconError):
            arranged(arrays | {f"more.{i}": np.ones((2, 2)) for i in range(3_000)}, layers="velocity,more")
        with pytest.raises(ReconError, match="too many"):
            arranged(arrays | {"more": np.ones((2, 2))})
    assert spent.seconds < 20
